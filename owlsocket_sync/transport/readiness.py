"""Waiting until sockets can be read or written, until a moment, or for as long as it is wanted."""

from __future__ import annotations

import math
import select
import socket
import time
from collections.abc import Callable

from ..errors import SocketConnectionError

SLICE = 0.05


def wait_ready(readers: list[socket.socket], writers: list[socket.socket], until: float) -> list[socket.socket]:
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


def _poll(readers: list[socket.socket], writers: list[socket.socket], seconds: float | None) -> list[socket.socket]:
    poll = select.poll()
    by_fileno = {}
    for mask, sockets in ((select.POLLIN, readers), (select.POLLOUT, writers)):
        for one in sockets:
            by_fileno[one.fileno()] = one
            poll.register(one, mask)
    found = poll.poll(None if seconds is None else math.ceil(seconds * 1000))
    return [by_fileno[fileno] for fileno, _ in found]
