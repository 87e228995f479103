"""Forks of a process with an open store: no connection to the file is open while the process is copied.

SQLite keeps, for each file, what the connections of a process share: locks, and the memory of the WAL. A child would
take these for its own, and a file could be damaged. So the connections are closed before a fork, and are opened by the
next use, in each of the two processes. C code that forks runs no such hook: there the child leaves the connections of
its parent alone, and takes the locks for real that SQLite believes it to have (`hold_locks`).

Threads: the one that forks.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import ExitStack
from typing import Protocol

try:
    from fcntl import LOCK_NB, LOCK_SH, lockf
except ImportError:  # Windows, where nothing forks
    pass

# Where SQLite locks a file that is open, and its `-shm` (os_unix.c): SHARED_FIRST, SHARED_SIZE and UNIX_SHM_DMS.
_OPEN_LOCKS = (("", 0x40000002, 510), ("-shm", 128, 1))
FileIds = tuple[tuple[int, int] | None, ...]


def file_ids(path: str) -> FileIds:
    """Return what tells a store file and its ``-shm`` from others of the same names, ``None`` for a missing one."""
    return tuple(file_id(path + suffix) for suffix, *_ in _OPEN_LOCKS)


def file_id(path: str) -> tuple[int, int] | None:
    """Return what tells a file from another one of the same name; ``None`` where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def hold_locks(path: str, ids: FileIds) -> bool:
    """Take the locks that inherited connections seem to have, for the rest of this process; return whether it has them.

    SQLite would not take them for the connections that this process opens, as it shares those of one file. Another
    process that closed the file would find it unused, and remove the WAL.

    Args:
        path: of the store file.
        ids: as of `file_ids`, when the connections were opened.
    """
    try:
        for suffix, start, length in _OPEN_LOCKS:
            # Never closed: that would end all locks that this process has of the file.
            lockf(os.open(path + suffix, os.O_RDWR | os.O_CLOEXEC), LOCK_SH | LOCK_NB, length, start)
    except OSError:
        return False
    return file_ids(path) == ids


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
