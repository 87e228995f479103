"""The embedded server, for tests, samples and small deployments: ``serve()`` over the protocol of websockets."""

from __future__ import annotations

from ..errors import SocketInitializationError

try:
    from .listener import Server, serve
    from .upgrade import Request
except ImportError as error:
    raise SocketInitializationError(
        "the embedded server needs the package websockets: python -m pip install 'owlsocket-sync[server]'"
    ) from error

__all__ = ["Request", "Server", "serve"]
