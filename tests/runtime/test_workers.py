"""`WorkerPool`: order within a lane, lanes side by side, a bound, and places that are lent."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from helpers import Collector, eventually, scaled

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.runtime.workers import SHARE, Lane, WorkerPool

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


# -- lanes that open and close -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3])
def test_no_task_is_lost_between_a_lane_that_empties_and_one_that_appends(make: Make, hasty: None, size: int) -> None:
    """Lanes that run dry all the time, and several threads for each of them: all run, once, in order."""
    pool, count, lanes, threads = make(size), 3000, 2, 4
    seen: list[list[tuple[int, int]]] = [[] for _ in range(lanes)]
    running = [threading.Lock() for _ in range(lanes)]

    def task(lane: int, thread: int, number: int) -> None:
        assert running[lane].acquire(blocking=False)
        seen[lane].append((thread, number))
        running[lane].release()

    def submit(thread: int) -> None:
        for number in range(count):
            assert pool.submit(("lane", thread % lanes), task, thread % lanes, thread, number)

    submitters = [threading.Thread(target=submit, args=(thread,)) for thread in range(threads)]
    for submitter in submitters:
        submitter.start()
    for submitter in submitters:
        submitter.join(scaled(60))
    assert pool.settle(Deadline(scaled(30)))
    for thread in range(threads):
        assert [number for one, number in seen[thread % lanes] if one == thread] == list(range(count))
    assert not pool._lanes


def test_what_is_appended_while_a_lane_is_closed_is_moved(make: Make) -> None:
    """The two steps of whoever appends, with the closing of the lane between them, and a new lane in its place."""
    pool, seen = make(1), Collector()
    busy, go = threading.Event(), threading.Event()
    pool.submit(None, _mark_and_wait(busy.set, go))
    _wait(busy)
    pool.submit(("event", "x"), seen, "dropped")
    for _ in range(2):
        found = pool._lanes[("event", "x")]
        pool.discard()
        found.tasks.append((seen, ("late",)))
        assert not found.open
        pool._rescue(found)
    pool.submit(("event", "x"), seen, "before")
    found.tasks.append((seen, ("after",)))
    pool._rescue(found)
    go.set()
    assert seen.wait(3) == ["late", "before", "after"]


@pytest.mark.parametrize("size", [1, 3])
def test_each_task_is_run_or_counted_as_dropped(make: Make, hasty: None, size: int) -> None:
    """While work comes from two threads, and is discarded again and again."""
    pool, count, over = make(size), 4000, threading.Event()
    ran = [0, 0]
    dropped = 0

    def task(lane: int) -> None:
        ran[lane] += 1

    def submit(lane: int) -> None:
        for _ in range(count):
            pool.submit(lane, task, lane)

    submitters = [threading.Thread(target=submit, args=(lane,)) for lane in range(2)]
    for submitter in submitters:
        submitter.start()
    while any(submitter.is_alive() for submitter in submitters):
        dropped += pool.discard()
        over.wait(0.0001)
    dropped += pool.discard()
    assert pool.settle(Deadline(scaled(30)))
    assert sum(ran) + dropped == 2 * count


def test_a_lane_gives_way_to_others(make: Make) -> None:
    """One worker, one lane that never runs dry, and each other one gets its turn; slow tasks take turns one by one."""
    pool, seen = make(1), Collector()
    ready, over = threading.Event(), threading.Event()

    def again() -> None:
        ready.set()
        if not over.is_set():
            pool.submit("endless", again)

    pool.submit("endless", again)
    _wait(ready)
    for number in range(5):
        pool.submit(number, seen, number)
        seen.wait(number + 1)
    over.set()
    assert seen.items == list(range(5))


def test_lanes_of_slow_tasks_take_turns(make: Make) -> None:
    """A task that took longer than a lane's share is the last of that turn."""
    pool, seen = make(1), Collector()
    busy, go = threading.Event(), threading.Event()
    pool.submit(None, _mark_and_wait(busy.set, go))
    _wait(busy)

    def slow(name: str) -> None:
        seen(name)
        end = time.monotonic() + 2 * SHARE
        while time.monotonic() < end:
            pass

    for name in "aaabbb":
        pool.submit(name, slow, name)
    go.set()
    assert seen.wait(6) == list("ababab")


def test_a_lane_goes_on_while_nobody_waits(make: Make) -> None:
    """One turn for all of its tasks."""
    pool, seen = make(1), Collector()
    busy, go = threading.Event(), threading.Event()
    turns: list[object] = []
    drain = pool._drain

    def count(lane: Lane) -> None:
        turns.append(lane)
        drain(lane)

    pool._drain = count  # type: ignore[method-assign]
    pool.submit("lane", _mark_and_wait(busy.set, go))
    _wait(busy)
    for number in range(1000):
        pool.submit("lane", seen, number)
    go.set()
    assert seen.wait(1000) == list(range(1000))
    assert len(turns) == 1


def test_a_lane_ends_its_turn_when_too_many_work(make: Make) -> None:
    """Whoever lent its place has it back, so the lane that ran in it waits, though it has more to do."""
    pool, seen = make(1), Collector()
    lent, back, go_on = threading.Event(), threading.Event(), threading.Event()
    first = threading.Event()

    def lender() -> None:
        with pool.lend_place():
            lent.set()
            _wait(first)
        back.set()
        _wait(go_on)
        seen("lender")

    def first_of_lane() -> None:
        first.set()
        _wait(back)
        seen("first")

    pool.submit(None, lender)
    _wait(lent)
    pool.submit("lane", first_of_lane)
    pool.submit("lane", seen, "second")
    assert seen.wait(1) == ["first"]
    eventually(lambda: pool._idle == 1)
    assert seen.items == ["first"]
    go_on.set()
    assert seen.wait(3) == ["first", "lender", "second"]


def test_a_worker_taken_along_by_a_fork_does_no_more(make: Make) -> None:
    """What waits in its lane is the parent's."""
    pool, seen = make(1), Collector()
    done = threading.Event()

    def renew() -> None:
        pool.submit("lane", seen, "the parent's")
        pool.renew()
        done.set()

    pool.submit("lane", renew)
    _wait(done)
    eventually(lambda: _workers() == 0)
    assert seen.items == []
    pool.submit("lane", seen, "the child's")
    assert seen.wait(1) == ["the child's"]
