"""The backlog: exact, whoever takes room and gives it back, and however much of that is yet to be counted."""

from __future__ import annotations

import threading

import pytest
from helpers import scaled

from owlsocket_sync.protocol.backlog import BYTE_COST, MESSAGE_COST, RESERVE, UNCOUNTED, Backlog


def fill(backlog: Backlog, messages: int, size: int) -> None:
    """Take room for so many messages, of so many bytes together."""
    backlog.take(size)
    for _ in range(messages - 1):
        backlog.take(0)


@pytest.mark.parametrize(
    ("messages", "size", "room", "reserve"),
    [
        (1, 1, True, True),
        (2, 1, False, True),
        (1, 100, False, True),
        (1 + RESERVE // MESSAGE_COST, 1, False, True),
        (2 + RESERVE // MESSAGE_COST, 1, False, False),
        (1, 99 + RESERVE // BYTE_COST, False, True),
        (1, 100 + RESERVE // BYTE_COST, False, False),
        (1 + RESERVE // MESSAGE_COST // 2, 100 + RESERVE // BYTE_COST // 2, False, True),
        (2 + RESERVE // MESSAGE_COST // 2, 100 + RESERVE // BYTE_COST // 2, False, False),
    ],
)
def test_a_backlog_has_two_limits_and_a_reserve(messages: int, size: int, room: bool, reserve: bool) -> None:
    """Messages and bytes, either alone is enough; what is beyond them counts by the memory it takes."""
    backlog = Backlog(2, 100)
    fill(backlog, messages, size)
    assert (backlog.has_room(), backlog.has_reserve()) == (room, reserve)
    for _ in range(messages - 1):
        backlog.give_back(0)
    backlog.give_back(size)
    assert backlog.has_room()
    assert backlog.count() == (0, 0)


def test_a_backlog_begins_anew_after_a_fork() -> None:
    """What the parent holds is the parent's."""
    backlog = Backlog(1, 1)
    fill(backlog, 5, 5)
    backlog._backlog_lock.acquire()
    backlog.renew_locks()
    assert backlog.has_room()
    assert backlog.count() == (0, 0)


def test_room_that_is_given_back_is_there_at_once() -> None:
    """Though nobody has counted it yet, and at most few messages wait for that."""
    backlog = Backlog(2, 100)
    fill(backlog, 2, 10)
    assert not backlog.has_room()
    backlog.give_back(0)
    assert backlog.has_room()
    backlog.take(90)
    assert not backlog.has_room()
    backlog.give_back(90)
    assert backlog.has_room()


def test_little_waits_for_being_counted() -> None:
    """However much comes and goes, with nobody who asks."""
    backlog = Backlog(10, 10)
    for _ in range(1000):
        backlog.take(1)
        backlog.give_back(1)
        assert len(backlog._taken) <= UNCOUNTED
        assert len(backlog._given_back) <= UNCOUNTED


def test_a_large_message_fills_it_behind_small_ones() -> None:
    """What is not counted yet is weighed by the largest."""
    backlog = Backlog(1000, 1000)
    for _ in range(50):
        backlog.take(1)
    assert backlog.has_room()
    backlog.take(949)
    assert backlog.has_room()
    backlog.take(1)
    assert not backlog.has_room()


def test_no_thread_makes_it_inexact(hasty: None) -> None:
    """Several take and give back while another one looks."""
    backlog, count, over = Backlog(1, 1), 5000, threading.Event()

    def work(size: int) -> None:
        for _ in range(count):
            backlog.take(size)
            backlog.give_back(size - 1)

    def look() -> None:
        while not over.is_set():
            backlog.has_room()
            backlog.count()

    threads = [threading.Thread(target=work, args=(size,)) for size in (1, 2, 3, 4)]
    looker = threading.Thread(target=look)
    for thread in (looker, *threads):
        thread.start()
    for thread in threads:
        thread.join(scaled(30))
    over.set()
    looker.join(scaled(5))
    assert backlog.count() == (0, 4 * count)
