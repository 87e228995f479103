"""`FileTurn`: one writer of a file at a time, among threads and processes, and a fair one.

SQLite's own way to wait sleeps for up to 0.1 s between two looks, so that a process which writes without a pause lets
another one wait for seconds. Here the process that is next holds a lock of its own (``-next``) while it waits for the
lock of the file (``-lock``): a process that has just written cannot be next at once.

Threads: ``turn_lock`` is held during a transaction. A thread that waits for it, or for the other processes, gives up
after its timeout. A thread lets go of the turn in a ``finally`` of the user, and of a turn that it may have: a method
for it would begin with a moment in which an interrupt leaves the turn taken, for good.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import FileIO

from ..deadline import Deadline
from ..errors import StoreError
from ..locks import acquire_until, interrupted_itself, make_process_lock
from .tables import FileKind

try:
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
except ImportError:  # Windows
    HAS_LOCKS = False
else:
    HAS_LOCKS = True

SHORTEST_PAUSE, LONGEST_PAUSE = 0.00005, 0.001


class FileTurn:
    """The turn to write to a file.

    Args:
        kind: what the file is for.
        path: of the file; the locks are on files beside it.
        timeout: seconds to wait for the turn.

    Attributes:
        timeout: the same.
        turn_lock: is held during a turn of a thread, by whom has an item in its list ``held``.
        holder: that list.
        unlock: leaves the turn to another process; one builtin call.
        on_free: is called after each turn of a thread.
    """

    def __init__(self, kind: FileKind, path: str, timeout: float) -> None:
        if not HAS_LOCKS:
            raise StoreError(f"{kind.user} needs the module fcntl, which this platform does not have")
        self._path = path
        self._mode = kind.mode
        self.timeout = timeout
        self.on_free: Callable[[], None] | None = None
        self.begin()

    def begin(self) -> None:
        """Begin with a lock that no other thread holds, and without open files."""
        self.turn_lock = make_process_lock()
        self.holder: list[bool] | None = None
        self._files: tuple[FileIO, FileIO] | None = None
        self.unlock: Callable[[], object] = bool

    @contextmanager
    def among_threads(self, timeout: float | None = None) -> Iterator[None]:
        """Hold the turn among the threads of this process; see `enter_thread`."""
        held = list[bool]()
        try:
            self.enter_thread(held, timeout)
            yield
        finally:
            # No call before the release, here as in all users: an interrupt would leave the turn taken for good.
            if held:
                self.holder = None if self.holder is held else self.holder
                self.turn_lock.release()
                self.free()

    def enter_thread(self, held: list[bool], timeout: float | None = None) -> None:
        """Take the turn among the threads of this process.

        Args:
            held: gets an item in the step that takes the lock; its owner releases the lock where there is one.
            timeout: seconds to wait.

        Raises:
            StoreError: the turn of another thread lasts, or this thread has it already.
        """
        if self.try_enter_thread(held):
            return
        deadline = Deadline(self.timeout if timeout is None else timeout)
        if not acquire_until(self.turn_lock, deadline.at, held):
            raise self.busy("another thread")
        self.holder = held

    def try_enter_thread(self, held: list[bool]) -> bool:
        """Take the turn among the threads where it is free; return whether it is taken."""
        held.extend(filter(None, map(self.turn_lock.acquire, (False,))))
        if held:
            if self.holder is not None:
                raise interrupted_itself(self._path)
            self.holder = held
        return bool(held)

    def free(self) -> None:
        """Tell those who wait to be told, after each turn of a thread."""
        # Afterwards: one that has come meanwhile, and found it taken, has said before that it waits.
        if self.on_free is not None:
            self.on_free()

    @contextmanager
    def among_processes(self) -> Iterator[None]:
        """Hold the turn among the processes as well; see `enter_process`."""
        try:
            self.enter_process()
            yield
        finally:
            self.unlock()

    def enter_process(self) -> None:
        """Take the turn among the processes; the turn among the threads is held.

        Raises:
            StoreError: that of another process lasts.
        """
        following, turn = self._files or self._open_files()
        try:
            if not (try_lock(following) and try_lock(turn)):
                deadline = Deadline(self.timeout)
                self._lock(following, deadline)
                self._lock(turn, deadline)
        finally:
            flock(following, LOCK_UN)

    def _open_files(self) -> tuple[FileIO, FileIO]:
        try:
            self._files = (open_file(f"{self._path}-next", self._mode), open_file(f"{self._path}-lock", self._mode))
        except OSError as refusal:
            error = StoreError(f"{self._path} cannot be opened: {refusal.strerror}")
            error.path = self._path
            raise error from refusal
        self.unlock = partial(flock, self._files[1], LOCK_UN)
        return self._files

    def _lock(self, file: FileIO, deadline: Deadline) -> None:
        pause = SHORTEST_PAUSE
        while not try_lock(file):
            if deadline.expired():
                raise self.busy("another process")
            time.sleep(pause)
            pause = min(1.1 * pause, LONGEST_PAUSE)

    def busy(self, who: str) -> StoreError:
        """Return the error of a turn that does not come in time."""
        error = StoreError(f"{self._path} is in use by {who} for longer than busy_timeout")
        error.retryable, error.path = True, self._path
        return error

    def close(self) -> None:
        """Close the files; in a forked child, this leaves the locks of the parent alone."""
        files, self._files, self.unlock = self._files, None, bool
        for file in files or ():
            file.close()


class LockFile(FileIO):
    """A file that stands for its locks: it is closed, without a warning, where its owner is forgotten."""

    def __del__(self) -> None:
        self.close()


def open_file(path: str, mode: int) -> FileIO:
    """Open a file to append to it, made with these permissions if it is not there."""
    return LockFile(path, "a", opener=lambda path, flags: os.open(path, flags, mode))


def try_lock(file: FileIO, *, shared: bool = False) -> bool:
    """Lock a file where no other process has it locked; return whether it is.

    Args:
        file: the file.
        shared: others may lock it so as well.
    """
    try:
        flock(file, (LOCK_SH if shared else LOCK_EX) | LOCK_NB)
    except BlockingIOError:
        return False
    return True
