"""Waiting for one socket to become readable or writable, up to a moment on ``time.monotonic``; and wakers.

For waits on many sockets see `selector`. Threads: any; no locks.
"""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import FileIO
from typing import Protocol, TypeVar

from ..clock import monotonic
from ..errors import SocketConnectionError
from ..locks import longest_wait

POLL_INTERVAL = 0.05


class HasFileno(Protocol):
    """Anything with a file descriptor."""

    def fileno(self) -> int:
        """Return the descriptor."""
        ...


SocketT = TypeVar("SocketT", bound=HasFileno)


def wait_ready(readers: list[SocketT], writers: list[SocketT], until: float) -> list[SocketT]:
    """Wait until a socket is readable, writable or has failed, and return those that are.

    Args:
        readers: sockets to wait on for reading.
        writers: sockets to wait on for writing.
        until: the deadline (``time.monotonic``); ``math.inf`` waits without one.

    Raises:
        TimeoutError: no socket became ready by then.
    """
    longest = longest_wait()
    while True:
        seconds = min(max(0.0, until - monotonic()), longest)
        if hasattr(select, "poll"):
            ready = _poll(readers, writers, seconds)
        else:
            readable, writable, failed = select.select(readers, writers, writers, seconds)
            ready = [*readable, *writable, *failed]
        if ready:
            return ready
        if monotonic() >= until:
            awaited = "data" if readers else "the peer to accept data"
            raise TimeoutError(f"timed out waiting for {awaited}")


def is_readable(sock: HasFileno) -> bool:
    """Return whether a socket is readable, or has failed, without waiting.

    Raises:
        OSError: the socket is closed.
    """
    try:
        return bool(wait_ready([sock], [], 0.0))
    except TimeoutError:
        return False


def wait_while(
    should_continue: Callable[[], bool], readers: list[socket.socket], writers: list[socket.socket], until: float
) -> None:
    """Wait as `wait_ready` does, and check every `POLL_INTERVAL` whether to continue.

    Raises:
        TimeoutError: no socket became ready by then.
        SocketConnectionError: ``should_continue`` returned false.
    """
    while True:
        if not should_continue():
            raise SocketConnectionError("closed while connecting")
        try:
            wait_ready(readers, writers, min(until, monotonic() + POLL_INTERVAL))
            return
        except TimeoutError:
            if monotonic() >= until:
                raise


def _poll(readers: list[SocketT], writers: list[SocketT], timeout: float) -> list[SocketT]:
    poll = select.poll()
    by_fileno: dict[int, SocketT] = {}
    masks: dict[int, int] = {}
    for mask, sockets in ((select.POLLIN, readers), (select.POLLOUT, writers)):
        for sock in sockets:
            fileno = sock.fileno()
            by_fileno[fileno] = sock
            masks[fileno] = masks.get(fileno, 0) | mask
            try:
                poll.register(sock, masks[fileno])
            except ValueError as error:  # its descriptor has no number any more
                raise OSError(errno.EBADF, "the socket is closed") from error
    # Rounded up: a timeout that is rounded down to 0 ms would spin until the deadline.
    events = poll.poll(math.ceil(timeout * 1000))
    return [by_fileno[fileno] for fileno, _ in events]


def make_read_poll(sock: socket.socket) -> Callable[[float], object]:
    """Return a function that waits so many milliseconds until a socket is readable, or has failed; for one thread."""
    if not hasattr(select, "poll"):
        return lambda milliseconds: select.select([sock], [], [], milliseconds / 1000)[0]
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return poll.poll


class SocketPairWaker:
    """Wakes a thread that waits for it to be readable; for systems without eventfd.

    Attributes:
        wake: become readable, in one builtin call; raises OSError if a wake-up is pending already, or it is closed.
    """

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self.fileno = self._read.fileno
        self.wake: Callable[[], object] = partial(self._write.send, b"\0")

    def clear(self) -> None:
        """Stop being readable."""
        with suppress(BlockingIOError):
            self._read.recv(4096)

    def close(self) -> None:
        """Close the descriptors."""
        self._read.close()
        self._write.close()


class EventfdWaker:
    """A `SocketPairWaker` of a single descriptor (Linux); once it is closed, `wake` raises ValueError."""

    def __init__(self) -> None:
        # A file knows that it is closed: a number may belong to another file by then. It is not closed by a collection:
        # greenlets that survive a fork may wait for the descriptor of a connection that the child has replaced.
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._file = FileIO(self._eventfd, "rb+", closefd=False)
        self.fileno = self._file.fileno
        self.wake: Callable[[], object] = partial(self._file.write, _ONE)

    def clear(self) -> None:
        """Stop being readable."""
        self._file.read(len(_ONE))

    def close(self) -> None:
        """Close the descriptor."""
        self._file.close()
        os.close(self._eventfd)


_ONE = (1).to_bytes(8, sys.byteorder)
"""What is added to the counter of an eventfd."""

AnyWaker = SocketPairWaker | EventfdWaker
