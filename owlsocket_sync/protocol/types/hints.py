"""Annotations of classes and functions: evaluated, with the type variables of generic classes replaced, and named."""

from __future__ import annotations

import inspect
import re
import sys
from typing import Any, TypeVar, get_args, get_origin, get_type_hints


def resolve_hints(source: Any, **names: Any) -> dict[str, Any]:
    """Return the annotations of a class or function, evaluated.

    Args:
        source: the class or function.
        **names: the namespaces of `typing.get_type_hints`.

    Raises:
        TypeError: an annotation names something that does not exist at run time.
    """
    try:
        try:
            return get_type_hints(source, include_extras=True, **names)
        except TypeError:
            if sys.version_info >= (3, 11) or not isinstance(source, type):
                raise
            return _resolve_class_hints(source)
    except (NameError, AttributeError, SyntaxError) as error:
        name = getattr(source, "__qualname__", None) or source
        raise TypeError(
            f"the annotations of {name} cannot be resolved: {error}; the types must be defined in its module, "
            "not within a function or under TYPE_CHECKING"
        ) from error


def _resolve_class_hints(cls: type) -> dict[str, Any]:
    # get_type_hints() of Python 3.10 refuses an InitVar that is written as text.
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        hints |= inspect.get_annotations(base, eval_str=True)
    return hints


def form_name(form: Any) -> str:
    """Return the name of a special form; the same one of typing and of typing_extensions are two objects."""
    return str(getattr(form, "_name", None) or getattr(form, "__name__", ""))


def substitute(hint: Any, bindings: dict[Any, Any]) -> Any:
    """Return the hint with the type variables of a generic class replaced by their arguments."""
    if not bindings:
        return hint
    if isinstance(hint, TypeVar):
        return bindings.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    # A class without arguments has __parameters__ as well, which stand for themselves there.
    if not parameters or get_origin(hint) is None:
        return hint
    return hint[tuple(bindings.get(parameter, parameter) for parameter in parameters)]


def with_base_bindings(cls: type, bindings: dict[Any, Any]) -> dict[Any, Any]:
    """Return the bindings of a class together with those that it gives to its generic bases."""
    known = dict(bindings)
    for base in getattr(cls, "__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and get_args(base):
            arguments = [substitute(argument, known) for argument in get_args(base)]
            known |= with_base_bindings(
                origin, dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False))
            )
    return known


def name_of(target_type: Any) -> str:
    """Return the name of a type for messages, without its modules."""
    if get_origin(target_type) is None and hasattr(target_type, "__name__"):
        return str(target_type.__name__)
    return re.sub(r"(?:[A-Za-z_<][\w<>]*\.)+(?=[A-Za-z_<])", "", repr(target_type))


def with_article(name: str) -> str:
    """Return the name of a type with its indefinite article: ``an int``, ``a list[int]``, ``a User``."""
    if name in ("None", "NoneType"):
        return "null"
    # The sound decides: "a UUID", "a User" and "a Unit", but "an Update".
    sounds_like_you = re.match(r"eu|uu|u[st][aei]|uni(?!n)", name, re.IGNORECASE)
    return f"a {name}" if sounds_like_you or name[:1].lower() not in "aeiou" else f"an {name}"
