"""Flask: ``owl = OwlSocket(app)``, and ``owl.call("getUser", 7)`` in any view; needs the extra ``flask``."""

from __future__ import annotations

from ...errors import MissingExtra
from ...lazy import eager_exports

# Commands and routes are imported when they are used: routes need flask-sock, which the extra does not install.
try:
    from .errors import NoAppContext
    from .extension import NamedService, OwlSocket
    from .fake import FakePeer
except ImportError as error:
    raise MissingExtra(
        "Flask is not installed: python -m pip install 'owlsocket-sync[flask]'",
        error.name,
    ) from error

__all__ = ["FakePeer", "NamedService", "NoAppContext", "OwlSocket"]
__dir__ = eager_exports(__name__, __all__)
