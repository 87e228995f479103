"""Forks of a process with an open store: no connection to the file is open while the process is copied.

SQLite keeps, for each file, what the connections of a process share: locks, and the memory of the WAL. A child would
take these for its own, and a file could be damaged. So the connections are closed before a fork, and are opened by the
next use, in each of the two processes. C code that forks runs no such hook: there the child leaves the connections of
its parent alone.

Threads: the one that forks.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import ExitStack
from typing import Protocol


class ClosedInForks(Protocol):
    """Something with connections that must not be open during a fork."""

    def enter_fork(self, stack: ExitStack) -> None:
        """Close the connections, and keep them closed until the stack is."""
        ...


_databases: weakref.WeakSet[ClosedInForks] = weakref.WeakSet()
_forking: dict[int, ExitStack] = {}
"""By the identifier of the thread that forks; the child's thread has the same."""


def closed_in_forks(database: ClosedInForks) -> None:
    """Close the connections of a database during forks, as long as it lives."""
    _databases.add(database)


def leave_fork() -> None:
    """Let the connections be opened again; in both processes."""
    stack = _forking.pop(threading.get_ident(), None)
    if stack is not None:
        stack.close()


def _enter_fork() -> None:
    stack = _forking[threading.get_ident()] = ExitStack()
    # In one order: two threads that fork at the same time would wait for each other.
    for database in sorted(_databases, key=id):
        database.enter_fork(stack)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_enter_fork, after_in_parent=leave_fork, after_in_child=leave_fork)
