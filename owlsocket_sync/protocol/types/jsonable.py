"""Conversion of Python values to JSON values, for the types that `orjson` does not write, or writes differently.

`orjson` writes text, numbers, lists, dictionaries, enums and ``UUID`` itself.
"""

from __future__ import annotations

import base64
import dataclasses
import sys
from collections import deque
from datetime import date, time
from typing import Any

import orjson

# orjson writes 10 ms of a `time` as ".10000", which is read as 100 ms, and refuses a `time` with a zone. A dataclass
# is passed on because those of dataclasses-json encode their fields themselves.
ORJSON_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME

_LISTS = (tuple, set, frozenset, deque)
_MISSING = object()
_BYTES = (bytes, bytearray, memoryview)


def to_jsonable(value: Any) -> Any:
    """Return the JSON value for a Python value, one level deep: `orjson` calls again for the values inside.

    Raises:
        TypeError: JSON has no value for the type.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass_fields(value)
    if isinstance(value, (date, time)):
        # NaT of pandas is a datetime that is not equal to itself.
        return value.isoformat() if value == value else None
    if isinstance(value, _LISTS):
        return list(value)
    if isinstance(value, _BYTES):
        return base64.b64encode(value).decode()
    if _is_instance_lazy("numpy", value, "ndarray", "generic"):
        return _array(value)
    if _is_instance_lazy("decimal", value, "Decimal"):
        # As text: a float would lose digits. Like the NaN of a float, that of a Decimal is null.
        return None if value.is_nan() else str(value)
    if value is getattr(sys.modules.get("pandas"), "NA", _MISSING):
        return None
    kind = type(value)
    if hasattr(kind, "__attrs_attrs__"):
        return {alias_of(field): getattr(value, field.name) for field in kind.__attrs_attrs__}
    if callable(getattr(kind, "model_dump", None)):
        # A model of pydantic; by the names that its model_validate reads.
        return value.model_dump(mode="json", by_alias=True)
    if hasattr(kind, "__struct_fields__"):
        return sys.modules["msgspec"].to_builtins(value)
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


def alias_of(attribute: Any) -> str:
    """Return the name of an attribute of attrs in the constructor, and so on the wire."""
    # Before attrs 22.2 there is no `alias`, and this is the rule.
    return getattr(attribute, "alias", None) or str(attribute.name.lstrip("_"))


def _dataclass_fields(value: Any) -> Any:
    to_dict = getattr(value, "to_dict", None)
    if not callable(to_dict):
        # Not dataclasses.asdict(), which copies deeply; orjson asks for nested dataclasses itself.
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    # A class of dataclasses-json, known by its schema(), encodes datetimes and the like only with encode_json.
    return to_dict(encode_json=True) if hasattr(value, "schema") else to_dict()


def _array(value: Any) -> Any:
    """Return an array or a scalar of NumPy; every kind of a missing value is null."""
    if value.dtype.kind in "OMm" and not isinstance(value, sys.modules["numpy"].ma.MaskedArray):
        if value.ndim:
            # Objects, and times, of which orjson writes a missing one as some date: each is looked at alone.
            return value.tolist() if value.dtype.kind == "O" else list(value)
        if value != value:
            return None
    # The option only here: on every dump, orjson would look for NumPy in programs that never use it.
    return orjson.Fragment(
        orjson.dumps(value, default=_unpack_array, option=ORJSON_OPTIONS | orjson.OPT_SERIALIZE_NUMPY)
    )


def _unpack_array(value: Any) -> Any:
    # orjson refuses arrays that are not contiguous, and dtypes such as object and str.
    return value.tolist() if _is_instance_lazy("numpy", value, "ndarray", "generic") else to_jsonable(value)


def _is_instance_lazy(module: str, value: Any, *names: str) -> bool:
    """Return whether a value is an instance of classes in a module that is not imported for this."""
    # A module that was never imported has no instances.
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, tuple(getattr(loaded, name) for name in names))
