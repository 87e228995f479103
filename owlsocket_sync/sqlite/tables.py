"""The tables of a file: made in a new one, and checked in any other, so that no file of another program is touched."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from ..errors import StoreError


class FileKind(NamedTuple):
    """The use of a file.

    Attributes:
        what: it is, as the errors name it.
        user: the class that uses it, for errors.
        tables: the statements that make them.
        application: stands in the header of the file: what has another number is some other program's.
        version: of the tables.
        mode: the permissions of the files that are made, as far as the umask, and SQLite for its own, leave them.
    """

    what: str
    user: str
    tables: str
    application: int
    version: int
    mode: int = 0o666


def prepare(connection: sqlite3.Connection, path: str, kind: FileKind) -> None:
    """Make the tables in a new file, and check those of any other; within a transaction.

    Raises:
        StoreError: it is a file of another program, or of a later version.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] and not version:
        for statement in kind.tables.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {kind.application}")
        connection.execute(f"PRAGMA user_version = {kind.version}")
    elif application != kind.application:
        raise StoreError(f"{path} is an SQLite file of another program; give a {kind.what} a file of its own")
    elif version != kind.version:
        raise StoreError(f"{path} has the tables of version {version}, and this release reads version {kind.version}")
