"""The inbox: what is taken, put back and passed by, in any order, against a plain list."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from owlsocket_sync.protocol.messages import Message, MessageType
from owlsocket_sync.protocol.queue import MessageList, Node
from support.helpers import scaled
from support.pair import make_pair


def message(payload: Any) -> Message:
    """One that says this."""
    return Message(MessageType.MESSAGE, payload)


def entries(inbox: MessageList) -> list[Node]:
    """Those that follow the front, empty ones too."""
    found, entry = [], inbox.head.next
    while entry is not None:
        found.append(entry)
        entry = entry.next
    return found


def payloads(inbox: MessageList) -> list[Any]:
    """What is there, in order."""
    return [entry.message.payload for entry in entries(inbox) if entry.message is not None]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_done_to_it_its_order_is_that_of_a_list(seed: int) -> None:
    """And whoever stopped anywhere still gets to all that is behind, and that comes."""
    dice, inbox = random.Random(seed), MessageList()
    plain: list[int] = []
    for number in range(400):
        what = dice.random()
        if what < 0.5 or not plain:
            inbox.append(message(number))
            plain.append(number)
        elif what < 0.6:
            inbox.put_back(message(number))
            plain.insert(0, number)
        else:
            at = 0 if dice.random() < 0.5 else dice.randrange(len(plain))
            before = inbox.head
            while (entry := before.next) is not None and (entry.message is None or entry.message.payload != plain[at]):
                before = entry
            assert entry is not None
            taken = inbox.take(entry, before)
            assert taken is not None
            assert taken.payload == plain.pop(at)
            assert inbox.take(entry, before) is None
        assert payloads(inbox) == plain
        assert len(inbox) == len(plain)


def test_an_entry_that_was_taken_leads_on_to_what_comes() -> None:
    """Also the last one, and one that is left out."""
    inbox = MessageList()
    for number in range(3):
        inbox.append(message(number))
    first, second, third = entries(inbox)
    inbox.take(second, first)
    assert entries(inbox) == [first, third]
    inbox.take(third, first)
    inbox.take(first, inbox.head)
    assert payloads(inbox) == []
    inbox.append(message("new"))
    for entry in (first, second, third):
        while entry.message is None:
            assert entry.next is not None
            entry = entry.next
        assert entry.message.payload == "new"


def test_a_filter_is_asked_once_for_each_it_passes_over() -> None:
    """And for none behind the one that it takes; a message without a filter asks nobody."""
    left, right, *_ = make_pair()
    asked: list[int] = []
    for number in range(1000):
        left.enqueue(number)

    def fits(payload: int) -> bool:
        asked.append(payload)
        return payload >= 10

    for expected in (10, 11, 12):
        asked.clear()
        assert right.consume(fits).payload == expected  # type: ignore[union-attr]
        assert asked == [*range(10), expected]
    assert len(entries(right._core.queue._messages)) == 997
    assert right.consume().payload == 0  # type: ignore[union-attr]


def test_what_a_filter_took_is_not_passed_by_for_ever() -> None:
    """One message stays at the front, and all that come after it are taken."""
    left, right, *_ = make_pair()
    left.enqueue("stays")
    for number in range(100):
        left.enqueue(number)
        assert right.consume(lambda payload: payload != "stays") == (number, None, 1)
        assert len(entries(right._core.queue._messages)) <= 2


def test_a_filter_may_take_itself_and_put_back(hasty: None) -> None:
    """It is user code, and no lock is held around it."""
    left, right, *_ = make_pair()
    for number in range(4):
        left.enqueue(number)
    seen: list[Any] = []

    def fits(payload: int) -> bool:
        if payload == 0:
            seen.append(right.consume())
            for _ in right.messages(lambda other: other == 2):
                break
        return payload == 3

    assert right.consume(fits) == (3, None, 2)
    assert seen == [(0, None, 3)]
    assert [right.consume().payload for _ in range(2)] == [2, 1]  # type: ignore[union-attr]


def test_nothing_is_lost_or_taken_twice_by_many(hasty: None) -> None:
    """Some filter, some put back, some take what comes, while more arrives."""
    left, right, *_ = make_pair()
    count = 3000
    taken: list[list[int]] = [[] for _ in range(6)]

    def take(mine: list[int], kind: int) -> None:
        fits = (None, lambda payload: payload % 2, lambda payload: payload % 3 == 0)[kind % 3]
        while sum(map(len, taken)) < count:
            for message in right.messages(fits, timeout=0.01):
                if kind < 3 and message.payload % 7 == 0 and random.random() < 0.5:
                    break
                mine.append(message.payload)

    threads = [threading.Thread(target=take, args=(mine, kind)) for kind, mine in enumerate(taken)]
    for thread in threads:
        thread.start()
    for number in range(count):
        left.enqueue(number)
    for thread in threads:
        thread.join(scaled(60))
    assert sorted(number for mine in taken for number in mine) == list(range(count))
    assert right.enqueued() == 0
    assert payloads(right._core.queue._messages) == []


@pytest.mark.slow
def test_a_long_queue_is_forgotten_without_ado() -> None:
    """However many entries follow one another."""
    inbox = MessageList()
    for _ in range(300_000):
        inbox.append(message(None))
    assert len(inbox) == 300_000
    del inbox
