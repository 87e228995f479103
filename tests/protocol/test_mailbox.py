"""Mailboxes: what the reader put in, one consumer takes out, and the backlog knows of it."""

from __future__ import annotations

import threading

import pytest
from helpers import scaled

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.protocol.mailbox import BYTE_COST, MESSAGE_COST, RESERVE, Backlog, Mailbox


class Held:
    """How much is held, as the backlog would know."""

    def __init__(self) -> None:
        self.messages = self.size = 0

    def __call__(self, messages: int, size: int) -> None:
        self.messages += messages
        self.size += size


def boxed(*items: str) -> tuple[Mailbox[str], Held]:
    """A mailbox with these in it, ten bytes each."""
    held = Held()
    box: Mailbox[str] = Mailbox(held)
    for item in items:
        box(item, 10)
    return box, held


def test_what_came_first_is_taken_first() -> None:
    """And holds room until it is."""
    box, held = boxed("a", "b")
    assert (held.messages, held.size) == (2, 20)
    assert [box.take(Deadline(0)), box.take(Deadline(0))] == ["a", "b"]
    assert (held.messages, held.size) == (0, 0)


def test_an_empty_one_is_waited_for_no_longer_than_asked() -> None:
    """Then it is a timeout."""
    box, _ = boxed()
    with pytest.raises(TimeoutError):
        box.take(Deadline(0.01))


def test_closed_it_gives_out_what_it_has_then_ends() -> None:
    """With the error it was closed with; the first one holds; nothing more comes in."""
    box, held = boxed("a")
    error = ValueError("lost")
    box.close(error)
    box.close(KeyError("later"))
    box("b", 10)
    assert held.messages == 1
    assert box.take(Deadline(0)) == "a"
    for _ in range(2):
        with pytest.raises(EOFError) as ended:
            box.take(Deadline(5))
        assert ended.value.__cause__ is error


def test_discarding_gives_the_room_back_once() -> None:
    """However often it is closed."""
    box, held = boxed("a", "b")
    box.close(discard=True)
    box.close(discard=True)
    assert (held.messages, held.size) == (0, 0)
    with pytest.raises(EOFError):
        box.take(Deadline(5))


@pytest.mark.parametrize("free", ["put", "close"])
def test_who_waits_is_freed(free: str) -> None:
    """By mail, and by the end."""
    box, _ = boxed()
    got: list[str] = []

    def take() -> None:
        try:
            got.append(box.take(Deadline(scaled(10))))
        except EOFError:
            got.append("end")

    taker = threading.Thread(target=take)
    taker.start()
    if free == "put":
        box("mail", 1)
    else:
        box.close()
    taker.join(scaled(5))
    assert got == [{"put": "mail", "close": "end"}[free]]


def test_after_a_fork_its_lock_is_a_new_one() -> None:
    """Another thread of the parent may have held the old one for ever."""
    box, _ = boxed("a")
    box._mail.acquire()
    box.renew_locks()
    assert box.take(Deadline(0)) == "a"


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
    backlog.hold(messages, size)
    assert (backlog.has_room(), backlog.has_reserve()) == (room, reserve)
    backlog.hold(-messages, -size)
    assert backlog.has_room()


def test_a_backlog_begins_anew_after_a_fork() -> None:
    """What the parent holds is the parent's."""
    backlog = Backlog(1, 1)
    backlog.hold(5, 5)
    backlog._backlog_lock.acquire()
    backlog.renew_locks()
    backlog.hold(0, 0)
    assert backlog.has_room()
