"""The embedded server, for tests, samples and small deployments: ``serve()`` over ``websockets.sync.server``."""

from __future__ import annotations

from ..errors import SocketInitializationError

try:
    from .accepted import Request
    from .listener import Server, serve
except ImportError as error:
    raise SocketInitializationError(
        "the embedded server needs the package websockets: python -m pip install 'owlsocket-sync[server]'"
    ) from error

__all__ = ["Request", "Server", "serve"]
