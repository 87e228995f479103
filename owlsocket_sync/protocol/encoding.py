"""What Python's values are in JSON, where they are none yet; asked for what `orjson` does not know by itself.

It knows text, numbers, lists, dictionaries, enums and ``UUID``. Decimals and arrays are known by the modules that made
them, which are not imported for those who have none.
"""

from __future__ import annotations

import base64
import dataclasses
import sys
from collections import deque
from datetime import date, time
from enum import Enum
from typing import Any

import orjson

# orjson writes 10 ms of a `time` as ".10000", which is read as 100 ms, and refuses one with a zone.
WRITTEN_BY_US = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME

_LISTS = (tuple, set, frozenset, deque)
_BYTES = (bytes, bytearray, memoryview)


def plain(value: Any) -> Any:
    """What stands for a value in JSON, one level deep.

    Raises:
        TypeError: nothing does.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _by_fields(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, _LISTS):
        return list(value)
    if isinstance(value, _BYTES):
        return base64.b64encode(value).decode()
    if _is_of("numpy", value, "ndarray", "generic"):
        return orjson.Fragment(
            orjson.dumps(value, default=_unpacked, option=WRITTEN_BY_US | orjson.OPT_SERIALIZE_NUMPY)
        )
    if _is_of("decimal", value, "Decimal"):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def plain_throughout(value: Any) -> Any:
    """The same for the writer of Python's own, which knows less."""
    if isinstance(value, Enum):
        return value.value
    if _is_of("numpy", value, "ndarray", "generic"):
        return value.tolist()
    try:
        return plain(value)
    except TypeError:
        return orjson.loads(orjson.dumps(value))


def _by_fields(value: Any) -> Any:
    """A dataclass; those of ``dataclasses-json`` have a ``to_dict``, which names and encodes their fields."""
    to_dict = getattr(value, "to_dict", None)
    if not callable(to_dict):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return to_dict(encode_json=True) if hasattr(value, "schema") else to_dict()


def _unpacked(value: Any) -> Any:
    """An array that is not in one piece, or of a kind that `orjson` does not write."""
    return value.tolist() if _is_of("numpy", value, "ndarray", "generic") else plain(value)


def _is_of(module: str, value: Any, *names: str) -> bool:
    there = sys.modules.get(module)
    return there is not None and isinstance(value, tuple(getattr(there, name) for name in names))
