"""The place in a payload of the value that JSON cannot represent, for the error of a message that was not sent.

Loaded when a message is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from ..errors.safe_text import safe_str
from ..values import truncate
from .types.jsonable import ORJSON_OPTIONS

MAX_VALUES = 100_000
"""Values that are looked at: the caller waits meanwhile."""

_PLAIN = (str, int, float, bool, type(None))
_METHODS = ("to_dict", "tolist", "dict")


def refusal_text(error: BaseException, payload: Any, convert: Callable[[Any], Any], name: str = "payload") -> str:
    """Return the text of a refusal, with the place of its reason where that lies within the payload.

    Args:
        error: the reason for which the payload was refused.
        payload: the value.
        convert: returns the JSON value for a value of another type, or raises `TypeError`.
        name: what the payload is called in the place, such as ``payload["rows"][3]["price"]``.
    """
    text = safe_str(error)
    found = find_misfit_place(payload, convert, name) if isinstance(error, TypeError) else None
    if found is None:
        return text
    place, value = found
    method = next((method for method in _METHODS if callable(getattr(value, method, None))), None)
    return f"{text} (at {truncate(place)}{f'; {method}() of it may give what can be sent' if method else ''})"


def find_misfit_place(payload: Any, convert: Callable[[Any], Any], name: str) -> tuple[str, Any] | None:
    """Return the place of the first value that JSON cannot represent, and the value; ``None`` if none is found."""
    # A stack, not recursion: the payload may be nested deeper than Python's own stack.
    stack: list[tuple[str, Any]] = [(name, payload)]
    for _ in range(MAX_VALUES):
        if not stack:
            break
        place, value = stack.pop()
        if type(value) in _PLAIN:
            continue
        if isinstance(value, dict):
            stack.extend((f"{place}[{safe_str(key, repr)}]", item) for key, item in reversed(value.items()))
        elif isinstance(value, (list, tuple)):
            stack.extend((f"{place}[{index}]", value[index]) for index in reversed(range(len(value))))
        elif not _is_json(value, convert):
            return place, value
    return None


def _is_json(value: Any, convert: Callable[[Any], Any]) -> bool:
    try:
        orjson.dumps(value, default=convert, option=ORJSON_OPTIONS | orjson.OPT_NON_STR_KEYS)
    except Exception:  # whatever the value's own methods raise
        return False
    return True
