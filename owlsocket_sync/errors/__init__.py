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
    │   ├── AuthMalformed               a key, a token or a model is not what it should be  (also ValueError)
    │   └── LoginTimeout                a step of a login was not answered in time          (also TimeoutError)
    └── one class for each other error that the reference packages register

An error crosses the wire as ``type|||message|||stack``; the registry finds the class by its wire type.
"""

from __future__ import annotations

from .marshalled import SEPARATOR, ResilientError, register_error_class
from .tree import (
    AccessError,
    ApiClientError,
    ApiError,
    AuthenCredError,
    AuthenExists,
    AuthenFailed,
    AuthenPayloadError,
    AuthError,
    AuthFailedError,
    AuthForbidden,
    AuthMalformed,
    AuthManagerError,
    AuthManagerUnsupported,
    AuthorizationError,
    AuthPluginError,
    AuthUnknown,
    ClientEntrypointError,
    ClientValidationError,
    ConfigError,
    ConfigResourceError,
    InsecureTransportWarning,
    LoginTimeout,
    MigrationConflict,
    MigrationError,
    MisshapedRecord,
    NoFileError,
    PluginMissconfigured,
    ProfileConsistencyError,
    ProfileError,
    RecordExists,
    RecordUpdateFailed,
    ResourceError,
    ServerAuthError,
    ServerCrashedError,
    SocketConnectionError,
    SocketError,
    SocketInitializationError,
    SocketMessageError,
    SocketMessageMalformed,
    SocketTimeout,
    SocketUnauthorized,
    SocketUnsupported,
    TypeMissmatchError,
    UnknownRecordError,
    UnsupportedArgumentError,
    UnsupportedMethodError,
)

__all__ = [
    "AccessError",
    "ApiClientError",
    "ApiError",
    "AuthError",
    "AuthFailedError",
    "AuthForbidden",
    "AuthMalformed",
    "AuthManagerError",
    "AuthManagerUnsupported",
    "AuthPluginError",
    "AuthUnknown",
    "AuthenCredError",
    "AuthenExists",
    "AuthenFailed",
    "AuthenPayloadError",
    "AuthorizationError",
    "ClientEntrypointError",
    "ClientValidationError",
    "ConfigError",
    "ConfigResourceError",
    "InsecureTransportWarning",
    "LoginTimeout",
    "MigrationConflict",
    "MigrationError",
    "MisshapedRecord",
    "NoFileError",
    "PluginMissconfigured",
    "ProfileConsistencyError",
    "ProfileError",
    "RecordExists",
    "RecordUpdateFailed",
    "ResilientError",
    "ResourceError",
    "SEPARATOR",
    "ServerAuthError",
    "ServerCrashedError",
    "SocketConnectionError",
    "SocketError",
    "SocketInitializationError",
    "SocketMessageError",
    "SocketMessageMalformed",
    "SocketTimeout",
    "SocketUnauthorized",
    "SocketUnsupported",
    "TypeMissmatchError",
    "UnknownRecordError",
    "UnsupportedArgumentError",
    "UnsupportedMethodError",
    "register_error_class",
]
