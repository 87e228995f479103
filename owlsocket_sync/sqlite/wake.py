"""`WakeFile`: a thread waits until another process wakes it, by a byte in a FIFO beside the file that they share.

So a process that waits takes no time of the processor, and hears of a change at once. A wake-up may get lost, if a
process dies before it has sent it: so those who wait have to look from time to time all the same.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterable
from contextlib import suppress
from io import FileIO

from ..errors import StoreError

# Opened for both directions by both sides: so there is no end of the file, and no signal for a reader that is gone.
_FLAGS = os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


class WakeFile:
    """The FIFO of one thread that waits.

    Args:
        path: of the file that is shared.
        token: names the FIFO.
        mode: its permissions.
    """

    def __init__(self, path: str, token: str, mode: int) -> None:
        self._path = _wake_path(path, token)
        try:
            os.mkfifo(self._path, mode)
            self._file = FileIO(os.open(self._path, _FLAGS), "r")
        except OSError as refusal:
            raise StoreError(f"{self._path} cannot be made: {refusal.strerror}") from refusal

    def wait(self, seconds: float) -> None:
        """Wait until another thread wakes this one, for so many seconds at most."""
        # Looked up at each wait: gevent may have patched it since the import.
        poll = select.poll()
        poll.register(self._file.fileno(), select.POLLIN)
        if poll.poll(1000 * seconds):
            self._file.read(65536)

    def is_there(self) -> bool:
        """Return whether the file was not deleted."""
        return os.path.exists(self._path)

    def remove(self) -> None:
        """Delete and close the file; on the thread that waits."""
        with suppress(FileNotFoundError):
            os.unlink(self._path)
        self._file.close()

    def leave(self) -> None:
        """Close the copy of the parent's file; in a forked child."""
        self._file.close()


def wake(path: str, tokens: Iterable[str]) -> None:
    """Wake the threads that wait at the FIFOs with these tokens; those that are gone are passed over."""
    for token in tokens:
        with suppress(OSError):
            fileno = os.open(_wake_path(path, token), _FLAGS)
            try:
                os.write(fileno, b"\0")
            finally:
                os.close(fileno)


def remove_wake_file(path: str, token: str) -> None:
    """Delete the FIFO of a process that has died."""
    with suppress(OSError):
        os.unlink(_wake_path(path, token))


def _wake_path(path: str, token: str) -> str:
    return f"{path}-wake-{token}"
