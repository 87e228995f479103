"""Texts that stand for bytes, read strictly, and the canonical JSON that is signed."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import rfc8785

from ..errors import AuthMalformed

EXACT = 2**53

_STANDARD = re.compile(r"[A-Za-z0-9+/]*={0,2}\Z")
_URL = re.compile(r"[A-Za-z0-9_-]*\Z")


def to_base64(data: bytes) -> str:
    """Standard base64, padded (RFC 4648, section 4)."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str, what: str) -> bytes:
    """Read what `to_base64` wrote; anything else that might mean the same bytes is refused.

    Raises:
        AuthMalformed: it is something else; the message names ``what`` it should have been.
    """
    if _STANDARD.match(text) and len(text) % 4 == 0:
        data = base64.b64decode(text)
        if to_base64(data) == text:
            return data
    raise AuthMalformed(f"{what} is no standard base64")


def to_base64url(data: bytes) -> str:
    """The URL alphabet of base64, without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: str, what: str) -> bytes:
    """Read what `to_base64url` wrote; see `from_base64`."""
    if _URL.match(text) and len(text) % 4 != 1:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if to_base64url(data) == text:
            return data
    raise AuthMalformed(f"{what} is no unpadded base64url")


def canonical(value: Any, what: str = "the value") -> bytes:
    """The canonical JSON of a value (RFC 8785), numbers being what JavaScript makes of them.

    Raises:
        AuthMalformed: it is no JSON, or holds a whole number that JavaScript would round.
    """
    try:
        return rfc8785.dumps(_as_javascript(value))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, OverflowError, TypeError) as error:
        raise AuthMalformed(f"{what} cannot be signed: it is no JSON ({type(error).__name__})") from None
    except RecursionError:
        raise AuthMalformed(f"{what} cannot be signed: it is nested too deep") from None


def _as_javascript(value: Any) -> Any:
    """Whole numbers beyond 2^53 as the floats that they are there."""
    if isinstance(value, dict):
        return {key: _as_javascript(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_javascript(one) for one in value]
    if isinstance(value, int) and abs(value) >= EXACT:
        if int(float(value)) != value:
            raise OverflowError
        return float(value)
    return value


def read_json(data: bytes | str) -> Any:
    """JSON as JavaScript reads it.

    Raises:
        ValueError: it is none, or nested too deep.
    """
    try:
        return json.loads(data, parse_constant=_no_json)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _no_json(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
