"""`CarrierState`: changes of the state arrive in order, one at a time, and under no lock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import product
from typing import Any, cast

import pytest

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.runtime.carrier_state import CarrierState
from owlsocket_sync.runtime.workers import WorkerPool
from owlsocket_sync.states import CloseInfo, ConnectionState, StateChange
from owlsocket_sync.testing.memory import SharedLink
from support.helpers import eventually, scaled
from support.strikes import struck

CONNECTING, OPEN, RECONNECTING, CLOSING, CLOSED = ConnectionState
ALLOWED = {
    (CONNECTING, OPEN),
    (CONNECTING, CLOSING),
    (CONNECTING, CLOSED),
    (OPEN, RECONNECTING),
    (OPEN, CLOSING),
    (OPEN, CLOSED),
    (RECONNECTING, OPEN),
    (RECONNECTING, CLOSING),
    (RECONNECTING, CLOSED),
    (CLOSING, CLOSED),
}
PAIRS = list(product(ConnectionState, repeat=2))
GOODBYE = CloseInfo(1000, "goodbye")


class Recorder:
    """The events of a carrier: records changes of the state, and calls a function with each."""

    def __init__(self, on_change: Callable[[StateChange], object] = lambda change: None) -> None:
        self.changes: list[tuple[ConnectionState, ConnectionState]] = []
        self.on_change = on_change

    def state_changed(self, change: StateChange, number: int) -> None:
        """Record a change."""
        self.changes.append((change.previous, change.state))
        self.on_change(change)


def _carrier(recorder: Recorder, state: ConnectionState = CONNECTING) -> Any:
    carrier = CarrierState("test", lambda: "ws://test", state)
    carrier._events = cast(Any, recorder)
    return cast(Any, carrier)


def test_changes_arrive_in_order_from_many_threads() -> None:
    """Each one begins where the one before it ended, and the last one is the state."""
    recorder = Recorder()
    carrier = _carrier(recorder)
    threads = [
        threading.Thread(target=lambda state=state: [carrier._set_state(state, None) for _ in range(500)])
        for state in (OPEN, RECONNECTING, OPEN, RECONNECTING)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(20))
    assert recorder.changes[0][0] is CONNECTING
    assert all(before[1] is after[0] for before, after in zip(recorder.changes, recorder.changes[1:], strict=False))
    assert recorder.changes[-1][1] is carrier.state
    assert not carrier._changes.queue


def test_a_change_during_a_delivery_is_delivered_after_it() -> None:
    """By the thread that delivers: another one that changes the state does not wait, and leaves the change to it."""
    begun, go = threading.Event(), threading.Event()
    recorder = Recorder(lambda change: begun.set() or go.wait(scaled(5)))
    carrier = _carrier(recorder)
    thread = threading.Thread(target=carrier._set_state, args=(OPEN, None))
    thread.start()
    assert begun.wait(scaled(5))
    carrier._set_state(CLOSED, CloseInfo(1000))
    assert recorder.changes == [(CONNECTING, OPEN)]
    go.set()
    thread.join(scaled(5))
    assert recorder.changes == [(CONNECTING, OPEN), (OPEN, CLOSED)]


def test_a_change_within_a_delivery_does_not_recurse() -> None:
    """It is delivered once the current one has returned."""
    active = 0

    def change_again(change: StateChange) -> None:
        nonlocal active
        active += 1
        assert active == 1
        if change.state is OPEN:
            carrier._set_state(RECONNECTING, None)
        active -= 1

    recorder = Recorder(change_again)
    carrier = _carrier(recorder)
    carrier._set_state(OPEN, None)
    assert recorder.changes == [(CONNECTING, OPEN), (OPEN, RECONNECTING)]


def test_an_interrupt_of_a_delivery_strands_no_other_change() -> None:
    """The thread that delivers goes on with what others left to it, and raises the interrupt afterwards.

    Whether the change that was cut short arrived is not known: the next one leads from the state before both.
    """
    carrier: Any = None

    def interrupt(change: StateChange) -> None:
        if change.state is OPEN:
            other = threading.Thread(target=carrier._set_state, args=(CLOSED, CloseInfo(1000)))
            other.start()
            other.join(scaled(5))
            raise KeyboardInterrupt

    recorder = Recorder(interrupt)
    carrier = _carrier(recorder)
    with pytest.raises(KeyboardInterrupt):
        carrier._set_state(OPEN, None)
    assert recorder.changes == [(CONNECTING, OPEN), (CONNECTING, CLOSED)]
    assert carrier._changes._deliverer is None


def test_an_interrupt_anywhere_strands_no_later_change() -> None:
    """The next one is delivered all the same, and leads from a state that arrived."""
    at, interrupted = 0, True
    while interrupted:
        recorder = Recorder()
        carrier = _carrier(recorder, OPEN)
        carrier._enter(CLOSING, GOODBYE)
        interrupted = struck(at, carrier._deliver_changes)
        carrier._enter(CLOSED, GOODBYE)
        carrier._deliver_changes()
        *others, (previous, state) = recorder.changes
        assert state is CLOSED
        assert previous is OPEN or others == [(OPEN, CLOSING)]
        assert interrupted or previous is CLOSING
        at += 1
    assert at > 10


def test_a_signal_handler_changes_the_state_anywhere() -> None:
    """Nothing is raised, and each change is delivered once, in order."""
    at, interrupted = 0, True
    while interrupted:
        recorder = Recorder()
        carrier = _carrier(recorder, OPEN)

        def close(carrier: Any = carrier) -> None:
            carrier._enter(CLOSED, GOODBYE)
            carrier._deliver_changes()

        carrier._enter(CLOSING, GOODBYE)
        interrupted = struck(at, carrier._deliver_changes, close)
        if not interrupted:
            close()
        assert recorder.changes == [(OPEN, CLOSING), (CLOSING, CLOSED)], at
        at += 1
    assert at > 10


def test_workers_end_after_the_last_change_was_delivered() -> None:
    """Whichever thread delivers it: an action that follows the changes waits for a slow log handler."""
    begun, go = threading.Event(), threading.Event()
    recorder = Recorder(lambda change: begun.set() or go.wait(scaled(5)))
    carrier = _carrier(recorder)
    pool = WorkerPool(1, "test")
    thread = threading.Thread(target=carrier._set_state, args=(OPEN,))
    thread.start()
    assert begun.wait(scaled(5))
    carrier._set_state(CLOSED, GOODBYE)
    carrier._end_workers(pool, Deadline(0.02))
    assert pool.submit(None, threading.Event), "the workers ended before the last change arrived"
    go.set()
    thread.join(scaled(5))
    assert [change[1] for change in recorder.changes] == [OPEN, CLOSED]
    assert not pool.submit(None, threading.Event)


def test_no_lock_is_held_during_a_delivery() -> None:
    """Another thread may take the condition meanwhile: a log handler or an instrument may use the connection."""
    free: list[bool] = []

    def probe(change: StateChange) -> None:
        def acquire() -> None:
            free.append(carrier._state_lock.acquire(timeout=scaled(1)))
            carrier._state_lock.release()

        other = threading.Thread(target=acquire)
        other.start()
        other.join(scaled(5))

    carrier = _carrier(Recorder(probe))
    carrier._set_state(OPEN, None)
    eventually(lambda: free == [True])


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_carrier_changes_its_state_only_as_the_table_allows(before: ConnectionState, after: ConnectionState) -> None:
    """Every pair of states: a change that is allowed is delivered, any other one leaves no trace."""
    recorder = Recorder()
    carrier = _carrier(recorder, before)
    allowed = (before, after) in ALLOWED
    assert carrier._set_state(after, GOODBYE) is allowed
    assert carrier.state is (after if allowed else before)
    assert recorder.changes == ([(before, after)] if allowed else [])
    assert carrier._closing == (GOODBYE if allowed and after is CLOSING else None)
    assert carrier._close_info == (GOODBYE if allowed and after is CLOSED else None)
    assert carrier.was_open is (allowed and after is OPEN)


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_link_in_memory_changes_its_state_by_the_same_table(before: ConnectionState, after: ConnectionState) -> None:
    """Every pair of states: it has the same table as a carrier with threads."""
    link = SharedLink()
    link.state = before
    allowed = (before, after) in ALLOWED
    assert link.enter(after, GOODBYE) is (before if allowed else None)
    assert link.state is (after if allowed else before)
    assert link.links == (2 if allowed and after is OPEN else 1)
    assert link.ending == (GOODBYE if allowed and after is CLOSED else None)


def test_nothing_follows_closed() -> None:
    """A state that is entered twice, and one after the last, is no change."""
    recorder = Recorder()
    carrier = _carrier(recorder)
    for state in (OPEN, OPEN, CLOSED, OPEN, RECONNECTING):
        carrier._set_state(state, None)
    assert recorder.changes == [(CONNECTING, OPEN), (OPEN, CLOSED)]
    assert carrier.was_open


def test_a_thread_with_the_number_of_a_reader_that_ended_is_not_the_reader() -> None:
    """The system gives the numbers of threads that have ended to new ones."""
    carrier = _carrier(Recorder())
    ended = threading.Thread(target=lambda: None)
    ended.start()
    ended.join()
    ended._ident = threading.get_ident()  # type: ignore[attr-defined]
    carrier._thread = ended
    assert not carrier.is_reader()
    carrier._thread = threading.current_thread()
    assert carrier.is_reader()
