"""The tree of errors, and their text form on the wire.

    ResilientError                      the root; also an error of an unknown type
    ├── SocketError                     any failure of a connection
    │   ├── SocketInitializationError   a connection cannot be made or used in this process
    │   │   └── MissingExtra            a package is not installed         (also ImportError)
    │   ├── SocketConnectionError       no link, or a lost link            (also ConnectionError)
    │   │   ├── SocketUnauthorized      the peer rejects our identity      (also PermissionError)
    │   │   └── SocketUnsupported       the peer does not have the method
    │   ├── SocketTimeout               no answer within the deadline      (also TimeoutError)
    │   ├── SocketMessageError          a message cannot be sent or received
    │   │   └── SocketMessageMalformed  a message, or a value in it, is invalid
    │   └── StoreError                  a store of durable queues fails
    │       ├── StoreFull               it has no room for a message
    │       ├── StoreCorrupt            its file is damaged
    │       └── MessagesLost            messages of a peer are known to be lost
    ├── AuthError                       any failure of authentication, and its family
    │   ├── AuthMalformed               a key, a token or a model is invalid        (also ValueError)
    │   └── LoginTimeout                a step of a login was not answered in time  (also TimeoutError)
    └── one class for each other error that the reference packages register

On the wire an error is the text ``type|||message|||stack``; a registry finds the class for a type. The message has a
prefix there, such as ``socket:timeout:``, which `ResilientError.marshal` adds and `ResilientError.unmarshal` removes.
"""

from __future__ import annotations

from ..lazy import eager_exports, publish
from .marshalled import SEPARATOR, PrefixedError, ResilientError, marshal_for_peer, register_error_class
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
    MessagesLost,
    MigrationConflict,
    MigrationError,
    MisshapedRecord,
    MissingExtra,
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
    StoreCorrupt,
    StoreError,
    StoreFull,
    TypeMissmatchError,
    UnknownRecordError,
    UnsupportedArgumentError,
    UnsupportedMethodError,
)

__all__ = [
    "MessagesLost",
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
    "MissingExtra",
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
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "TypeMissmatchError",
    "UnknownRecordError",
    "UnsupportedArgumentError",
    "UnsupportedMethodError",
    "marshal_for_peer",
    "register_error_class",
]

publish(__name__, (PrefixedError,))
__dir__ = eager_exports(__name__, __all__)
