"""Waiting for sockets to become readable or writable, up to a moment on ``time.monotonic``.

`ReaderWaiter` is where the reader thread of a link waits. A thread that reads in its place (see `runtime.reader`) mutes
it, so that received bytes do not wake the reader, and unmutes it afterwards; its waker wakes the reader either way.

Threads: one thread waits on a `ReaderWaiter`; any thread may wake, mute and unmute it. No locks.
"""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import sys
from collections.abc import Callable, Sequence
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
    """Wakes a thread that waits for it to be readable; for systems without eventfd."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self.fileno = self._read.fileno

    def wake(self) -> None:
        """Become readable."""
        # A full buffer means that a wake-up is pending already; a finalizer that interrupts this may have closed it.
        with suppress(OSError):
            self._write.send(b"\0")

    def clear(self) -> None:
        """Stop being readable."""
        with suppress(BlockingIOError):
            self._read.recv(4096)

    def close(self) -> None:
        """Close the descriptors."""
        self._read.close()
        self._write.close()


class EventfdWaker:
    """A `SocketPairWaker` of a single descriptor (Linux)."""

    def __init__(self) -> None:
        # A file knows that it is closed: a number may belong to another file by then. It is not closed by a collection:
        # greenlets that survive a fork may wait for the descriptor of a connection that the child has replaced.
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._file = FileIO(self._eventfd, "rb+", closefd=False)
        self.fileno = self._file.fileno

    def wake(self) -> None:
        """Become readable."""
        with suppress(ValueError):  # a finalizer that interrupts this may have closed it
            self._file.write(_ONE)

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


class ReaderWaiter:
    """A wait of a reader, for bytes or a wake-up, on any system.

    Muting takes effect at the next wait: a reader that waits already is woken by bytes once more.

    Attributes:
        waker: wakes the thread that waits, or the next one.
        poll: wait so many seconds, without limit for ``None``, and return what is ready, as ``select.epoll.poll`` does:
            each time a descriptor, of the socket or of the waker, comes first.
        mute: stop bytes from waking the reader.
        unmute: let bytes wake the reader again.
    """

    MUTED_POLL = 0.002

    def __init__(self, sock: socket.socket, waker: AnyWaker) -> None:
        self._sock = sock
        self.waker = waker
        self._muted = False
        self._writers: list[socket.socket] = []
        self.poll: Callable[[float | None], Sequence[tuple[int, int]]] = self._poll
        # Builtins, not methods: an interrupt finds them either done or not begun, never in the middle.
        self.mute: Callable[[], object] = partial(setattr, self, "_muted", True)
        self.unmute: Callable[[], object] = partial(setattr, self, "_muted", False)

    def _poll(self, seconds: float | None) -> list[tuple[int, int]]:
        until = math.inf if seconds is None else monotonic() + seconds
        wakers: list[HasFileno] = [self.waker]
        writers: list[HasFileno] = [*self._writers]
        while self._muted:
            now = monotonic()
            with suppress(TimeoutError):
                wait_ready(wakers, writers, min(until, now + self.MUTED_POLL))
                break
            if now >= until:
                return []
        sources: list[HasFileno] = wakers if self._muted else [self._sock, self.waker]
        with suppress(TimeoutError):
            ready: list[HasFileno] = wait_ready(sources, writers, until)
            return [*((source.fileno(), 0) for source in ready), *self._take_writable()]
        return []

    def _take_writable(self) -> list[tuple[int, int]]:
        """Return what stands for a socket that became writable, and stop watching it."""
        with suppress(TimeoutError):
            if self._writers and wait_ready([], self._writers, 0.0):
                self._writers = []
                return [(self.waker.fileno(), 0)]
        return []

    def watch_writable(self) -> bool:
        """Let the socket wake the reader once when it becomes writable, and return whether it will; by the reader."""
        self._writers = [self._sock]
        return True

    def ignore_writable(self) -> None:
        """Do not let the socket wake the reader when it becomes writable; by the reader."""
        self._writers = []

    def close(self) -> None:
        """Close the descriptors."""
        self.waker.close()


class EpollReaderWaiter(ReaderWaiter):
    """A `ReaderWaiter` on epoll: muting also takes effect for a reader that waits already."""

    def __init__(self, sock: socket.socket, waker: AnyWaker) -> None:
        super().__init__(sock, waker)
        sock_fileno = sock.fileno()
        self._epoll = select.epoll(2)
        try:
            for fileno in (sock_fileno, waker.fileno()):
                self._epoll.register(fileno, select.EPOLLIN)
        except BaseException:
            self._epoll.close()  # a logged traceback would keep this frame, and with it the descriptor
            raise
        self.poll = self._epoll.poll
        self._writable_fileno: int | None = None
        # One system call each, which changes what a concurrent epoll_wait reports.
        self.mute = partial(self._epoll.modify, sock_fileno, 0)
        self.unmute = partial(self._epoll.modify, sock_fileno, select.EPOLLIN)

    def watch_writable(self) -> bool:
        """Let the socket wake the reader once when it becomes writable, and return whether it will; by the reader."""
        # Through a descriptor of its own: leaders change the events of the other one, in a single step each.
        events = select.EPOLLOUT | select.EPOLLONESHOT
        try:
            if self._writable_fileno is not None:
                self._epoll.modify(self._writable_fileno, events)
                return True
            self._writable_fileno = os.dup(self._sock.fileno())
            self._epoll.register(self._writable_fileno, events)
        except OSError:  # such as that of a process without free descriptors
            self.ignore_writable()
            return False
        return True

    def ignore_writable(self) -> None:
        """Do not let the socket wake the reader when it becomes writable; by the reader."""
        fileno, self._writable_fileno = self._writable_fileno, None
        if fileno is not None:
            # The entry would outlive its descriptor: it belongs to the open file, which has another one.
            with suppress(OSError, ValueError):
                self._epoll.unregister(fileno)
            os.close(fileno)

    def close(self) -> None:
        """Close the descriptors."""
        self._epoll.close()
        self.ignore_writable()
        super().close()


def make_reader_waiter(sock: socket.socket) -> ReaderWaiter:
    """Return the best waiter that this system offers for a socket."""
    waker = EventfdWaker() if hasattr(os, "eventfd") else SocketPairWaker()
    try:
        return EpollReaderWaiter(sock, waker) if hasattr(select, "epoll") else ReaderWaiter(sock, waker)
    except BaseException:
        waker.close()
        raise
