"""Mailboxes: what the reader put in, one consumer takes out, and the backlog knows of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.protocol.backlog import Backlog
from owlsocket_sync.protocol.mailbox import Mailbox
from support.helpers import eventually, scaled
from support.linked import aside
from support.strikes import struck


class Held(Backlog):
    """A backlog of no limits that shows its totals."""

    def __init__(self) -> None:
        super().__init__(1000, 1000, threading.Lock())

    @property
    def messages(self) -> int:
        """The number of messages that hold room."""
        return self.totals()[0]

    @property
    def size(self) -> int:
        """Their bytes."""
        return self.totals()[1]


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
    assert [box.get(Deadline(0)), box.get(Deadline(0))] == ["a", "b"]
    assert (held.messages, held.size) == (0, 0)


class Interrupted(Deadline):
    """A deadline whose wait is interrupted by Ctrl-C."""

    __slots__ = ()

    def wait(self, wait_once: Callable[[float], object]) -> bool:
        """Raise what the signal handler of Python raises."""
        raise KeyboardInterrupt


def test_an_interrupt_of_a_wait_has_no_other_error_behind_it() -> None:
    """That the mailbox is empty is no error, and would fill the traceback of a Ctrl-C."""
    box, _ = boxed()
    with pytest.raises(KeyboardInterrupt) as interrupt:
        box.get(Interrupted(1.0))
    assert interrupt.value.__context__ is None


def test_an_empty_one_is_waited_for_no_longer_than_asked() -> None:
    """Then it is a timeout."""
    box, _ = boxed()
    with pytest.raises(TimeoutError):
        box.get(Deadline(0.01))


def test_closed_it_gives_out_what_it_has_then_ends() -> None:
    """With the error it was closed with; the first one holds; nothing more comes in."""
    box, held = boxed("a")
    error = ValueError("lost")
    box.close(error)
    box.close(KeyError("later"))
    box("b", 10)
    assert held.messages == 1
    assert box.get(Deadline(0)) == "a"
    for _ in range(2):
        with pytest.raises(EOFError) as ended:
            box.get(Deadline(5))
        assert ended.value.__cause__ is error


def test_discarding_gives_the_room_back_once() -> None:
    """However often it is closed."""
    box, held = boxed("a", "b")
    box.close(discard=True)
    box.close(discard=True)
    assert (held.messages, held.size) == (0, 0)
    with pytest.raises(EOFError):
        box.get(Deadline(5))


@pytest.mark.parametrize("free", ["put", "close"])
def test_who_waits_is_freed(free: str) -> None:
    """By mail, and by the end."""
    box, _ = boxed()
    got: list[str] = []

    def take() -> None:
        try:
            got.append(box.get(Deadline(scaled(10))))
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


def test_after_a_fork_it_goes_on_with_a_new_lock_and_backlog() -> None:
    """Another thread of the parent may hold the old lock, and the old backlog is the parent's."""
    box, _ = boxed("a")
    acquire = threading.Thread(target=box._mailbox_lock.acquire)
    acquire.start()
    acquire.join()
    held = Held()
    box.adopt(held)
    assert (held.messages, held.size) == (1, 10)
    assert box.get(Deadline(0)) == "a"
    assert (held.messages, held.size) == (0, 0)


def test_after_a_fork_a_consumer_can_be_failed() -> None:
    """What it waits for is the parent's, whose thread may hold the lock."""
    box, held = boxed("a")
    acquire = threading.Thread(target=box._mailbox_lock.acquire)
    acquire.start()
    acquire.join()
    error = ValueError("the parent's")
    box.orphan(error)
    with pytest.raises(EOFError) as ended:
        box.get(Deadline(5))
    assert ended.value.__cause__ is error
    assert held.messages == 0


def _take_all(box: Mailbox[int], mine: list[int]) -> None:
    with suppress(EOFError):
        while True:
            mine.append(box.get(Deadline(scaled(10))))


def _put_all(box: Mailbox[int], count: int) -> None:
    for number in range(count):
        box(number, 1)


@pytest.mark.parametrize("run", range(20))
def test_what_is_not_taken_holds_no_room(hasty: None, run: int) -> None:
    """Two put, two take, and the rest is discarded meanwhile."""
    held = Backlog(1, 1, threading.Lock())
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
    assert held.totals() == (0, 0)


def test_each_item_is_taken_once_by_those_who_wait(hasty: None) -> None:
    """However often the mailbox runs dry."""
    held = Backlog(1, 1, threading.Lock())
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
    assert held.totals() == (0, 0)


def test_a_consumer_that_is_interrupted_leaves_the_item_to_another() -> None:
    """At any point, also once it was notified."""
    at, left, came_to_it = 0, 0, True
    while came_to_it:
        box: Mailbox[int] = Mailbox(Held())
        takers: list[str] = []  # without the one that is interrupted as soon as it has taken the item
        is_over = threading.Event()

        def take(name: str, box: Mailbox[int] = box, takers: list[str] = takers) -> None:
            box.get(Deadline(scaled(5)))
            takers.append(name)

        def put(
            box: Mailbox[int] = box, take: Callable[[str], None] = take, is_over: threading.Event = is_over
        ) -> None:
            """Put an item as soon as another consumer waits behind the first one."""
            eventually(lambda: box._waiting or is_over.is_set())
            aside(partial(take, "other"))
            eventually(lambda: box._waiting == 2 or is_over.is_set())
            with box._mailbox_lock:  # which both let go of when they wait
                box(1, 10)

        putting = aside(put)
        came_to_it = struck(at, partial(take, "interrupted"))
        is_over.set()
        putting.wait(1)
        eventually(partial(_is_empty, box), 1)
        box.close()
        left += "other" in takers
        at += 1
    assert 8 < left < at


def _is_empty(box: Mailbox[int]) -> bool:
    return not box._items
