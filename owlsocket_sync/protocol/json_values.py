"""A payload by itself as JSON text: written and read as it is within a message."""

from __future__ import annotations

import json
from typing import Any

import orjson

from ..errors import SocketMessageMalformed
from ..errors.marshalled import unsent
from ..errors.safe_text import safe_str
from .codec import compact, has_long_integer
from .json_parser import MAX_DEPTH, parse_refused
from .json_writer import dumps
from .types.jsonable import to_jsonable


def to_json(payload: Any, what: str = "the payload") -> bytes:
    """Return a payload as JSON.

    Args:
        payload: any value.
        what: it is, for an error.

    Raises:
        SocketMessageMalformed: it contains a value that JSON cannot represent.
    """
    try:
        return compact(dumps(payload, to_jsonable, MAX_DEPTH))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise unsent(SocketMessageMalformed(f"{what} cannot be stored as JSON: {safe_str(error)}")) from error


def from_json(data: bytes) -> Any:
    """Return the payload of a JSON text.

    Raises:
        SocketMessageMalformed: it is not JSON.
    """
    text = data.decode("utf-8", errors="replace")
    try:
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return parse_refused(text)
        return json.loads(text) if has_long_integer(text) else value
    except (ValueError, RecursionError) as error:
        malformed = SocketMessageMalformed(f"a stored payload is not JSON: {safe_str(error)}")
        malformed.text = text[:200]
        raise malformed from error
