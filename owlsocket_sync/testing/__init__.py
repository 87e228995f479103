"""Tools for tests of applications: a proxy with network faults, connections in memory, and fixtures for pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

if TYPE_CHECKING:
    from .memory import pair as pair
    from .proxy import FaultProxy as FaultProxy
    from .proxy import ProxiedConnection as ProxiedConnection

_EXPORTS = {"memory": ("pair",), "proxy": ("FaultProxy", "ProxiedConnection")}

__all__ = sorted(name for names in _EXPORTS.values() for name in names)
__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
