"""`WorkerPool`: order within a lane, lanes side by side, a bound, and places that are lent."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from helpers import Collector, eventually, scaled

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.runtime.workers import WorkerPool

Make = Callable[..., WorkerPool]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes pools, and ends them."""
    pools: list[WorkerPool] = []

    def make_one(size: int = 4, linger: float = 2.0) -> WorkerPool:
        pools.append(WorkerPool(size, "test", linger))
        return pools[-1]

    yield make_one
    for pool in pools:
        pool.discard()
        pool.end(Deadline(scaled(5)))


def _workers() -> int:
    return sum(thread.name == "test-worker" for thread in threading.enumerate())


def _wait(event: threading.Event) -> None:
    assert event.wait(scaled(5))


def _mark_and_wait(mark: Callable[[], object], event: threading.Event) -> Callable[[], None]:
    """A task that says it has begun, and then waits."""

    def task() -> None:
        mark()
        _wait(event)

    return task


@pytest.mark.parametrize("size", [1, 4])
def test_a_lane_keeps_its_order(make: Make, size: int) -> None:
    """Tasks of one lane run one after another, whatever else runs beside them."""
    pool, seen, running = make(size), Collector(), threading.Semaphore(1)

    def task(number: int) -> None:
        assert running.acquire(blocking=False)
        seen(number)
        running.release()

    for number in range(300):
        pool.submit("lane", partial(task, number))
        pool.submit(number % 7, lambda: None)
    assert seen.wait(300) == list(range(300))


@pytest.mark.parametrize("lanes", [("a", "b", "c", "d"), (None, None, None, None)])
def test_lanes_run_side_by_side(make: Make, lanes: tuple[str | None, ...]) -> None:
    """Four tasks that wait for each other get on when there are four workers; without a lane, too."""
    pool, meeting, met = make(4), threading.Barrier(4, timeout=scaled(5)), Collector()
    for lane in lanes:
        pool.submit(lane, lambda: met(meeting.wait()))
    assert sorted(met.wait(4)) == [0, 1, 2, 3]


def test_no_more_run_than_there_are_places(make: Make) -> None:
    """A third task waits until one of two has ended."""
    pool, started, go = make(2), Collector(), threading.Event()
    for number in range(5):
        pool.submit(None, _mark_and_wait(partial(started, number), go))
    started.wait(2)
    assert _workers() == 2
    assert len(started.items) == 2
    go.set()
    started.wait(5)


def test_a_place_that_is_lent_lets_nested_work_run(make: Make) -> None:
    """With one place, work waits for work fifty deep."""
    pool, deepest = make(1), threading.Event()

    def descend(depth: int) -> None:
        if depth == 50:
            deepest.set()
            return
        done = threading.Event()

        def deeper() -> None:
            descend(depth + 1)
            done.set()

        pool.submit(None, deeper)
        with pool.lend_place():
            _wait(done)

    pool.submit(None, partial(descend, 0))
    _wait(deepest)


def test_lending_twice_lends_once(make: Make) -> None:
    """A wait within a wait makes no second place."""
    pool, started, go = make(1), Collector(), threading.Event()

    def lender() -> None:
        with pool.lend_place(), pool.lend_place():
            started("lender")
            _wait(go)

    pool.submit(None, lender)
    started.wait(1)
    for number in range(2):
        pool.submit(None, _mark_and_wait(partial(started, number), go))
    started.wait(2)
    assert len(started.items) == 2
    go.set()
    started.wait(3)


def test_threads_outside_lend_nothing(make: Make) -> None:
    """A thread that is no worker has no place to lend."""
    pool, started, go = make(1), Collector(), threading.Event()
    with pool.lend_place():
        for number in range(2):
            pool.submit(None, _mark_and_wait(partial(started, number), go))
        started.wait(1)
        assert len(started.items) == 1
        go.set()
    started.wait(2)


def test_what_a_task_raises_ends_nobody(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the lane goes on."""
    pool, seen = make(1), Collector()
    with caplog.at_level(logging.ERROR, "owlsocket_sync"):
        pool.submit("lane", lambda: [][0])
        pool.submit("lane", lambda: seen("after"))
        assert seen.wait(1) == ["after"]
    assert "a task of a worker failed" in caplog.text


def test_discard_forgets_work_and_keeps_notices(make: Make) -> None:
    """What has not started is dropped and counted, lanes with a text for a name excepted."""
    pool, seen, busy, go = make(1), Collector(), threading.Event(), threading.Event()
    pool.submit(None, _mark_and_wait(busy.set, go))
    _wait(busy)
    for lane in (None, ("event", "x"), ("event", "x"), "state", 7):
        pool.submit(lane, partial(seen, lane))
    assert pool.discard() == 4
    go.set()
    assert pool.settle(Deadline(scaled(5)))
    assert seen.items == ["state"]


def test_a_lane_works_on_after_discard(make: Make) -> None:
    """A lane whose tasks were dropped takes new ones."""
    pool, seen, busy, go = make(1), Collector(), threading.Event(), threading.Event()
    pool.submit(("event", "x"), _mark_and_wait(busy.set, go))
    _wait(busy)
    pool.submit(("event", "x"), lambda: seen("dropped"))
    pool.discard()
    pool.submit(("event", "x"), lambda: seen("new"))
    go.set()
    assert seen.wait(1) == ["new"]


def test_a_running_lane_stays_one_lane_after_discard(make: Make) -> None:
    """What comes after a discard still waits for the task of its lane that runs."""
    pool, seen, busy, go, other = (
        make(2),
        Collector(),
        threading.Event(),
        threading.Event(),
        threading.Event(),
    )

    def first() -> None:
        busy.set()
        _wait(go)
        seen("first")

    pool.submit(1, first)
    _wait(busy)
    pool.discard()
    pool.submit(1, lambda: seen("second"))
    pool.submit(2, other.set)
    _wait(other)
    go.set()
    assert seen.wait(2) == ["first", "second"]


def test_the_end_frees_every_thread(make: Make) -> None:
    """What is there finishes, nothing more is taken, and no thread is left."""
    pool, seen = make(2, linger=60), Collector()
    for number in range(20):
        pool.submit(number, partial(seen, number))
    pool.end(Deadline(scaled(5)))
    assert sorted(seen.items) == list(range(20))
    assert not pool.submit("late", lambda: seen("late"))
    assert _workers() == 0


def test_the_end_from_within(make: Make) -> None:
    """A task may end its own pool."""
    pool, ended = make(2), threading.Event()

    def end() -> None:
        pool.end(Deadline(scaled(5)))
        ended.set()

    pool.submit(None, end)
    _wait(ended)
    eventually(lambda: _workers() == 0)


def test_idle_threads_end_and_come_back(make: Make) -> None:
    """A pool without work costs nothing, and still works after a rest."""
    pool, seen = make(3, linger=0.05), Collector()
    for number in range(6):
        pool.submit(None, partial(seen, number))
    seen.wait(6)
    eventually(lambda: _workers() == 0)
    pool.submit("lane", lambda: seen("again"))
    assert seen.wait(7)[-1] == "again"


def test_settle_waits_for_all_but_oneself(make: Make) -> None:
    """It waits for what runs, gives up at its deadline, and a worker does not wait for itself."""
    pool, busy, go, settled = make(2), threading.Event(), threading.Event(), Collector()
    pool.submit(None, _mark_and_wait(busy.set, go))
    _wait(busy)
    assert not pool.settle(Deadline(0.05))
    go.set()
    assert pool.settle(Deadline(scaled(5)))
    pool.submit(None, lambda: settled(pool.settle(Deadline(scaled(5)))))
    assert settled.wait(1) == [True]


def test_a_task_that_wants_to_exit_takes_no_worker_with_it(make: Make) -> None:
    """Its place and its lane go on."""
    pool = make(1)
    seen = Collector()

    def leave() -> None:
        raise SystemExit(3)

    pool.submit("lane", leave)
    pool.submit("lane", lambda: seen("after"))
    assert seen.wait(1) == ["after"]


def test_workers_that_wait_for_a_place_end_with_the_pool(make: Make) -> None:
    """At once, and not after the time for which they linger."""
    pool = make(1, linger=60.0)
    gates = [threading.Event() for _ in range(3)]
    lent, back = Collector(), threading.Event()

    def lend(gate: threading.Event) -> None:
        with pool.lend_place():
            lent(gate)
            _wait(gate)
        _wait(back)

    for gate in gates:
        pool.submit(None, partial(lend, gate))
    lent.wait(3)
    for gate in gates:
        gate.set()
    pool.submit(None, lambda: None)
    eventually(lambda: pool._busy == 3)
    pool.end(Deadline(0))
    back.set()
    eventually(lambda: not pool._threads, 5)
