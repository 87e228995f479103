"""Signals about connections; receivers run on workers, and their exceptions are logged.

Each signal is sent with ``sender=Client`` and ``client``, the `Client` of the connection. ``disconnected`` adds
``code``, ``reason`` and ``error`` (as in `owlsocket_sync.StateChange`); ``event_received`` adds ``message``, the
`owlsocket_sync.EventMessage`.
"""

from __future__ import annotations

from django.dispatch import Signal

connected = Signal()
"""A connection is open, for the first time or after a reconnect."""
disconnected = Signal()
"""A link was lost or closed; with ``code``, ``reason`` and ``error``."""
event_received = Signal()
"""An event was received; with ``message``."""
