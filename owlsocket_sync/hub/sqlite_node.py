"""`SqliteNode`: a node that listens, with the thread that reads the log for it.

The thread waits at a FIFO until another process has appended something. Twice a second it looks without that: for
processes that have died, and whether the file still knows the node. If it does not, because the file was replaced, or
because another process took this one for dead, the node enters itself again, with all that it has.

Threads: the reader; members and servers are changed by any, in one step of the interpreter each, before the file is: so
what is written last of a member is what is known of it here. What the file could not take is written later.
"""

from __future__ import annotations

import sqlite3
import threading
from functools import partial
from os import getpid
from typing import Any

from ..clock import monotonic
from ..errors import SocketMessageMalformed, StoreError
from ..errors.safe_text import logger, safe_str
from ..fork import end_inherited_thread
from ..protocol.log_throttle import LogThrottle
from ..sqlite.owners import OwnFile
from ..sqlite.wake import WakeFile, wake
from ..values import escape_for_log
from .base import BusEvents
from .records import decode_text, encode_text, member_of
from .requests import as_reader
from .sqlite_file import LOOK_INTERVAL, HubFile
from .sqlite_tables import (
    EVENT,
    GONE,
    HUB_FILE,
    MESSAGE,
    forget_what_all_have_read,
    last_number,
    read_batch,
    remove_node,
    set_member,
    set_server,
)
from .values import JOIN, LEAVE, UPDATE, Gap, PresenceChange, Publication

Place = tuple[str | None, str]
"""A room and the id of a connection; or ``None`` and the name of a server."""

FAILED_PAUSE = 0.1
REPLACED = "the file of the hub was deleted, replaced or damaged, and a new one took its place"
CUT = "the log was cut before this process had read it; it reads too slowly, or maxlen is too small"


class SqliteNode:
    """A node in the file of a hub.

    Args:
        file: the file.
        node: the id of the node.
        events: the node.
    """

    def __init__(self, file: HubFile, node: str, events: BusEvents) -> None:
        self._file = file
        self._node = node
        self._events = events
        self._places: dict[Place, bytes] = {}
        """What the node has: members, and servers without a record."""
        self._unsure: dict[Place, None] = {}
        """Places of which the file may say something else."""
        self._own: OwnFile | None = None
        self._wake: WakeFile | None = None
        self._old: list[WakeFile] = []
        self._epoch = ""
        self._version = (0, 0)
        """Of the file, when it was read last."""
        self._position = self._stored = 0
        self._looked = monotonic()
        self._throttle = LogThrottle()
        self._process = getpid()
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name="owlsocket-hub-reader", daemon=True)

    def begin(self) -> None:
        """Enter the node into the file, and read what is appended from now on."""
        try:
            self._file.remove_dead("")
            self._file.commit(self._enter)
            batch = self._file.read(lambda connection: read_batch(connection, self._node, last_number(connection)))
            # Where the node was entered, and not the end of the log: entries may have come since.
            self._epoch, self._position = batch.epoch, batch.last if batch.began is None else batch.began
            self.thread.start()
        except BaseException:
            # An interrupt may have come once the thread was started: it ends, and deletes its FIFO.
            self._stop.set()
            self.leave_file()
            if not self.thread.ident:
                self._remove_wake_files()
            raise

    def _enter(self, connection: sqlite3.Connection) -> None:
        """Enter the node, with all that it has, unless it is there; within a transaction."""
        token = self._own.token if self._own is not None else ""
        found = connection.execute("SELECT token FROM nodes WHERE node = ?", (self._node,)).fetchall()
        if found and found[0][0] == token:
            return
        own = self._own = self._own_file()
        # A row with another token is that of a file which came back from a backup.
        connection.execute("DELETE FROM nodes WHERE node = ?", (self._node,))
        connection.execute(
            "INSERT INTO nodes(node, token, pid, started, read) VALUES(?, ?, ?, ?, ?)",
            (self._node, own.token, own.pid, own.started, last_number(connection)),
        )
        for place in self._places.copy():
            self._write(connection, place)

    def _own_file(self) -> OwnFile:
        """Return the file that shows that this process lives; a new one if another process has taken it for dead."""
        own, wake_file = self._own, self._wake
        if own is not None and own.is_there() and wake_file is not None and wake_file.is_there():
            return own
        # The token is a new one, too: a row with the former one may be about to be removed.
        renewed = OwnFile(self._file.path, HUB_FILE.mode)
        self._wake = WakeFile(self._file.path, renewed.token, HUB_FILE.mode)
        if own is not None and wake_file is not None:
            own.remove()
            # The reader may be waiting at it, and closes it afterwards.
            self._old.append(wake_file)
        return renewed

    # -- what the node has -------------------------------------------------------------------------------------------

    def put(self, place: Place, record: bytes) -> None:
        """Store a member or a server."""
        before = self._places.get(place)
        # Before the transaction, which writes what is known when it runs: so the order of two threads does not matter.
        self._places[place] = record
        try:
            self._file.commit(partial(self._settle, place))
        except BaseException:
            # Unless another thread has changed it since.
            if self._places.get(place) is record:
                if before is None:
                    self._places.pop(place, None)
                else:
                    self._places[place] = before
            # An interrupt may have come after the commit.
            self._unsure[place] = None
            raise

    def drop(self, place: Place) -> None:
        """Remove a member or a server, as soon as the file can be written."""
        self._places.pop(place, None)
        try:
            self._file.commit(partial(self._settle, place))
        except BaseException as error:
            self._unsure[place] = None
            if not isinstance(error, StoreError):
                raise
            if not self._stop.is_set():  # at the end, the node goes with all that it has
                logger.warning("a change of presence is written later: %s", error)

    def _settle(self, place: Place, connection: sqlite3.Connection) -> None:
        self._enter(connection)
        self._write(connection, place)

    def _write(self, connection: sqlite3.Connection, place: Place) -> None:
        room, name = place
        record = self._places.get(place)
        if room is None:
            set_server(connection, encode_text(name), self._node, record is not None)
        else:
            set_member(connection, encode_text(room), encode_text(name), self._node, record)

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with as_reader():
            self._read_all()
        if getpid() != self._process:
            end_inherited_thread()
        else:
            self._remove_wake_files()

    def _read_all(self) -> None:
        while self._goes_on():
            try:
                assert self._wake is not None
                self._wake.wait(max(0.0, self._looked + LOOK_INTERVAL - monotonic()))
                while self._old:
                    self._old.pop().remove()
                # First: a change that comes during the read is another version, and is read next.
                version = self._file.version()
                while version != self._version and self._goes_on():
                    if not self._read():
                        self._version = version
                if self._goes_on() and monotonic() >= self._looked + LOOK_INTERVAL:
                    self._look()
            except StoreError as error:
                self._report("the hub cannot be read, and is tried again (%d more before): %s", error)
            except Exception:  # whatever it is, the next entries are read
                if self._goes_on():
                    logger.exception("reading the hub failed")
                    self._stop.wait(FAILED_PAUSE)

    def _remove_wake_files(self) -> None:
        for wake_file in (*self._old, self._wake):
            if wake_file is not None:
                wake_file.remove()

    def _goes_on(self) -> bool:
        return not self._stop.is_set() and getpid() == self._process

    def _report(self, text: str, error: Exception) -> None:
        omitted = self._throttle.admit(text)
        if omitted is not None and self._goes_on():
            logger.error(text, omitted, escape_for_log(safe_str(error)))
        if isinstance(error, StoreError):
            self._stop.wait(FAILED_PAUSE)

    def _read(self) -> bool:
        """Take the next entries; return whether there may be more."""
        batch = self._file.read(lambda connection: read_batch(connection, self._node, self._position))
        if batch.began is None:
            self._file.commit(self._enter)
            return True
        if batch.epoch != self._epoch:
            self._epoch, self._position = batch.epoch, batch.began
            self._events.gap(Gap(REPLACED))
            return True
        missed = batch.first - 1 - self._position
        # Before they are taken: an entry that fails is not taken again.
        self._position = batch.last
        if missed > 0:
            self._events.gap(Gap(CUT, missed))
        for row in batch.rows:
            try:
                self._take(*row[1:])
            except (SocketMessageMalformed, AttributeError, TypeError, ValueError) as error:
                self._report("an entry of the hub was dropped, it is not valid (%d more before): %s", error)
        if batch.rows:
            self._events.deliver()
        return batch.is_full

    def _take(self, of_kind: bytes, room: Any, id: Any, record: Any) -> None:
        kind = of_kind.decode()
        if kind == EVENT:
            self._events.append(Publication.from_record(record))
        elif kind == MESSAGE:
            self._events.receive(record)
        elif kind in (JOIN, UPDATE, LEAVE):
            self._events.append(PresenceChange(kind, decode_text(room), member_of(id, record)))
        elif kind == GONE:
            self._events.node_lost(id.decode())
        else:
            raise ValueError(f"an entry has the kind {kind!r}")

    def _look(self) -> None:
        """Remove the dead, write what could not be written, and say how far the log was read."""
        self._looked = monotonic()
        self._file.remove_dead(self._own.token if self._own is not None else "")
        unsure = list(self._unsure)
        if unsure:
            self._file.commit(lambda connection: [self._settle(place, connection) for place in unsure])
        position = self._position
        if position != self._stored:
            self._file.write(partial(self._note_position, position))
            self._stored = position
        # Only now that the file has them; one that failed again meanwhile is written once more, for nothing.
        for place in unsure:
            self._unsure.pop(place, None)

    def _note_position(self, position: int, connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE nodes SET read = ? WHERE node = ?", (position, self._node))
        forget_what_all_have_read(connection)

    # -- the end, and forks ------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Have the thread end; it deletes its FIFO."""
        self._stop.set()
        # At once, and not at its next look.
        if self._own is not None:
            wake(self._file.path, [self._own.token])

    def remove(self, connection: sqlite3.Connection) -> None:
        """Remove the node with all that it has; within a transaction."""
        if self._own is not None:
            remove_node(connection, self._node, self._own.token)

    def leave_file(self) -> None:
        """Delete the file that shows that the process lives: others take the node for gone."""
        if self._own is not None:
            self._own.remove()

    def after_fork(self) -> None:
        """Close the copies of the parent's files; in a forked child."""
        for file in (self._own, self._wake, *self._old):
            if file is not None:
                file.leave()
