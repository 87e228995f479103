"""Everything that can go wrong, as one tree, and how an error travels as text.

    ResilientError                      anything a peer marshalled; the root
    ├── SocketError                     anything about the socket
    │   ├── SocketInitializationError   the connection cannot be set up in this process
    │   ├── SocketConnectionError       no link, or the link was lost      (also ConnectionError)
    │   │   ├── SocketUnauthorized      the peer refuses who we are        (also PermissionError)
    │   │   └── SocketUnsupported       the peer does not know what we ask for
    │   ├── SocketTimeout               no answer within the deadline      (also TimeoutError)
    │   └── SocketMessageError          a message cannot be used
    │       └── SocketMessageMalformed  … because it is not what it should be
    ├── AuthError                       anything about who speaks, and its family
    └── one class for each other error that the reference packages register

An error crosses the wire as ``type|||message|||stack``; the registry finds the class by its wire type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

SEPARATOR = "|||"

_SHIFTED = re.compile(r"\|\|\|\w*Error(: |\n)")
_SHIFTED_TRIES = 64


class InsecureTransportWarning(UserWarning):
    """A token is about to travel in the clear, to a host that is not this machine."""


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
    for name in islice(_SHIFTED.finditer(text), _SHIFTED_TRIES):
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


class _PrefixedError(ResilientError):
    """An error that the reference packages construct from one word, under a prefix of their own."""

    prefix: ClassVar[str] = ""
    default_message: ClassVar[str] = "error"

    def __init__(self, message: str | None = None, original_stack: str | None = None) -> None:
        text = self.prefix + (self.default_message if message is None else message)
        super().__init__(self.wire_type, text, original_stack)


@register_error_class
class SocketError(_PrefixedError):
    """Anything that goes wrong on a socket."""

    wire_type = "SocketError"
    prefix = "socket:"


@register_error_class
class SocketInitializationError(SocketError):
    """The connection cannot be set up, or used, in this process."""

    wire_type = "SocketErrorInitialization"
    prefix = "socket:initialization:"
    code = "INITIALIZATION"


@register_error_class
class SocketConnectionError(SocketError, ConnectionError):
    """There is no link, or it was lost before the answer came.

    Attributes:
        status: the HTTP status with which the upgrade was refused, or ``None``.
    """

    wire_type = "SocketErrorConnection"
    prefix = "socket:connection:"
    code = "CONNECTION_LOST"
    retryable = True
    status: int | None = None


@register_error_class
class SocketUnauthorized(SocketConnectionError, PermissionError):
    """The peer refuses who we are, or what we want to do as such."""

    wire_type = "SocketErrorConnectionUnauthorized"
    prefix = "socket:connection:unauthorized:"
    code = "AUTH_FAILED"
    retryable = False


@register_error_class
class SocketUnsupported(SocketConnectionError):
    """The peer does not know what it was asked for."""

    wire_type = "SocketErrorConnectionUnsupported"
    prefix = "socket:connection:unsupported:"
    code = "UNSUPPORTED"
    retryable = False


@register_error_class
class SocketTimeout(SocketError, TimeoutError):
    """Nothing came within the deadline."""

    wire_type = "SocketErrorTimeout"
    prefix = "socket:timeout:"
    code = "TIMEOUT"
    retryable = True


@register_error_class
class SocketMessageError(SocketError):
    """A message cannot be used."""

    wire_type = "SocketErrorMessage"
    prefix = "socket:message:"
    code = "MESSAGE"


@register_error_class
class SocketMessageMalformed(SocketMessageError):
    """A message is not what it should be, or a value cannot be written as JSON.

    Attributes:
        text: what arrived, cut to 200 characters, or ``None`` where nothing arrived.
        fields: the fields of what arrived, as far as they could be read.
    """

    wire_type = "SocketErrorMessageMalformed"
    prefix = "socket:message:malformed:"
    code = "MALFORMED"
    text: str | None = None
    fields: Mapping[str, Any] = MappingProxyType({})


@register_error_class
class AuthError(_PrefixedError):
    """Anything about who speaks."""

    wire_type = "AuthError"
    prefix = "auth:"
    code = "AUTH_FAILED"


def _declare(name: str, parent: type[_PrefixedError], word: str, wire_type: str = "", default: str = "") -> Any:
    """One more class of the reference's, which differs from its parent in its words only."""
    facts = {
        "__doc__": f"``{wire_type or name}`` of the reference packages (``{parent.prefix}{word}…``).",
        "__module__": __name__,
        "wire_type": wire_type or name,
        "prefix": parent.prefix + word,
        "default_message": default or parent.default_message,
    }
    globals()[name] = declared = register_error_class(type(name, (parent,), facts))
    return declared


AuthUnknown = _declare("AuthUnknown", AuthError, "unknown:", "AuthErrorUnknown")
AuthManagerError = _declare("AuthManagerError", AuthError, "manager:")
AuthManagerUnsupported = _declare(
    "AuthManagerUnsupported", AuthManagerError, "unsupported:", "AuthManagerErrorUnsupported"
)
AuthenFailed = _declare("AuthenFailed", AuthManagerError, "authen:", "AuthManagerErrorAuthenFailed")
AuthenExists = _declare("AuthenExists", AuthenFailed, "exists:", "AuthManagerErrorAuthenFailedExists")
AuthenPayloadError = _declare("AuthenPayloadError", AuthenFailed, "payload:", "AuthManagerErrorAuthenFailedPayload")
AuthenCredError = _declare("AuthenCredError", AuthManagerError, "cred:", "AuthManagerErrorCred")
AuthPluginError = _declare("AuthPluginError", AuthManagerError, "plugin:", "AuthManagerErrorPlugin")
TypeMissmatchError = _declare(
    "TypeMissmatchError", AuthPluginError, "missmatch:", "AuthManagerErrorPluginTypeMissmatch"
)
AuthorizationError = _declare("AuthorizationError", AuthError, "authorization:")
AuthForbidden = _declare("AuthForbidden", AuthorizationError, "forbidden:", "ForbiddenAuthorizationError")
ProfileError = _declare("ProfileError", AuthError, "profile:")
ProfileConsistencyError = _declare("ProfileConsistencyError", ProfileError, "consistency:", "ProfileErrorConsistency")


@register_error_class
class ApiError(_PrefixedError):
    """What an HTTP service of the reference answers."""

    wire_type = "ApiError"
    prefix = "api:"


@register_error_class
class NoFileError(ApiError):
    """A file was asked for that is not there; the reference gives it one message only."""

    wire_type = "NoFileError"

    def __init__(self, original_stack: str | None = None) -> None:
        super().__init__("no file", original_stack)


AuthFailedError = _declare("AuthFailedError", ApiError, "auth:")
AccessError = _declare("AccessError", ApiError, "access:", "AccessAuthFailedError")
ApiClientError = _declare("ApiClientError", ApiError, "client:")
ServerCrashedError = _declare("ServerCrashedError", ApiClientError, "crashed:", "ApiClientErrorServerCrashed")
ServerAuthError = _declare("ServerAuthError", ApiClientError, "auth:", "ApiClientErrorServerAuth")
AuthFailedError.code = AccessError.code = ServerAuthError.code = AuthError.code

ResourceError = _declare("ResourceError", _PrefixedError, "resource:")
for _name, _word in {
    "UnknownRecordError": "unknown-record/",
    "MisshapedRecord": "misshaped-record:",
    "RecordExists": "record-exists:",
    "RecordUpdateFailed": "record-update-failed:",
    "UnsupportedArgumentError": "unsupported-argument:",
    "UnsupportedMethodError": "unsupported-method:",
    "MigrationError": "migration-failed:",
    "MigrationConflict": "migration-conflict:",
}.items():
    _declare(_name, ResourceError, _word, f"ResourceError{_name}", "undefined")

ConfigError = _declare("ConfigError", _PrefixedError, "config:")
ConfigResourceError = _declare("ConfigResourceError", ConfigError, "resource:")
PluginMissconfigured = _declare("PluginMissconfigured", ConfigResourceError, "plugin-config:")
ClientEntrypointError = _declare(
    "ClientEntrypointError", _PrefixedError, "clinet-module:", "ClientModuleError", "undefined"
)
ClientValidationError = _declare(
    "ClientValidationError", ClientEntrypointError, "validation:", "ClientModuleErrorValidation"
)
