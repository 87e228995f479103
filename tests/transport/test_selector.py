"""Selectors: many sockets on one thread, each of which can be muted, on epoll and without it."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from owlsocket_sync.transport.selector import (
    BROKEN,
    READABLE,
    WRITABLE,
    AnySelector,
    EpollSelector,
    PortableSelector,
    make_selector,
)
from support.helpers import scaled
from support.linked import aside, tcp_pair

KINDS = [PortableSelector, *([EpollSelector] if hasattr(select, "epoll") else [])]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def selector(request: pytest.FixtureRequest) -> Iterator[AnySelector]:
    """A selector of either kind."""
    made: AnySelector = request.param()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A socket to watch, and its peer."""
    ours, theirs = tcp_pair()
    ours.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def _ready(selector: AnySelector, seconds: float = 0.0) -> dict[int, int]:
    """Return what is ready, but for the waker."""
    end = time.monotonic() + seconds
    while True:
        found = dict(selector.poll(max(0.0, end - time.monotonic()), 64))
        if found.pop(selector.waker.fileno(), None) is not None:
            selector.waker.clear()
        if found or time.monotonic() >= end:
            return found


def test_bytes_are_seen_while_they_are_not_muted(
    selector: AnySelector, pair: tuple[socket.socket, socket.socket]
) -> None:
    """As long as they are there; the poller masks and unmasks, too."""
    ours, theirs = pair
    selector.add(ours.fileno())
    assert _ready(selector) == {}
    theirs.send(b"x")
    for _ in range(2):
        assert _ready(selector, scaled(5))[ours.fileno()] & READABLE
    selector.mask(ours.fileno())
    assert _ready(selector) == {}
    selector.unmask(ours.fileno())
    assert _ready(selector, scaled(5))[ours.fileno()] & READABLE
    selector.remove(ours.fileno())
    assert _ready(selector) == {}


def test_the_waker_wakes_a_thread_that_waits(selector: AnySelector) -> None:
    """And is seen until it is cleared."""
    waiting = aside(lambda: [fileno for fileno, _ in selector.poll(scaled(10), 64)])
    selector.waker.wake()
    assert waiting.wait(1) == [[selector.waker.fileno()]]
    assert dict(selector.poll(0.0, 64))
    selector.waker.clear()
    assert not dict(selector.poll(0.0, 64))


def test_a_socket_is_added_while_a_thread_waits(
    selector: AnySelector, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Its bytes wake that thread."""
    ours, theirs = pair
    waiting = aside(lambda: _ready(selector, scaled(10)))
    threading.Event().wait(0.05)
    selector.add(ours.fileno())
    theirs.send(b"x")
    (found,) = waiting.wait(1)
    assert found[ours.fileno()] & READABLE


def test_room_is_seen_once_and_beside_a_mute(selector: AnySelector, pair: tuple[socket.socket, socket.socket]) -> None:
    """Through whatever descriptor the selector names."""
    ours, _ = pair
    selector.add(ours.fileno())
    selector.poll(0.0, 64)
    selector.mask(ours.fileno())
    copy = None
    for _ in range(3):
        copy = selector.watch_writable(ours, copy)
        assert copy is not None
        assert _ready(selector, scaled(5)) == {copy: WRITABLE}
        assert _ready(selector) == {}
    assert copy is not None
    selector.ignore_writable(copy)
    assert _ready(selector) == {}


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="this system has no epoll")
def test_an_error_of_a_muted_socket_is_seen_once(pair: tuple[socket.socket, socket.socket]) -> None:
    """The epoll reports it in any case: it must not wake the poller without end."""
    ours, theirs = pair
    selector = EpollSelector()
    try:
        mute, unmute = selector.add(ours.fileno())
        mute()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        assert _ready(selector, scaled(5))[ours.fileno()] & BROKEN
        assert _ready(selector) == {}
        unmute()
        assert _ready(selector, scaled(5))[ours.fileno()] & READABLE
    finally:
        selector.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_changes_nothing_that_is_watched(
    selector: AnySelector, pair: tuple[socket.socket, socket.socket]
) -> None:
    """It closes its copies; and what the parent removes is gone, although the child has a copy of the socket."""
    ours, theirs = pair
    selector.add(ours.fileno())
    selector.poll(0.0, 64)
    end, begin = os.pipe()
    child = os.fork()
    if not child:
        selector.close_in_child()
        os.close(begin)
        os.read(end, 1)  # keeps its copy of the socket until then
        os._exit(0)
    try:
        theirs.send(b"x")
        assert _ready(selector, scaled(5))[ours.fileno()] & READABLE
        selector.remove(ours.fileno())
        assert _ready(selector) == {}
    finally:
        os.close(begin)
        os.close(end)
        os.waitpid(child, 0)


def test_this_system_gets_the_best_one() -> None:
    """Epoll where there is one."""
    made = make_selector()
    assert type(made).__name__ == ("EpollSelector" if hasattr(select, "epoll") else "PortableSelector")
    made.close()
