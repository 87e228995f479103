"""Named services with a lifecycle: one connection per process, opened on first use.

The counterpart of ``@owlmeans/context`` for scripts and web workers::

    context = Context(
        AuthService("https://auth.example.com", key),
        SocketService("wss://api.example.com/ws", auth="auth"),
    )
    context.service("socket").connection.call("getUserProfile", "123")
"""

from __future__ import annotations

from ..lazy import eager_exports
from .auth_service import AuthService
from .context import Context, Phase
from .service import Service
from .socket_service import SocketService

__all__ = ["AuthService", "Context", "Phase", "Service", "SocketService"]
__dir__ = eager_exports(__name__, __all__)
