"""`SqliteStore`: queues in one file of a machine, for all its processes, without a server beside them.

Threads: any; see the modules that it is made of. It starts none.
"""

from __future__ import annotations

import atexit
import os
import weakref
from contextlib import suppress
from types import TracebackType

from ..deadline import check_timeout
from ..errors import StoreError
from ..fork import ensure_process, register
from ..options import check_count, check_size
from ..sqlite.commits import GroupCommits
from ..sqlite.database import Database
from .arrivals import Arrivals
from .base import MAX_BYTES, MAX_MESSAGES, check_name
from .leads import FileLeads
from .leases import Leases
from .queue import Queue
from .queue_row import QueueRow
from .schema import STORE_FILE, forget_positions
from .sqlite_queue import SqliteQueue

_stores: weakref.WeakSet[SqliteStore] = weakref.WeakSet()
EXIT_SECONDS = 1.0
_USED = "SELECT name FROM queues WHERE next > 1 OR number IN (SELECT queue FROM positions)"


class SqliteStore:
    """Durable queues in an SQLite file, shared by the threads and the processes of one machine.

    A forked child uses the store with connections of its own. The file has to be on a local disk.

    Args:
        path: of the file, which is made where there is none. Beside it are files with the same beginning, which belong
            to it: ``-wal`` and ``-shm`` of SQLite, ``-lock`` and ``-next`` for the turns of the processes, and one
            ``-owner-…`` for each process that takes messages, and one ``-lead-…`` for each queue that is an outbox.
        synchronous: ``"full"``: what `Queue.put` has returned for survives a power cut. ``"normal"``: it survives the
            end of the process, however that comes, but what was put last may be lost at a power cut; faster.
        max_messages: messages in one queue, dead letters included; one more raises `StoreFull`.
        max_bytes: their size as JSON.
        busy_timeout: seconds to wait for other processes and threads that write, before `StoreError` is raised.
        on_corrupt: for a damaged file: ``"raise"`` raises `StoreCorrupt`; ``"quarantine"`` renames it, logs an error,
            and goes on with an empty store.

    Raises:
        StoreError: the file is on a network file system, or is a folder, or its folder is not there.
        ValueError: an option cannot be used, or the path names no file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: str = "full",
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        busy_timeout: float = 30.0,
        on_corrupt: str = "raise",
    ) -> None:
        if synchronous not in ("full", "normal"):
            raise ValueError(f"synchronous must be 'full' or 'normal', not {synchronous!r}")
        if on_corrupt not in ("raise", "quarantine"):
            raise ValueError(f"on_corrupt must be 'raise' or 'quarantine', not {on_corrupt!r}")
        check_count("max_messages", max_messages)
        check_size("max_bytes", max_bytes)
        self._limits = (max_messages, max_bytes)
        timeout = check_timeout(busy_timeout, "busy_timeout")
        self._database = Database(STORE_FILE, path, synchronous, timeout, on_corrupt == "quarantine", forget_positions)
        self.path = self._database.path
        self._commits = GroupCommits(self._database)
        self._leases = Leases(self._database)
        self._arrivals = Arrivals()
        self._leads = FileLeads()
        register(self)
        _stores.add(self)

    def queue(self, name: str) -> Queue:
        """Return the queue of this name, which is made with its first message."""
        self._database.check_open()
        row = QueueRow(check_name(name), *self._limits)
        stored = SqliteQueue(self._database, self._commits, self._leases, self._arrivals, self._leads, row)
        # At the exit, a store is closed that is alive; a program may keep the queue only.
        stored.keeper = self
        return Queue(stored)

    def queues(self) -> list[str]:
        """Return the names of the queues that have, or had, messages."""
        return self._database.read(lambda connection: sorted(row[0] for row in connection.execute(_USED).fetchall()))

    def close(self, timeout: float | None = None) -> None:
        """Give back what this process has in flight, and close the file; idempotent.

        Args:
            timeout: seconds to wait for others that write; by default ``busy_timeout``.
        """
        ensure_process()
        if self._database.closed:
            return
        if timeout is not None:
            self._database.turn.timeout = check_timeout(timeout)
        self._leads.close()
        with self._database.turn.among_threads():
            try:
                self._leases.give_back()
            finally:
                self._database.close_in_turn()
        self._arrivals.notify()

    def after_fork(self) -> None:
        """Leave files, locks and leases to the parent; in a forked child."""
        self._database.after_fork()
        self._leases.after_fork()
        self._commits.forget()
        self._leads.after_fork()
        self._arrivals.begin()

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"


def _close_stores() -> None:
    """Close the stores that are still open, at the exit of the interpreter: what they have in flight is free then."""
    for store in list(_stores):
        # The disk may be full, or the file gone: then the end of the process frees it.
        with suppress(StoreError):
            store.close(EXIT_SECONDS)


atexit.register(_close_stores)
