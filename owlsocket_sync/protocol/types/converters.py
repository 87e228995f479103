"""Converters: functions that make a Python value of one kind out of a value that `orjson` parsed.

A converter returns the value or raises. It reports what it expected by `ConversionError`; each container that it is
nested in (see ``containers.py``) adds its own step to the place while the error passes through.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any, NoReturn, TypeVar, get_args
from uuid import UUID

from ...callables import find_misfit
from ...errors import ResilientError
from ...errors.safe_text import safe_str
from ...values import truncate
from .hints import name_of

Converter = Callable[[Any], Any]

# Values and reasons end up in errors that are logged and sent back: a peer must not choose how long they are.
MAX_REPR = 60


class ConversionError(TypeError):
    """A value does not fit its type.

    Attributes:
        place: the path from the value that was converted, such as ``.users[3].email``.
        kind: the name of the exception class that was raised there.
        reason: the mismatch.
    """

    def __init__(self, reason: str, place: str = "", kind: str = "TypeError") -> None:
        super().__init__(reason)
        self.reason = reason
        self.place = place
        self.kind = kind

    def __str__(self) -> str:
        return self.describe()

    def describe(self, kind: str = "") -> str:
        """Return the place and the reason, with ``kind`` before the reason."""
        # Keys of dictionaries are part of the path, so it can be long as well.
        place = truncate(self.place.removeprefix("."))
        return f"{place}: {kind}{self.reason}" if place else f"{kind}{self.reason}"


def reraise_at(error: Exception, step: str) -> NoReturn:
    """Raise an error again with one more step in front of its place.

    Args:
        error: the error of a nested converter.
        step: the step from the container to the nested value, such as ``[3]`` or ``.email``.

    Raises:
        ResilientError: ``error`` itself, where it is an error of the package.
        ConversionError: any other error.
    """
    # An error that a user's `from_dict` raised on purpose, for the peer to receive, keeps its type.
    if isinstance(error, ResilientError):
        raise error
    # The same object travels outward: one error for a deep value, not one for each level.
    if isinstance(error, ConversionError):
        error.place = step + error.place
        raise error
    raise ConversionError(truncate(safe_str(error)), step, type(error).__name__) from error


def type_mismatch(expected: str, value: Any) -> ConversionError:
    """Return the error for a value of another type."""
    return ConversionError(f"expected {expected}, got {type(value).__name__}")


def short_repr(value: Any) -> str:
    """Return the repr of a value, truncated."""
    return truncate(repr(value), MAX_REPR)


# -- single values ---------------------------------------------------------------------------------------------------


def check_function(function: Any) -> None:
    """Raise `TypeError` for a function that would not convert: an async function, or one that yields."""
    misfit = find_misfit(function)
    if misfit is not None:
        raise TypeError(f"{name_of(function)}, which converts payloads, {misfit}")


def identity(value: Any) -> Any:
    """Return the value unchanged."""
    return value


def exact_type(cls: type, name: str) -> Converter:
    """Return a converter that accepts instances of ``cls`` alone, and changes nothing."""

    def convert(value: Any) -> Any:
        # Not isinstance: True is an int to Python, and a different value to every other JSON reader.
        if type(value) is not cls:
            raise type_mismatch(name, value)
        return value

    return convert


def to_float(value: Any) -> float:
    """Convert a number to a float."""
    if type(value) is float:
        return value
    # JavaScript writes 5.0 as 5, so an integer has to be accepted.
    if type(value) is int:
        return float(value)
    raise type_mismatch("float", value)


def from_text(name: str, parse: Callable[[str], Any]) -> Converter:
    """Return a converter that parses text."""

    def convert(value: Any) -> Any:
        if not isinstance(value, str):
            raise type_mismatch(f"{name} as text", value)
        return parse(value)

    return convert


def to_decimal(value: Any) -> Decimal:
    """Convert text or a number to a `Decimal`."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise type_mismatch("Decimal as text", value)
    try:
        # By way of the shortest text: Decimal(0.1) has 55 digits, and the peer wrote "0.1".
        return Decimal(str(value))
    except ArithmeticError:
        raise ConversionError(f"expected Decimal as text, got {short_repr(value)}") from None


def _decode_base64(text: str) -> bytes:
    # Without validate=True, characters outside of the alphabet are skipped silently.
    return base64.b64decode(text, validate=True)


def _with_numeric_offset(text: str) -> str:
    """Return ISO 8601 text with ``+00:00`` for ``Z``."""
    # fromisoformat() of Python 3.10 does not read the "Z" that JavaScript's toISOString() writes.
    return text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text


SCALARS: dict[Any, Converter] = {
    Any: identity,
    object: identity,
    type(None): exact_type(type(None), "null"),
    bool: exact_type(bool, "bool"),
    int: exact_type(int, "int"),
    float: to_float,
    str: exact_type(str, "str"),
    datetime: from_text("datetime", lambda text: datetime.fromisoformat(_with_numeric_offset(text))),
    date: from_text("date", date.fromisoformat),
    time: from_text("time", lambda text: time.fromisoformat(_with_numeric_offset(text))),
    UUID: from_text("UUID", UUID),
    Decimal: to_decimal,
    bytes: from_text("base64", _decode_base64),
    bytearray: from_text("base64", lambda text: bytearray(_decode_base64(text))),
}


def enum_member(cls: type[Enum]) -> Converter:
    """Return a converter from the value of a member to the member."""

    def convert(value: Any) -> Any:
        try:
            member = cls(value)
        except ValueError:
            raise ConversionError(f"expected {cls.__name__}, got {short_repr(value)}") from None
        # cls(True) finds the member whose value is 1, since the two are equal.
        if isinstance(value, bool) is not isinstance(member.value, bool):
            raise type_mismatch(cls.__name__, value)
        return member

    return convert


def literal(choices: tuple[Any, ...]) -> Converter:
    """Return a converter that accepts the values of a ``Literal``."""
    known = [(choice.value if isinstance(choice, Enum) else choice, choice) for choice in choices]

    def convert(value: Any) -> Any:
        for plain, choice in known:
            # A dictionary would find 1 for True and for 1.0.
            if type(value) is type(plain) and value == plain:
                return choice
        raise ConversionError(f"expected {' or '.join(repr(plain) for plain, _ in known)}, got {short_repr(value)}")

    return convert


# -- classes with a conversion of their own --------------------------------------------------------------------------


def via_from_dict(cls: Any) -> Converter:
    """Return a converter for a class with a ``from_dict``, such as those of ``dataclasses-json``."""

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            raise type_mismatch("an object", value)
        return cls.from_dict(value)

    return convert


def via_validator(cls: Any) -> Converter | None:
    """Return a converter by the validation of the class itself, ``None`` for one without: pydantic and msgspec have."""
    if callable(getattr(cls, "model_validate", None)):
        return cls.model_validate  # type: ignore[no-any-return]
    if hasattr(cls, "__struct_fields__"):
        # A class of msgspec is evidence that msgspec was imported.
        return partial(sys.modules["msgspec"].convert, type=cls)
    return None


def scalar_of(cls: type) -> Converter:
    """Return a converter for a class of which nothing is known: it is called with a scalar."""

    def convert(value: Any) -> Any:
        # Most constructors take an object or a list for whatever their first parameter is, and find nothing wrong.
        if isinstance(value, (dict, list)):
            found = "an object" if isinstance(value, dict) else "a list"
            raise ConversionError(f"the fields of {cls.__name__} are not known: pass a function that reads {found}")
        return cls(value)

    return convert


def array_of(dtype: Any) -> Converter:
    """Return a converter from a list to an array of NumPy."""
    element = next(iter(get_args(dtype)), None)
    if isinstance(element, TypeVar) or element is Any:
        element = None
    # An annotation with a type of NumPy is evidence that NumPy was imported; nothing here imports it.
    numpy = sys.modules["numpy"]

    def convert(value: Any) -> Any:
        if type(value) is not list:
            raise type_mismatch("a list", value)
        return numpy.asarray(value, dtype=element)

    return convert
