"""Errors of the Flask extension."""

from __future__ import annotations

from ...errors import SocketInitializationError


class NoAppContext(SocketInitializationError, RuntimeError):
    """The extension was used outside of an application context."""
