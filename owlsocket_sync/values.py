"""Comparison, hash and repr of dataclasses, written once, and text made safe for logs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from reprlib import recursive_repr
from typing import Any

SHOWN_CHARACTERS = 200
"""The characters of a name that are shown: a peer chooses names, and must not choose how long a line of the log is."""


class FieldwiseEq:
    """Base of dataclasses that are compared, hashed and shown by their fields.

    Decorate a subclass with ``@dataclass(eq=False, repr=False)``; a mutable one sets ``__hash__`` to ``None``.
    """

    # @dataclass generates and compiles these methods for each class in every process, which is most of the time that
    # importing a dataclass takes; here they are compiled once, into the bytecode of this module.

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        # As @dataclass does: instances of a subclass are not equal, they may have further fields.
        if other.__class__ is not self.__class__:
            return NotImplemented
        return _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash(_values(self))

    @recursive_repr()
    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={safe_repr(getattr(self, name))}" for name in _names(self))
        return f"{type(self).__qualname__}({arguments})"


def safe_repr(value: Any) -> str:
    """Return the ``repr`` of a value of any depth."""
    # Nesting that orjson accepts may be too deep for repr(), depending on the stack of the caller.
    try:
        return repr(value)
    except RecursionError:
        return f"<deeply nested {type(value).__name__}>"


class Secret(str):
    """A text that its ``repr`` hides, and that is the text itself in every other way.

    Debug pages and error trackers show the ``repr`` of the locals of each frame of an error, and of what these hold.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class NeverCompressed(bytes):
    """A message that is sent as it is, on a link that compresses others.

    The size of a compressed text reveals what it repeats. So a secret must not be compressed together with what a peer
    can choose, as in the attacks CRIME and BREACH.
    """

    __slots__ = ()


def forget_locals(error: BaseException) -> None:
    """Clear the locals of the frames that raised an error, and its causes; the frames that still run keep theirs.

    Call it where an error is about to cross from one thread to another: the lines of its traceback stay, but a token
    among its locals would be shown, and kept alive, by whatever keeps the error.
    """
    import traceback

    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        cause = waiting.pop()
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            traceback.clear_frames(cause.__traceback__)
            waiting += [cause.__cause__, cause.__context__]


@contextmanager
def forgetting_locals() -> Iterator[None]:
    """Apply `forget_locals` to an error of the block."""
    try:
        yield
    except BaseException as error:
        forget_locals(error)
        raise


def escape_for_log(text: str) -> str:
    """Return a text with its unprintable characters escaped, safe for one line of a log."""
    # A line break in a peer's text would forge a log line, an escape sequence would steer the reader's terminal.
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def shorten_name(name: str) -> str:
    """Return the beginning of a long name, with an ellipsis."""
    # A call of a name that is not text is refused later.
    return truncate(name) if isinstance(name, str) else name


def truncate(text: str, length: int = SHOWN_CHARACTERS) -> str:
    """Return at most ``length`` characters of a text, and an ellipsis where characters are missing."""
    return text if len(text) <= length else text[:length] + "…"


def _names(instance: Any) -> list[str]:
    return [field.name for field in fields(instance)]


def _values(instance: Any) -> tuple[Any, ...]:
    return tuple(getattr(instance, name) for name in _names(instance))
