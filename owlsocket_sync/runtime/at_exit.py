"""Closing open connections at exit, all of them under one short deadline.

So an open connection never keeps the interpreter from exiting. A forked child closes none of its parent's connections.
"""

from __future__ import annotations

import atexit
import weakref
from typing import Protocol

from ..clock import monotonic
from ..errors.safe_text import logger
from ..fork import PerProcess

EXIT_SECONDS = 1.0


class ClosedAtExit(Protocol):
    """An owner of open links."""

    def close_at_exit(self, seconds: float) -> None:
        """Close the links within ``seconds``."""
        ...


class ExitRegistry:
    """The owners of open links in this process."""

    def __init__(self) -> None:
        # A child closes nothing of its parent's, also after a fork by C code: it would send on its parent's links.
        self._open: PerProcess[weakref.WeakSet[ClosedAtExit]] = PerProcess(weakref.WeakSet)

    def add(self, resource: ClosedAtExit) -> None:
        """Close a resource at exit."""
        self._open.get().add(resource)

    def remove(self, resource: ClosedAtExit) -> None:
        """Do not close a resource at exit."""
        self._open.get().discard(resource)

    def close_first(self) -> None:
        """Close the links before all that is registered for the exit by now, such as the stores that they use."""
        # One after the other: the exit calls the last one that was registered first.
        atexit.unregister(self.close_all)
        atexit.register(self.close_all)

    def close_all(self) -> None:
        """Close what is open; at exit."""
        end = monotonic() + EXIT_SECONDS
        for resource in list(self._open.get()):
            try:
                resource.close_at_exit(max(0.0, end - monotonic()))
            except Exception:  # such as that of a log handler: the others are closed nevertheless
                logger.exception("%r was not closed in order", resource)


EXIT_REGISTRY = ExitRegistry()
EXIT_REGISTRY.close_first()
