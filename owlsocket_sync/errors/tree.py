"""The classes of the tree: the socket's, those about who speaks, and those of the other reference packages."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from .marshalled import ResilientError, register_error_class


class InsecureTransportWarning(UserWarning):
    """A token is about to travel in the clear, to a host that is not this machine."""


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
    """Anything about who speaks.

    Attributes:
        step: the step of a login that failed, such as ``"/authentication/init"``, or ``None``.
        status: the HTTP status with which it was refused, or ``None``.
    """

    wire_type = "AuthError"
    prefix = "auth:"
    code = "AUTH_FAILED"
    step: str | None = None
    status: int | None = None

    def __str__(self) -> str:
        text = super().__str__()
        if self.step is None:
            return text
        return f"login step {self.step}: {text}" + (f" (HTTP {self.status})" if self.status else "")


class AuthMalformed(AuthError, ValueError):
    """A key, a token, an envelope or a model is not what it should be; never shows what it is."""


class LoginTimeout(AuthError, TimeoutError):
    """The server did not answer a step of a login in time."""


def _declare(name: str, *parents: type[_PrefixedError], word: str, wire_type: str = "", default: str = "") -> Any:
    """One more class of the reference's, which differs from its first parent in its words only."""
    facts = {
        "__doc__": f"``{wire_type or name}`` of the reference packages (``{parents[0].prefix}{word}…``).",
        "__module__": __name__,
        "wire_type": wire_type or name,
        "prefix": parents[0].prefix + word,
        "default_message": default or parents[0].default_message,
    }
    return register_error_class(type(name, parents, facts))


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


AuthFailedError = _declare("AuthFailedError", ApiError, AuthError, word="auth:")
AccessError = _declare("AccessError", ApiError, AuthError, word="access:", wire_type="AccessAuthFailedError")
ApiClientError = _declare("ApiClientError", ApiError, word="client:")
ServerCrashedError = _declare(
    "ServerCrashedError", ApiClientError, word="crashed:", wire_type="ApiClientErrorServerCrashed"
)
ServerAuthError = _declare(
    "ServerAuthError", ApiClientError, AuthError, word="auth:", wire_type="ApiClientErrorServerAuth"
)

ResourceError = _declare("ResourceError", _PrefixedError, word="resource:")
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

ConfigError = _declare("ConfigError", _PrefixedError, word="config:")
ConfigResourceError = _declare("ConfigResourceError", ConfigError, word="resource:")
PluginMissconfigured = _declare("PluginMissconfigured", ConfigResourceError, word="plugin-config:")
ClientEntrypointError = _declare(
    "ClientEntrypointError", _PrefixedError, word="clinet-module:", wire_type="ClientModuleError", default="undefined"
)
ClientValidationError = _declare(
    "ClientValidationError", ClientEntrypointError, word="validation:", wire_type="ClientModuleErrorValidation"
)
