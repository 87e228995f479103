"""The embedded server, for tests, samples and small deployments: `serve`, over the protocol of websockets."""

from __future__ import annotations

from ..errors import MissingExtra
from ..lazy import eager_exports
from ..states import ANONYMOUS

try:
    from .options import ServerOptions
    from .request import Request
    from .server import Server, serve
except ImportError as error:
    raise MissingExtra(
        "the embedded server needs the package websockets: python -m pip install 'owlsocket-sync[server]'",
        error.name,
    ) from error

__all__ = ["ANONYMOUS", "Request", "Server", "ServerOptions", "serve"]
__dir__ = eager_exports(__name__, __all__)
