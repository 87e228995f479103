"""`SqliteQueue`: one queue of a store file.

Threads: any. A thread that waits for a message is woken by one that this process puts (`Arrivals`), and looks into the
file meanwhile, since other processes put messages as well.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from ..clock import wall_time
from ..deadline import Deadline
from ..sqlite.commits import GroupCommits
from ..sqlite.database import Database
from .arrivals import Arrivals
from .base import Draft, Entry, QueueStats, Stored, sent_by_a_connection
from .leads import FileLeads
from .leases import Leases, end_leases
from .queue_row import QueueRow, as_text, id_of_row
from .schema import SEQ_BITS
from .sqlite_links import SqliteLinks

_READY = "SELECT place FROM messages INDEXED BY due WHERE until = 0 AND place > ? AND place < ? ORDER BY place LIMIT 1"
_CLAIM = f"""UPDATE messages SET attempts = attempts + 1, until = ?, owner = ? WHERE place = ({_READY})
    RETURNING place, id, payload, attempts"""
_COUNT_CLAIMED = "UPDATE queues SET in_flight = in_flight + 1 WHERE number = ? RETURNING count - in_flight, stream"
_RELEASE = "UPDATE messages SET until = ?, owner = NULL WHERE place = ? AND attempts = ? AND owner IS NOT NULL"
_LEASED = "SELECT 1 FROM messages WHERE place = ? AND attempts = ? AND owner IS NOT NULL"
_EXTEND = "UPDATE messages SET until = max(until, ?) WHERE place = ? AND attempts = ? AND owner IS NOT NULL"
_AFTER = """SELECT place, id, payload, attempts FROM messages
    WHERE place > :base + :seq AND place < :end ORDER BY place LIMIT :count"""
_OLDEST = "SELECT added FROM messages WHERE place > ? AND place < ? ORDER BY place LIMIT 1"
_STATS = "SELECT count - in_flight, bytes, in_flight, dead FROM queues WHERE number = ?"
_DEAD = """SELECT place, id, payload, attempts, reason FROM dead
    WHERE place > :base AND place < :end ORDER BY died, place"""
_TAKE_DEAD = "DELETE FROM dead WHERE place = ? RETURNING id, payload"
_COUNT_REVIVED = "UPDATE queues SET dead = dead - 1, bytes = bytes - ? WHERE number = ?"
_PURGE = "DELETE FROM messages WHERE place > ? AND place < ? AND owner IS NULL RETURNING length(payload)"
_PURGE_DEAD = "DELETE FROM dead WHERE place > ? AND place < ? RETURNING length(payload)"


class SqliteQueue(SqliteLinks):
    """A queue in a file; see `owlsocket_sync.stores.StoredQueue`.

    Args:
        database: of the store.
        commits: its durable transactions.
        leases: what is leased of it.
        arrivals: of the store.
        leads: what this process sends of the store.
        row: of the queue.

    Attributes:
        keeper: the store, which lives as long as a queue of it: so the exit of the process closes it.
    """

    def __init__(
        self,
        database: Database,
        commits: GroupCommits,
        leases: Leases,
        arrivals: Arrivals,
        leads: FileLeads,
        row: QueueRow,
    ) -> None:
        super().__init__(database, commits, arrivals, leads, row)
        self._leases = leases
        self.keeper: object = None
        self._claimed = (0, 0)
        """The generation of the file from which a message was claimed, and the place before the first of this queue.

        So the queue has a row there, which is never removed: neither an answer nor a finalizer has to look it up.
        """

    # -- putting -----------------------------------------------------------------------------------------------------

    def append(self, drafts: Sequence[Draft], delay: float = 0.0) -> list[Stored]:
        """Store messages, all or none."""
        stored = self._commits.commit(lambda connection: self._row.put(connection, drafts, delay))
        self._arrivals.notify()
        return stored

    # -- taking ------------------------------------------------------------------------------------------------------

    def claim(
        self, visibility_timeout: float, max_attempts: int | None, deadline: Deadline, done: int | None = None
    ) -> Entry | None:
        """Wait for the first message that is free, and lease it."""
        while True:
            entry = self._claim_now(visibility_timeout, max_attempts, done)
            done = None
            if entry is not None or deadline.expired():
                return entry
            self._arrivals.watch(lambda: self._database.read(self._has_work), deadline)

    def _claim_now(self, visibility_timeout: float, max_attempts: int | None, done: int | None) -> Entry | None:
        claimed: list[Entry] = []
        is_sent = False
        committed: list[Any] = []
        registered = (0, 0)

        def claim(connection: sqlite3.Connection) -> Entry | None:
            nonlocal registered, is_sent
            claimed.clear()
            if done is not None:
                self._row.remove(connection, self._place(connection, done))
            # Not before: what a worker has finished is removed, whether or not a connection sends the rest.
            is_sent = self._is_sent(connection)
            if is_sent:
                return None
            self._leases.sweep(connection)
            registered = (self._database.generation, self._leases.own_number(connection))
            entry = self._claim_in(connection, wall_time() + visibility_timeout, registered[1], max_attempts)
            claimed.extend(() if entry is None else (entry,))
            return entry

        try:
            entry = self._database.write(claim, durable=False, committed=committed)
        except BaseException:
            # An interrupt right behind the commit: the delivery is lost, and so its lease must end.
            if committed and claimed:
                self.drop(claimed[0])
            raise
        if is_sent:
            raise sent_by_a_connection(self.name)
        self._leases.register(*registered)
        return entry

    def _is_sent(self, connection: sqlite3.Connection) -> bool:
        return self._leads.is_taken(self._lead_path(self._place(connection, 0) >> SEQ_BITS))

    def _place(self, connection: sqlite3.Connection, seq: int) -> int:
        generation, base = self._claimed
        return base + seq if generation == self._database.generation else super()._place(connection, seq)

    def _claim_in(
        self, connection: sqlite3.Connection, until: float, owner: int, max_attempts: int | None
    ) -> Entry | None:
        base = self._place(connection, 0)
        while True:
            rows = connection.execute(_CLAIM, (until, owner, base, base + (1 << SEQ_BITS))).fetchall()
            if not rows:
                return None
            place, id, payload, attempts = rows[0]
            left, stream = connection.execute(_COUNT_CLAIMED, (base >> SEQ_BITS,)).fetchall()[0]
            self._claimed = (self._database.generation, base)
            if max_attempts is None or attempts <= max_attempts:
                return Entry(place - base, id_of_row(id, stream, place - base), payload, attempts, left)
            self._row.bury(connection, place, attempts - 1, f"no answer after {attempts - 1} attempts")

    def _has_work(self, connection: sqlite3.Connection) -> bool:
        found = self._row.find(connection)
        if found is None:
            return False
        base = found[0] << SEQ_BITS
        ready = connection.execute(_READY, (base, base + (1 << SEQ_BITS))).fetchall()
        return bool(ready) or self._leases.is_due(connection)

    # -- answers -----------------------------------------------------------------------------------------------------

    def ack(self, seq: int) -> None:
        """Remove a message."""
        self._write(lambda connection: self._row.remove(connection, self._place(connection, seq)))

    def release(self, entry: Entry, delay: float) -> bool:
        """Give a claimed message back."""

        def release(connection: sqlite3.Connection) -> bool:
            place = self._place(connection, entry.seq)
            until = wall_time() + delay if delay > 0 else 0
            held = connection.execute(_RELEASE, (until, place, entry.attempts)).rowcount > 0
            if held:
                end_leases(connection, [place])
            return held

        held = self._write(release)
        self._arrivals.notify()
        return held

    def bury(self, entry: Entry, reason: str) -> bool:
        """Make a claimed message a dead letter."""

        def bury(connection: sqlite3.Connection) -> bool:
            place = self._place(connection, entry.seq)
            held = bool(connection.execute(_LEASED, (place, entry.attempts)).fetchall())
            if held:
                self._row.bury(connection, place, entry.attempts, reason)
            return held

        return self._write(bury)

    def extend(self, entry: Entry, seconds: float) -> bool:
        """Let a lease end after so many seconds, not earlier."""

        def extend(connection: sqlite3.Connection) -> bool:
            row = (wall_time() + seconds, self._place(connection, entry.seq), entry.attempts)
            return connection.execute(_EXTEND, row).rowcount > 0

        return self._write(extend)

    def drop(self, entry: Entry) -> None:
        """Let a lease end by the clock."""
        self._leases.drop(self._claimed[1] + entry.seq, entry.attempts)

    # -- looking, and putting in order -------------------------------------------------------------------------------

    def read_after(self, seq: int, count: int) -> list[Entry]:
        """Return the first messages with greater numbers."""
        return self._database.read(lambda connection: self._row.entries(connection, _AFTER, seq=seq, count=count))

    def stats(self) -> QueueStats:
        """Return the state of the queue."""

        def stats(connection: sqlite3.Connection) -> QueueStats:
            found = self._row.find(connection)
            if found is None:
                return QueueStats(0, 0, 0.0, 0, 0)
            base = found[0] << SEQ_BITS
            depth, size, in_flight, dead = connection.execute(_STATS, (found[0],)).fetchall()[0]
            oldest = connection.execute(_OLDEST, (base, base + (1 << SEQ_BITS))).fetchall()
            age = max(0.0, wall_time() - oldest[0][0]) if oldest else 0.0
            return QueueStats(depth, size, age, in_flight, dead)

        self._free_what_has_ended()
        return self._database.read(stats)

    def _free_what_has_ended(self) -> None:
        """Free the messages of processes that have ended, as the next `claim` would: they are not in flight."""
        # A transaction only where there is something to free: figures are read often.
        if self._database.read(self._leases.is_due):
            self._database.write(self._leases.sweep_now, durable=False)

    def dead(self) -> list[Entry]:
        """Return the dead letters."""
        return self._database.read(lambda connection: self._row.entries(connection, _DEAD))

    def requeue(self, seq: int) -> int | None:
        """Append a dead letter as a message without attempts."""

        def requeue(connection: sqlite3.Connection) -> int | None:
            place = self._place(connection, seq)
            rows = connection.execute(_TAKE_DEAD, (place,)).fetchall()
            if not rows:
                return None
            id, payload = rows[0]
            # Its room first: it is the room that the message takes again.
            connection.execute(_COUNT_REVIVED, (len(payload), place >> SEQ_BITS))
            return self._row.put(connection, [Draft(as_text(id), payload)])[0].seq

        number = self._write(requeue)
        self._arrivals.notify()
        return number

    def purge(self, dead: bool) -> int:
        """Delete the messages that wait, or the dead letters."""

        def purge(connection: sqlite3.Connection) -> int:
            if not dead and self._is_sent(connection):
                raise sent_by_a_connection(self.name)
            self._leases.sweep_now(connection)
            number = self._row.make(connection)[0]
            base = number << SEQ_BITS
            sizes = connection.execute(_PURGE_DEAD if dead else _PURGE, (base, base + (1 << SEQ_BITS))).fetchall()
            counted = "dead" if dead else "count"
            connection.execute(
                f"UPDATE queues SET {counted} = {counted} - ?, bytes = bytes - ? WHERE number = ?",
                (len(sizes), sum(row[0] for row in sizes), number),
            )
            return len(sizes)

        return self._write(purge)
