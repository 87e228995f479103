"""JSON text of any value: by `orjson`, and of what that refuses by a writer of our own.

These are long integers, deep nesting, lone surrogates, and keys that are not text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from enum import Enum
from typing import Any

import orjson

from ..errors.safe_text import safe_str
from .json_parser import MAX_DEPTH, deeper_than
from .types.jsonable import ORJSON_OPTIONS, to_jsonable

# orjson writes no more levels than this, and Python's json no more than its stack allows.
ORJSON_DEPTH = 254
# An object whose conversion returns an object to convert again, and so on.
MAX_CONVERSIONS = 64

# Known by the text of the error alone.
_REFUSALS = ("must be str", "surrogates", "64-bit", "ecursion limit")

_TEXT, _VALUE = 0, 1
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


def dumps(value: Any, convert: Callable[[Any], Any], depth: int) -> bytes:
    """Return a value as JSON; see `write`."""
    try:
        data = orjson.dumps(value, default=convert, option=ORJSON_OPTIONS)
    except TypeError as refusal:
        return dumps_fallback(value, convert, depth, refusal)
    # orjson has a bound of its own; one that is lower is the exception, and may cost something.
    if depth < ORJSON_DEPTH and deeper_than(orjson.loads(data), depth):
        raise ValueError(f"it is nested deeper than {depth} levels (Limits.json_depth)")
    return data


def dumps_fallback(value: Any, convert: Callable[[Any], Any], depth: int, refusal: TypeError) -> bytes:
    """Return a value that `orjson` refused as JSON, or raise the refusal."""
    # What orjson refuses within a dataclass or an array is the cause of its error.
    if any(sign in f"{refusal} {safe_str(refusal.__cause__)}" for sign in _REFUSALS):
        return write(value, convert, depth)
    raise refusal


def write(value: Any, convert: Callable[[Any], Any], depth: int) -> bytes:
    """Return a value as JSON; several times slower than `orjson.dumps`.

    Args:
        value: the value.
        convert: returns the JSON value for a value of another type, or raises `TypeError`.
        depth: the nesting that is allowed.

    Raises:
        TypeError: JSON has no value for a type.
        ValueError: the nesting is deeper, or two keys of an object are the same text.
    """
    pieces: list[str] = []
    # A stack, not recursion: the value may be nested deeper than Python's own stack.
    stack: list[tuple[int, Any, int]] = [(_VALUE, value, 1)]
    while stack:
        kind, item, level = stack.pop()
        if kind == _TEXT:
            pieces.append(item)
            continue
        item = _plain(item, convert)
        if not isinstance(item, (dict, list, tuple)):
            pieces.append(_scalar(item))
            continue
        if level > depth:
            raise ValueError(f"it is nested deeper than {depth} levels (Limits.json_depth)")
        stack.extend(reversed(_members(item, level + 1)))
    return "".join(pieces).encode()


def to_text(value: Any, *, ensure_ascii: bool = False) -> str:
    """Return a value of JSON as text, as `json.dumps` does, however deep a message may be nested.

    Args:
        value: made of dictionaries, lists, texts, numbers, flags and ``None``.
        ensure_ascii: escape all characters that are not ASCII.
    """
    try:
        return json.dumps(value, ensure_ascii=ensure_ascii)
    except RecursionError:
        # Twice the depth of a message: its payload may be shown within another value.
        text = write(value, to_jsonable, 2 * MAX_DEPTH).decode()
    return _NOT_ASCII.sub(lambda found: json.dumps(found.group())[1:-1], text) if ensure_ascii else text


def _members(container: Any, level: int) -> list[tuple[int, Any, int]]:
    """Return the text and the values that a list or an object consists of."""
    if not isinstance(container, dict):
        members: list[tuple[int, Any, int]] = [(_TEXT, "[", 0)]
        for entry in container:
            members += [(_VALUE, entry, level), (_TEXT, ",", 0)]
    else:
        members = [(_TEXT, "{", 0)]
        for name, entry in _named(container).items():
            members += [(_TEXT, f"{_text(name)}:", 0), (_VALUE, entry, level), (_TEXT, ",", 0)]
    end = (_TEXT, "}" if isinstance(container, dict) else "]", 0)
    # Without the comma behind the last member.
    return [*(members[:-1] if len(members) > 1 else members), end]


def _named(mapping: dict[Any, Any]) -> dict[str, Any]:
    """Return an object with its keys as text."""
    named: dict[str, Any] = {}
    for key, value in mapping.items():
        name = _key(key)
        if name in named:
            # JSON readers keep one of the two, and which one depends on the reader.
            raise ValueError(f"two keys of an object are the same text: {name[:60]!r}")
        named[name] = value
    return named


def _key(key: Any) -> str:
    if isinstance(key, Enum):
        return _key(key.value)
    if isinstance(key, str):
        return str(key)
    if isinstance(key, int) and not isinstance(key, bool):
        return int.__repr__(key)
    written = orjson.dumps({key: None}, option=ORJSON_OPTIONS | orjson.OPT_NON_STR_KEYS)
    return next(iter(orjson.loads(written)))  # type: ignore[no-any-return]


def _plain(value: Any, convert: Callable[[Any], Any]) -> Any:
    """Return a JSON value, one level deep, or a value that `orjson` writes."""
    for _ in range(MAX_CONVERSIONS):
        if isinstance(value, Enum):
            value = value.value
        elif value is None or isinstance(value, (str, int, float, dict, list, tuple, orjson.Fragment)):
            return value
        else:
            try:
                value = convert(value)
            except TypeError:
                # Types that orjson alone knows, such as UUID; it raises for all others.
                return orjson.Fragment(orjson.dumps(value))
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        # Not orjson, which has 64 bits; for thousands of digits Python raises a ValueError.
        return int.__repr__(value)
    if isinstance(value, float):
        # Also a subclass, such as float64 of NumPy, which orjson refuses.
        return orjson.dumps(float(value)).decode() if math.isfinite(value) else "null"
    return orjson.dumps(value).decode()


def _text(value: str) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # A lone surrogate, that is half an emoji, which JavaScript sends and receives.
        return json.dumps(value)
