"""`FileLead`: one process, and one connection in it, sends the messages of an outbox, though many may add to it.

Threads: any. A lead is a locked file, which the system unlocks at the end of the process.
"""

from __future__ import annotations

import weakref
from io import FileIO

from ..errors import StoreError
from ..sqlite.file_turn import open_file, try_lock
from .schema import STORE_FILE


class FileLead:
    """The right to send the messages of a queue in a file.

    Args:
        file: which is locked.
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file

    def release(self) -> None:
        """Give it up."""
        self._file.close()


class FileLeads:
    """The leads that this process has of the queues of a store."""

    def __init__(self) -> None:
        self._leads: weakref.WeakSet[FileLead] = weakref.WeakSet()

    def take(self, path: str) -> FileLead | None:
        """Take the lead whose file this is; ``None`` where it is taken, in this process or another one."""
        try:
            file = open_file(path, STORE_FILE.mode)
        except OSError as refusal:
            raise StoreError(f"{path} cannot be opened: {refusal.strerror}") from refusal
        if not try_lock(file):
            file.close()
            return None
        lead = FileLead(file)
        self._leads.add(lead)
        return lead

    def is_taken(self, path: str) -> bool:
        """Return whether the lead whose file this is, is taken, in whatever process."""
        try:
            file = FileIO(path, "r")
        except OSError:  # it was never an outbox
            return False
        with file:
            # Shared: two that look must not find each other. One that takes it meanwhile tries again, as with a rival.
            return not try_lock(file, shared=True)

    def close(self) -> None:
        """Give all of them up."""
        for lead in list(self._leads):
            lead.release()

    def after_fork(self) -> None:
        """Close the copies of the parent's files, which keep their locks; in a forked child."""
        self.close()
