"""The text form of errors, ``type|||message|||stack``, and the registry of their classes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import islice
from typing import Any, ClassVar, TypeVar

from .safe_text import safe_str

SEPARATOR = "|||"
"""The separator between type, message and stack of an error on the wire."""

# Compiled at its first use: few peers send such errors.
_SHIFTED = r"\|\|\|\w*Error(: |\n)"
_NAMED = r"\|\|\|([^\W\d]\w*)"
# Each match compares the whole message: without a bound, a text of many separators takes quadratic time.
_MAX_TRIES = 64


class ResilientError(Exception):
    """The root of all errors of this package, and the class for errors of an unknown type.

    Attributes:
        type: the type on the wire.
        message: the message as it is on the wire, with the prefix of its class; ``str(error)`` is the text for people.
        plain_message: the message without that prefix.
        original_stack: the stack trace that the peer sent, or ``None``.
        code: ``TIMEOUT``, ``CONNECTION_LOST``, ``AUTH_FAILED``, ``UNSUPPORTED``, ``INITIALIZATION``, ``MESSAGE``,
            ``MALFORMED``, ``STORE``, ``STORE_FULL``, ``STORE_CORRUPT``, ``MESSAGES_LOST`` or ``ERROR``.
        retryable: the same attempt may succeed later.
        remote: the error was received from a peer.
        sent: whether the message that failed, such as a call, was sent. ``True``: the peer may have acted on it.
            ``False``: nothing of it was sent. ``None``: unknown, as a part may have been sent; or there is no message.
        wire_type: the type on the wire of the errors of a class.
        wire_prefix: the text before the message on the wire, such as ``socket:timeout:``.
    """

    wire_type: ClassVar[str] = "ResilientError"
    wire_prefix: ClassVar[str] = ""
    code: str = "ERROR"
    retryable: bool = False
    remote: bool = False
    message: str = ""
    original_stack: str | None = None
    sent: bool | None = None
    _is_plain: bool = False

    def __init__(self, type: str = "ResilientError", message: str = "", original_stack: str | None = None) -> None:
        # Tracebacks and logs show `args`: they get the plain text, as `str` does.
        super().__init__(message.removeprefix(self.wire_prefix))
        self.type = type
        self.message = message
        self.original_stack = original_stack

    @property
    def plain_message(self) -> str:
        """The message for people: without the prefix that tells the class on the wire."""
        return self.message.removeprefix(self.wire_prefix)

    def __str__(self) -> str:
        if self.type in _registry or not self.type:
            return self.plain_message or self.type
        return f"{self.type}: {self.message}" if self.message else self.type

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.code}: {safe_str(self)}>"

    def _repr_html_(self) -> str:
        # Notebooks only; a program without one does not import the cards.
        from ..html_repr import error_card

        return error_card(self)

    # Exceptions are pickled as a call of their class with ``args``, which the constructors of subclasses do not accept.
    def __reduce__(self) -> tuple[Callable[..., ResilientError], tuple[Any, ...], dict[str, Any]]:
        return _rebuild, (type(self), self.type, self.message), self.__dict__

    def marshal(self) -> str:
        """Return the text for the wire: type and message, and the stack that a peer sent, if any."""
        return _join(self, self.original_stack)

    @staticmethod
    def unmarshal(text: object) -> ResilientError:
        """Return the error that a peer marshalled; never raises.

        Args:
            text: the text; for any other value, its JSON becomes the message.
        """
        error = _parse(text)
        error.remote = True
        return error

    @staticmethod
    def ensure(error: object) -> ResilientError:
        """Return a `ResilientError` for an exception or a marshalled text.

        Args:
            error: a `ResilientError` is returned itself; any other exception becomes the cause of a new error with the
                name of its class as the type; a text is unmarshalled.
        """
        if isinstance(error, ResilientError):
            return error
        if isinstance(error, BaseException):
            ensured = plain_error(type(error).__name__, safe_str(error))
            ensured.__cause__ = error
            return ensured
        return ResilientError.unmarshal(error)


# A subclass whose constructor does not call that of its base is an error that can be answered and reported as well.
# Assigned here: in the body of the class, the name would hide the builtin.
ResilientError.type = ""


class PrefixedError(ResilientError):
    """An error of the reference: its message on the wire begins with the prefix of its class.

    Attributes:
        default_message: the message of an error that is made without one.
    """

    default_message: ClassVar[str] = "error"

    def __init__(self, message: str | None = None, original_stack: str | None = None) -> None:
        text = self.wire_prefix + (self.default_message if message is None else message)
        super().__init__(self.wire_type, text, original_stack)

    def __str__(self) -> str:
        if self.plain_message == self.default_message:
            # The reference's placeholder for "no message" tells a reader nothing; the type does.
            return f"{self.type}: {self.default_message}"
        return super().__str__()


def _parse(text: object) -> ResilientError:
    # The order is part of the protocol: registered type, shifted plain error, unknown type, plain text.
    if not isinstance(text, str):
        return ResilientError(message=safe_str(text, lambda value: json.dumps(value, ensure_ascii=False, default=str)))
    kind, *rest = text.split(SEPARATOR, 2)
    if not rest:
        return ResilientError(message=text)
    message, stack = rest[0], (rest[1] if len(rest) > 1 else None)
    known = _registry.get(kind)
    if known is not None:
        # The message stays as it stands, with the prefix or without: so it is sent on as it came.
        plain = _parse_plain(text) if known is ResilientError and stack is not None else None
        return plain or _rebuild(known, kind, message, stack)
    return _parse_shifted(text) or ResilientError(kind or "ResilientError", message, stack)


AnyError = TypeVar("AnyError", bound=ResilientError)


def unsent(error: AnyError) -> AnyError:
    """Return the error, of a message of which nothing was sent."""
    error.sent = False
    return error


def plain_error(name: str, message: str) -> ResilientError:
    """Return an error of a class for which the wire has no type.

    Args:
        name: the name of the class, such as ``ValueError``; it is the type of the error.
        message: its message.
    """
    error = ResilientError(name, message)
    error._is_plain = True
    return error


def marshal_for_peer(error: object, stack: str | None = None) -> str:
    """Return the text of an error for a peer: its type and its message.

    Args:
        error: an exception, or a text, as for `ResilientError.ensure`.
        stack: the stack trace to send.
    """
    # Not error.marshal(): a stack that another peer sent is not for this one.
    try:
        return _join(ResilientError.ensure(error), stack)
    except Exception:  # an attribute of a class of the user's: the peer waits for an answer all the same
        name = type(error).__name__
        return _join(plain_error(name, f"<{name}>"), stack)


def _join(error: ResilientError, stack: str | None) -> str:
    kind = error.type or error.wire_type
    if error._is_plain:
        # The reference finds the message only behind a type that it knows. The name of the class is where JavaScript
        # has it: at the beginning of the stack.
        title = _title(kind, error.message)
        if stack is None or not stack.startswith(title):
            stack = title if stack is None else f"{title}\n{stack}"
        kind = ResilientError.wire_type
    fields = [kind, error.message] if stack is None else [kind, error.message, stack]
    return SEPARATOR.join(map(safe_str, fields))


def _rebuild(
    cls: type[ResilientError], kind: str | None = None, message: str = "", stack: str | None = None
) -> ResilientError:
    # Without the constructor of the subclass: a registered class of the user's may take any arguments.
    error = cls.__new__(cls)
    ResilientError.__init__(error, kind or cls.wire_type, message, stack)
    return error


def _title(name: str, message: str) -> str:
    return f"{name}: {message}" if message else name


def _parse_plain(text: str) -> ResilientError | None:
    """Return the error for ``ResilientError|||<message>|||<Name>: <message>``, and a stack or not; else ``None``."""
    text = text[len(ResilientError.wire_type) + len(SEPARATOR) :]
    # As below: only the repetition tells where the message ends.
    for found in islice(re.finditer(_NAMED, text), _MAX_TRIES):
        name, message, stack = found[1], text[: found.start()], text[found.start(1) :]
        title = _title(name, message)
        if stack.startswith(title) and stack[len(title) :][:1] in ("", "\n"):
            # A class of the user's, registered on this end alone, is found by its name.
            error = _rebuild(_registry.get(name, ResilientError), name, message, None if stack == title else stack)
            error._is_plain = True
            return error
    return None


def _parse_shifted(text: str) -> ResilientError | None:
    """Return the error for a plain JavaScript error, ``<message>|||<Name>: <message>\\n    at …``, or ``None``.

    The reference sends such an error without a type, so that each field is in the place of the one before it.
    """
    # The message is repeated after the name, and may contain the separator itself: only the repetition tells where
    # it ends.
    for name in islice(re.finditer(_SHIFTED, text), _MAX_TRIES):
        message, delimiter = text[: name.start()], ": " if name.start() else "\n"
        if name[1] == delimiter and text.startswith(message, name.end()):
            return ResilientError(message=message, original_stack=text[name.start() + len(SEPARATOR) :])
    return None


_registry: dict[str, type[ResilientError]] = {"ResilientError": ResilientError}

ErrorClass = TypeVar("ErrorClass", bound=type[ResilientError])


def register_error_class(cls: ErrorClass) -> ErrorClass:
    """Register a class for the errors of its type on the wire; usable as a decorator.

    `ResilientError.unmarshal` makes an instance of the class without calling its constructor.

    Args:
        cls: a subclass of `ResilientError`; its name is the type, unless it sets ``wire_type`` itself.

    Raises:
        ValueError: the class is not a subclass of `ResilientError`, or another class is registered for the type.
    """
    if not (isinstance(cls, type) and issubclass(cls, ResilientError)):
        raise ValueError(f"{cls!r} cannot be registered: it is not a subclass of ResilientError")
    # Its own and not an inherited one, which is the type of the parent.
    if "wire_type" not in cls.__dict__:
        cls.wire_type = cls.__name__
    # One atomic step, so that of two threads one raises.
    if _registry.setdefault(cls.wire_type, cls) is not cls:
        raise ValueError(
            f"the wire type {cls.wire_type!r} is already registered for {_registry[cls.wire_type].__name__}"
        )
    return cls
