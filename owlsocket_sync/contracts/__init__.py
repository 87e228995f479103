"""Contracts: a server describes its methods, events and types, and stubs for callers are written from that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

if TYPE_CHECKING:
    from .contract import Contract as Contract
    from .description import describe as describe
    from .fetch import fetch_description as fetch_description
    from .python_stub import python_stub as python_stub
    from .typescript_stub import typescript_stub as typescript_stub

_EXPORTS = {
    "contract": ("Contract",),
    "description": ("describe",),
    "fetch": ("fetch_description",),
    "python_stub": ("python_stub",),
    "typescript_stub": ("typescript_stub",),
}

__all__ = sorted(name for names in _EXPORTS.values() for name in names)
__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
