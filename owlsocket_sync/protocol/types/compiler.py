"""The compiler: makes the converter of a type, and of the types nested in it."""

from __future__ import annotations

import dataclasses
import inspect
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
from typing import Annotated, Any, ForwardRef, Literal, TypeVar, Union, get_args, get_origin

from ...callables import signature_of
from .containers import collection_of, mapping_of, object_of, optional, text_key, tuple_of, union_of
from .converters import (
    SCALARS,
    Converter,
    array_of,
    check_function,
    enum_member,
    identity,
    literal,
    scalar_of,
    via_from_dict,
    via_validator,
)
from .from_dict import from_dict_converter
from .generated import (
    STEPS,
    Field,
    Step,
    calling,
    constructor_of,
    dictionary_step,
    enum_step,
    list_step,
    literal_step,
    object_converter,
    optional_step,
)
from .hints import form_name, name_of, resolve_hints, substitute, with_base_bindings
from .jsonable import alias_of

_LISTS: dict[Any, Callable[[list[Any]], Any]] = {
    list: identity,
    set: set,
    frozenset: frozenset,
    deque: deque,
    **dict.fromkeys((Sequence, MutableSequence, Collection, Iterable), identity),
    **dict.fromkeys((AbstractSet, MutableSet), set),
}
_OBJECTS: dict[Any, Callable[[dict[Any, Any]], Any]] = {
    **dict.fromkeys((dict, Mapping, MutableMapping), identity),
    OrderedDict: OrderedDict,
}


class Compiler:
    """The compilation of one type, with the types nested in it."""

    def __init__(self) -> None:
        # Types that are being compiled; the list is filled once the converter exists. See _recursive.
        self._in_progress: dict[Any, list[Converter]] = {}
        # How a generated constructor does what a converter does; others it calls.
        self._steps: dict[Converter, Step] = dict(STEPS)

    def compile(self, target_type: Any) -> Converter:
        """Return the converter for a type.

        Raises:
            TypeError: no JSON value can be converted to the type.
        """
        # By name: typing has the class since Python 3.12 only.
        if type(target_type).__name__ == "TypeAliasType":
            return self._recursive(target_type, lambda: self.compile(target_type.__value__))
        if target_type is None:
            return SCALARS[type(None)]
        if isinstance(target_type, TypeVar):
            return self.compile(target_type.__bound__ or Any)
        # typing.NewType
        if hasattr(target_type, "__supertype__"):
            return self.compile(target_type.__supertype__)
        origin = get_origin(target_type)
        if origin is not None:
            return self._generic(target_type, origin, get_args(target_type))
        if target_type in SCALARS:
            return SCALARS[target_type]
        if isinstance(target_type, type):
            return self._class(target_type, {})
        if not callable(target_type) or isinstance(target_type, ForwardRef):
            raise TypeError(f"{target_type!r} is neither a type nor a callable")
        check_function(target_type)
        return target_type  # type: ignore[no-any-return]

    def _generic(self, target_type: Any, origin: Any, arguments: tuple[Any, ...]) -> Converter:
        # `typing.List` without parameters has an origin and no arguments.
        if not hasattr(target_type, "__args__"):
            return self.compile(origin)
        if type(origin).__name__ == "TypeAliasType":
            bindings = dict(zip(origin.__type_params__, arguments, strict=False))
            return self._recursive(target_type, lambda: self.compile(substitute(origin.__value__, bindings)))
        if origin is Literal:
            convert = literal(arguments)
            return self._with_step(convert, literal_step(arguments) or calling(convert, is_pure=True))
        if origin is Union or origin is types.UnionType:
            return self._union(target_type, arguments)
        if origin is Annotated or form_name(origin) in ("Required", "NotRequired", "ReadOnly", "Final"):
            return self.compile(arguments[0])
        if origin is tuple:
            return self._tuple(arguments)
        if origin in _LISTS:
            return self._collection(self.compile(arguments[0]), _LISTS[origin])
        if origin in _OBJECTS:
            key = text_key(arguments[0], self.compile(arguments[0]))
            return self._mapping(key, self.compile(arguments[1]), _OBJECTS[origin])
        if _is_array(origin):
            return array_of(arguments[-1])
        if isinstance(origin, type):
            parameters = getattr(origin, "__parameters__", ())
            return self._class(origin, dict(zip(parameters, arguments, strict=False)), target_type)
        raise TypeError(f"no JSON value can be converted to {name_of(target_type)}")

    def _union(self, target_type: Any, arguments: tuple[Any, ...]) -> Converter:
        members = [member for member in arguments if member is not type(None)]
        if len(members) == 1:
            convert = self.compile(members[0])
        else:
            options = [(name_of(member), self.compile(member)) for member in members]
            convert = union_of(options, name_of(target_type), keeps_integers=int in members)
        if len(members) == len(arguments):
            return convert
        return self._with_step(optional(convert), optional_step(self._step(convert)))

    def _tuple(self, arguments: tuple[Any, ...]) -> Converter:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return self._collection(self.compile(arguments[0]), tuple)
        return tuple_of(tuple(map(self.compile, arguments)), tuple)

    def _class(self, cls: type, bindings: dict[Any, Any], alias: Any = None) -> Converter:
        if cls is tuple or cls in _LISTS:
            return self._collection(identity, tuple if cls is tuple else _LISTS[cls])
        if cls in _OBJECTS:
            return self._mapping(identity, identity, _OBJECTS[cls])
        if issubclass(cls, Enum):
            return self._with_step(enum_member(cls), enum_step(cls))
        if _is_array(cls):
            return array_of(Any)
        # Dataclasses, TypedDicts and NamedTuples; the latter two are known by their attributes alone.
        if dataclasses.is_dataclass(cls) or hasattr(cls, "__required_keys__") or hasattr(cls, "_field_defaults"):
            return self._recursive(cls if alias is None else alias, lambda: self._with_fields(cls, bindings))
        if cls is timedelta:
            raise TypeError("a timedelta is ambiguous in JSON (seconds or days?): pass a function that makes it")
        if cls is type or inspect.isabstract(cls) or getattr(cls, "_is_protocol", False):
            raise TypeError(f"no JSON value can be converted to {cls.__name__}")
        if hasattr(cls, "__attrs_attrs__"):
            return self._recursive(cls if alias is None else alias, lambda: self._with_attributes(cls, bindings))
        return via_validator(cls) or scalar_of(cls)

    def _collection(self, item: Converter, build: Callable[[list[Any]], Any]) -> Converter:
        return self._with_step(collection_of(item, build), list_step(item, build))

    def _mapping(self, key: Converter, item: Converter, build: Callable[[dict[Any, Any]], Any]) -> Converter:
        return self._with_step(mapping_of(key, item, build), dictionary_step(key, item, build))

    def _object(self, converters: dict[str, Converter], required: list[str], make: Any) -> Converter:
        exact = object_of(converters, required, make)
        constructor = None if make is dict else constructor_of(make, converters, required)
        if constructor is None and make is not dict:
            return exact
        fields = [Field(name, self._step(convert)) for name, convert in converters.items()]
        return object_converter(fields, required, constructor, exact)

    def _with_step(self, convert: Converter, step: Step | None) -> Converter:
        if step is not None:
            self._steps[convert] = step
        return convert

    def _step(self, convert: Converter) -> Step:
        return self._steps.get(convert) or calling(convert)

    def _recursive(self, target_type: Any, build: Callable[[], Converter]) -> Converter:
        """Compile a type that may contain itself."""
        unfinished = self._in_progress.get(target_type)
        if unfinished is not None:
            # The list is still empty here, and filled before the first value is converted.
            return lambda value: unfinished[0](value)
        converter = self._in_progress[target_type] = []
        converter.append(build())
        return converter[0]

    def _with_fields(self, cls: Any, bindings: dict[Any, Any]) -> Converter:
        # First, since a dataclass of dataclasses-json may rename or decode its fields.
        if callable(getattr(cls, "from_dict", None)):
            return from_dict_converter(cls)
        bindings = with_base_bindings(cls, bindings)
        hints = {name: substitute(hint, bindings) for name, hint in resolve_hints(cls).items()}
        if dataclasses.is_dataclass(cls):
            return self._dataclass(cls, hints)
        return self._typed_dict(cls, hints) if hasattr(cls, "__required_keys__") else self._named_tuple(cls, hints)

    def _dataclass(self, cls: Any, hints: dict[str, Any]) -> Converter:
        converters, required = {}, []
        # The signature and not the fields: it has InitVars, and has no field with init=False.
        for name, parameter in signature_of(cls).parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            hint = hints.get(name, Any)
            converters[name] = self.compile(hint.type if isinstance(hint, dataclasses.InitVar) else hint)
            if parameter.default is parameter.empty:
                required.append(name)
        return self._object(converters, required, cls)

    def _with_attributes(self, cls: Any, bindings: dict[Any, Any]) -> Converter:
        if callable(getattr(cls, "from_dict", None)):
            return via_from_dict(cls)
        bindings = with_base_bindings(cls, bindings)
        hints = {name: substitute(hint, bindings) for name, hint in resolve_hints(cls).items()}
        # A converter of the class takes what it likes, and not what the annotation says.
        fields = [field for field in cls.__attrs_attrs__ if field.init]
        converters = {
            alias_of(field): self.compile(Any if field.converter else hints.get(field.name, Any)) for field in fields
        }
        required = [alias_of(field) for field in fields if field.default is sys.modules["attr"].NOTHING]
        return self._object(converters, required, cls)

    def _typed_dict(self, cls: Any, hints: dict[str, Any]) -> Converter:
        # Under `from __future__ import annotations` the class was made of text, and __required_keys__ misses the
        # marks Required and NotRequired; the resolved hints have them.
        marks = {name: form_name(get_origin(hint)) for name, hint in hints.items()}
        required = [
            name
            for name, mark in marks.items()
            if mark == "Required" or (mark != "NotRequired" and name in cls.__required_keys__)
        ]
        return self._object({name: self.compile(hint) for name, hint in hints.items()}, required, dict)

    def _named_tuple(self, cls: Any, hints: dict[str, Any]) -> Converter:
        converters = {name: self.compile(hints.get(name, Any)) for name in cls._fields}
        from_object = self._object(converters, [name for name in converters if name not in cls._field_defaults], cls)
        # This package writes a named tuple as a list; a peer in another language may send an object.
        from_list = tuple_of(tuple(converters.values()), lambda items: cls(*items))
        return lambda value: from_object(value) if type(value) is dict else from_list(value)


def _is_array(cls: Any) -> bool:
    # By name, so that programs without NumPy do not import it.
    return getattr(cls, "__module__", "") == "numpy" and getattr(cls, "__name__", "") == "ndarray"
