"""What makes a value of one kind of type out of JSON: each maker takes what `orjson` read, and returns or raises.

A maker says by `Misfit` what it expected; whoever holds it adds where that was, on the way out.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, NoReturn, TypeVar, get_args
from uuid import UUID

from ..errors import ResilientError

Maker = Callable[[Any], Any]

SHOWN = 60
SHOWN_REASON = 200


class Misfit(TypeError):
    """A value is not of its type.

    Attributes:
        place: where, as steps from the value that was to be made: ``.users[3].email``.
        kind: the class of what was raised.
        reason: what is wrong there.
    """

    def __init__(self, reason: str, place: str = "", kind: str = "TypeError") -> None:
        super().__init__(reason)
        self.reason = reason
        self.place = place
        self.kind = kind

    def __str__(self) -> str:
        return self.told()

    def told(self, kind: str = "") -> str:
        """Where, and what is wrong there."""
        place = cut(self.place.removeprefix("."))
        return f"{place}: {kind}{self.reason}" if place else f"{kind}{self.reason}"


def outward(error: Exception, step: str) -> NoReturn:
    """Raise an error again, one step further out; what is ours comes through as it is."""
    if isinstance(error, ResilientError):
        raise error
    if isinstance(error, Misfit):
        error.place = step + error.place
        raise error
    raise Misfit(cut(str(error)), step, type(error).__name__) from error


def misfit(expected: str, value: Any) -> Misfit:
    """The error for a value of another type."""
    return Misfit(f"expected {expected}, got {type(value).__name__}")


def shown(value: Any) -> str:
    """A value in a message, cut."""
    return cut(repr(value), SHOWN)


def cut(text: str, most: int = SHOWN_REASON) -> str:
    """The beginning of a text: what a peer sent may be long."""
    return text if len(text) <= most else text[:most] + "…"


# -- single values ---------------------------------------------------------------------------------------------------


def as_it_is(value: Any) -> Any:
    """Of any type."""
    return value


def exactly(kind: type, name: str) -> Maker:
    """A value that is of this type already."""

    def make(value: Any) -> Any:
        if type(value) is not kind:
            raise misfit(name, value)
        return value

    return make


def a_float(value: Any) -> float:
    """A number; JSON does not tell 5 from 5.0."""
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    raise misfit("float", value)


def from_text(kind: str, read: Callable[[str], Any]) -> Maker:
    """What is written as text."""

    def make(value: Any) -> Any:
        if not isinstance(value, str):
            raise misfit(f"{kind} as text", value)
        return read(value)

    return make


def a_decimal(value: Any) -> Decimal:
    """Text, or a number, which is taken as it is written."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise misfit("Decimal as text", value)
    try:
        return Decimal(str(value))
    except ArithmeticError:
        raise Misfit(f"expected Decimal as text, got {shown(value)}") from None


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _zoned(text: str) -> str:
    """``Z`` as Python 3.10 reads it."""
    return text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text


SCALARS: dict[Any, Maker] = {
    Any: as_it_is,
    object: as_it_is,
    type(None): exactly(type(None), "null"),
    bool: exactly(bool, "bool"),
    int: exactly(int, "int"),
    float: a_float,
    str: exactly(str, "str"),
    datetime: from_text("datetime", lambda text: datetime.fromisoformat(_zoned(text))),
    date: from_text("date", date.fromisoformat),
    time: from_text("time", lambda text: time.fromisoformat(_zoned(text))),
    UUID: from_text("UUID", UUID),
    Decimal: a_decimal,
    bytes: from_text("base64", _bytes),
    bytearray: from_text("base64", lambda text: bytearray(_bytes(text))),
}


def one_of(kind: type[Enum]) -> Maker:
    """A member of an enum, by its value."""

    def make(value: Any) -> Any:
        try:
            member = kind(value)
        except ValueError:
            raise Misfit(f"expected {kind.__name__}, got {shown(value)}") from None
        if isinstance(value, bool) is not isinstance(member.value, bool):
            raise misfit(kind.__name__, value)
        return member

    return make


def literal(choices: tuple[Any, ...]) -> Maker:
    """One of these values."""
    known = [(choice.value if isinstance(choice, Enum) else choice, choice) for choice in choices]

    def make(value: Any) -> Any:
        for plain, choice in known:
            if type(value) is type(plain) and value == plain:
                return choice
        raise Misfit(f"expected {' or '.join(repr(plain) for plain, _ in known)}, got {shown(value)}")

    return make


# -- values that hold others -------------------------------------------------------------------------------------------


def elements(item: Maker, build: Callable[[list[Any]], Any]) -> Maker:
    """A list of items, made a collection."""

    def make(value: Any) -> Any:
        if type(value) is not list:
            raise misfit("a list", value)
        made: list[Any] = []
        try:
            for one in value:
                made.append(item(one))
        except Exception as error:
            outward(error, f"[{len(made)}]")
        return build(made)

    return make


def positions(items: tuple[Maker, ...], build: Callable[[list[Any]], Any]) -> Maker:
    """A list of so many items, each of a type of its own."""

    def make(value: Any) -> Any:
        if type(value) is not list:
            raise misfit("a list", value)
        if len(value) != len(items):
            raise Misfit(f"expected a list of {len(items)}, got one of {len(value)}")
        made: list[Any] = []
        try:
            for item, one in zip(items, value, strict=True):
                made.append(item(one))
        except Exception as error:
            outward(error, f"[{len(made)}]")
        return build(made)

    return make


def entries(key: Maker, item: Maker, build: Callable[[dict[Any, Any]], Any]) -> Maker:
    """An object of items by their keys, all of one type."""

    def make(value: Any) -> Any:
        if type(value) is not dict:
            raise misfit("an object", value)
        made: dict[Any, Any] = {}
        for name, one in value.items():
            try:
                made[key(name)] = item(one)
            except Exception as error:
                outward(error, f"[{shown(name)}]")
        return build(made)

    return make


def text_key(kind: Any, make: Maker) -> Maker:
    """The maker of keys of this type, which JSON has as text: numbers and flags are read from it."""

    def key(name: str) -> Any:
        try:
            return make(name)
        except Misfit:
            for read in (int, float) if kind is not bool else ({"true": True, "false": False}.__getitem__,):
                try:
                    return make(read(name))
                except (ValueError, KeyError, Misfit):
                    continue
            raise

    return key if kind in (int, float, bool) or (isinstance(kind, type) and issubclass(kind, Enum)) else make


def record(makers: Mapping[str, Maker], required: Iterable[str], build: Callable[..., Any]) -> Maker:
    """An object with known keys; others are passed over."""
    needed = frozenset(required)

    def make(value: Any) -> Any:
        if type(value) is not dict:
            raise misfit("an object", value)
        made = {}
        for name, item in makers.items():
            if name in value:
                try:
                    made[name] = item(value[name])
                except Exception as error:
                    outward(error, f".{name}")
            elif name in needed:
                raise Misfit("missing", f".{name}")
        return build(**made)

    return make


def first_fit(options: Sequence[tuple[str, Maker]], name: str, *, keeps_integers: bool) -> Maker:
    """The first that takes the value, in the order written; an integer stays one where it may."""

    def make(value: Any) -> Any:
        if keeps_integers and type(value) is int:
            return value
        reasons = []
        for option, item in options:
            try:
                return item(value)
            except Exception as error:
                reasons.append(cut(f"{option}: {error}"))
        raise Misfit(f"expected {name}, got {type(value).__name__} ({'; '.join(reasons)})")

    return make


def optional(item: Maker) -> Maker:
    """A value or ``null``."""

    def make(value: Any) -> Any:
        return None if value is None else item(value)

    return make


# -- values of others ------------------------------------------------------------------------------------------------


def by_from_dict(cls: Any) -> Maker:
    """A class that reads itself, as those of ``dataclasses-json`` do."""

    def make(value: Any) -> Any:
        if type(value) is not dict:
            raise misfit("an object", value)
        return cls.from_dict(value)

    return make


def array_of(dtype: Any) -> Maker:
    """An array of NumPy, which is there where somebody names one of its types."""
    element = next(iter(get_args(dtype)), None)
    if isinstance(element, TypeVar) or element is Any:
        element = None
    numpy = sys.modules["numpy"]

    def make(value: Any) -> Any:
        if type(value) is not list:
            raise misfit("a list", value)
        return numpy.asarray(value, dtype=element)

    return make
