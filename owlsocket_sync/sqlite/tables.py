"""The tables of a file: made in a new one, and checked in any other, so that no file of another program is touched."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from typing import NamedTuple
from urllib.parse import quote

from ..errors import StoreError
from ..places import SQLITE
from .errors import translated


class FileKind(NamedTuple):
    """The use of a file.

    Attributes:
        what: it is, as the errors name it.
        user: the class that uses it, for errors.
        tables: the statements that make them.
        application: stands in the header of the file: what has another number is some other program's.
        version: of the tables.
        mode: the permissions of the files that are made, as far as the umask, and SQLite for its own, leave them.
        opener: the function that takes its URL.
        is_lasting: what is in it outlives the processes that use it. If not, a damaged one is set aside unasked.
    """

    what: str
    user: str
    tables: str
    application: int
    version: int
    mode: int = 0o666
    opener: str = "open_queue"
    is_lasting: bool = True

    def refusal(self, path: str) -> StoreError:
        """Return the error of a file that is none of this kind."""
        return StoreError(f"{path} is not a {self.what}: give a {self.what} a file of its own")

    def absolute(self, path: str | os.PathLike[str]) -> str:
        """Return the absolute path of a file, so that a program that changes its folder later keeps its file.

        Raises:
            TypeError: it is not a path.
            ValueError: it is a URL, or none that a file could have.
            StoreError: it is a folder, or its folder is missing.
        """
        if not isinstance(path, str | bytes | os.PathLike):
            taken = "the path of a file, a str or an os.PathLike"
            raise TypeError(f"{self.user} takes {taken}, not {type(path).__name__}")
        name = os.fsdecode(path)
        if "://" in name or name.startswith(SQLITE):
            raise ValueError(f"{self.user} takes the path of a file, and that is a URL: use {self.opener}")
        if not name or os.path.basename(name) == ":memory:":
            in_memory = self.user.replace("Sqlite", "Memory")
            raise ValueError(f"{self.user} needs the path of a file, not {name!r}; in memory, it is {in_memory}()")
        whole = os.path.abspath(name)
        if os.path.isdir(whole):
            raise StoreError(f"{whole} is a folder: a {self.what} is a file, whose name has to follow")
        if not os.path.isdir(os.path.dirname(whole)):
            raise StoreError(f"{os.path.dirname(whole)} is not a folder: a {self.what} does not make one")
        return whole


def is_ours(path: str, kind: FileKind, timeout: float) -> bool:
    """Return whether a file is of this kind, or else may become one: it is missing, or empty.

    Nothing is written, neither to the file nor beside it.

    Args:
        path: of the file.
        kind: what it is to be.
        timeout: seconds to wait for other programs.

    Raises:
        StoreCorrupt: it is damaged so that it cannot be told, or no SQLite file.
        StoreError: it is a file of another program, or not a file.
    """
    try:
        found = os.stat(path)
    except OSError:  # SQLite finds out why it cannot be made
        return False
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path} is not a file, and a {kind.what} is one")
    if not found.st_size:
        return False
    # The WAL may be all there is of it. Without one, to look at the file alone makes none.
    mode = "mode=ro" if os.path.exists(f"{path}-wal") else "mode=ro&immutable=1"
    timeout = min(timeout, 86_400.0)
    uri = f"file://{quote(os.fsencode(path))}?{mode}"
    with translated(path), closing(sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)) as connection:
        if found.st_size == 1:  # which SQLite takes for none
            raise sqlite3.DatabaseError("file is not a database")
        # Or a file that was cut off could not be asked whose it is.
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("BEGIN")  # one look at it: another process may be making its tables
        version, application = _numbers(connection)
        if application != kind.application and not _is_new(connection, version, application):
            raise _of_another(path, kind)
    return application == kind.application


def prepare(connection: sqlite3.Connection, path: str, kind: FileKind) -> None:
    """Make the tables in a new file, and check those of any other; within a transaction.

    Raises:
        StoreError: it is a file of another program, or of a later version.
    """
    version, application = _numbers(connection)
    if _is_new(connection, version, application):
        for statement in kind.tables.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {kind.application}")
        connection.execute(f"PRAGMA user_version = {kind.version}")
    elif application != kind.application:
        raise _of_another(path, kind)
    elif version != kind.version:
        raise StoreError(f"{path} has the tables of version {version}, and this release reads version {kind.version}")


def _numbers(connection: sqlite3.Connection) -> tuple[int, int]:
    version, application = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")
    )
    return version, application


def _is_new(connection: sqlite3.Connection, version: int, application: int) -> bool:
    return not (version or application or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _of_another(path: str, kind: FileKind) -> StoreError:
    return StoreError(f"{path} is an SQLite file of another program; give a {kind.what} a file of its own")
