"""The tables of the file of a hub, and the steps on them: each within a transaction of its caller.

The log has the events, the changes of presence, the messages to one node, and the ends of nodes, in one order. It is
cut at its beginning only, so a node whose next entry is not there any more has missed the entries before the first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..sqlite.owners import FileOwner
from ..sqlite.tables import FileKind
from .values import JOIN, LEAVE, UPDATE

TABLES = """
CREATE TABLE log(
    number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, node TEXT, room BLOB, id BLOB, record BLOB);
CREATE TABLE nodes(
    number INTEGER PRIMARY KEY AUTOINCREMENT, node TEXT NOT NULL UNIQUE, token TEXT NOT NULL, pid INTEGER NOT NULL,
    started TEXT NOT NULL, read INTEGER NOT NULL);
CREATE TABLE members(
    number INTEGER PRIMARY KEY AUTOINCREMENT, room BLOB NOT NULL, id BLOB NOT NULL, node TEXT NOT NULL,
    record BLOB NOT NULL, UNIQUE(room, id));
CREATE INDEX members_of ON members(node);
CREATE TABLE servers(
    number INTEGER PRIMARY KEY AUTOINCREMENT, name BLOB NOT NULL UNIQUE, node TEXT NOT NULL);
CREATE TABLE hub(epoch TEXT NOT NULL);
INSERT INTO hub VALUES(hex(randomblob(8)))
"""
HUB_FILE = FileKind(
    "hub", "SqliteHub", TABLES, application=0x6F776C68, version=1, mode=0o600, opener="open_hub", is_lasting=False
)

EVENT, MESSAGE, GONE = "event", "message", "gone"
"""Kinds of entries, beside the changes of presence."""
MAX_ENTRIES = 500
MAX_READ = 8 * 1024 * 1024
"""Entries, and bytes, of one read."""
MAX_LOG = 64 * 1024 * 1024
"""Bytes of all entries of the log."""
SHARE = 1024 * 1024
"""Bytes that one process adds before it looks at `MAX_LOG`."""

# As bytes: a value of another type, or a text that is none, must not keep a node from the entries behind it.
_ROWS = """SELECT number, CAST(kind AS BLOB), CAST(room AS BLOB), CAST(id AS BLOB), CAST(record AS BLOB)
    FROM log WHERE number > ? AND (node IS NULL OR node = ?)
    ORDER BY number LIMIT ?"""
_TOO_LARGE = """SELECT max(number) FROM
    (SELECT number, sum(length(record)) OVER (ORDER BY number DESC) AS size FROM log) WHERE size > ? AND number < ?"""
_LEAVES = f"""INSERT INTO log(kind, room, id, record)
    SELECT '{LEAVE}', room, id, record FROM members WHERE node = ? ORDER BY number"""

_NAMES_FILES = "token NOT GLOB '*[^0-9a-f]*' AND typeof(token) = 'text' AND length(token) = length(CAST(token AS BLOB))"
"""Of the rows of nodes: another program may have written anything, also a zero, at which a text seems to end."""


class Batch(NamedTuple):
    """The result of one read of the log.

    Attributes:
        epoch: of the file: another one is another log.
        began: the last entry before the node was entered into the file; ``None`` where it is not there.
        first: the number of the first entry of the log, or of the next one.
        last: the number of the last entry that was read, or is for others.
        rows: the entries: number, kind, room, id and record.
        is_full: there may be more.
    """

    epoch: str
    began: int | None
    first: int
    last: int
    rows: list[tuple[Any, ...]]
    is_full: bool


def last_number(connection: sqlite3.Connection) -> int:
    """Return the number of the last entry."""
    rows = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchall()
    return int(rows[0][0]) if rows else 0


def read_batch(connection: sqlite3.Connection, node: str, position: int) -> Batch:
    """Return the entries after a position that are for a node, outside of a transaction."""
    # One snapshot: between two of them, what was read of the log could be cut, and would look like a gap.
    try:
        connection.execute("BEGIN")
        epoch = connection.execute("SELECT epoch FROM hub").fetchall()[0][0]
        own = connection.execute("SELECT read FROM nodes WHERE node = ?", (node,)).fetchall()
        first = connection.execute("SELECT min(number) FROM log").fetchall()[0][0]
        last = last_number(connection)
        rows, size = [], 0
        for row in connection.execute(_ROWS, (position, node, MAX_ENTRIES)):
            rows.append(row)
            size += len(row[4] or b"")
            if size >= MAX_READ:
                break
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
    is_full = len(rows) == MAX_ENTRIES or size >= MAX_READ
    return Batch(epoch, own[0][0] if own else None, first or last + 1, rows[-1][0] if is_full else last, rows, is_full)


def trim(connection: sqlite3.Connection, last: int, kept: int) -> None:
    """Cut the log, where it is too long, or too large, for the nodes that have not read it.

    Args:
        connection: to the file.
        last: the number of the last entry, which stays.
        kept: of the last entries so many stay.
    """
    connection.execute("DELETE FROM log WHERE number <= ?", (last - kept,))
    size = connection.execute("SELECT sum(length(record)) FROM log").fetchall()[0][0]
    if size is not None and size > MAX_LOG:
        too_large = connection.execute(_TOO_LARGE, (MAX_LOG, last)).fetchall()[0][0]
        connection.execute("DELETE FROM log WHERE number <= ?", (too_large or 0,))


def forget_what_all_have_read(connection: sqlite3.Connection) -> None:
    """Cut from the log what all nodes have read."""
    connection.execute("DELETE FROM log WHERE number <= (SELECT min(read) FROM nodes)")


# -- nodes -----------------------------------------------------------------------------------------------------------


def tokens(connection: sqlite3.Connection, node: str | None = None) -> list[str]:
    """Return the tokens of all nodes, or of one that is there."""
    query = f"SELECT token FROM nodes WHERE {_NAMES_FILES} AND (:node IS NULL OR node = :node)"
    return [row[0] for row in connection.execute(query, {"node": node}).fetchall()]


def owners(connection: sqlite3.Connection) -> list[tuple[str, FileOwner]]:
    """Return the nodes, each with its process."""
    rows = connection.execute(f"SELECT node, number, token, pid, started FROM nodes WHERE {_NAMES_FILES}").fetchall()
    return [(row[0], FileOwner(*row[1:])) for row in rows]


def remove_node(connection: sqlite3.Connection, node: str, token: str) -> None:
    """Remove a node with all that it has, unless that was done before."""
    # With the token: it may have entered itself again since.
    if connection.execute("DELETE FROM nodes WHERE node = ? AND token = ?", (node, token)).rowcount > 0:
        connection.execute(_LEAVES, (node,))
        connection.execute("DELETE FROM members WHERE node = ?", (node,))
        connection.execute("DELETE FROM servers WHERE node = ?", (node,))
        # Messages to it stay where they are: the log is cut at its beginning only.
        connection.execute("INSERT INTO log(kind, id) VALUES(?, ?)", (GONE, node.encode()))


# -- presence --------------------------------------------------------------------------------------------------------


def set_member(connection: sqlite3.Connection, room: bytes, id: bytes, node: str, record: bytes | None) -> None:
    """Store a member, or remove it, ``None``; and append the change to the log."""
    if record is None:
        rows = connection.execute("DELETE FROM members WHERE room = ? AND id = ? RETURNING record", (room, id))
        changes: Iterable[tuple[str, Any]] = [(LEAVE, row[0]) for row in rows.fetchall()]
    else:
        update = "UPDATE members SET record = ? WHERE room = ? AND id = ?"
        was_there = connection.execute(update, (record, room, id)).rowcount > 0
        if not was_there:
            insert = "INSERT INTO members(room, id, node, record) VALUES(?, ?, ?, ?)"
            connection.execute(insert, (room, id, node, record))
        changes = [(UPDATE if was_there else JOIN, record)]
    for kind, text in changes:
        connection.execute("INSERT INTO log(kind, room, id, record) VALUES(?, ?, ?, ?)", (kind, room, id, text))


def set_server(connection: sqlite3.Connection, name: bytes, node: str, is_there: bool) -> None:
    """Store a server, or remove it."""
    if is_there:
        connection.execute("INSERT OR IGNORE INTO servers(name, node) VALUES(?, ?)", (name, node))
    else:
        connection.execute("DELETE FROM servers WHERE name = ?", (name,))
