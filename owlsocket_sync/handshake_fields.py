"""Headers and query parameters of the user's for the upgrade request, checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum

from .values import Secret

QueryValue = str | int | float | bool | None
Query = Mapping[str, QueryValue | Iterable[QueryValue]] | Iterable[tuple[str, QueryValue | Iterable[QueryValue]]]

RESERVED_HEADERS = frozenset({"host", "connection", "upgrade", "content-length", "transfer-encoding"})
# Compiled at their first use: most connections need neither.
_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z"
_HEADER_CONTROL = r"[\x00-\x08\x0a-\x1f\x7f]"


def check_headers(headers: Mapping[str, str], option: str = "headers") -> dict[str, str]:
    """Return the headers as a dict if each is valid (RFC 9110, section 5.5).

    Args:
        headers: names and values.
        option: the name of the option, for the error.

    Raises:
        ValueError: a name or a value is not valid, or the handshake itself sets this header; the message does not show
            the value.
    """
    if not isinstance(headers, Mapping):
        raise ValueError(f"{option} must be a dict, not {type(headers).__name__}")
    checked: dict[str, str] = {}
    seen = set()
    for name, value in headers.items():
        if not isinstance(name, str) or not re.match(_HEADER_NAME, name):
            raise ValueError(f"{option}: {name!r} is not a valid header name")
        # A line break would add a header or a whole request of an attacker's choice.
        if not isinstance(value, str) or re.search(_HEADER_CONTROL, value) or not is_encodable(value, "latin-1"):
            raise ValueError(f"{option}: the value of {name!r} must be Latin-1 text without control characters")
        # Names have no case (RFC 9110, section 5.1): of two spellings, a server would read either one, or both.
        if (lower := name.lower()) in seen:
            raise ValueError(f"{option}: {name!r} is there twice, in two spellings")
        if lower in RESERVED_HEADERS or lower.startswith("sec-websocket-"):
            raise ValueError(f"{option}: {name!r} is set by the handshake itself, leave it out")
        seen.add(lower)
        # Any of them may be a cookie or a key.
        checked[name] = Secret(value)
    return checked


def check_query(query: Query | None, option: str = "query") -> tuple[tuple[str, str], ...]:
    """Return the parameters of a query as pairs of texts.

    ``None`` leaves a parameter out; a list, a tuple or a set repeats its key; booleans are ``true`` and ``false``.

    Args:
        query: a mapping, or pairs.
        option: the name of the option, for the error.

    Raises:
        ValueError: a key is not a text, or a value has no plain text form; the message does not show the value.
    """
    try:
        pairs = [(key, value) for key, value in (query.items() if isinstance(query, Mapping) else query or ())]
        if isinstance(query, (str, bytes)):
            raise TypeError
    except (TypeError, ValueError):
        what = type(query).__name__
        raise ValueError(f"{option} must be a dict or pairs of names and values, not {what}") from None
    checked = []
    for key, value in pairs:
        if not isinstance(key, str):
            raise ValueError(f"{option}: a name must be text, not {type(key).__name__}")
        for item in value if isinstance(value, (list, tuple, set, frozenset)) else (value,):
            if item is not None:
                checked.append((key, Secret(_query_text(key, item, option))))
    return tuple(checked)


def _query_text(key: str, value: object, option: str) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return str(value).lower()
    # str() of anything else, such as bytes or a dict, is a text for programmers, which no server understands.
    if isinstance(value, (str, int, float)) or type(value).__str__ not in (object.__str__, bytes.__str__):
        return str.__str__(value) if isinstance(value, str) else str(value)
    raise ValueError(f"{option}: the value of {key!r} must be text or a number, not {type(value).__name__}")


def is_encodable(text: str, encoding: str) -> bool:
    """Return whether a text has a form in this encoding."""
    # A lone surrogate, which JSON and file names may bring in, has no UTF-8 form.
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
