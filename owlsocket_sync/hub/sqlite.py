"""`SqliteHub`: one hub for the processes of a machine, in a file that they share, without a server beside them.

Threads: any. A node that only publishes has no thread of its own; one that listens has one, which reads.
``_entering_lock`` is held while a node begins to listen, which takes one transaction.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress

from ..deadline import Deadline, check_timeout
from ..errors import StoreError
from ..errors.safe_text import logger
from ..fork import register
from ..locks import make_process_lock
from .base import BusEvents
from .hub import Hub
from .records import decode_text, encode_text, member_of, member_record, valid
from .sqlite_file import CLOSE_PATIENCE, HubFile
from .sqlite_node import SqliteNode
from .sqlite_tables import EVENT, MESSAGE
from .values import Member, Publication


class SqliteBus:
    """A `Bus` in a file; see `SqliteHub`."""

    def __init__(self, path: str | os.PathLike[str], maxlen: int, busy_timeout: float) -> None:
        self._file = HubFile(path, maxlen, busy_timeout)
        self.path = self._file.path
        self._begin()
        register(self)

    def _begin(self) -> None:
        self._entering_lock = make_process_lock()
        self._listener: SqliteNode | None = None

    def open(self, node: str, events: BusEvents) -> None:
        """Begin; the file is opened at the first use."""
        self._node, self._events = node, events

    def listen(self) -> None:
        """Enter the node into the file, and begin to read."""
        if self._listener is not None:
            return
        with self._entering_lock:
            # Again: another thread may have come first.
            if self._listener is None:
                listener = SqliteNode(self._file, self._node, self._events)
                # Known once it has begun: other threads go on only then, and miss nothing that they wait for.
                listener.begin()
                self._listener = listener

    def close(self) -> None:
        """End: the node is removed at once, with its members and servers."""
        with self._entering_lock:
            listener = self._listener
        # First the reader, which would enter a node again that is missing.
        if listener is not None:
            listener.end()
        try:
            self._file.close(None if listener is None else listener.remove)
        except StoreError as error:
            logger.warning("the node is removed from the hub by the others, in a moment: %s", error)
        if listener is not None:
            # Others remove the node by it, where the file could not be written.
            listener.leave_file()
            with suppress(RuntimeError):  # this thread itself
                Deadline(CLOSE_PATIENCE).join(listener.thread)

    def after_fork(self) -> None:
        """Leave files, locks and the node to the parent; in a forked child."""
        self._file.after_fork()
        if self._listener is not None:
            self._listener.after_fork()
        self._begin()

    # -- see `Bus` ---------------------------------------------------------------------------------------------------

    def publish(self, publication: Publication) -> None:
        """Append an entry to the log."""
        record = publication.to_record()
        self._file.commit(lambda connection: self._file.append(connection, EVENT, record))

    def send(self, node: str, record: bytes, deadline: Deadline | None) -> bool:
        """Send a message to another node; return false where it is gone."""
        self._look()

        def send(connection: sqlite3.Connection) -> bool:
            is_there = bool(connection.execute("SELECT 1 FROM nodes WHERE node = ?", (node,)).fetchall())
            if is_there:
                self._file.append(connection, MESSAGE, record, node)
            return is_there

        return self._file.commit(send, node)

    def join(self, room: str, member: Member) -> None:
        """Store a member of this node."""
        self._own.put((room, member.id), member_record(member))

    def leave(self, room: str, id: str) -> None:
        """Remove a member, as soon as the file can be written."""
        self._own.drop((room, id))

    @property
    def _own(self) -> SqliteNode:
        self.listen()
        assert self._listener is not None
        return self._listener

    def members(self, room: str, deadline: Deadline | None) -> list[Member]:
        """Return the members of a room, in the order in which they joined."""
        self._look()
        # As bytes: whatever another program has written is passed over.
        query = "SELECT CAST(id AS BLOB), CAST(record AS BLOB) FROM members WHERE room = ? ORDER BY number"
        rows = self._file.read(lambda connection: connection.execute(query, (encode_text(room),)).fetchall())
        return list(valid(rows, lambda row: member_of(*row), self.path))

    def count(self, room: str) -> int:
        """Return the number of members."""
        self._look()
        query, key = "SELECT count(*) FROM members WHERE room = ?", (encode_text(room),)
        return int(self._file.read(lambda connection: connection.execute(query, key).fetchall())[0][0])

    def add_server(self, server: str) -> None:
        """Add a server of this node."""
        self._own.put((None, server), b"")

    def remove_server(self, server: str) -> None:
        """Remove a server of this node, as soon as the file can be written."""
        self._own.drop((None, server))

    def servers(self) -> list[str]:
        """Return all servers, in the order in which they were added."""
        self._look()
        query = "SELECT CAST(name AS BLOB) FROM servers ORDER BY number"
        rows = self._file.read(lambda connection: connection.execute(query).fetchall())
        return list(valid(rows, lambda row: decode_text(row[0]), self.path))

    def _look(self) -> None:
        if self._listener is None:  # no thread of this process looks for the dead
            self._file.look()


class SqliteHub(Hub):
    """The hub of the processes of one machine, such as the workers of gunicorn, in a file that they share.

    It needs no server beside them. Nothing in the file outlives the processes: if it is deleted or damaged, an empty
    one takes its place, each process that listens enters itself again within a second, and tells the handlers of
    `on_gap` that it may have missed events.

    Args:
        path: of the file, which is made where there is none, readable for its owner only, and must be on a local disk.
            Beside it are files with the same beginning, which belong to it: ``-wal`` and ``-shm`` of SQLite, ``-lock``
            and ``-next`` for the turns of the processes, and one ``-owner-…`` and one ``-wake-…`` for each process
            that listens.
        maxlen: events, changes of presence and messages that are kept for a process which has not read them.
        busy_timeout: seconds to wait for other processes and threads that write, before `StoreError` is raised; of a
            call, too, whose timeout may be shorter.

    Raises:
        StoreError: the file is on a network file system, or its folder is not there.
    """

    def __init__(self, path: str | os.PathLike[str], *, maxlen: int = 10_000, busy_timeout: float = 10.0) -> None:
        if type(maxlen) is not int or maxlen < 1:
            raise ValueError(f"maxlen must be a whole number, 1 or more, not {maxlen!r}")
        self._sqlite_bus = SqliteBus(path, maxlen, check_timeout(busy_timeout, "busy_timeout"))
        super().__init__(self._sqlite_bus)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.node} {self._sqlite_bus.path}{' closed' if self._closed else ''}>"
