"""Hubs: rooms, presence, and calls to any client, over all servers of a hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

if TYPE_CHECKING:
    from ..protocol.hooks import Outcome as Outcome
    from .base import Bus as Bus
    from .base import BusEvents as BusEvents
    from .hub import Hub as Hub
    from .memory import MemoryBus as MemoryBus
    from .memory import MemoryHub as MemoryHub
    from .memory import MemorySpace as MemorySpace
    from .redis import RedisHub as RedisHub
    from .sqlite import SqliteHub as SqliteHub
    from .urls import open_hub as open_hub
    from .values import Gap as Gap
    from .values import Member as Member
    from .values import PresenceChange as PresenceChange
    from .values import Publication as Publication

_EXPORTS = {
    ".protocol.hooks": ("Outcome",),
    "base": ("Bus", "BusEvents"),
    "hub": ("Hub",),
    "memory": ("MemoryBus", "MemoryHub", "MemorySpace"),
    "redis": ("RedisHub",),
    "sqlite": ("SqliteHub",),
    "urls": ("open_hub",),
    "values": ("Gap", "Member", "PresenceChange", "Publication"),
}

__all__ = sorted(name for names in _EXPORTS.values() for name in names)
__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
