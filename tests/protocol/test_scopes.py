"""Blocks of ``batch`` and ``deadline``: they belong to the context that entered them, and leak to no other handler."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import Context, copy_context

import pytest

from owlsocket_sync import Connection, EventMessage
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.protocol.scopes import Scopes
from owlsocket_sync.testing import pair
from support.helpers import Collector, scaled
from support.loads import both_ends

both_sides = pytest.mark.parametrize("side", ["client", "server"])


def _suspend(block: AbstractContextManager[object]) -> Generator[None, None, None]:
    """Yield inside of a block."""
    with block:
        yield


@both_sides
def test_a_generator_that_a_handler_leaves_suspended_holds_for_no_other_handler(side: str) -> None:
    """Neither its deadline nor its batch: the next handler on that worker calls and notifies as ever."""
    heard, kept = Collector(), list[Generator[None, None, None]]()
    with both_ends(side) as (asker, performer):
        asker.perform("echo", lambda value: value)
        asker.observe("news", lambda message: heard(message.payload))

        def leave_open() -> None:
            for block in (performer.deadline(0), performer.batch()):
                kept.append(_suspend(block))
                next(kept[-1])

        def use() -> object:
            performer.notify("news", 1)
            return performer.call("echo", 2, timeout=scaled(5))

        performer.perform("leave open", leave_open)
        performer.perform("use", use)
        for _ in range(3):
            asker.call("leave open", timeout=scaled(5))
            assert asker.call("use", timeout=scaled(5)) == 2
        assert heard.wait(3) == [1, 1, 1]
        for generator in kept:
            generator.close()


def test_blocks_may_be_left_in_any_order() -> None:
    """Two generators that take turns: each block ends when it is left, and not with the other one."""
    scopes, near, far = Scopes(), Deadline(1), Deadline(100)
    first, second = _suspend(scopes.deadline_scope(near)), _suspend(scopes.deadline_scope(far))
    next(first)
    next(second)
    first.close()
    assert scopes.find_deadline() is near, "the block inside took over the nearer deadline"
    second.close()
    assert scopes.find_deadline() is None


def test_a_block_that_is_left_in_another_context_ends() -> None:
    """There, and in the context that entered it."""
    scopes = Scopes()
    generator = _suspend(scopes.deadline_scope(Deadline(1)))
    context = copy_context()
    context.run(next, generator)
    assert scopes.find_deadline() is None
    generator.close()
    assert context.run(scopes.find_deadline) is None


def test_a_batch_that_is_left_in_another_thread_is_sent() -> None:
    """What was gathered leaves from the thread that leaves the block."""
    ours, theirs = pair()
    heard = Collector()
    theirs.observe("news", lambda message: heard(message.payload))

    def gather() -> Generator[None, None, None]:
        with ours.batch():
            ours.notify("news", 1)
            yield

    generator = gather()
    next(generator)
    assert heard.items == []
    thread = threading.Thread(target=generator.close)
    thread.start()
    thread.join(scaled(5))
    assert heard.items == [1]
    ours.notify("news", 2)
    assert heard.items == [1, 2]


def test_a_copy_of_the_context_in_another_thread_has_the_deadline_and_not_the_batch() -> None:
    """A batch is filled by one thread; a deadline holds for work that is handed over with its context."""
    ours, theirs = pair()
    heard, found = Collector(), Collector()
    theirs.observe("news", lambda message: heard(message.payload))
    with ours.deadline(5), ours.batch():
        context: Context = copy_context()

        def use() -> None:
            ours.notify("news", "now")
            found(ours._core.sender.deadline_for(None).seconds)

        thread = threading.Thread(target=context.run, args=(use,))
        thread.start()
        thread.join(scaled(5))
        assert heard.items == ["now"]
        assert found.items == [5]


def test_a_wrapper_that_yields_inside_of_blocks_works() -> None:
    """As a fixture of pytest does: what runs at the yield is inside of both."""
    ours, theirs = pair()
    heard = Collector()
    theirs.observe("news", lambda message: heard(message.payload))

    @contextmanager
    def wrapper(conn: Connection) -> Iterator[None]:
        with conn.deadline(5), conn.batch():
            yield

    with wrapper(ours):
        ours.notify("news", 1)
        assert heard.items == []
        assert ours._core.sender.deadline_for(None).seconds == 5
    assert heard.items == [1]
    assert ours._core.sender.deadline_for(None).seconds > 5


def test_a_handler_that_is_registered_inside_of_blocks_runs_outside_of_them() -> None:
    """Also while they are open."""
    ours, theirs = pair()
    heard, found = Collector(), Collector()
    theirs.observe("answer", lambda message: heard(message.payload))

    def handle(message: EventMessage) -> None:
        ours.notify("answer", message.payload)
        found(ours._core.sender.deadline_for(None).seconds)

    with ours.deadline(5), ours.batch():
        ours.observe("news", handle)
        theirs.notify("news", 1)
        assert heard.items == [1]
    assert found.items[0] > 5
