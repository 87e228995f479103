"""CPU affinity of the processes: which core runs the server and the contestant decides more than the library does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

ONE_CORE, TWO_CORES, FREE = "one core", "two cores", "any core"


class CpuAffinity:
    """Sets the affinity of the processes that are started.

    Attributes:
        regime: `ONE_CORE`: servers and contestants share a core; `TWO_CORES`: servers have one core, and contestants
            the others; `FREE`: the system places them.
    """

    regime = FREE

    def server_cores(self) -> list[int] | None:
        """Return the cores of servers, ``None`` if the system places them."""
        return None if self.regime == FREE else sorted(os.sched_getaffinity(0))[-1:]

    def contestant_cores(self) -> list[int] | None:
        """Return the cores of contestants, ``None`` if the system places them."""
        if self.regime != TWO_CORES:
            return self.server_cores()
        cores = sorted(os.sched_getaffinity(0))
        return cores[:-1] or cores

    @contextmanager
    def for_server(self) -> Iterator[None]:
        """Pin a server that is started inside of the block."""
        with _on(self.server_cores()):
            yield

    @contextmanager
    def for_contestant(self) -> Iterator[None]:
        """Pin a contestant that is started inside of the block."""
        with _on(self.contestant_cores()):
            yield


@contextmanager
def _on(cores: list[int] | None) -> Iterator[None]:
    if cores is None:
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
