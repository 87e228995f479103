"""Connections that a forked child inherits and cannot use: closed, with a clear error."""

from __future__ import annotations

from dataclasses import replace

from .core.core import Core
from .protocol.membership import NoMembership
from .runtime.carrier_state import ClosedCarrier
from .runtime.workers import WorkerPool


def closed_core(parent: Core, reason: str = "it belongs to the parent process, and does not reconnect") -> Core:
    """Return a core in place of the parent's: whatever uses it gets an error with this reason."""
    options = replace(parent.options, share=None)  # its lock may be held by a thread of the parent
    carrier = ClosedCarrier(options.name, parent.carrier.url, reason)
    core = Core(carrier, WorkerPool(1, options.name), options, parent.settings, parent)
    if options.accepted:
        core.facade.membership = NoMembership(core.services.check_open)
    carrier.start(core)
    return core
