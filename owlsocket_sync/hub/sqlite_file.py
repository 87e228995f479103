"""`HubFile`: the file of a hub, as one process uses it: it appends to the log, and wakes those who read it.

Threads: any. What several threads append at the same time is one transaction.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from ..clock import monotonic
from ..errors import StoreError
from ..sqlite.commits import GroupCommits
from ..sqlite.database import Action, Database
from ..sqlite.owners import FileOwner, is_dead
from ..sqlite.wake import remove_wake_file, wake
from .sqlite_tables import HUB_FILE, SHARE, last_number, owners, remove_node, tokens, trim

Result = TypeVar("Result")

LOOK_INTERVAL = 0.5
"""Seconds between two looks for processes that have died, by one process."""
CLOSE_PATIENCE = 1.0
"""Seconds to wait for others that write, at the end."""


class HubFile:
    """The file of a hub.

    Args:
        path: of the file.
        maxlen: entries that the log keeps for nodes which have not read them.
        busy_timeout: seconds to wait for other processes.
    """

    def __init__(self, path: str | os.PathLike[str], maxlen: int, busy_timeout: float) -> None:
        # A damaged file is set aside: nothing in it outlives the processes that use it.
        self._database = Database(HUB_FILE, path, "normal", busy_timeout, quarantine=True)
        self._commits = GroupCommits(self._database)
        self.path = self._database.path
        self.read = self._database.read
        self._maxlen = maxlen
        self._step = max(1, maxlen // 64)
        self._trimmed = self._grown = 0
        self._looked = 0.0
        self._owners: tuple[object, list[tuple[str, FileOwner]]] = (None, [])

    def version(self) -> tuple[int, int]:
        """Return a value that is another one after each change of the file; far cheaper than to read it."""
        version = self.read(lambda connection: connection.execute("PRAGMA data_version").fetchall()[0][0])
        return self._database.generation, version

    def commit(self, action: Callable[[sqlite3.Connection], Result], node: str | None = None) -> Result:
        """Run an action that appends to the log in a transaction, and wake all nodes, or this one."""

        def run(connection: sqlite3.Connection) -> tuple[Result, list[str]]:
            result = action(connection)
            self._trim(connection)
            return result, tokens(connection, node)

        result, woken = self._commits.commit(run)
        # After the commit: a reader that looks earlier finds nothing.
        wake(self.path, woken)
        return result

    def append(self, connection: sqlite3.Connection, kind: str, record: bytes, node: str | None = None) -> None:
        """Append an entry for one node, or for all; in a transaction, of which this process has one at a time."""
        connection.execute("INSERT INTO log(kind, node, record) VALUES(?, ?, ?)", (kind, node, record))
        self._grown += len(record)

    def _trim(self, connection: sqlite3.Connection) -> None:
        last = last_number(connection)
        # Less than before: it is another file.
        if not 0 <= last - self._trimmed < self._step or self._grown > SHARE:
            trim(connection, last, self._maxlen)
            self._trimmed, self._grown = last, 0

    def write(self, action: Action[object]) -> None:
        """Run an action in a transaction that concerns no other node."""
        self._database.write(action, durable=False)

    # -- the dead ----------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Remove the nodes whose processes have died, unless this process has looked just now."""
        if monotonic() >= self._looked + LOOK_INTERVAL:
            self.remove_dead("")

    def remove_dead(self, own_token: str) -> None:
        """Remove the nodes whose processes have died, with all that they have, unless another process has done so."""
        self._looked = monotonic()
        version = self.version()
        # Mostly nothing has changed, and a look costs a few system calls.
        if self._owners[0] != version:
            self._owners = version, self.read(owners)
        others = [each for each in self._owners[1] if each[1].token != own_token]
        dead = [(node, owner.token) for node, owner in others if is_dead(self.path, owner)]
        if dead:
            self.commit(lambda connection: [remove_node(connection, *each) for each in dead])
            # That of the lock is deleted by `is_dead`.
            for _, token in dead:
                remove_wake_file(self.path, token)

    # -- the end, and forks ------------------------------------------------------------------------------------------

    def close(self, last: Action[object] | None) -> None:
        """Run a last action, and close the file.

        Raises:
            StoreError: the action failed; the file is closed all the same.
        """
        if self._database.closed:
            return
        # A process that ends does not wait long for one that was stopped in the middle of a write.
        self._database.turn.timeout = min(self._database.turn.timeout, CLOSE_PATIENCE)
        try:
            if last is not None:
                self.commit(last)
        finally:
            self._database.closed = True
            # A thread that has the turn for longer fails by itself.
            with suppress(StoreError), self._database.turn.among_threads():
                self._database.close_in_turn()

    def after_fork(self) -> None:
        """Leave the connections and locks to the parent; in a forked child."""
        self._database.after_fork()
        self._commits.forget()
        self._looked = 0.0
        self._owners = None, []
