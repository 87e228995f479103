"""JSON Schema of types, for those that the converters of payloads understand; any other is any JSON value."""

from __future__ import annotations

import dataclasses
import math
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
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin
from uuid import UUID

from ..callables import signature_of
from ..protocol.types.hints import form_name, name_of, resolve_hints, substitute, with_base_bindings
from ..protocol.types.jsonable import alias_of
from ..values import truncate

Schema = dict[str, Any]

MISSING: Any = object()
"""The default of what has none; not that of `dataclasses`, which a dataclass takes for one of its own."""

MAX_DEPTH = 32
"""Of schemas within schemas; what is deeper is any JSON value. Classes count once: they are referred to."""
_SCALARS: dict[Any, Schema] = {
    Any: {},
    object: {},
    None: {"type": "null"},
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    time: {"type": "string", "format": "time"},
    UUID: {"type": "string", "format": "uuid"},
    Decimal: {"type": "string", "format": "decimal"},
    bytes: {"type": "string", "contentEncoding": "base64"},
    bytearray: {"type": "string", "contentEncoding": "base64"},
}
_SETS = (set, frozenset, AbstractSet, MutableSet)
_LISTS = (list, deque, Sequence, MutableSequence, Collection, Iterable, *_SETS)
_OBJECTS = (dict, OrderedDict, Mapping, MutableMapping)
_TEXT = 200
"""The characters of a default, or of a line of documentation, that are described."""
_BITS = 64


class Schemas:
    """The schemas of one description.

    Attributes:
        types: the schema of each class, by its name: a schema that contains it refers to ``#/types/NAME``.
    """

    def __init__(self) -> None:
        self.types: dict[str, Schema] = {}
        self._names: dict[Any, str] = {}

    def of(self, target_type: Any, depth: int = 0) -> Schema:
        """Return the schema of a type.

        Raises:
            TypeError: an annotation in a class cannot be resolved.
        """
        if depth >= MAX_DEPTH:
            return {}
        origin = get_origin(target_type)
        if type(target_type).__name__ == "TypeAliasType":
            return self._refer(target_type, lambda: self.of(target_type.__value__, depth + 1))
        if isinstance(target_type, TypeVar):
            return self.of(target_type.__bound__ or Any, depth + 1)
        if hasattr(target_type, "__supertype__"):  # typing.NewType
            return self.of(target_type.__supertype__, depth + 1)
        if origin is not None and hasattr(target_type, "__args__"):
            return self._generic(target_type, origin, get_args(target_type), depth + 1)
        cls = origin or target_type
        if isinstance(cls, type) or cls is None or cls is Any:
            return dict(_SCALARS[cls]) if cls in _SCALARS else self._class(cls, {}, cls)
        return {}

    def _generic(self, target_type: Any, origin: Any, arguments: tuple[Any, ...], depth: int) -> Schema:
        if type(origin).__name__ == "TypeAliasType":
            value = substitute(origin.__value__, dict(zip(origin.__type_params__, arguments, strict=False)))
            return self._refer(target_type, lambda: self.of(value, depth))
        if origin is Literal:
            return {"enum": [plain(choice) for choice in arguments]}
        if origin is Union or origin is types.UnionType:
            return {"anyOf": [self.of(member, depth) for member in arguments]}
        if origin is Annotated or form_name(origin) in ("Required", "NotRequired", "ReadOnly", "Final"):
            return self.of(arguments[0], depth)
        if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
            return _tuple([self.of(member, depth) for member in arguments])
        if origin is tuple or origin in _LISTS:
            return _list(origin, self.of(arguments[0], depth))
        if origin in _OBJECTS:
            return {"type": "object", "additionalProperties": self.of(arguments[1], depth)}
        if isinstance(origin, type):
            bindings = dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False))
            return self._class(origin, bindings, target_type)
        return {}

    def _class(self, cls: Any, bindings: dict[Any, Any], key: Any) -> Schema:
        if cls is tuple or cls in _LISTS:
            return _list(cls, {})
        if cls in _OBJECTS:
            return {"type": "object"}
        if issubclass(cls, Enum):
            return self._refer(key, lambda: _enum(cls))
        if (cls.__module__, cls.__name__) == ("numpy", "ndarray"):
            return {"type": "array"}
        # Before the fields, as in the compiler.
        if callable(getattr(cls, "from_dict", None)):
            # It reads, and its class writes, keys and values that its annotations do not tell.
            return self._refer(key, lambda: {"type": "object"})
        fields = _fields_of(cls)
        if fields is None:
            return {}
        return self._refer(key, lambda: self._object(cls, bindings, fields))

    def _object(self, cls: Any, bindings: dict[Any, Any], fields: Callable[[dict[str, Any]], list[_Field]]) -> Schema:
        known = with_base_bindings(cls, bindings)
        found = fields({name: substitute(hint, known) for name, hint in resolve_hints(cls).items()})
        properties = {field.key: with_default(self.of(field.hint), field.default) for field in found}
        if hasattr(cls, "_field_defaults"):  # a NamedTuple is sent as a list
            return {**_tuple([{"title": key, **schema} for key, schema in properties.items()]), **_described(cls)}
        required = [field.key for field in found if field.required]
        return {"type": "object", **_described(cls), "properties": properties, "required": required}

    def _refer(self, key: Any, make: Callable[[], Schema]) -> Schema:
        """Return a reference to the schema of a class, which is made once, and may contain itself."""
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = self._free_name(name_of(key))
            self.types[name] = {}  # its place, in the order in which the types are met
            try:
                self.types[name] = make()
            except BaseException:
                del self._names[key], self.types[name]
                raise
        return {"$ref": f"#/types/{name}"}

    def _free_name(self, name: str) -> str:
        # Two classes of two modules may share a name.
        base = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "Type"
        candidates = (base, *(f"{base}_{number}" for number in range(2, len(self.types) + 3)))
        return next(candidate for candidate in candidates if candidate not in self.types)

    def forget(self, names: Iterable[str]) -> None:
        """Leave types out again."""
        for name in names:
            self.types.pop(name, None)
        self._names = {key: name for key, name in self._names.items() if name in self.types}


@dataclasses.dataclass(frozen=True)
class _Field:
    """A field of a class: its key on the wire, its type, and its default, ``MISSING`` without a plain one."""

    key: str
    hint: Any
    required: bool
    default: Any = MISSING


def _fields_of(cls: Any) -> Callable[[dict[str, Any]], list[_Field]] | None:
    """Return the function that lists the fields by the hints of a class; ``None`` for a class without known fields."""
    # In the order of the compiler of converters: a class may be of two kinds.
    if dataclasses.is_dataclass(cls):
        return lambda hints: _dataclass_fields(cls, hints)
    if hasattr(cls, "__required_keys__"):
        return lambda hints: [_Field(name, hint, _is_required(cls, name, hint)) for name, hint in hints.items()]
    if hasattr(cls, "_field_defaults"):
        return lambda hints: [_Field(name, hints.get(name, Any), True) for name in cls._fields]
    if hasattr(cls, "__attrs_attrs__"):
        return lambda hints: [
            _Field(alias_of(field), Any if field.converter else hints.get(field.name, Any), not _has_default(field))
            for field in cls.__attrs_attrs__
            if field.init
        ]
    return None


def _dataclass_fields(cls: Any, hints: dict[str, Any]) -> list[_Field]:
    # The signature and not the fields, as the compiler of converters does: it has InitVars, and no init=False.
    fields = []
    for name, parameter in signature_of(cls).parameters.items():
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            hint = hints.get(name, Any)
            hint = hint.type if isinstance(hint, dataclasses.InitVar) else hint
            required = parameter.default is parameter.empty
            fields.append(_Field(name, hint, required, MISSING if required else parameter.default))
    return fields


def _is_required(cls: Any, name: str, hint: Any) -> bool:
    # By the resolved hint first: under `from __future__ import annotations`, __required_keys__ misses the marks.
    mark = form_name(get_origin(hint))
    return mark == "Required" or (mark != "NotRequired" and name in cls.__required_keys__)


def _has_default(field: Any) -> bool:
    # A class of attrs is evidence that attrs was imported.
    return field.default is not sys.modules["attr"].NOTHING


def _enum(cls: type[Enum]) -> Schema:
    members = list(cls)
    return {
        "enum": [plain(member) for member in members],
        "x-enum-varnames": [member.name for member in members],
        **_described(cls),
    }


def _tuple(items: list[Schema]) -> Schema:
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _list(kind: Any, item: Schema) -> Schema:
    return {"type": "array", "items": item, **({"uniqueItems": True} if kind in _SETS else {})}


def plain(value: Any) -> Any:
    """Return an enum member's value, if it is a member, as a JSON value; text for what has none."""
    value = value.value if isinstance(value, Enum) else value
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def with_default(schema: Schema, default: Any) -> Schema:
    """Return a schema with a default, if that is a short JSON scalar, or an enum member with such a value."""
    value = default.value if isinstance(default, Enum) else default
    is_short = (
        value is None
        or isinstance(value, bool)
        or (isinstance(value, int) and value.bit_length() <= _BITS)
        or (isinstance(value, float) and math.isfinite(value))
        or (isinstance(value, str) and len(value) <= _TEXT)
    )
    return {**schema, "default": value} if is_short else schema


def first_line(documented: Any) -> str:
    """Return the first line of a docstring, cut."""
    text = documented if isinstance(documented, str) else ""
    return truncate(text.strip().partition("\n")[0].strip(), _TEXT)


def _described(cls: Any) -> Schema:
    line = first_line(vars(cls).get("__doc__"))
    # Python writes these itself: the signature of a dataclass or a NamedTuple, and a sentence for an enum.
    is_generated = line.startswith(f"{cls.__name__}(") or line == "An enumeration."
    return {"description": line} if line and not is_generated else {}
