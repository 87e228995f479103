"""`QueueRow`: a queue in the tables of a store file, and the statements that put messages there and remove them.

Threads: any that holds the connection which a method gets.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ..clock import wall_time
from ..errors import StoreError
from ..handshake_fields import is_encodable
from .base import Draft, Entry, Stored, default_id, new_stream, no_room
from .schema import MAX_QUEUES, SEQ_BITS

_FIND = "SELECT number, stream FROM queues WHERE name = ?"
_MAKE = "INSERT INTO queues(name, stream) VALUES(?, ?)"
_MAKE_ROOM = """UPDATE queues SET next = next + :messages, count = count + :messages, bytes = bytes + :bytes
    WHERE name = :name AND count + dead + :messages <= :max_messages AND bytes + :bytes <= :max_bytes
    RETURNING next, number, stream"""
_HELD = "SELECT count + dead, bytes FROM queues WHERE number = ?"
_PUT = "INSERT INTO messages(place, id, payload, added, until) VALUES(?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM messages WHERE place = ? RETURNING length(payload), owner"
_COUNT_DELETED = "UPDATE queues SET count = count - 1, bytes = bytes - ?, in_flight = in_flight - ? WHERE number = ?"
_BURY = """INSERT INTO dead(place, id, payload, attempts, reason, died)
    SELECT place, coalesce(id, :stream || ':' || (place - :base)), payload, :attempts, :reason, :died FROM messages
    WHERE place = :place"""
_COUNT_BURIED = "UPDATE queues SET dead = dead + 1, bytes = bytes + ? WHERE number = ?"


class QueueRow:
    """The row of one queue.

    Args:
        name: of the queue.
        max_messages: messages that it may hold, dead letters included.
        max_bytes: their size.
    """

    def __init__(self, name: str, max_messages: int, max_bytes: int) -> None:
        self.name = name
        self._max_messages, self._max_bytes = max_messages, max_bytes

    def find(self, connection: sqlite3.Connection) -> tuple[int, str] | None:
        """Return the number of the queue and its stream id; ``None`` where it has no row yet."""
        found = connection.execute(_FIND, (self.name,)).fetchall()
        return found[0] if found else None

    def make(self, connection: sqlite3.Connection) -> tuple[int, str]:
        """Return the same for a queue that has a row from now on; in a transaction."""
        found = self.find(connection)
        if found is not None:
            return found
        stream = new_stream()
        number = connection.execute(_MAKE, (self.name, stream)).lastrowid or 0
        if number > MAX_QUEUES:
            raise StoreError(f"a store file holds {MAX_QUEUES} queues, and one more is asked for: {self.name!r}")
        return number, stream

    def put(self, connection: sqlite3.Connection, drafts: Sequence[Draft], delay: float = 0.0) -> list[Stored]:
        """Add messages, all or none.

        Raises:
            StoreFull: a limit is reached; nothing is changed.
        """
        room = {
            "name": self.name,
            "messages": len(drafts),
            "bytes": sum(len(draft.payload) for draft in drafts),
            "max_messages": self._max_messages,
            "max_bytes": self._max_bytes,
        }
        rows = connection.execute(_MAKE_ROOM, room).fetchall()
        if not rows:  # a full queue, or a new one
            number, _ = self.make(connection)
            rows = connection.execute(_MAKE_ROOM, room).fetchall()
            if not rows:
                held = connection.execute(_HELD, (number,)).fetchall()[0]
                raise no_room(self.name, held, (self._max_messages, self._max_bytes))
        following, number, stream = rows[0]
        first, now = following - len(drafts), wall_time()
        until = now + delay if delay > 0 else 0
        place = (number << SEQ_BITS) + first
        connection.executemany(
            _PUT, [(place + n, as_kept(draft.id), draft.payload, now, until) for n, draft in enumerate(drafts)]
        )
        return [Stored(seq, id_of_row(draft.id, stream, seq)) for seq, draft in enumerate(drafts, first)]

    def remove(self, connection: sqlite3.Connection, place: int) -> int | None:
        """Remove a message, and return the size of its payload; ``None`` where it is not there."""
        rows = connection.execute(_DELETE, (place,)).fetchall()
        if not rows:
            return None
        size, owner = rows[0]
        connection.execute(_COUNT_DELETED, (size, owner is not None, place >> SEQ_BITS))
        return int(size)

    def bury(self, connection: sqlite3.Connection, place: int, attempts: int, reason: str) -> None:
        """Make a message a dead letter."""
        number = place >> SEQ_BITS
        values = {
            "stream": self.make(connection)[1],
            "base": number << SEQ_BITS,
            "attempts": attempts,
            "reason": as_kept(reason),
            "died": wall_time(),
            "place": place,
        }
        connection.execute(_BURY, values)
        size = self.remove(connection, place)
        connection.execute(_COUNT_BURIED, (size, number))

    def entries(self, connection: sqlite3.Connection, sql: str, **values: object) -> list[Entry]:
        """Return the rows of a query as entries: place, id, payload, attempts, and a reason where there is one.

        Args:
            connection: any.
            sql: the query, for places above ``:base`` and below ``:end``.
            **values: its other parameters.
        """
        found = self.find(connection)
        if found is None:
            return []
        number, stream = found
        base = number << SEQ_BITS
        rows = connection.execute(sql, {"base": base, "end": base + (1 << SEQ_BITS), **values}).fetchall()
        return [
            Entry(row[0] - base, id_of_row(row[1], stream, row[0] - base), row[2], row[3], 0, *map(as_text, row[4:]))
            for row in rows
        ]


def id_of_row(id: str | bytes | None, stream: str, seq: int) -> str:
    """Return the id of a message in the file, where it is not repeated if it was put without one."""
    return default_id(stream, seq) if id is None else as_text(id)


def as_kept(text: str | None) -> str | bytes | None:
    """Return a text as it is kept in the file: as bytes where it has half a character, which JSON lets pass."""
    if text is None or text.isascii() or is_encodable(text, "utf-8"):
        return text
    return text.encode("utf-8", "surrogatepass")


def as_text(kept: str | bytes) -> str:
    """Return a text that is in the file."""
    return kept.decode("utf-8", "surrogatepass") if isinstance(kept, bytes) else kept
