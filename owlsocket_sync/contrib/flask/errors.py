"""What goes wrong between an app and its extension."""

from __future__ import annotations

from ...errors import SocketInitializationError


class NoAppContext(SocketInitializationError, RuntimeError):
    """Nobody knows which app is meant: there is no application context."""
