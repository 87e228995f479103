"""A type compiled, once, into the function that makes values of it out of JSON.

What a type says is looked at when it is first used; what remains for each value is a chain of plain functions.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import types
from collections import OrderedDict, deque
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Mapping,
    MutableMapping,
    MutableSequence,
    MutableSet,
    Sequence,
)
from collections.abc import Set as AbstractSet
from datetime import timedelta
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, ForwardRef, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import ResilientError, SocketMessageMalformed
from .makers import (
    SCALARS,
    Maker,
    Misfit,
    array_of,
    as_it_is,
    by_from_dict,
    cut,
    elements,
    entries,
    first_fit,
    literal,
    one_of,
    optional,
    outward,
    positions,
    record,
    text_key,
)

COMPILED_TYPES = 1024

_LISTS: dict[Any, Callable[[list[Any]], Any]] = {
    list: as_it_is,
    set: set,
    frozenset: frozenset,
    deque: deque,
    **dict.fromkeys((Sequence, MutableSequence, Collection, Iterable), as_it_is),
    **dict.fromkeys((AbstractSet, MutableSet), set),
}
_OBJECTS: dict[Any, Callable[[dict[Any, Any]], Any]] = {
    **dict.fromkeys((dict, Mapping, MutableMapping), as_it_is),
    OrderedDict: OrderedDict,
}


def convert_to(value: Any, wanted: Any, what: str) -> Any:
    """Make ``value`` what is wanted: a type, or what a callable makes of it.

    Raises:
        SocketMessageMalformed: it cannot be made that; ``what`` says of what the message speaks.
    """
    try:
        return (wanted.make if isinstance(wanted, Converter) else lenient(wanted))(value)
    except ResilientError:
        raise
    except Exception as error:
        told = f"{error.kind}: {error}" if isinstance(error, Misfit) else f"{type(error).__name__}: {cut(str(error))}"
        raise SocketMessageMalformed(f"{what} is no {name_of(wanted)}: {told}") from error


def convert_argument(make: Maker, name: str, value: Any) -> Any:
    """Make an argument what its annotation says; raises `SocketMessageMalformed`, which says where it is not."""
    try:
        return make(value)
    except ResilientError:
        raise
    except Exception as error:
        try:
            outward(error, name)
        except Misfit as placed:
            kind = "" if placed.kind == "TypeError" else f"{placed.kind}: "
            raise SocketMessageMalformed(f"argument {placed.told(kind)}") from error


class Converter:
    """A type that was looked at, and so is known to be one that can be made.

    Raises:
        TypeError: it cannot.
    """

    __slots__ = ("make", "name")

    def __init__(self, wanted: Any, *, strict: bool = False) -> None:
        self.make = compiled(wanted) if strict else lenient(wanted)
        self.name = name_of(wanted)

    def __call__(self, value: Any, what: str) -> Any:
        """Make a value, as `convert_to` does."""
        return convert_to(value, self, what)


def lenient(wanted: Any) -> Maker:
    """The maker of what a caller asks for: as `compiled`, but ``int`` and ``float`` read text as well."""
    make = compiled(wanted)
    if wanted is not int and wanted is not float:
        return make
    return lambda value: wanted(value) if isinstance(value, str) else make(value)


def compiled(wanted: Any) -> Maker:
    """The maker of values of a type, from a cache; a callable that is no type is its own.

    Raises:
        TypeError: nothing can be made of that.
    """
    if isinstance(wanted, (types.FunctionType, types.BuiltinFunctionType, types.MethodType)):
        return wanted
    try:
        # Types that differ in the order of a union are equal, and yet not the same: the order is what is tried first.
        return _compiled(wanted, "" if get_origin(wanted) is None else repr(wanted))
    except TypeError:
        if callable(wanted) and type(wanted).__hash__ is None:
            return wanted  # type: ignore[no-any-return]
        raise


@lru_cache(COMPILED_TYPES)
def _compiled(wanted: Any, text: str) -> Maker:
    return _Compiler().maker(wanted)


def name_of(wanted: Any) -> str:
    """How a message calls a type: without the modules."""
    if isinstance(wanted, Converter):
        return wanted.name
    if get_origin(wanted) is None and hasattr(wanted, "__name__"):
        return str(wanted.__name__)
    return re.sub(r"(?:[A-Za-z_<][\w<>]*\.)+(?=[A-Za-z_<])", "", repr(wanted))


class _Compiler:
    """One type, with all that it holds; those that hold themselves are in ``_begun`` while they are looked at."""

    def __init__(self) -> None:
        self._begun: dict[Any, list[Maker]] = {}

    def maker(self, wanted: Any) -> Maker:
        """The maker of a type."""
        if type(wanted).__name__ == "TypeAliasType":
            return self._once(wanted, lambda: self.maker(wanted.__value__))
        if wanted is None:
            return SCALARS[type(None)]
        if isinstance(wanted, TypeVar):
            return self.maker(wanted.__bound__ or Any)
        if hasattr(wanted, "__supertype__"):
            return self.maker(wanted.__supertype__)
        origin = get_origin(wanted)
        if origin is not None:
            return self._generic(wanted, origin, get_args(wanted))
        if wanted in SCALARS:
            return SCALARS[wanted]
        if isinstance(wanted, type):
            return self._class(wanted, {})
        if not callable(wanted) or isinstance(wanted, ForwardRef):
            raise TypeError(f"{wanted!r} is neither a type nor a callable")
        return wanted  # type: ignore[no-any-return]

    def _generic(self, wanted: Any, origin: Any, arguments: tuple[Any, ...]) -> Maker:
        if not hasattr(wanted, "__args__"):  # as `typing.List` has none
            return self.maker(origin)
        if type(origin).__name__ == "TypeAliasType":
            given = dict(zip(origin.__type_params__, arguments, strict=False))
            return self._once(wanted, lambda: self.maker(_filled(origin.__value__, given)))
        if origin is Literal:
            return literal(arguments)
        if origin is Union or origin is types.UnionType:
            return self._union(wanted, arguments)
        if origin is Annotated or _word(origin) in ("Required", "NotRequired", "ReadOnly", "Final"):
            return self.maker(arguments[0])
        if origin is tuple:
            return self._tuple(arguments)
        if origin in _LISTS:
            return elements(self.maker(arguments[0]), _LISTS[origin])
        if origin in _OBJECTS:
            return entries(text_key(arguments[0], self.maker(arguments[0])), self.maker(arguments[1]), _OBJECTS[origin])
        if _is_array(origin):
            return array_of(arguments[-1])
        if isinstance(origin, type):
            parameters = getattr(origin, "__parameters__", ())
            return self._class(origin, dict(zip(parameters, arguments, strict=False)), wanted)
        raise TypeError(f"no value of JSON can be made {name_of(wanted)}")

    def _union(self, wanted: Any, arguments: tuple[Any, ...]) -> Maker:
        some = [one for one in arguments if one is not type(None)]
        if len(some) == 1:
            make = self.maker(some[0])
        else:
            make = first_fit(
                [(name_of(one), self.maker(one)) for one in some], name_of(wanted), keeps_integers=int in some
            )
        return make if len(some) == len(arguments) else optional(make)

    def _tuple(self, arguments: tuple[Any, ...]) -> Maker:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return elements(self.maker(arguments[0]), tuple)
        return positions(tuple(map(self.maker, arguments)), tuple)

    def _class(self, cls: type, given: dict[Any, Any], alias: Any = None) -> Maker:
        if cls is tuple or cls in _LISTS:
            return elements(as_it_is, tuple if cls is tuple else _LISTS[cls])
        if cls in _OBJECTS:
            return entries(as_it_is, as_it_is, _OBJECTS[cls])
        if issubclass(cls, Enum):
            return one_of(cls)
        if _is_array(cls):
            return array_of(Any)
        if dataclasses.is_dataclass(cls) or hasattr(cls, "__required_keys__") or hasattr(cls, "_field_defaults"):
            return self._once(cls if alias is None else alias, lambda: self._record(cls, given))
        if cls is timedelta:
            raise TypeError("a timedelta could be any number of seconds or days: have a function make it")
        if cls is type or inspect.isabstract(cls) or getattr(cls, "_is_protocol", False):
            raise TypeError(f"no value of JSON can be made {cls.__name__}")
        return cls

    def _once(self, wanted: Any, look: Callable[[], Maker]) -> Maker:
        """Look at what may hold itself: within itself it gets a maker that is there by the time it is used."""
        known = self._begun.get(wanted)
        if known is not None:
            return lambda value: known[0](value)
        begun = self._begun[wanted] = []
        begun.append(look())
        return begun[0]

    def _record(self, cls: Any, given: dict[Any, Any]) -> Maker:
        """What has fields."""
        if callable(getattr(cls, "from_dict", None)):
            return by_from_dict(cls)
        given = _with_bases(cls, given)
        hints = {name: _filled(hint, given) for name, hint in hints_of(cls).items()}
        if dataclasses.is_dataclass(cls):
            return self._dataclass(cls, hints)
        return self._typed_dict(cls, hints) if hasattr(cls, "__required_keys__") else self._named_tuple(cls, hints)

    def _dataclass(self, cls: Any, hints: dict[str, Any]) -> Maker:
        makers, required = {}, []
        for name, parameter in inspect.signature(cls).parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            hint = hints.get(name, Any)
            makers[name] = self.maker(hint.type if isinstance(hint, dataclasses.InitVar) else hint)
            if parameter.default is parameter.empty:
                required.append(name)
        return record(makers, required, cls)

    def _typed_dict(self, cls: Any, hints: dict[str, Any]) -> Maker:
        # Where annotations are text, the class itself has not seen their marks.
        marks = {name: _word(get_origin(hint)) for name, hint in hints.items()}
        required = [
            name
            for name, mark in marks.items()
            if mark == "Required" or (mark != "NotRequired" and name in cls.__required_keys__)
        ]
        return record({name: self.maker(hint) for name, hint in hints.items()}, required, dict)

    def _named_tuple(self, cls: Any, hints: dict[str, Any]) -> Maker:
        makers = {name: self.maker(hints.get(name, Any)) for name in cls._fields}
        by_name = record(makers, [name for name in makers if name not in cls._field_defaults], cls)
        by_place = positions(tuple(makers.values()), lambda made: cls(*made))
        return lambda value: by_name(value) if type(value) is dict else by_place(value)


def hints_of(of: Any, **names: Any) -> dict[str, Any]:
    """The annotations of a class or function, evaluated.

    Raises:
        TypeError: one of them names what is not there.
    """
    try:
        try:
            return get_type_hints(of, include_extras=True, **names)
        except TypeError:
            if sys.version_info >= (3, 11) or not isinstance(of, type):
                raise
            return _hints_of_class(of)
    except (NameError, AttributeError, SyntaxError) as error:
        name = getattr(of, "__qualname__", None) or of
        raise TypeError(
            f"the annotations of {name} cannot be read: {error}; what they name must be defined in its module, "
            "not within a function or under TYPE_CHECKING"
        ) from error


def _hints_of_class(cls: type) -> dict[str, Any]:
    """The same for Python 3.10, which refuses an ``InitVar`` that is written as text."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        hints |= inspect.get_annotations(base, eval_str=True)
    return hints


def _word(form: Any) -> str:
    return str(getattr(form, "_name", None) or getattr(form, "__name__", ""))


def _filled(hint: Any, given: dict[Any, Any]) -> Any:
    """A hint of a generic class with what its parameters stand for."""
    if not given:
        return hint
    if isinstance(hint, TypeVar):
        return given.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    if not parameters or get_origin(hint) is None:
        return hint
    return hint[tuple(given.get(one, one) for one in parameters)]


def _with_bases(cls: type, given: dict[Any, Any]) -> dict[Any, Any]:
    """What the parameters of a class stand for, and those of the generic classes that it comes from."""
    known = dict(given)
    for base in getattr(cls, "__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and get_args(base):
            arguments = [_filled(one, known) for one in get_args(base)]
            known |= _with_bases(origin, dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False)))
    return known


def _is_array(cls: Any) -> bool:
    return getattr(cls, "__module__", "") == "numpy" and getattr(cls, "__name__", "") == "ndarray"
