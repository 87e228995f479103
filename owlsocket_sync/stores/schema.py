"""The tables of a store file.

A message lies at a *place*: the number of its queue in the upper bits, and its number in the queue in the lower ones.
So the messages of one queue follow each other, and one integer finds a message. ``until`` is 0 for a message that is
free, and else the moment until which it is leased or delayed: of those that are free, the index has the first of each
queue beside the last of the queue before, however many are not.
"""

from __future__ import annotations

import sqlite3

from ..clock import wall_time
from ..sqlite.tables import FileKind

APPLICATION_ID = 0x6F776C73
"""``owls``, in the header of the file: what has another one is some other program's."""
VERSION = 1
SEQ_BITS = 43
MAX_QUEUES = (1 << (63 - SEQ_BITS)) - 1
POSITION_SECONDS = 30 * 86_400.0
"""Seconds after which the position in a stream that sends nothing any more is forgotten."""

TABLES = """
CREATE TABLE queues(
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, stream TEXT NOT NULL, next INTEGER NOT NULL DEFAULT 1,
    count INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, in_flight INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0, deleted INTEGER NOT NULL DEFAULT 0, deleted_id TEXT NOT NULL DEFAULT '');
CREATE TABLE messages(
    place INTEGER PRIMARY KEY, id TEXT, payload BLOB NOT NULL, added REAL NOT NULL, until REAL NOT NULL DEFAULT 0,
    owner INTEGER, attempts INTEGER NOT NULL DEFAULT 0);
CREATE INDEX due ON messages(until);
CREATE TABLE dead(
    place INTEGER PRIMARY KEY, id TEXT NOT NULL, payload BLOB NOT NULL, attempts INTEGER NOT NULL,
    reason TEXT NOT NULL, died REAL NOT NULL);
CREATE TABLE owners(
    number INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL, pid INTEGER NOT NULL, started TEXT NOT NULL);
CREATE TABLE positions(
    queue INTEGER NOT NULL, stream TEXT NOT NULL, offset INTEGER NOT NULL, last_id TEXT NOT NULL, used REAL NOT NULL,
    PRIMARY KEY(queue, stream)) WITHOUT ROWID
"""


STORE_FILE = FileKind("store", "SqliteStore", TABLES, APPLICATION_ID, VERSION)


def forget_positions(connection: sqlite3.Connection) -> None:
    """Forget the positions in streams that send nothing any more; within a transaction."""
    connection.execute("DELETE FROM positions WHERE used < ?", (wall_time() - POSITION_SECONDS,))
