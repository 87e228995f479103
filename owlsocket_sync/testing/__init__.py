"""For tests of what is built on this package: a proxy that makes a network misbehave, and fixtures for pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .pair import pair as pair
    from .proxy import FaultProxy as FaultProxy
    from .proxy import Proxied as Proxied

_HOMES = {"pair": ("pair",), "proxy": ("FaultProxy", "Proxied")}

__all__ = sorted(name for names in _HOMES.values() for name in names)
__getattr__, __dir__ = lazily(__name__, _HOMES)
