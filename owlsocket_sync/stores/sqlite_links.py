"""`SqliteLinks`: the part of a queue in a file that an outbox and an inbox need: numbers, and positions.

Threads: any.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TypeVar

from ..clock import wall_time
from ..errors import StoreFull
from ..sqlite.commits import GroupCommits
from ..sqlite.database import Action, Database
from .arrivals import Arrivals
from .base import START, Bounds, Draft, Entry, Position, check_position, new_stream
from .leads import FileLead, FileLeads
from .queue_row import QueueRow, as_kept, as_text, id_of_row
from .schema import SEQ_BITS

Result = TypeVar("Result")

_BOUNDS = """SELECT coalesce((SELECT min(place) FROM messages WHERE place > :base AND place < :end) - :base, next),
    next, deleted, deleted_id FROM queues WHERE number = :number"""
_IDS = "SELECT id FROM messages WHERE place = ?"
_LAST = "SELECT place, id FROM messages WHERE place > ? AND place <= ? ORDER BY place DESC LIMIT 1"
_DELETE_TO = "DELETE FROM messages WHERE place > ? AND place <= ? RETURNING length(payload), owner"
_COUNT_DELETED_TO = """UPDATE queues SET count = count - ?, bytes = bytes - ?, in_flight = in_flight - ?, deleted = ?,
    deleted_id = ? WHERE number = ?"""
_KEEP_IDS = """UPDATE messages SET id = :stream || ':' || (place - :base)
    WHERE place > :base AND place < :end AND id IS NULL"""
_PLACES = "SELECT place FROM messages WHERE place > ? AND place < ? ORDER BY place"
_MOVE = """UPDATE messages SET place = ?, until = CASE WHEN owner IS NULL THEN until ELSE 0 END, owner = NULL
    WHERE place = ?"""
_RENEW = """UPDATE queues SET stream = ?, next = next + ?, in_flight = 0, deleted = next - 1, deleted_id = ''
    WHERE number = ?"""
_POSITION = "SELECT offset, last_id FROM positions WHERE queue = ? AND stream = ?"
_MOVE_TO = "INSERT OR REPLACE INTO positions(queue, stream, offset, last_id, used) VALUES(?, ?, ?, ?, ?)"


class SqliteLinks:
    """A queue in a file, as a connection uses it; see `owlsocket_sync.stores.Outgoing` and `Incoming` there.

    Args:
        database: of the store.
        commits: its durable transactions.
        arrivals: of the store.
        leads: what this process sends of it.
        row: of the queue.
    """

    def __init__(
        self, database: Database, commits: GroupCommits, arrivals: Arrivals, leads: FileLeads, row: QueueRow
    ) -> None:
        self.name = row.name
        self._database = database
        self._commits = commits
        self._arrivals = arrivals
        self._leads = leads
        self._row = row

    @property
    def stream(self) -> str:
        """The id of the sequence of numbers in this queue."""
        found = self._database.read(self._row.find)
        return found[1] if found is not None else self._commits.commit(self._row.make)[1]

    def take_lead(self) -> FileLead | None:
        """Become the one that sends its messages, among all processes."""
        found = self._database.read(self._row.find)
        number, _ = found if found is not None else self._commits.commit(self._row.make)
        return self._leads.take(self._lead_path(number))

    def _lead_path(self, number: int) -> str:
        return f"{self._database.path}-lead-{number}"

    @property
    def place(self) -> tuple[str, str]:
        """The place by which the queue is told from all others."""
        return self._database.path, self.name

    def bounds(self) -> Bounds:
        """Return the numbers of its messages."""

        def bounds(connection: sqlite3.Connection) -> Bounds:
            found = self._row.find(connection)
            if found is None:
                return Bounds(1, 1, 0, "")
            base = found[0] << SEQ_BITS
            values = {"base": base, "end": base + (1 << SEQ_BITS), "number": found[0]}
            row = connection.execute(_BOUNDS, values).fetchall()[0]
            return Bounds(row[0], row[1], row[2], as_text(row[3]))

        return self._database.read(bounds)

    def id_of(self, seq: int) -> str | None:
        """Return the id of a message."""

        def id_of(connection: sqlite3.Connection) -> str | None:
            found = self._row.find(connection)
            if found is None or not seq:
                return None
            number, stream = found
            rows = connection.execute(_IDS, ((number << SEQ_BITS) + seq,)).fetchall()
            if rows:
                return id_of_row(rows[0][0], stream, seq)
            last = connection.execute("SELECT deleted, deleted_id FROM queues WHERE number = ?", (number,)).fetchall()
            return as_text(last[0][1]) if last[0][0] == seq else None

        return self._database.read(id_of)

    def delete_to(self, seq: int) -> int:
        """Delete the messages with numbers up to this one."""

        def delete_to(connection: sqlite3.Connection) -> int:
            number, stream = self._row.make(connection)
            base = number << SEQ_BITS
            last = connection.execute(_LAST, (base, base + seq)).fetchall()
            if not last:
                return 0
            place, id = last[0]
            deleted = connection.execute(_DELETE_TO, (base, base + seq)).fetchall()
            size, leased = sum(row[0] for row in deleted), sum(row[1] is not None for row in deleted)
            last_id = as_kept(id_of_row(id, stream, place - base))
            connection.execute(_COUNT_DELETED_TO, (len(deleted), size, leased, place - base, last_id, number))
            return len(deleted)

        return self._write(delete_to)

    def bury_at(self, seq: int, reason: str) -> bool:
        """Make a message a dead letter, claimed or not."""

        def bury(connection: sqlite3.Connection) -> bool:
            place = self._place(connection, seq)
            found = bool(connection.execute(_IDS, (place,)).fetchall())
            if found:
                self._row.bury(connection, place, 0, reason)
            return found

        return self._write(bury)

    def renew_stream(self) -> str:
        """Give the queue another stream id, and its messages new numbers."""

        def renew(connection: sqlite3.Connection) -> str:
            number, stream = self._row.make(connection)
            base, renewed = number << SEQ_BITS, new_stream()
            end = base + (1 << SEQ_BITS)
            connection.execute(_KEEP_IDS, {"stream": stream, "base": base, "end": end})
            places = [row[0] for row in connection.execute(_PLACES, (base, end)).fetchall()]
            following = (
                base + connection.execute("SELECT next FROM queues WHERE number = ?", (number,)).fetchall()[0][0]
            )
            connection.executemany(_MOVE, [(following + n, place) for n, place in enumerate(places)])
            connection.execute(_RENEW, (renewed, len(places), number))
            return renewed

        renewed = self._commits.commit(renew)
        self._arrivals.notify()
        return renewed

    # -- an inbox ----------------------------------------------------------------------------------------------------

    def position(self, stream: str) -> Position:
        """Return how far a stream was received."""

        def position(connection: sqlite3.Connection) -> Position:
            found = self._row.find(connection)
            return START if found is None else _position(connection, found[0], stream)

        return self._database.read(position)

    def receive(self, stream: str, entries: Sequence[Entry], after: Position | None = None) -> Position:
        """Store the messages that follow the position of a stream, and move it."""

        def receive(connection: sqlite3.Connection) -> Position:
            number, _ = self._row.make(connection)
            position = _position(connection, number, stream)
            check_position(position, after)
            following = _following(position.offset, entries)
            count = self._put_what_fits(connection, following)
            if count:
                last = following[count - 1]
                position = Position(last.seq, last.id)
                _move_to(connection, number, stream, position)
            return position

        position = self._commits.commit(receive)
        self._arrivals.notify()
        return position

    def _put_what_fits(self, connection: sqlite3.Connection, entries: list[Entry]) -> int:
        """Add the first of these messages that have room, and return how many; raise where none has."""
        drafts = [Draft(entry.id, entry.payload) for entry in entries]
        try:
            if drafts:
                self._row.put(connection, drafts)
        except StoreFull:
            for count, draft in enumerate(drafts):
                try:
                    self._row.put(connection, [draft])
                except StoreFull:
                    if not count:
                        raise
                    return count
        return len(drafts)

    def move_to(self, stream: str, position: Position) -> None:
        """Set how far a stream was received."""

        def move_to(connection: sqlite3.Connection) -> None:
            number, _ = self._row.make(connection)
            _move_to(connection, number, stream, position)

        self._commits.commit(move_to)

    # ----------------------------------------------------------------------------------------------------------------

    def _write(self, action: Action[Result]) -> Result:
        """Run an action in a transaction that a power cut may undo: what it did is done again then."""
        return self._database.write(action, durable=False)

    def _place(self, connection: sqlite3.Connection, seq: int) -> int:
        return (self._row.make(connection)[0] << SEQ_BITS) + seq


def _following(offset: int, entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries that follow an offset without a gap."""
    following = []
    for entry in entries:
        if entry.seq == offset + 1:
            following.append(entry)
            offset += 1
        elif entry.seq > offset:
            break
    return following


def _position(connection: sqlite3.Connection, number: int, stream: str) -> Position:
    rows = connection.execute(_POSITION, (number, as_kept(stream))).fetchall()
    return Position(rows[0][0], as_text(rows[0][1])) if rows else START


def _move_to(connection: sqlite3.Connection, number: int, stream: str, position: Position) -> None:
    row = (number, as_kept(stream), position.offset, as_kept(position.last_id), wall_time())
    connection.execute(_MOVE_TO, row)
