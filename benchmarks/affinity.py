"""CPU affinity of the processes: any core, or servers on one core and contestants on the others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


class CpuAffinity:
    """Sets the affinity of the processes that are started.

    Attributes:
        pinned: whether processes are pinned; otherwise the system places them.
    """

    pinned = False

    def server_cores(self) -> list[int] | None:
        """Return the cores of servers, ``None`` if the system places them."""
        return sorted(os.sched_getaffinity(0))[-1:] if self.pinned else None

    @contextmanager
    def for_server(self) -> Iterator[None]:
        """Pin a server that is started inside of the block."""
        with self._on(sorted(os.sched_getaffinity(0))[-1:]):
            yield

    @contextmanager
    def for_contestant(self) -> Iterator[None]:
        """Pin a contestant that is started inside of the block."""
        cores = sorted(os.sched_getaffinity(0))
        with self._on(cores[:-1] or cores):
            yield

    @contextmanager
    def _on(self, cores: list[int]) -> Iterator[None]:
        if not self.pinned:
            yield
            return
        # A child inherits the affinity of its parent at the fork, so it is that of this process which is changed.
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


AFFINITY = CpuAffinity()
