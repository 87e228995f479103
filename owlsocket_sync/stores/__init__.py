"""Durable queues: stores that keep messages until the work on them is done, with a connection or without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

if TYPE_CHECKING:
    from ..protocol.delivery import Delivery as Delivery
    from .base import Bounds as Bounds
    from .base import Draft as Draft
    from .base import Entry as Entry
    from .base import Incoming as Incoming
    from .base import Lead as Lead
    from .base import Outgoing as Outgoing
    from .base import Position as Position
    from .base import PositionMoved as PositionMoved
    from .base import QueueStats as QueueStats
    from .base import Store as Store
    from .base import Stored as Stored
    from .base import StoredQueue as StoredQueue
    from .memory import MemoryStore as MemoryStore
    from .queue import DeadLetter as DeadLetter
    from .queue import Queue as Queue
    from .redis import RedisStore as RedisStore
    from .sqlite import SqliteStore as SqliteStore
    from .urls import open_queue as open_queue

_EXPORTS = {
    ".protocol.delivery": ("Delivery",),
    "base": (
        "Bounds",
        "Draft",
        "Entry",
        "Incoming",
        "Lead",
        "Outgoing",
        "Position",
        "PositionMoved",
        "QueueStats",
        "Store",
        "Stored",
        "StoredQueue",
    ),
    "memory": ("MemoryStore",),
    "queue": ("DeadLetter", "Queue"),
    "redis": ("RedisStore",),
    "sqlite": ("SqliteStore",),
    "urls": ("open_queue",),
}

__all__ = sorted(name for names in _EXPORTS.values() for name in names)
__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
