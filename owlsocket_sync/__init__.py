"""A blocking client for servers that speak ``@owlmeans/socket``, and a small server for tests and samples.

    from owlsocket_sync import connect

    with connect("wss://api.example.com/ws") as conn:
        print(conn.call("getUserProfile", 123))

Where to read on, in ``help()``:

    connect, Connection             open a connection; its verbs
    Backoff, Heartbeat, Limits, Deflate, ClientOptions
                                    options
    ResilientError, SocketError, SocketTimeout, SocketConnectionError, AuthError
                                    what is raised; owlsocket_sync.errors has the tree
    Message, CallMessage, EventMessage, AuthMessage
                                    what hooks and listeners get
    Instrument, instrument, connections, Stats
                                    what watches connections
    owlsocket_sync.server           serve, an embedded server
    owlsocket_sync.auth             keys, logins, guards
    owlsocket_sync.stores           durable queues
    owlsocket_sync.hub              rooms, presence and calls over several servers
    owlsocket_sync.context          named services, one connection per process
    owlsocket_sync.testing          a proxy with faults, connections in memory
    owlsocket_sync.contrib          Flask, Django, notebooks, OpenTelemetry, Prometheus

All other modules are internal: their names may change. Each public name is loaded at its first use, so that ``import
owlsocket_sync`` stays fast.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .lazy import lazy_exports

if TYPE_CHECKING:
    from .client import connect as connect
    from .client_options import ClientOptions as ClientOptions
    from .connection import Connection as Connection
    from .connection import connections as connections
    from .core.call_results import CallResults as CallResults
    from .errors import (
        AccessError as AccessError,
    )
    from .errors import (
        AuthenCredError as AuthenCredError,
    )
    from .errors import (
        AuthenExists as AuthenExists,
    )
    from .errors import (
        AuthenFailed as AuthenFailed,
    )
    from .errors import (
        AuthenPayloadError as AuthenPayloadError,
    )
    from .errors import (
        AuthError as AuthError,
    )
    from .errors import (
        AuthFailedError as AuthFailedError,
    )
    from .errors import (
        AuthForbidden as AuthForbidden,
    )
    from .errors import (
        AuthMalformed as AuthMalformed,
    )
    from .errors import (
        AuthManagerError as AuthManagerError,
    )
    from .errors import (
        AuthManagerUnsupported as AuthManagerUnsupported,
    )
    from .errors import (
        AuthorizationError as AuthorizationError,
    )
    from .errors import (
        AuthPluginError as AuthPluginError,
    )
    from .errors import (
        AuthUnknown as AuthUnknown,
    )
    from .errors import (
        InsecureTransportWarning as InsecureTransportWarning,
    )
    from .errors import (
        LoginTimeout as LoginTimeout,
    )
    from .errors import (
        MessagesLost as MessagesLost,
    )
    from .errors import (
        MissingExtra as MissingExtra,
    )
    from .errors import (
        ProfileConsistencyError as ProfileConsistencyError,
    )
    from .errors import (
        ProfileError as ProfileError,
    )
    from .errors import (
        ResilientError as ResilientError,
    )
    from .errors import (
        SocketConnectionError as SocketConnectionError,
    )
    from .errors import (
        SocketError as SocketError,
    )
    from .errors import (
        SocketInitializationError as SocketInitializationError,
    )
    from .errors import (
        SocketMessageError as SocketMessageError,
    )
    from .errors import (
        SocketMessageMalformed as SocketMessageMalformed,
    )
    from .errors import (
        SocketTimeout as SocketTimeout,
    )
    from .errors import (
        SocketUnauthorized as SocketUnauthorized,
    )
    from .errors import (
        SocketUnsupported as SocketUnsupported,
    )
    from .errors import (
        StoreCorrupt as StoreCorrupt,
    )
    from .errors import (
        StoreError as StoreError,
    )
    from .errors import (
        StoreFull as StoreFull,
    )
    from .errors import (
        TypeMissmatchError as TypeMissmatchError,
    )
    from .errors import (
        register_error_class as register_error_class,
    )
    from .options import Backoff as Backoff
    from .options import Deflate as Deflate
    from .options import Heartbeat as Heartbeat
    from .options import Limits as Limits
    from .protocol.connection_registry import instrument as instrument
    from .protocol.delivery import Consumed as Consumed
    from .protocol.hooks import Instrument as Instrument
    from .protocol.hooks import Operation as Operation
    from .protocol.hooks import Outcome as Outcome
    from .protocol.messages import (
        CALL_TIMEOUT as CALL_TIMEOUT,
    )
    from .protocol.messages import (
        AuthMessage as AuthMessage,
    )
    from .protocol.messages import (
        CallMessage as CallMessage,
    )
    from .protocol.messages import (
        EventMessage as EventMessage,
    )
    from .protocol.messages import (
        Message as Message,
    )
    from .protocol.messages import (
        MessageType as MessageType,
    )
    from .protocol.messages import (
        is_auth_message as is_auth_message,
    )
    from .protocol.messages import (
        is_call_message as is_call_message,
    )
    from .protocol.messages import (
        is_event_message as is_event_message,
    )
    from .protocol.messages import (
        is_message as is_message,
    )
    from .protocol.pending import CallFuture as CallFuture
    from .protocol.reports import ErrorContext as ErrorContext
    from .protocol.requests import Stream as Stream
    from .protocol.stats import Stats as Stats
    from .protocol.subscriptions import Subscription as Subscription
    from .states import ANONYMOUS as ANONYMOUS
    from .states import AuthenticationStage as AuthenticationStage
    from .states import CloseInfo as CloseInfo
    from .states import ConnectionState as ConnectionState
    from .states import StateChange as StateChange
    from .version import __version__ as __version__


_EXPORTS = {
    "client": ("connect",),
    "client_options": ("ClientOptions",),
    "connection": ("Connection", "connections"),
    "core.call_results": ("CallResults",),
    "errors": (
        "AccessError",
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
        "InsecureTransportWarning",
        "LoginTimeout",
        "MissingExtra",
        "ProfileConsistencyError",
        "ProfileError",
        "ResilientError",
        "SocketConnectionError",
        "SocketError",
        "SocketInitializationError",
        "SocketMessageError",
        "SocketMessageMalformed",
        "SocketTimeout",
        "SocketUnauthorized",
        "SocketUnsupported",
        "MessagesLost",
        "StoreCorrupt",
        "StoreError",
        "StoreFull",
        "TypeMissmatchError",
        "register_error_class",
    ),
    "options": ("Backoff", "Deflate", "Heartbeat", "Limits"),
    "protocol.pending": ("CallFuture",),
    "protocol.reports": ("ErrorContext",),
    "protocol.hooks": ("Operation", "Instrument", "Outcome"),
    "protocol.connection_registry": ("instrument",),
    "protocol.delivery": ("Consumed",),
    "protocol.messages": (
        "CALL_TIMEOUT",
        "AuthMessage",
        "CallMessage",
        "EventMessage",
        "Message",
        "MessageType",
        "is_auth_message",
        "is_call_message",
        "is_event_message",
        "is_message",
    ),
    "protocol.requests": ("Stream",),
    "protocol.stats": ("Stats",),
    "protocol.subscriptions": ("Subscription",),
    "states": ("ANONYMOUS", "AuthenticationStage", "ConnectionState", "CloseInfo", "StateChange"),
}

__all__ = sorted(name for names in _EXPORTS.values() for name in names)
_PARTS = ("auth", "context", "contrib", "errors", "hub", "server", "stores", "testing")
__getattr__, __dir__ = lazy_exports(__name__, {**_EXPORTS, "version": ("__version__",)}, _PARTS)


class _LastResort(logging.NullHandler):
    """Passes errors that have no caller to Python's last resort, which writes to stderr, if logging is not set up.

    Without this handler Python would do the same for warnings: a script would show each reconnect.
    """

    def handle(self, record: logging.LogRecord) -> bool:
        """Pass on a record of an error, unless a handler of the program or of a framework gets it."""
        # Decided for each record: programs set up logging after they import us.
        if logging.lastResort is None or self._is_handled(record.name):
            return False
        try:
            return bool(logging.lastResort.handle(record))
        except Exception:  # a stderr that is closed, or an object of the program that raises: there is no other place
            return False

    def _is_handled(self, name: str) -> bool:
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return True
            logger = logger.parent if logger.propagate else None
        return False


logging.getLogger("owlsocket_sync").addHandler(_LastResort(logging.ERROR))
