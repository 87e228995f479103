"""Waiting until sockets can be read or written: until a moment, for as long as it is wanted, or at a gate.

A gate is where the reader of a link waits. Somebody else who reads in its place shuts it, so that bytes which come do
not wake the reader, and opens it again afterwards; it rings to wake the reader for anything else.

Threads: a gate is waited at by one thread, and rung, shut and opened by any.
"""

from __future__ import annotations

import math
import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol, TypeVar

from ..errors import SocketConnectionError

SLICE = 0.05


class Numbered(Protocol):
    """Anything with a descriptor."""

    def fileno(self) -> int:
        """The descriptor."""
        ...


One = TypeVar("One", bound=Numbered)


def wait_ready(readers: list[One], writers: list[One], until: float) -> list[One]:
    """Wait until one of these sockets can be read or written, or has failed, and return those that can.

    Raises:
        TimeoutError: none can until then (``time.monotonic``).
    """
    seconds = until - time.monotonic()
    limit = None if seconds == math.inf else max(0.0, seconds)
    if hasattr(select, "poll"):
        ready = _poll(readers, writers, limit)
    else:
        readable, writable, failed = select.select(readers, writers, writers, limit)
        ready = [*readable, *writable, *failed]
    if not ready:
        raise TimeoutError("nothing came" if readers else "the peer did not take what was sent")
    return ready


def wait_while(
    wanted: Callable[[], bool], readers: list[socket.socket], writers: list[socket.socket], until: float
) -> None:
    """`wait_ready`, in slices, for as long as it is wanted.

    Raises:
        TimeoutError: none is ready until then.
        SocketConnectionError: it is not wanted any more.
    """
    while True:
        if not wanted():
            raise SocketConnectionError("closed while connecting")
        try:
            wait_ready(readers, writers, min(until, time.monotonic() + SLICE))
            return
        except TimeoutError:
            if time.monotonic() >= until:
                raise


def _poll(readers: list[One], writers: list[One], seconds: float | None) -> list[One]:
    poll = select.poll()
    by_fileno = {}
    for mask, sockets in ((select.POLLIN, readers), (select.POLLOUT, writers)):
        for one in sockets:
            by_fileno[one.fileno()] = one
            poll.register(one, mask)
    found = poll.poll(None if seconds is None else math.ceil(seconds * 1000))
    return [by_fileno[fileno] for fileno, _ in found]


class Readable:
    """Waits until one socket can be read; by one thread at a time, and by handlers of signals that interrupt it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._poll: Callable[[float], object] | None = None

    def wait(self, until: float) -> bool:
        """Whether it can be read, or has failed, before that moment (``time.monotonic``)."""
        milliseconds = (until - time.monotonic()) * 1000
        if milliseconds < 0:
            return False
        poll, self._poll = self._poll or self._make_poll(), None  # whoever interrupts this makes one of its own
        try:
            return bool(poll(milliseconds))
        finally:
            self._poll = poll

    def _make_poll(self) -> Callable[[float], object]:
        if not hasattr(select, "poll"):
            return lambda milliseconds: select.select([self._sock], [], [], milliseconds / 1000)[0]
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return poll.poll


class Bell:
    """What wakes whoever waits for it to be readable."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self.fileno = self._read.fileno

    def ring(self) -> None:
        """Become readable."""
        with suppress(BlockingIOError):
            self._write.send(b"\0")

    def clear(self) -> None:
        """Be readable no more."""
        with suppress(BlockingIOError):
            self._read.recv(4096)

    def close(self) -> None:
        """Let go of the descriptors."""
        self._read.close()
        self._write.close()


class EventBell:
    """A `Bell` of one descriptor, where the system has such."""

    def __init__(self) -> None:
        self._number = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """The descriptor."""
        return self._number

    def ring(self) -> None:
        """Become readable."""
        os.eventfd_write(self._number, 1)

    def clear(self) -> None:
        """Be readable no more."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._number)

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self._number)


class Gate:
    """The gate of any system. One that is shut while somebody waits there already lets that one through once more.

    Attributes:
        ring: wake whoever waits, or comes next.
        shut: let bytes that come wake nobody here.
        open: let them wake the reader again. Done in one go: an interrupt leaves it either undone or done.
    """

    PATIENCE = 0.002

    def __init__(self, sock: socket.socket, bell: Bell | EventBell) -> None:
        self._sock = sock
        self._bell = bell
        self._is_shut = False
        self.ring: Callable[[], object] = bell.ring
        self.shut: Callable[[], object] = partial(setattr, self, "_is_shut", True)
        self.open: Callable[[], object] = partial(setattr, self, "_is_shut", False)

    def wait(self, until: float) -> bool:
        """Wait for bytes; whether it was rung instead.

        Raises:
            TimeoutError: neither until then (``time.monotonic``).
        """
        while self._is_shut:
            now = time.monotonic()
            with suppress(TimeoutError):
                wait_ready([self._bell], [], min(until, now + self.PATIENCE))
                break
            if now >= until:
                raise TimeoutError("nothing came")
        places: list[Numbered] = [self._bell] if self._is_shut else [self._sock, self._bell]
        ready = wait_ready(places, [], until)
        if self._bell in ready:
            self._bell.clear()
            return True
        return False

    def close(self) -> None:
        """Let go of its descriptors."""
        self._bell.close()


class EpollGate(Gate):
    """A gate that is shut and opened within the system, for whoever waits there already as well."""

    def __init__(self, sock: socket.socket, bell: Bell | EventBell) -> None:
        super().__init__(sock, bell)
        number = sock.fileno()
        self._epoll = select.epoll(2)
        for one in (number, bell.fileno()):
            self._epoll.register(one, select.EPOLLIN)
        self.shut = partial(self._epoll.modify, number, 0)
        self.open = partial(self._epoll.modify, number, select.EPOLLIN)

    def wait(self, until: float) -> bool:
        """Wait for bytes; whether it was rung instead; raises as any gate does."""
        seconds = until - time.monotonic()
        ready = self._epoll.poll(None if seconds == math.inf else max(0.0, seconds))
        if not ready:
            raise TimeoutError("nothing came")
        if any(number == self._bell.fileno() for number, _ in ready):
            self._bell.clear()
            return True
        return False

    def close(self) -> None:
        """Let go of its descriptors."""
        self._epoll.close()
        super().close()


def make_gate(sock: socket.socket) -> Gate:
    """The best gate that this system has for a socket."""
    bell = EventBell() if hasattr(os, "eventfd") else Bell()
    try:
        return EpollGate(sock, bell) if hasattr(select, "epoll") else Gate(sock, bell)
    except OSError:
        bell.close()
        raise
