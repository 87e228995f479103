"""Which tasks were found slow, by name: the poller leaves those to workers for a while.

A name is that of a method or an event, so one slow handler costs no other one its place. The memory is one for all
connections: what is slow for one client of a server is slow for the next.

Threads: any; entries are changed in one step each, and one that is lost is made again. A forked child keeps them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

from ..clock import monotonic

RARE = 64
"""A name is slow if the poller ran handlers fewer than so many times between two slow runs.

A slow run holds up reading for some milliseconds, as much as some hundred switches of threads; a thread that a busy
machine does not let run for a moment is taken for a slow run as well.
"""

PENALTY = 10.0
"""Seconds for which a name stays slow."""

MAX_NAMES = 1024


class SlowTasks:
    """The names that are slow.

    Attributes:
        runs: how often the poller has run handlers.
        slow_until: the moment (``time.monotonic``) until which a name is slow; empty as long as none is.
    """

    def __init__(self) -> None:
        self.runs = 0
        self.slow_until: dict[Hashable, float] = {}
        self._slow_at: dict[Hashable, int] = {}  # the number of the last slow run

    def note(self, name: Hashable) -> None:
        """Note a slow run."""
        before = self._slow_at.get(name)
        if len(self._slow_at) >= MAX_NAMES:
            self._slow_at.clear()
            self.slow_until = {name: until for name, until in self.slow_until.items() if until == math.inf}
        self._slow_at[name] = self.runs
        if before is not None and self.runs - before < RARE:
            self.slow_until[name] = max(self.slow_until.get(name, 0.0), monotonic() + PENALTY)

    def leave_to_workers(self, name: Hashable) -> None:
        """Leave each task with this name to a worker: one that waits for a disk, for example."""
        self.slow_until[name] = math.inf

    def is_slow(self, name: Hashable) -> bool:
        """Return whether to leave a task with this name to a worker."""
        until = self.slow_until.get(name)
        if until is None or monotonic() < until:
            return until is not None
        self.slow_until.pop(name, None)
        return False


SLOW_TASKS = SlowTasks()
