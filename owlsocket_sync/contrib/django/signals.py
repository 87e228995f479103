"""Signals: what a project may hear of its connections; receivers run on workers, and what they raise is logged.

Each is sent with ``sender=Client`` and ``client``, the `Client` that it is about. ``disconnected`` adds ``code``,
``reason`` and ``error`` (as in `owlsocket_sync.StateChange`), ``event_received`` adds ``message``, the
`owlsocket_sync.EventMessage`.
"""

from __future__ import annotations

from django.dispatch import Signal

connected = Signal()
"""A connection is open, for the first time or again."""
disconnected = Signal()
"""A link ended; with ``code``, ``reason`` and ``error``."""
event_received = Signal()
"""An event came; with ``message``."""
