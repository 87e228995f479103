"""JSON text parsed as a JavaScript peer writes it, with a bounded depth."""

from __future__ import annotations

import json
import re
from typing import Any

# orjson refuses deeper nesting itself, so that at this limit the depth need not be measured.
MAX_DEPTH = 1024

# A string, with its end or cut off; a sign of structure; a number or a word. Linear: no text is matched twice.
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}:,]|[^\s"\[\]{}:,]+', re.DOTALL)
# The fields of a message are short, but its payload is not: so much of the beginning is looked at.
HEAD_CHARACTERS = 65_536


def parse_refused(text: str) -> Any:
    """Return the value of a JSON text that `orjson` refused.

    JavaScript writes half an emoji as an escaped lone surrogate, and Python ``NaN`` and ``Infinity``: all are read.

    Raises:
        ValueError: the text is not JSON, nested deeper than `MAX_DEPTH`, or holds an integer of more digits than
            Python converts (4300, unless configured otherwise).
        RecursionError: it is nested deeper than the stack of the caller allows.
    """
    text.encode()  # half a character that is not escaped is not JSON
    # json has no limit of depth, and code after this recurses.
    value = json.loads(text)
    if deeper_than(value, MAX_DEPTH):
        raise ValueError(f"JSON nested deeper than {MAX_DEPTH} levels")
    return value


def deeper_than(value: Any, limit: int) -> bool:
    """Return whether lists and objects are nested more than ``limit`` levels deep."""
    # Level by level and not recursively, since the value may be deeper than Python's stack.
    level = [value]
    for _ in range(limit):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return False
    return any(isinstance(inner, (dict, list)) for inner in level)


def _children(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


# -- text that is not JSON -------------------------------------------------------------------------------------------


def find_fields(text: str) -> dict[str, Any]:
    """Return the fields of the outermost object that are text or numbers, of a JSON text that cannot be parsed.

    It may be cut off, nested too deep, or wrong somewhere: what is looked for is the id that it names.
    """
    fields = _fields_behind(text)
    # Last, so that of two ids the first one counts: after it, the text may be wrong anywhere.
    return fields | find_leading_fields(text)


def find_leading_fields(text: str) -> dict[str, Any]:
    """Return such fields from the beginning of a text, past nested values, up to a bound."""
    fields: dict[str, Any] = {}
    depth, key, after_colon = 0, None, False
    for token in _TOKEN.findall(text[:HEAD_CHARACTERS]):
        if token in "[{":
            depth += 1
        elif token in "]}":
            depth -= 1
            if depth < 1:
                break
        elif depth != 1:
            continue
        elif token == ":":
            after_colon = True
        elif token == ",":
            key, after_colon = None, False
        elif after_colon and key is not None:
            _add_field(fields, key, token)
        else:
            key = _scalar(token)
    return fields


def _fields_behind(text: str) -> dict[str, Any]:
    """Return the fields that follow the last nested value: the reference writes the id of a call behind its payload."""
    end = max(text.rfind("]", 0, -1), text.rfind("}", 0, -1))
    try:
        value = json.loads("{" + text[end + 1 :].lstrip(" \t\r\n,")) if end > 0 else {}
    except ValueError:
        return {}
    return {key: field for key, field in value.items() if isinstance(field, (str, int, float))}


def _add_field(fields: dict[str, Any], key: Any, token: str) -> None:
    value = _scalar(token)
    if isinstance(key, str) and value is not None:
        fields.setdefault(key, value)


def _scalar(token: str) -> Any:
    try:
        return json.loads(token)
    except ValueError:
        return None
