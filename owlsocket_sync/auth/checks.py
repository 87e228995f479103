"""What a field of a model may hold, said once, and checked before anything is built of it.

An error tells where, and of what kind and length; it never shows a value, for many are secrets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import AuthMalformed
from .dates import read_date

Check = Callable[[Any, str], None]


def text(least: int = 1, most: int | None = None) -> Check:
    """Text of so many characters."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str):
            raise _wrong(where, "text", value)
        if len(value) < least:
            raise AuthMalformed(f"{where}: at least {least} characters, got {len(value)}")
        if most is not None and len(value) > most:
            raise AuthMalformed(f"{where}: at most {most} characters, got {len(value)}")

    return check


def flag(value: Any, where: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise _wrong(where, "true or false", value)


def number_or_flag(value: Any, where: str) -> None:
    """A number, or true or false; null leaves it open."""
    if value is not None and not isinstance(value, (bool, int, float)):
        raise _wrong(where, "a number, true or false", value)


def date(value: Any, where: str) -> None:
    """A moment, as ISO text."""
    read_date(value, where)


def each(check: Check) -> Check:
    """A list, each of whose members passes a check."""

    def check_all(value: Any, where: str) -> None:
        if not isinstance(value, list):
            raise _wrong(where, "a list", value)
        for place, one in enumerate(value):
            check(one, f"{where}[{place}]")

    return check_all


def every_value(check: Check) -> Check:
    """An object, each of whose values passes a check."""

    def check_all(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(where, "an object", value)
        for one in value.values():
            check(one, f"{where}[…]")

    return check_all


def check_object(value: Any, where: str, checks: dict[str, Check], required: set[str]) -> None:
    """An object with these keys, which may have others beside them; null stands for an optional key left out.

    Raises:
        AuthMalformed: it is something else.
    """
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    for key, check in checks.items():
        found = value.get(key)
        if found is not None:
            check(found, f"{where}.{key}")
        elif key in required:
            raise AuthMalformed(f"{where}: {key} is missing")


def _wrong(where: str, expected: str, value: Any) -> AuthMalformed:
    return AuthMalformed(f"{where}: expected {expected}, got {type(value).__name__}")
