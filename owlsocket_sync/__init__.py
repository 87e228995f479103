"""A blocking client for servers that speak ``@owlmeans/socket``, and a small server for tests and samples.

Everything that is public is here; what is dear to import is imported when it is first asked for.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .lazy import lazily

if TYPE_CHECKING:
    from .client import connect as connect
    from .connection import Connection as Connection
    from .connection import connections as connections
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
        TypeMissmatchError as TypeMissmatchError,
    )
    from .errors import (
        register_error_class as register_error_class,
    )
    from .options import Backoff as Backoff
    from .options import Heartbeat as Heartbeat
    from .options import Limits as Limits
    from .protocol.endpoint import ErrorContext as ErrorContext
    from .protocol.instruments import Activity as Activity
    from .protocol.instruments import Instrument as Instrument
    from .protocol.instruments import Outcome as Outcome
    from .protocol.instruments import instrument as instrument
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
    from .protocol.queue import Consumed as Consumed
    from .protocol.requests import Stream as Stream
    from .protocol.stats import Stats as Stats
    from .protocol.subscription import Subscription as Subscription
    from .stages import AuthenticationStage as AuthenticationStage
    from .stages import ConnectionState as ConnectionState
    from .stages import Ending as Ending
    from .stages import StateChange as StateChange


_HOMES = {
    "client": ("connect",),
    "connection": ("Connection", "connections"),
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
        "TypeMissmatchError",
        "register_error_class",
    ),
    "options": ("Backoff", "Heartbeat", "Limits"),
    "protocol.endpoint": ("ErrorContext",),
    "protocol.instruments": ("Activity", "Instrument", "Outcome", "instrument"),
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
    "protocol.queue": ("Consumed",),
    "protocol.requests": ("Stream",),
    "protocol.stats": ("Stats",),
    "protocol.subscription": ("Subscription",),
    "stages": ("AuthenticationStage", "ConnectionState", "Ending", "StateChange"),
}

__all__ = sorted(name for names in _HOMES.values() for name in names)
__getattr__, __dir__ = lazily(__name__, _HOMES)
__version__ = "0.1.0"

logging.getLogger("owlsocket_sync").addHandler(logging.NullHandler())
