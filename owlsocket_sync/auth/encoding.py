"""Strict base64, and the canonical JSON that is signed."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import rfc8785

from ..errors import AuthMalformed

SAFE_INTEGER_LIMIT = 2**53
"""Integers of this size and beyond are not exact in JavaScript."""

_STANDARD = re.compile(r"[A-Za-z0-9+/]*={0,2}\Z")
_URL = re.compile(r"[A-Za-z0-9_-]*\Z")


def to_base64(data: bytes) -> str:
    """Encode as standard base64 with padding (RFC 4648, section 4)."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str, what: str) -> bytes:
    """Decode standard base64, strictly: only the encoding that `to_base64` produces is accepted.

    Args:
        text: the encoded text.
        what: name of the value, for the error message.

    Raises:
        AuthMalformed: the text is not such base64.
    """
    # The pattern first: b64decode skips characters outside of the alphabet.
    if _STANDARD.match(text) and len(text) % 4 == 0:
        data = base64.b64decode(text)
        # RFC 4648, section 3.5: unused bits of the last character may be set, so several texts decode to the same
        # bytes. A token or a signature must have one spelling only.
        if to_base64(data) == text:
            return data
    raise AuthMalformed(f"{what} is not standard base64")


def to_base64url(data: bytes) -> str:
    """Encode as base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: str, what: str) -> bytes:
    """Decode base64url without padding, as strictly as `from_base64` and with the same arguments and errors."""
    # No encoding has a length of 4n + 1.
    if _URL.match(text) and len(text) % 4 != 1:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if to_base64url(data) == text:
            return data
    raise AuthMalformed(f"{what} is not unpadded base64url")


def canonical_json(value: Any, what: str = "the value") -> bytes:
    """Return the canonical JSON of a value (RFC 8785), with numbers as JavaScript has them.

    Raises:
        AuthMalformed: the value is not JSON, or contains an integer that JavaScript would round.
    """
    try:
        return rfc8785.dumps(_to_javascript_numbers(value))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, OverflowError, TypeError) as error:
        # "from None": the message of the original error may quote the value, which may be a secret.
        raise AuthMalformed(f"{what} cannot be signed: it is not JSON ({type(error).__name__})") from None
    except RecursionError:
        raise AuthMalformed(f"{what} cannot be signed: it is nested too deep") from None


def _to_javascript_numbers(value: Any) -> Any:
    """Replace integers from 2^53 on by floats; rfc8785 refuses such integers."""
    if isinstance(value, dict):
        return {key: _to_javascript_numbers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_javascript_numbers(item) for item in value]
    if isinstance(value, int) and abs(value) >= SAFE_INTEGER_LIMIT:
        # A rounded integer would be signed here as a number that the peer never wrote.
        if int(float(value)) != value:
            raise OverflowError
        return float(value)
    return value


def parse_json(data: bytes | str) -> Any:
    """Parse JSON as JavaScript does: without NaN and Infinity.

    Raises:
        ValueError: the data is not JSON, or nested too deep.
    """
    try:
        return json.loads(data, parse_constant=_reject_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _reject_constant(text: str) -> Any:
    # RFC 8259, section 6: Python's json accepts NaN and Infinity, JSON does not have them.
    raise ValueError(f"{text} is not JSON")
