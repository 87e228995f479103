"""The public methods of an object or class, found without running any code of it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partialmethod, singledispatchmethod
from types import FunctionType, ModuleType
from typing import Any

_MISSING = object()


def public_methods(source: object, only: Iterable[str] | None = None) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the name and the method for each public method of an object, class or module.

    Args:
        source: the object. Without ``only``, its methods are those that its class and the bases of it define: not what
            they inherit from Python itself, and not what was assigned to the object. Those of a module are its own
            functions.
        only: the names of the methods, wherever they are defined.

    Raises:
        ValueError: a name in ``only`` is not that of a public method.
    """
    if isinstance(only, str):
        raise ValueError(f"only must be a list of names, not the text {only!r}: write only=[{only!r}]")
    if only is None:
        # Looked up on the class: what was assigned to the object is not published, not even under a name of the class.
        found = ((name, _method(source, name, on_class=True)) for name in _own_names(source))
        yield from ((name, method) for name, method in found if method is not None)
        return
    for name in only:
        method = _method(source, name) if isinstance(name, str) else None
        if method is None:
            raise ValueError(f"{type(source).__name__} has no public method {name!r}")
        yield name, method


def _own_names(source: object) -> list[str]:
    if isinstance(source, ModuleType):
        # What it imports is not its own: `from subprocess import getoutput` must not publish that.
        members = vars(source).items()
        return sorted(name for name, value in members if getattr(value, "__module__", "") == source.__name__)
    bases = source.__mro__ if isinstance(source, type) else type(source).__mro__
    # A field of a dataclass is not a method, although its default value may be callable.
    return sorted({name for base in bases if not _is_of_python(base) for name in vars(base).keys() - _fields(base)})


def _fields(cls: type) -> set[str]:
    return set(vars(cls).get("__dataclass_fields__", ()))


def _is_of_python(cls: type) -> bool:
    """Return whether a class is a builtin, or of the standard library: its methods are nothing that a user wrote."""
    module = cls.__module__ if isinstance(cls.__module__, str) else ""
    return module != "__main__" and module.partition(".")[0] in sys.stdlib_module_names


def _method(source: object, name: str, *, on_class: bool = False) -> Callable[..., Any] | None:
    # Never getattr(): it would run properties, cached properties and __getattr__, which may do anything.
    holder = type(source) if on_class and not isinstance(source, (type, ModuleType)) else source
    attribute: Any = inspect.getattr_static(holder, name, _MISSING)
    if name.startswith("_") or attribute is _MISSING or isinstance(attribute, type):
        return None
    # Of descriptors, only those that are methods: what binding one of them does is known.
    if not (callable(attribute) or isinstance(attribute, (classmethod, partialmethod, singledispatchmethod))):
        return None
    bind = getattr(type(attribute), "__get__", None)
    # A function in the dictionary of an object or module is not a method of it.
    is_assigned = holder is source and not isinstance(source, type) and name in getattr(source, "__dict__", {})
    if bind is None or is_assigned:
        return attribute  # type: ignore[no-any-return]
    owner = (None, source) if isinstance(source, type) else (source, type(source))
    if isinstance(bind, FunctionType) and bind.__module__ != "functools":
        # Code of the user's, such as that of a decorator that is a class: it runs with the call, and not before.
        return lambda *arguments: bind(attribute, *owner)(*arguments)
    return bind(attribute, *owner)  # type: ignore[no-any-return]
