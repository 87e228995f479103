"""Checks of model fields, applied before a model is built.

Error messages contain the place, the expected and the actual type or length, and never a value: many are secrets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import AuthMalformed
from .dates import parse_date

Check = Callable[[Any, str], None]


def text(min_length: int = 1, max_length: int | None = None) -> Check:
    """Return a check for a string of a length within these limits."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str):
            raise _type_error(where, "text", value)
        if len(value) < min_length:
            raise AuthMalformed(f"{where}: at least {min_length} characters, got {len(value)}")
        if max_length is not None and len(value) > max_length:
            raise AuthMalformed(f"{where}: at most {max_length} characters, got {len(value)}")

    return check


def boolean(value: Any, where: str) -> None:
    """Check for a boolean."""
    if not isinstance(value, bool):
        raise _type_error(where, "true or false", value)


def number_or_boolean(value: Any, where: str) -> None:
    """Check for a number or a boolean; null is allowed."""
    if value is not None and not isinstance(value, (bool, int, float)):
        raise _type_error(where, "a number, true or false", value)


def date(value: Any, where: str) -> None:
    """Check for a date as ISO text."""
    parse_date(value, where)


def list_of(check: Check) -> Check:
    """Return a check for a list whose items pass ``check``."""

    def check_all(value: Any, where: str) -> None:
        if not isinstance(value, list):
            raise _type_error(where, "a list", value)
        for index, item in enumerate(value):
            check(item, f"{where}[{index}]")

    return check_all


def mapping_of(check: Check) -> Check:
    """Return a check for an object whose values pass ``check``."""

    def check_all(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _type_error(where, "an object", value)
        for item in value.values():
            check(item, f"{where}[…]")  # the key is left out: it is the peer's text, of any length

    return check_all


def check_object(value: Any, where: str, checks: dict[str, Check], required: set[str]) -> None:
    """Check an object by its known keys; other keys are allowed.

    Args:
        value: the object.
        where: name of the place, for error messages.
        checks: the check of each known key.
        required: keys that must be present.

    Raises:
        AuthMalformed: the value is not such an object.
    """
    if not isinstance(value, dict):
        raise _type_error(where, "an object", value)
    for key, check in checks.items():
        item = value.get(key)
        # null counts as absent: encoders of several languages write optional fields so.
        if item is not None:
            check(item, f"{where}.{key}")
        elif key in required:
            raise AuthMalformed(f"{where}: {key} is missing")


def _type_error(where: str, expected: str, value: Any) -> AuthMalformed:
    return AuthMalformed(f"{where}: expected {expected}, got {type(value).__name__}")
