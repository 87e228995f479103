"""`Database`: the connections of a process to a file of SQLite, of a store or of a hub.

There are three, on one file in WAL mode: what the durable one commits is on the disk when it returns, what the lazy one
commits may be lost at a power cut, and the third one only reads. So a message that was put is safe, while to take and
to acknowledge one needs no wait for the disk: losing that means a second delivery, which is allowed.

Threads: writers take turns by `FileTurn`. ``_read_lock`` guards the connection that reads; its holder waits for
nothing. No connection is open during a fork (`before_fork`), as SQLite demands.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

from ..clock import wall_time
from ..errors import StoreCorrupt, StoreError
from ..errors.safe_text import logger
from ..fork import ensure_process
from ..locks import interrupted_itself, make_process_lock
from .errors import translate, translated
from .file_turn import FileTurn
from .forks import FileIds, closed_in_forks, file_id, file_ids, hold_locks, leave_fork
from .mounts import check_file_system
from .tables import FileKind, is_ours, prepare

Result = TypeVar("Result")
Action = Callable[[sqlite3.Connection], Result]

MIN_SQLITE = (3, 35, 0)
PAGE_SIZE = 2048
"""Bytes of a page of the file, each of which is written as a whole: a small message changes three."""
WAL_PAGES = 2000
"""Pages in the WAL after which they are moved into the file, which waits for the disk."""
WAL_LIMIT = 64 * 1024 * 1024
WAL_WARNING = 256 * 1024 * 1024
WAL_CHECK = 500
"""Transactions after which the size of the WAL is looked at."""
FORK_PATIENCE = 5.0
SQLITE_MODE = 0o644
"""The permissions that SQLite gives to a file."""

_inherited: list[Any] = []
"""Connections of a parent that were open at a fork by C code: to close one would damage the file."""


class Database:
    """A file, opened at its first use in a process.

    Args:
        kind: what it is for.
        path: of the file.
        synchronous: ``full`` or ``normal``.
        busy_timeout: seconds to wait for other writers.
        quarantine: set a damaged file aside, instead of raising.
        on_open: called with the connection, in a transaction, when the file was opened.
    """

    def __init__(
        self,
        kind: FileKind,
        path: str | os.PathLike[str],
        synchronous: str,
        busy_timeout: float,
        quarantine: bool,
        on_open: Action[None] | None = None,
    ) -> None:
        self.path = kind.absolute(path)
        self.kind = kind
        self.turn = FileTurn(kind, self.path, busy_timeout)
        self._on_open = on_open
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._quarantine = quarantine
        self.closed = False
        self._known: tuple[int, int] | None = None
        """The file that was found to be of this kind."""
        self._is_spoiled = False
        self._phantoms: FileIds | None = None
        """The files of connections that this process inherited open, if there are such."""
        self.generation = 0
        """Changes with the file: what is remembered of one file does not hold for the next."""
        self._begin()
        check_file_system(self.path)
        closed_in_forks(self)

    def _begin(self) -> None:
        self._read_lock = make_process_lock()
        self._reading = False
        self._durable: sqlite3.Connection | None = None
        self._lazy: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._file_ids: FileIds = (None,)
        self._writes = 0

    # -- use ---------------------------------------------------------------------------------------------------------

    def write(self, action: Action[Result], *, durable: bool, committed: list[Any] | None = None) -> Result:
        """Run an action in a transaction, and return its result once that is committed; from any thread.

        Args:
            action: gets the connection; it may run twice, and only what the last run does is kept.
            durable: wait until it is on the disk.
            committed: gets an item once it is committed, also where an interrupt takes the result away.
        """
        ensure_process()
        turn, held = self.turn, list[bool]()
        try:
            turn.enter_thread(held)
            return self.write_in_turn(action, durable=durable, committed=committed)
        finally:
            if held:
                turn.holder = None if turn.holder is held else turn.holder
                turn.turn_lock.release()
                turn.free()

    def write_in_turn(self, action: Action[Result], *, durable: bool, committed: list[Any] | None = None) -> Result:
        """Do the same, on a thread that has the turn among those of this process."""
        self.check_open()
        committed = [] if committed is None else committed
        if self._lazy is None:
            self._check_kind()  # before files for the turn are made beside it
        try:
            self.turn.enter_process()
            try:
                return self._transact(action, durable, committed)
            except StoreCorrupt as error:
                if not self._quarantine:
                    raise
                self._set_aside(error)
                return self._transact(action, durable, committed)
        finally:
            # No call before it: an interrupt would have the other processes wait for good.
            self.turn.unlock()

    def read(self, action: Action[Result]) -> Result:
        """Run an action that only reads, and return its result; from any thread, also during a transaction."""
        try:
            return self._read(action)
        except StoreCorrupt as error:
            if not self._quarantine:
                raise
            with self.turn.among_threads(), self.turn.among_processes():
                if not self._is_replaced():
                    self._set_aside(error)
            return self._read(action)

    def _read(self, action: Action[Result]) -> Result:
        ensure_process()
        self.check_open()
        if self._reader is None or self._is_replaced():
            self.write(lambda connection: None, durable=False)  # which opens the file, and makes the tables
        with self._read_lock, translated(self.path):
            if self._reading:
                raise interrupted_itself(self.path)
            try:
                self._reading = True
                if self._reader is None:
                    self._reader = self._connect("NORMAL")
                return action(self._reader)
            finally:
                self._reading = False

    def check_open(self) -> None:
        """Raise `StoreError` where the user of the file is closed."""
        if self.closed:
            raise StoreError(f"the {self.kind.what} is closed")
        if self._is_spoiled:
            raise StoreError(
                f"{self.path}: this process was forked while its parent used or closed the {self.kind.what}, and "
                "cannot use it: open it after the fork"
            )

    def _transact(self, action: Action[Result], durable: bool, committed: list[Any]) -> Result:
        try:
            if self._lazy is None or self._is_replaced():
                self._open()
            connection = self._durable if durable else self._lazy
            assert connection is not None
            try:
                if connection.in_transaction:  # one that an interrupt has left
                    connection.execute("ROLLBACK")
                connection.execute("BEGIN IMMEDIATE")
                result = action(connection)
                # One builtin call: an interrupt comes before it, or finds the item.
                committed.extend(map(connection.execute, ("COMMIT",)))
            finally:
                # After an error, of a full disk for one, SQLite may have rolled back by itself.
                if connection.in_transaction:
                    try:
                        connection.execute("ROLLBACK")
                    except sqlite3.Error:
                        pass
        except sqlite3.Error as error:
            raise translate(error, self.path) from error
        self._writes += 1
        if self._writes % WAL_CHECK == 0:
            self._check_wal()
        return result

    # -- files -------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Open the file, which is not open, or is another one by now; the turn to write is held."""
        if self._lazy is not None:
            logger.warning("%s was replaced by another file, or deleted: opening what is there now", self.path)
            self._close_connections()
        self.generation += 1
        try:
            self._check_kind()
            self._make()
            self._durable = self._connect("FULL" if self._synchronous == "full" else "NORMAL")
            self._lazy = self._connect("NORMAL") if self._synchronous == "full" else self._durable
            self._durable.execute("BEGIN IMMEDIATE")
            prepare(self._durable, self.path, self.kind)
            if self._on_open is not None:
                self._on_open(self._durable)
            self._durable.execute("COMMIT")
        except BaseException:
            self._close_connections()
            raise
        self._file_ids = file_ids(self.path)
        self._known = self._file_ids[0]

    def _check_kind(self) -> None:
        """Raise where the file is none of this kind, before anything is written to it, or beside it."""
        found = file_id(self.path)
        if found is None or found != self._known:  # once it is known, it may be damaged
            self._known = None
            try:
                self._known = found if is_ours(self.path, self.kind, self._busy_timeout) else None
            except StoreCorrupt as error:
                if not self.kind.is_lasting:
                    raise self.kind.refusal(self.path) from error.__cause__
                if not self._quarantine:
                    raise

    def _make(self) -> None:
        """Make the file with its permissions, which SQLite gives to those beside it."""
        # Only a new one: to close any descriptor of a file ends the locks that connections of this process have of it.
        with suppress(OSError):  # SQLite finds it, or tells why it cannot be made
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, self.kind.mode & SQLITE_MODE))

    def _connect(self, synchronous: str) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < MIN_SQLITE:
            raise StoreError(f"{self.kind.user} needs SQLite 3.35 or newer, and this is {sqlite3.sqlite_version}")
        connection = sqlite3.connect(
            self.path,
            isolation_level=None,
            check_same_thread=False,
            timeout=min(self._busy_timeout, 86_400.0),
            cached_statements=64,
        )
        try:
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")  # of a new file
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise StoreError(f"{self.path}: its file system does not support SQLite's WAL mode (got {mode!r})")
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute("PRAGMA fullfsync = 1")  # macOS: an ordinary sync leaves data in the disk's cache
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_replaced(self) -> bool:
        return file_id(self.path) != self._file_ids[0]

    def _set_aside(self, error: StoreCorrupt) -> None:
        """Rename a damaged file, with its WAL, and report it; the turn to write is held, so one process does it."""
        self._close_connections()
        if not self.kind.is_lasting and file_id(self.path) != self._known:
            raise self.kind.refusal(self.path) from error.__cause__
        aside = f"{self.path}.corrupt-{wall_time():.0f}-{os.getpid()}"
        for suffix in ("-shm", "-wal", ""):
            with suppress(FileNotFoundError):
                os.rename(self.path + suffix, aside + suffix)
        logger.error("%s was set aside as %s, and an empty one takes its place: %s", self.path, aside, error.__cause__)

    def _check_wal(self) -> None:
        try:
            size = os.stat(f"{self.path}-wal").st_size
        except OSError:
            return
        if size > WAL_WARNING:
            logger.warning(
                "%s-wal has grown to %d MiB: some program keeps a transaction of this file open, which has to end "
                "before the space is used again",
                self.path,
                size >> 20,
            )

    def _close_connections(self) -> None:
        with self._read_lock:
            connections = (self._reader, self._lazy, self._durable)
            self._reader = self._lazy = self._durable = None
            self._file_ids = (None,)
        for connection in connections:
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()

    def close_in_turn(self) -> None:
        """Close the connections for good; the turn among the threads is held."""
        self.closed = True
        self._close_connections()
        self.turn.close()

    # -- forks -------------------------------------------------------------------------------------------------------

    def enter_fork(self, stack: ExitStack) -> None:
        """Close the connections, and keep all threads from opening them until the stack is closed."""
        # A thread whose transaction lasts longer is forked with its connection, as by C code.
        with suppress(StoreError):
            stack.enter_context(self.turn.among_threads(FORK_PATIENCE))
            # Before they are closed: a thread that is about to read would open its connection again.
            stack.enter_context(self._read_lock)
            self._close_connections()

    def after_fork(self) -> None:
        """Forget the parent's connections, locks and files, without a word to SQLite; in the child."""
        leave_fork()
        inherited = [each for each in (self._durable, self._lazy, self._reader) if each is not None]
        _inherited.extend(inherited)
        in_use = self._reading or any(each.in_transaction for each in inherited)
        if inherited:
            self._phantoms = self._file_ids
        if self._phantoms is not None:
            self._is_spoiled = in_use or not hold_locks(self.path, self._phantoms)
        self.turn.close()
        self.turn.begin()
        self._begin()
