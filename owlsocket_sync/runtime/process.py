"""What belongs to one process, and is made anew at its first use in a forked child.

Threads: ``_arrival_lock`` is held while that happens, for a few instructions; it is a leaf, and new after a fork. This
does not happen at the fork, since what locks are may change after it: gunicorn forks a worker of gevent first, and
patches then.
"""

from __future__ import annotations

import os
import threading
import weakref


class PerProcess:
    """Something of which each process has locks, and more, of its own; whoever uses these calls `_arrive` before."""

    def __init__(self) -> None:
        self._leave_parent()
        _per_process.add(self)

    def _leave_parent(self) -> None:
        """Right after the fork, where there is one thread."""
        self._arrival_lock = threading.Lock()
        self._arrived = False

    def _arrive(self) -> None:
        """Before the first use in this process; from any thread."""
        if self._arrived:
            return
        with self._arrival_lock:
            if not self._arrived:
                self._begin_here()
                self._arrived = True

    def _begin_here(self) -> None:
        """Make what belongs to one process."""


_per_process: weakref.WeakSet[PerProcess] = weakref.WeakSet()


def _leave_parents() -> None:
    for one in list(_per_process):
        one._leave_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_parents)
