"""`Outbox`: what waits for one client is bounded, and what finds no room is counted exactly and told once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import pytest
from pair import make_pair

from owlsocket_sync import Limits
from owlsocket_sync.server.outbox import Outbox


class Later:
    """Workers that are slow: what is to run waits until it is told to."""

    def __init__(self) -> None:
        self.tasks: list[Callable[[], None]] = []
        self.ended = False

    def __call__(self, lane: Hashable, task: Callable[[], None]) -> bool:
        if not self.ended:
            self.tasks.append(task)
        return not self.ended

    def work(self, count: int) -> None:
        """Run so many."""
        for _ in range(count):
            self.tasks.pop(0)()


@pytest.mark.parametrize("limits", [Limits(dispatch_messages=3), Limits(dispatch_bytes=30)], ids=["messages", "bytes"])
def test_what_finds_no_room_is_dropped(limits: Limits) -> None:
    """Two episodes, each told once; what is sent makes room, in order."""
    conn, _, _, _ = make_pair()
    told: list[str] = []
    sent: list[int] = []
    conn.on_error(lambda error, context: told.append(context.source))
    later = Later()
    outbox = Outbox(conn, later, limits)
    for number in range(7):
        outbox.put(10, partial(sent.append, number))
    assert (conn.stats.dropped, told) == (4, ["broadcast"])
    later.work(2)
    for number in range(7, 12):
        outbox.put(10, partial(sent.append, number))
    assert (conn.stats.dropped, told) == (7, ["broadcast"] * 2)
    later.work(3)
    assert sent == [0, 1, 2, 7, 8]


def test_one_that_is_larger_than_the_limit_goes_alone() -> None:
    """There is always room for one."""
    conn, _, _, _ = make_pair()
    later = Later()
    outbox = Outbox(conn, later, Limits(dispatch_bytes=10))
    outbox.put(100, lambda: None)
    outbox.put(100, lambda: None)
    assert (len(later.tasks), conn.stats.dropped) == (1, 1)


@pytest.mark.parametrize("end", ["raises", "ended"])
def test_room_is_given_back(end: str) -> None:
    """Also by one that could not be sent, and by one that nobody will send."""
    conn, _, _, _ = make_pair()
    later = Later()
    outbox = Outbox(conn, later, Limits(dispatch_messages=1))
    if end == "ended":
        later.ended = True
        outbox.put(10, lambda: None)
        later.ended = False
    else:
        outbox.put(10, _fail)
        with pytest.raises(ConnectionError):
            later.work(1)
    outbox.put(10, lambda: None)
    assert (len(later.tasks), conn.stats.dropped) == (1, 0)


def _fail() -> Any:
    raise ConnectionError("gone")
