"""A blocking client for servers that speak ``@owlmeans/socket``, and a small server for tests and samples.

Everything that is public is here; what is dear to import is imported when it is first asked for.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import connect
    from .connection import Connection
    from .errors import (
        AccessError,
        AuthenCredError,
        AuthenExists,
        AuthenFailed,
        AuthenPayloadError,
        AuthError,
        AuthFailedError,
        AuthForbidden,
        AuthManagerError,
        AuthManagerUnsupported,
        AuthorizationError,
        AuthPluginError,
        AuthUnknown,
        InsecureTransportWarning,
        ProfileConsistencyError,
        ProfileError,
        ResilientError,
        SocketConnectionError,
        SocketError,
        SocketInitializationError,
        SocketMessageError,
        SocketMessageMalformed,
        SocketTimeout,
        SocketUnauthorized,
        SocketUnsupported,
        TypeMissmatchError,
        register_error_class,
    )
    from .options import Backoff, Heartbeat, Limits
    from .protocol.endpoint import ErrorContext
    from .protocol.lifecycle import Stats
    from .protocol.messages import (
        CALL_TIMEOUT,
        AuthMessage,
        CallMessage,
        EventMessage,
        Message,
        MessageType,
        is_auth_message,
        is_call_message,
        is_event_message,
        is_message,
    )
    from .protocol.queue import Consumed
    from .protocol.requests import Stream
    from .protocol.subscription import Subscription
    from .stages import AuthenticationStage, ConnectionState, Ending, StateChange

_HOMES = {
    "client": ("connect",),
    "connection": ("Connection",),
    "errors": (
        "AccessError",
        "AuthError",
        "AuthFailedError",
        "AuthForbidden",
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
    "protocol.lifecycle": ("Stats",),
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
    "protocol.subscription": ("Subscription",),
    "stages": ("AuthenticationStage", "ConnectionState", "Ending", "StateChange"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)
__version__ = "0.1.0"

logging.getLogger("owlsocket_sync").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{home}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
