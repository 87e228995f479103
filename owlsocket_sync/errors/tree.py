"""The classes of errors: of sockets, of authentication, and of the other packages of the reference."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .marshalled import PrefixedError, register_error_class


class InsecureTransportWarning(UserWarning):
    """A token is about to be sent without encryption to another host."""


@register_error_class
class SocketError(PrefixedError):
    """Any failure of a connection.

    Attributes:
        advice: what to do about it, in words, at the end of ``str(error)``; empty where there is none.
    """

    wire_type = "SocketError"
    wire_prefix = "socket:"
    advice: str = ""

    def __str__(self) -> str:
        return super().__str__() + (f" ({self.advice})" if self.advice else "")


@register_error_class
class SocketInitializationError(SocketError):
    """The connection cannot be made, or used, in this process."""

    wire_type = "SocketErrorInitialization"
    wire_prefix = "socket:initialization:"
    code = "INITIALIZATION"


# Not registered: on the wire this is its parent, as another process installs what it needs.
class MissingExtra(SocketInitializationError, ModuleNotFoundError):
    """A package that a part of this library needs is not installed; the message tells how to install it.

    Attributes:
        name: the missing module, or ``None``.
    """

    def __init__(self, message: str, module: str | None = None) -> None:
        super().__init__(message)
        self.name = module


@register_error_class
class SocketConnectionError(SocketError, ConnectionError):
    """There is no link, or the link was lost before the answer was received.

    Attributes:
        status: the HTTP status with which the server rejected the handshake, or ``None``.
        retry_after: the seconds for which the server asks not to be tried again, or ``None``.
        closed_here: whether the reason is that this end closed the connection.
    """

    wire_type = "SocketErrorConnection"
    wire_prefix = "socket:connection:"
    code = "CONNECTION_LOST"
    retryable = True
    status: int | None = None
    retry_after: float | None = None
    closed_here: bool = False

    def __str__(self) -> str:
        return super().__str__() + _retry_hint(self.retry_after)


@register_error_class
class SocketUnauthorized(SocketConnectionError, PermissionError):
    """The peer rejects our identity, or the identity may not do this."""

    wire_type = "SocketErrorConnectionUnauthorized"
    wire_prefix = "socket:connection:unauthorized:"
    code = "AUTH_FAILED"
    retryable = False


@register_error_class
class SocketUnsupported(SocketConnectionError):
    """The peer does not support the request, such as a call of an unknown method."""

    wire_type = "SocketErrorConnectionUnsupported"
    wire_prefix = "socket:connection:unsupported:"
    code = "UNSUPPORTED"
    retryable = False


@register_error_class
class SocketTimeout(SocketError, TimeoutError):
    """The deadline passed."""

    wire_type = "SocketErrorTimeout"
    wire_prefix = "socket:timeout:"
    code = "TIMEOUT"
    retryable = True


@register_error_class
class SocketMessageError(SocketError):
    """A message cannot be sent or received."""

    wire_type = "SocketErrorMessage"
    wire_prefix = "socket:message:"
    code = "MESSAGE"


@register_error_class
class SocketMessageMalformed(SocketMessageError):
    """A received message is invalid, or a value cannot be sent as JSON.

    Attributes:
        text: the first 200 characters of the received message, ``None`` for a value to be sent.
        fields: the fields of the received message that could be read.
    """

    wire_type = "SocketErrorMessageMalformed"
    wire_prefix = "socket:message:malformed:"
    code = "MALFORMED"
    text: str | None = None
    fields: Mapping[str, Any] = MappingProxyType({})


# Not registered, and neither are its subclasses: on the wire each is a SocketError, as the reference has no stores.
class StoreError(SocketError):
    """A store of durable queues cannot do what was asked of it.

    Attributes:
        path: the file of the store, or ``None``.
    """

    code = "STORE"
    path: str | None = None


class StoreFull(StoreError):
    """There is no room for a message: a limit is reached, or the disk is full; nothing of it was stored."""

    code = "STORE_FULL"
    retryable = True


class StoreCorrupt(StoreError):
    """The file of a store is damaged, or not a store at all; the message names it."""

    code = "STORE_CORRUPT"


class MessagesLost(StoreError):
    """Messages of a peer are known to be lost, such as by a store that was restored from a backup.

    Attributes:
        count: how many.
    """

    code = "MESSAGES_LOST"

    def __init__(self, message: str, count: int = 0) -> None:
        super().__init__(message)
        self.count = count


@register_error_class
class AuthError(PrefixedError):
    """Any failure of authentication.

    Attributes:
        step: the failed step of a login, such as ``"/authentication/init"``, or ``None``.
        status: the HTTP status of the answer to the step, or ``None``.
        retry_after: the seconds for which the server asks not to be tried again, or ``None``.
    """

    wire_type = "AuthError"
    wire_prefix = "auth:"
    code = "AUTH_FAILED"
    step: str | None = None
    status: int | None = None
    retry_after: float | None = None

    def __str__(self) -> str:
        text = super().__str__()
        if self.step is not None:
            text = f"login step {self.step}: {text}" + (f" (HTTP {self.status})" if self.status else "")
        return text + _retry_hint(self.retry_after)


def _retry_hint(seconds: float | None) -> str:
    return "" if seconds is None else f" (the server asks to retry after {seconds:.0f} s)"


# Not registered: on the wire this and LoginTimeout are an AuthError, the only one of the three that the reference has.
class AuthMalformed(AuthError, ValueError):
    """A key, a token, an envelope or a model is invalid; the message never shows its value."""


class LoginTimeout(AuthError, TimeoutError):
    """The server did not answer a step of a login in time."""


def _declare(name: str, *parents: type[PrefixedError], word: str, wire_type: str = "", default: str = "") -> Any:
    """Define and register an error of the reference that differs from its first parent in type and prefix only.

    Args:
        name: the name of the class.
        *parents: its bases.
        word: is added to the prefix of the first parent.
        wire_type: the type on the wire, if it is not the name.
        default: the message of an error that is constructed without one.
    """
    namespace = {
        "__doc__": f"``{wire_type or name}`` of the reference packages (``{parents[0].wire_prefix}{word}…``).",
        "__module__": __name__,
        "wire_type": wire_type or name,
        "wire_prefix": parents[0].wire_prefix + word,
        "default_message": default or parents[0].default_message,
    }
    return register_error_class(type(name, parents, namespace))


# Names and words are those of the reference, its misspellings included.
AuthUnknown = _declare("AuthUnknown", AuthError, word="unknown:", wire_type="AuthErrorUnknown")
AuthManagerError = _declare("AuthManagerError", AuthError, word="manager:")
AuthManagerUnsupported = _declare(
    "AuthManagerUnsupported", AuthManagerError, word="unsupported:", wire_type="AuthManagerErrorUnsupported"
)
AuthenFailed = _declare("AuthenFailed", AuthManagerError, word="authen:", wire_type="AuthManagerErrorAuthenFailed")
AuthenExists = _declare("AuthenExists", AuthenFailed, word="exists:", wire_type="AuthManagerErrorAuthenFailedExists")
AuthenPayloadError = _declare(
    "AuthenPayloadError", AuthenFailed, word="payload:", wire_type="AuthManagerErrorAuthenFailedPayload"
)
AuthenCredError = _declare("AuthenCredError", AuthManagerError, word="cred:", wire_type="AuthManagerErrorCred")
AuthPluginError = _declare("AuthPluginError", AuthManagerError, word="plugin:", wire_type="AuthManagerErrorPlugin")
TypeMissmatchError = _declare(
    "TypeMissmatchError", AuthPluginError, word="missmatch:", wire_type="AuthManagerErrorPluginTypeMissmatch"
)
AuthorizationError = _declare("AuthorizationError", AuthError, word="authorization:")
AuthForbidden = _declare(
    "AuthForbidden", AuthorizationError, word="forbidden:", wire_type="ForbiddenAuthorizationError"
)
ProfileError = _declare("ProfileError", AuthError, word="profile:")
ProfileConsistencyError = _declare(
    "ProfileConsistencyError", ProfileError, word="consistency:", wire_type="ProfileErrorConsistency"
)


@register_error_class
class ApiError(PrefixedError):
    """A failure that an HTTP service of the reference reports."""

    wire_type = "ApiError"
    wire_prefix = "api:"


@register_error_class
class NoFileError(ApiError):
    """A requested file does not exist."""

    wire_type = "NoFileError"

    # The reference's constructor takes no message.
    def __init__(self, original_stack: str | None = None) -> None:
        super().__init__("no file", original_stack)


AuthFailedError = _declare("AuthFailedError", ApiError, AuthError, word="auth:")
AccessError = _declare("AccessError", ApiError, AuthError, word="access:", wire_type="AccessAuthFailedError")
ApiClientError = _declare("ApiClientError", ApiError, word="client:")
ServerCrashedError = _declare(
    "ServerCrashedError", ApiClientError, word="crashed:", wire_type="ApiClientErrorServerCrashed"
)
ServerAuthError = _declare(
    "ServerAuthError", ApiClientError, AuthError, word="auth:", wire_type="ApiClientErrorServerAuth"
)

ResourceError = _declare("ResourceError", PrefixedError, word="resource:")
UnknownRecordError = _declare(
    "UnknownRecordError",
    ResourceError,
    word="unknown-record/",
    wire_type="ResourceErrorUnknownRecordError",
    default="undefined",
)
MisshapedRecord = _declare(
    "MisshapedRecord",
    ResourceError,
    word="misshaped-record:",
    wire_type="ResourceErrorMisshapedRecord",
    default="undefined",
)
RecordExists = _declare(
    "RecordExists", ResourceError, word="record-exists:", wire_type="ResourceErrorRecordExists", default="undefined"
)
RecordUpdateFailed = _declare(
    "RecordUpdateFailed",
    ResourceError,
    word="record-update-failed:",
    wire_type="ResourceErrorRecordUpdateFailed",
    default="undefined",
)
UnsupportedArgumentError = _declare(
    "UnsupportedArgumentError",
    ResourceError,
    word="unsupported-argument:",
    wire_type="ResourceErrorUnsupportedArgumentError",
    default="undefined",
)
UnsupportedMethodError = _declare(
    "UnsupportedMethodError",
    ResourceError,
    word="unsupported-method:",
    wire_type="ResourceErrorUnsupportedMethodError",
    default="undefined",
)
MigrationError = _declare(
    "MigrationError",
    ResourceError,
    word="migration-failed:",
    wire_type="ResourceErrorMigrationError",
    default="undefined",
)
MigrationConflict = _declare(
    "MigrationConflict",
    ResourceError,
    word="migration-conflict:",
    wire_type="ResourceErrorMigrationConflict",
    default="undefined",
)

ConfigError = _declare("ConfigError", PrefixedError, word="config:")
ConfigResourceError = _declare("ConfigResourceError", ConfigError, word="resource:")
PluginMissconfigured = _declare("PluginMissconfigured", ConfigResourceError, word="plugin-config:")
ClientEntrypointError = _declare(
    "ClientEntrypointError", PrefixedError, word="clinet-module:", wire_type="ClientModuleError", default="undefined"
)
ClientValidationError = _declare(
    "ClientValidationError", ClientEntrypointError, word="validation:", wire_type="ClientModuleErrorValidation"
)
