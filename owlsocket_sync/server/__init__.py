"""The embedded server, for tests, samples and small deployments: ``serve()`` over ``websockets.sync.server``."""

from __future__ import annotations

from ..errors import SocketInitializationError

try:
    import websockets.sync.server
except ImportError as error:
    raise SocketInitializationError(
        "the embedded server needs the package websockets: python -m pip install 'owlsocket-sync[server]'"
    ) from error

from .listener import Server, serve
from .peer import Request

__all__ = ["Request", "Server", "serve"]
