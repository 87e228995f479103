"""`Leases`: which messages of a store file are leased to which process, and when they are free again.

Threads: any that has the turn to write; `Leases.is_due` on any other one. `Leases.drop` takes no lock.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable

from ..clock import monotonic, wall_time
from ..sqlite.database import Database
from ..sqlite.owners import FileOwner, OwnFile, is_dead, read_dropped
from .schema import SEQ_BITS, STORE_FILE

RENEWAL = 30.0
"""Seconds for which the lease of a process that lives is renewed, each time."""
SWEEP_INTERVAL = 0.05
"""Seconds between two looks for messages that are due, by one process."""
OWNERS_INTERVAL = 0.25
"""Seconds between two looks for processes that have died, by one process."""


class Leases:
    """The leases of one store file, as one process sees them.

    Args:
        database: of the store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._path = database.path
        self._begin()

    def _begin(self) -> None:
        self._file: OwnFile | None = None
        self._registered = (0, 0)
        self._swept = self._looked = 0.0

    def own_number(self, connection: sqlite3.Connection) -> int:
        """Return the number of this process in the table of owners; a new one, until `register` is called."""
        if self._file is None:
            self._file = OwnFile(self._path, STORE_FILE.mode)
        generation, number = self._registered
        if generation == self._database.generation:
            return number
        row = (self._file.token, self._file.pid, self._file.started)
        return connection.execute("INSERT INTO owners(token, pid, started) VALUES(?, ?, ?)", row).lastrowid or 0

    def register(self, generation: int, number: int) -> None:
        """Keep the number of a transaction that was committed, for this generation of the file."""
        self._registered = (generation, number)

    def drop(self, place: int, attempts: int) -> None:
        """Let a lease of this process end by the clock."""
        file = self._file
        if file is not None:
            file.note_dropped(place, attempts)

    def sweep(self, connection: sqlite3.Connection) -> None:
        """Free what is due, and what processes have left that died; in a transaction, and not at each one."""
        now = monotonic()
        if now >= self._swept + SWEEP_INTERVAL:
            self._swept = now
            self._free_what_is_due(connection)
        if now >= self._looked + OWNERS_INTERVAL:
            self._looked = now
            self._free_what_the_dead_left(connection)

    def sweep_now(self, connection: sqlite3.Connection) -> None:
        """Do the same, however short ago the last time was."""
        self._swept = self._looked = 0.0
        self.sweep(connection)

    def is_due(self, connection: sqlite3.Connection) -> bool:
        """Return whether `sweep` would free something; without a transaction."""
        now = monotonic()
        if connection.execute(
            "SELECT 1 FROM messages INDEXED BY due WHERE until > 0 AND until <= ? LIMIT 1", (wall_time(),)
        ).fetchall():
            self._swept = 0.0
            return True
        if now < self._looked + OWNERS_INTERVAL:
            return False
        self._looked = now
        if any(is_dead(self._path, owner) for owner in self._others(connection)):
            self._looked = 0.0
            return True
        return False

    def _free_what_is_due(self, connection: sqlite3.Connection) -> None:
        now = wall_time()
        held = connection.execute(
            "SELECT place, attempts, owner FROM messages INDEXED BY due WHERE until > 0 AND until <= ?", (now,)
        ).fetchall()
        if not held:
            return
        owners = {owner.number: owner for owner in _owners(connection)}
        dropped = {
            number: read_dropped(self._path, owners[number]) for number in {row[2] for row in held} if number in owners
        }
        # Their process lives, as far as is known, and works on them.
        renewed = {row[0] for row in held if row[2] in owners and (row[0], row[1]) not in dropped[row[2]]}
        connection.executemany(
            "UPDATE messages SET until = ? WHERE place = ?", [(now + RENEWAL, place) for place in renewed]
        )
        freed = [row for row in held if row[0] not in renewed]
        connection.executemany(
            "UPDATE messages SET until = 0, owner = NULL WHERE place = ?", [(row[0],) for row in freed]
        )
        end_leases(connection, (row[0] for row in freed if row[2] is not None))

    def _free_what_the_dead_left(self, connection: sqlite3.Connection) -> None:
        for owner in self._others(connection):
            if is_dead(self._path, owner):
                free_owner(connection, owner.number)

    def _others(self, connection: sqlite3.Connection) -> list[FileOwner]:
        own = self._file.token if self._file is not None else ""
        return [owner for owner in _owners(connection) if owner.token != own]

    def give_back(self) -> None:
        """Free what this process has leased; at the end of its store."""
        file, self._file = self._file, None
        if file is not None:
            try:
                generation, number = self._registered
                if generation == self._database.generation:
                    self._database.write_in_turn(lambda each: free_owner(each, number), durable=False)
            finally:
                file.remove()

    def after_fork(self) -> None:
        """Leave the leases of the parent to it; in a forked child."""
        if self._file is not None:
            self._file.leave()
        self._begin()


def end_leases(connection: sqlite3.Connection, places: Iterable[int]) -> None:
    """Count the leases that have ended out of their queues."""
    for number, count in Counter(place >> SEQ_BITS for place in places).items():
        connection.execute("UPDATE queues SET in_flight = in_flight - ? WHERE number = ?", (count, number))


def free_owner(connection: sqlite3.Connection, number: int) -> None:
    """Free all that an owner has leased, and forget it."""
    freed = connection.execute(
        "UPDATE messages SET until = 0, owner = NULL WHERE until > 0 AND owner = ? RETURNING place", (number,)
    ).fetchall()
    end_leases(connection, (row[0] for row in freed))
    connection.execute("DELETE FROM owners WHERE number = ?", (number,))


def _owners(connection: sqlite3.Connection) -> list[FileOwner]:
    return [FileOwner(*row) for row in connection.execute("SELECT number, token, pid, started FROM owners").fetchall()]
