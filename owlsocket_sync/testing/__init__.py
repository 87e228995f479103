"""For tests of what is built on this package: a peer in memory, a network that misbehaves, and fixtures for pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .double import FakeOwlSocket as FakeOwlSocket
    from .proxy import FaultProxy as FaultProxy
    from .proxy import Proxied as Proxied

_HOMES = {"double": ("FakeOwlSocket",), "proxy": ("FaultProxy", "Proxied")}

__all__ = sorted(name for names in _HOMES.values() for name in names)
__getattr__, __dir__ = lazily(__name__, _HOMES)
