"""On which cores processes run: where the system puts them, or servers on one core and contestants on the others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


class Places:
    """Where processes are started; a child of this process stays where it was started."""

    pinned = False

    @contextmanager
    def for_server(self) -> Iterator[None]:
        """Start a server here."""
        with self._on(sorted(os.sched_getaffinity(0))[-1:]):
            yield

    @contextmanager
    def for_contestant(self) -> Iterator[None]:
        """Start a contestant here."""
        cores = sorted(os.sched_getaffinity(0))
        with self._on(cores[:-1] or cores):
            yield

    @contextmanager
    def _on(self, cores: list[int]) -> Iterator[None]:
        if not self.pinned:
            yield
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


PLACES = Places()
