"""Owners, of leases in a store or of a place in a hub: processes, each with a file that is locked while it lives.

The system frees the lock of a process that dies, however it dies, so others notice it at once. A copy of the lock in a
child that C code has forked would outlive the process: then its id and the moment of its start tell that it is gone.

An owner of leases writes the deliveries that it forgot into its file, from a finalizer. Others let those leases end by
the clock, and renew all others of an owner that lives: so a lease needs no thread that renews it.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from io import FileIO
from typing import NamedTuple

from ..errors import StoreError
from .file_turn import open_file, try_lock


class FileOwner(NamedTuple):
    """A process, as it is in a table of the file."""

    number: int
    token: str
    pid: int
    started: str


class OwnFile:
    """The file of this process, for one store or hub.

    Args:
        path: of the file that is shared.
        mode: the permissions of the one that is made.
    """

    def __init__(self, path: str, mode: int) -> None:
        self.pid = os.getpid()
        self.token = uuid.uuid4().hex[:16]
        self.started = process_start(self.pid)
        self._path = owner_path(path, self.token)
        try:
            self._file = open_file(self._path, mode)
        except OSError as refusal:
            raise StoreError(f"{self._path} cannot be made: {refusal.strerror}") from refusal
        try_lock(self._file)  # it is new, and in no table yet

    def is_there(self) -> bool:
        """Return whether the file was not deleted."""
        return os.path.exists(self._path)

    def note_dropped(self, place: int, attempts: int) -> None:
        """Note that a delivery was forgotten; one system call, and no lock: a finalizer calls this."""
        # It is closed where the store is, whose leases have ended with it.
        with suppress(OSError, ValueError):
            self._file.write(b"%d %d\n" % (place, attempts))

    def remove(self) -> None:
        """Close and delete the file; others take the process for dead."""
        with suppress(FileNotFoundError):
            os.unlink(self._path)
        self._file.close()

    def leave(self) -> None:
        """Close the copy of the parent's file, which keeps its lock; in a forked child."""
        self._file.close()


def owner_path(path: str, token: str) -> str:
    """Return the path of the file of an owner."""
    return f"{path}-owner-{token}"


def is_dead(path: str, owner: FileOwner) -> bool:
    """Return whether the process of an owner has ended; its file is deleted then."""
    own_path = owner_path(path, owner.token)
    try:
        file = FileIO(own_path, "r")
    except OSError:
        return True
    with file:
        if not try_lock(file) and not _is_gone(owner):
            return False
        with suppress(OSError):
            os.unlink(own_path)
    return True


def read_dropped(path: str, owner: FileOwner) -> set[tuple[int, int]]:
    """Return the deliveries that an owner forgot, as pairs of place and attempts."""
    try:
        with FileIO(owner_path(path, owner.token), "r") as file:
            lines = file.readall().splitlines()
    except OSError:
        return set()
    pairs = (line.split() for line in lines)
    return {(int(pair[0]), int(pair[1])) for pair in pairs if len(pair) == 2}


def process_start(pid: int) -> str:
    """Return the moment at which a process was started, and where its id is valid; ``""`` where that is unknown."""
    try:
        with FileIO(f"/proc/{pid}/stat", "r") as file:
            # The name of the program, in parentheses, may hold spaces.
            fields = file.readall().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            return ""  # it has ended, and its parent has not been told
        return f"{fields[19].decode()} {os.readlink('/proc/self/ns/pid')}"
    except (OSError, IndexError):
        return ""


def _is_gone(owner: FileOwner) -> bool:
    """Return whether the system says that a process has ended, or that its id belongs to another one by now."""
    if not owner.started or not os.path.exists("/proc/self/stat"):
        return False
    _, _, space = owner.started.partition(" ")
    try:
        if os.readlink("/proc/self/ns/pid") != space:
            return False  # the process of another container, which has ids of its own
    except OSError:
        return False
    return process_start(owner.pid) != owner.started
