"""Flask: ``owl = OwlSocket(app)``, and ``owl.call("getUser", 7)`` in any view; needs the extra ``flask``.

What serves commands, and clients that come to the app, is imported when it is used.
"""

from __future__ import annotations

from ...errors import SocketInitializationError

try:
    from .double import Double
    from .errors import NoAppContext
    from .extension import NamedService, OwlSocket
except ImportError as error:
    raise SocketInitializationError(
        "this needs the package flask: python -m pip install 'owlsocket-sync[flask]'"
    ) from error

__all__ = ["Double", "NamedService", "NoAppContext", "OwlSocket"]
