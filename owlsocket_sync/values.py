"""What a dataclass is compared, hashed and shown by: its fields, by methods that are written once for all classes.

``@dataclass`` writes and compiles such methods for each class anew, in every process that imports it, which is most of
what a class costs. Whoever inherits from here tells it to leave them out: ``eq=False, repr=False``.
"""

from __future__ import annotations

from dataclasses import fields
from reprlib import recursive_repr
from typing import Any


class ByFields:
    """The methods; a dataclass that can change sets ``__hash__`` to ``None``."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash(_values(self))

    @recursive_repr()
    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in _names(self))
        return f"{type(self).__qualname__}({shown})"


def on_one_line(text: str) -> str:
    """Text of whatever origin, fit for one line of a log: what is not printable becomes an escape."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _names(of: Any) -> list[str]:
    return [field.name for field in fields(of)]


def _values(of: Any) -> tuple[Any, ...]:
    return tuple(getattr(of, name) for name in _names(of))
