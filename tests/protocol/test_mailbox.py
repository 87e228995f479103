"""Mailboxes: what the reader put in, one consumer takes out, and the backlog knows of it."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
from helpers import eventually, scaled

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.protocol.backlog import Backlog
from owlsocket_sync.protocol.mailbox import Mailbox


class Held:
    """How much is held, as the backlog would know."""

    def __init__(self) -> None:
        self.messages = self.size = 0

    def take(self, size: int) -> None:
        """One more."""
        self.messages += 1
        self.size += size

    def give_back(self, size: int) -> None:
        """One less."""
        self.messages -= 1
        self.size -= size


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


def _take_all(box: Mailbox[int], mine: list[int]) -> None:
    with suppress(EOFError):
        while True:
            mine.append(box.take(Deadline(scaled(10))))


def _put_all(box: Mailbox[int], count: int) -> None:
    for number in range(count):
        box(number, 1)


@pytest.mark.parametrize("run", range(20))
def test_what_is_not_taken_holds_no_room(hasty: None, run: int) -> None:
    """Two put, two take, and the rest is discarded meanwhile."""
    held = Backlog(1, 1)
    box: Mailbox[int] = Mailbox(held)
    taken: list[list[int]] = [[], []]
    threads = [threading.Thread(target=_put_all, args=(box, 300)) for _ in range(2)]
    threads += [threading.Thread(target=_take_all, args=(box, mine)) for mine in taken]
    for thread in threads:
        thread.start()
    eventually(lambda: sum(map(len, taken)) > 100)
    box.close(discard=True)
    for thread in threads:
        thread.join(scaled(10))
        assert not thread.is_alive()
    assert held.count() == (0, 0)


def test_each_item_is_taken_once_by_those_who_wait(hasty: None) -> None:
    """However often the mailbox runs dry."""
    held = Backlog(1, 1)
    box: Mailbox[int] = Mailbox(held)
    taken: list[list[int]] = [[], [], []]
    takers = [threading.Thread(target=_take_all, args=(box, mine)) for mine in taken]
    for thread in takers:
        thread.start()
    _put_all(box, 3000)
    eventually(lambda: not box._items)
    box.close()
    for thread in takers:
        thread.join(scaled(10))
    assert sorted(number for mine in taken for number in mine) == list(range(3000))
    assert held.count() == (0, 0)
