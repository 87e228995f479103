"""An error as text: ``type|||message|||stack``, read by a registry of classes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import islice
from typing import Any, ClassVar, TypeVar

SEPARATOR = "|||"
"""What stands between type, message and stack of an error on the wire."""

_SHIFTED = r"\|\|\|\w*Error(: |\n)"  # compiled on first use: few peers write such errors
_SHIFTED_TRIES = 64


class ResilientError(Exception):
    """The root of all errors here, and what an error of an unknown type is read as.

    Attributes:
        type: the wire type, as the peer wrote it.
        message: the text, without the type.
        original_stack: the stack trace of the peer, or ``None``.
        code: one word for a ``match``: ``TIMEOUT``, ``CONNECTION_LOST``, ``AUTH_FAILED``, ``UNSUPPORTED``,
            ``INITIALIZATION``, ``MESSAGE``, ``MALFORMED``, ``ERROR``.
        retryable: whether the very same attempt may succeed later.
        remote: whether it was read from what a peer marshalled.
    """

    wire_type: ClassVar[str] = "ResilientError"
    code: str = "ERROR"
    retryable: bool = False
    remote: bool = False

    def __init__(self, type: str = "ResilientError", message: str = "", original_stack: str | None = None) -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.original_stack = original_stack

    def __str__(self) -> str:
        if self.type in _registry or not self.type:
            return self.message or self.type
        return f"{self.type}: {self.message}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.code}: {self}>"

    def _repr_html_(self) -> str:
        from ..cards import error_card

        return error_card(self)

    def __reduce__(self) -> tuple[Callable[..., ResilientError], tuple[Any, ...], dict[str, Any]]:
        return _rebuild, (type(self), self.type, self.message), self.__dict__

    def marshal(self) -> str:
        """The error as the wire carries it: type and message, and the peer's stack where there is one."""
        fields = [self.type, self.message]
        if self.original_stack is not None:
            fields.append(self.original_stack)
        return SEPARATOR.join(fields)

    @staticmethod
    def unmarshal(text: object) -> ResilientError:
        """Read what a peer marshalled; never raises. Anything but text is kept as its JSON."""
        error = _read(text)
        error.remote = True
        return error

    @staticmethod
    def ensure(error: object) -> ResilientError:
        """Make a `ResilientError` of any exception or marshalled text; one that is one already is kept."""
        if isinstance(error, ResilientError):
            return error
        if isinstance(error, BaseException):
            ensured = ResilientError(type(error).__name__, _told(str, error))
            ensured.__cause__ = error
            return ensured
        return ResilientError.unmarshal(error)


def _read(text: object) -> ResilientError:
    """The four rules of reading, in their order; the first is the registry."""
    if not isinstance(text, str):
        return ResilientError(message=_told(lambda value: json.dumps(value, ensure_ascii=False, default=str), text))
    kind, *rest = text.split(SEPARATOR, 2)
    if not rest:
        return ResilientError(message=text)
    message, stack = rest[0], (rest[1] if len(rest) > 1 else None)
    known = _registry.get(kind)
    if known is not None:
        return _rebuild(known, kind, message, stack)
    return _read_shifted(text) or ResilientError(kind or "ResilientError", message, stack)


def _told(tell: Callable[[Any], str], value: object) -> str:
    """What is told of a value; its type where it cannot be told, as of what is nested too deep."""
    try:
        return tell(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _rebuild(
    cls: type[ResilientError], kind: str | None = None, message: str = "", stack: str | None = None
) -> ResilientError:
    """An instance with exactly these facts: the constructors of subclasses would add their prefix again."""
    error = cls.__new__(cls)
    ResilientError.__init__(error, kind or cls.wire_type, message, stack)
    return error


def _read_shifted(text: str) -> ResilientError | None:
    """Read a plain JavaScript error: ``<message>|||<Name>: <message>\\n    at …``, its type left out."""
    for name in islice(re.finditer(_SHIFTED, text), _SHIFTED_TRIES):
        message, ending = text[: name.start()], ": " if name.start() else "\n"
        if name[1] == ending and text.startswith(message, name.end()):
            return ResilientError(message=message, original_stack=text[name.start() + len(SEPARATOR) :])
    return None


_registry: dict[str, type[ResilientError]] = {"ResilientError": ResilientError}

ErrorClass = TypeVar("ErrorClass", bound=type[ResilientError])


def register_error_class(cls: ErrorClass) -> ErrorClass:
    """Let errors with ``cls.wire_type`` (its name, where it has none of its own) be read as ``cls``.

    Usable as a decorator. An error that is read gets its type, message and stack straight from the wire:
    the constructor of ``cls`` is not called.

    Raises:
        ValueError: ``cls`` is no `ResilientError`, or its wire type is taken by another class.
    """
    if not (isinstance(cls, type) and issubclass(cls, ResilientError)):
        raise ValueError(f"{cls!r} cannot be registered: it is not a subclass of ResilientError")
    if "wire_type" not in cls.__dict__:
        cls.wire_type = cls.__name__
    if _registry.setdefault(cls.wire_type, cls) is not cls:
        raise ValueError(f"the wire type {cls.wire_type!r} belongs to {_registry[cls.wire_type].__name__} already")
    return cls
