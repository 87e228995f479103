"""`WorkerPool`: order within a lane, lanes side by side, a bound, and places that are lent."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import pytest

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.runtime import workers
from owlsocket_sync.runtime.pool_state import PATIENCE, WAITS
from owlsocket_sync.runtime.workers import WorkerPool
from support.helpers import Collector, eventually, scaled

Make = Callable[..., WorkerPool]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes pools, and ends them."""
    pools: list[WorkerPool] = []

    def make_one(size: int = 4, idle_timeout: float = 2.0) -> WorkerPool:
        pools.append(WorkerPool(size, "test", idle_timeout))
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
        with pool.managed_block():
            _wait(done)

    pool.submit(None, partial(descend, 0))
    _wait(deepest)


def test_lending_twice_lends_once(make: Make) -> None:
    """A wait within a wait makes no second place."""
    pool, started, go = make(1), Collector(), threading.Event()

    def lender() -> None:
        with pool.managed_block(), pool.managed_block():
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
    with pool.managed_block():
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
    assert pool.wait_idle(Deadline(scaled(5)))
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
    pool, seen = make(2, idle_timeout=60), Collector()
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
    pool, seen = make(3, idle_timeout=0.05), Collector()
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
    assert not pool.wait_idle(Deadline(0.05))
    go.set()
    assert pool.wait_idle(Deadline(scaled(5)))
    pool.submit(None, lambda: settled(pool.wait_idle(Deadline(scaled(5)))))
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
    """At once, and not after the time for which they idle_timeout."""
    pool = make(1, idle_timeout=60.0)
    gates = [threading.Event() for _ in range(3)]
    lent, back = Collector(), threading.Event()

    def lend(gate: threading.Event) -> None:
        with pool.managed_block():
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
    assert pool.wait_idle(Deadline(scaled(30)))
    for thread in range(threads):
        assert [number for sender, number in seen[thread % lanes] if sender == thread] == list(range(count))
    assert not pool._lanes


def test_a_task_that_is_appended_while_the_last_worker_turns_away_is_run(make: Make) -> None:
    """The two steps of whoever appends without the lock, with the end of the watch between them."""
    pool, seen = make(2, idle_timeout=60), Collector()
    pool._open()
    looks = iter([True, False])
    # True as the thread that appends looks, and not any more when it has appended.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerPool, "_is_attended", lambda _: next(looks, False))
        assert pool.submit("lane", seen, "run")
    assert seen.wait(1) == ["run"]


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
    assert pool.wait_idle(Deadline(scaled(30)))
    assert sum(ran) + dropped == 2 * count


def test_a_lane_that_never_empties_holds_nobody_up(make: Make) -> None:
    """One worker, one lane that never runs dry, and each other one is run when it is its turn."""
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


@pytest.mark.parametrize("size", [1, 3])
def test_tasks_are_started_in_the_order_in_which_they_came(make: Make, size: int) -> None:
    """Whatever their lanes, and however many workers there are."""
    pool, seen = make(size), Collector()
    busy, go = threading.Event(), threading.Event()
    pool.submit(None, _mark_and_wait(busy.set, go))
    _wait(busy)
    if size > 1:
        pool.submit("held", lambda: None)
        pool.wait_idle(Deadline(0))
    for name in "aaabbbab":
        pool.submit(name, seen, name)
    pool.submit(None, seen, "none")
    go.set()
    assert seen.wait(9) == [*"aaabbbab", "none"]


def test_starting_a_worker_lets_no_later_task_pass(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the start of a thread takes, no task is taken before it that is started after it."""
    pool, seen = make(2), Collector()
    later, begin = threading.Thread.start, threading.Event()
    has_passed = threading.Event()

    def start(thread: threading.Thread) -> None:
        later(thread)
        if threading.current_thread().name == "test-worker":
            has_passed.wait(scaled(0.3))

    def second() -> None:
        seen("second")
        has_passed.set()

    monkeypatch.setattr(threading.Thread, "start", start)
    # Both are there when the first worker looks.
    with pool._pool_lock:
        pool._open()
        submitter = threading.Thread(target=lambda: (pool.submit("a", seen, "first"), begin.set()))
        submitter.start()
        pool.ready.append(("a", seen, ("first",)))
        pool.ready.append((None, second, ()))
    _wait(begin)
    assert seen.wait(3)[0] == "first"
    assert seen.items.index("second") > 0


def _hold_up_at_line(make: Make, line: int) -> bool:
    """Hold a worker up at one line on its way from the lock to its task; return whether there are so many."""
    pool, seen = make(2), Collector()
    passed, held = threading.Event(), threading.Event()
    holder: list[threading.Thread] = []
    left = [line]

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != workers.__file__ or frame.f_code.co_name not in ("_loop", "_next", "_take"):
            return None
        if event == "line" and threading.current_thread() in holder and not seen.items:
            left[0] -= 1
            if left[0] == -1:
                held.set()
                # The other worker has many times as long as it needs to take a turn over.
                passed.wait(20 * PATIENCE * WAITS)
        return trace

    def second() -> None:
        seen("second")
        passed.set()

    threading.settrace(trace)
    try:
        pool.submit(None, lambda: holder.append(threading.current_thread()))
        eventually(lambda: pool._idle == 1)
        pool.submit("lane", seen, "first")
        pool.submit(None, second)
        assert seen.wait(2) == ["first", "second"], line
    finally:
        threading.settrace(None)
    return held.is_set()


@pytest.mark.slow
def test_no_task_is_started_between_the_taking_of_another_and_its_start(make: Make) -> None:
    """A worker is held up at each line on its way from the lock to its task: the next task is not started before."""
    line = 0
    while _hold_up_at_line(make, line):
        line += 1
    assert line > 5


def test_a_slow_task_holds_up_its_lane_alone(make: Make) -> None:
    """What came behind it is started while it lasts, what came behind that in its lane once it has ended."""
    pool, seen = make(2), Collector()
    go = threading.Event()
    pool.submit("slow", _mark_and_wait(partial(seen, "slow"), go))
    for lane, name in (("slow", "held up"), ("quick", "quick"), (None, "none"), ("slow", "held up too")):
        pool.submit(lane, seen, name)
    assert seen.wait(3) == ["slow", "quick", "none"]
    go.set()
    assert seen.wait(5) == ["slow", "quick", "none", "held up", "held up too"]


def test_what_a_lane_holds_up_comes_before_what_came_later(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not forgotten when the worker of the lane goes on with another one."""
    pool, seen, go = make(2), Collector(), threading.Event()

    def first() -> None:
        pool.submit("lane", seen, "third")
        pool.submit(None, seen, "last")
        seen("first")

    pool.submit("lane", _wait, go)
    pool.submit("lane", first)
    pool.submit("lane", seen, "second")
    eventually(lambda: len(pool._lanes.get("lane") or ()) == 2)
    monkeypatch.setattr(workers, "PATIENCE", 60.0)
    go.set()
    assert seen.wait(4) == ["first", "second", "third", "last"]


def test_a_task_that_waits_for_the_peer_hands_its_turn_over(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: it is not waited for until it has lasted."""
    monkeypatch.setattr(workers, "PATIENCE", 60.0)
    pool, seen, go = make(2), Collector(), threading.Event()

    def wait() -> None:
        seen("waits")
        with pool.managed_block():
            _wait(go)

    pool.submit("waits", wait)
    seen.wait(1)
    pool.submit(None, seen, "next")
    assert seen.wait(2) == ["waits", "next"]
    go.set()


def test_a_quick_task_has_ended_before_the_next_begins(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers, and what does not last is never run side by side."""
    monkeypatch.setattr(workers, "PATIENCE", 60.0)
    pool, ended, running = make(2), Collector(), threading.Lock()

    def task(number: int) -> None:
        assert running.acquire(blocking=False)
        threading.Event().wait(0)  # lets other threads run
        running.release()
        ended(number)

    for number in range(200):
        pool.submit(number % 3 or None, task, number)
    assert ended.wait(200) == list(range(200))


def test_what_was_held_up_and_is_discarded_leaves_its_lane_free(make: Make) -> None:
    """A task that has its lane already, and waits for a place, is dropped and counted as the others."""
    pool, seen = make(1), Collector()
    lent, back, go, end = (threading.Event() for _ in range(4))

    def lend() -> None:
        with pool.managed_block():
            lent.set()
            _wait(back)
        _wait(go)

    def occupy() -> None:
        seen("occupies")
        _wait(end)

    pool.submit(1, lend)
    _wait(lent)
    pool.submit(1, seen, "held up")
    pool.submit(1, seen, "held up too")
    pool.submit(None, occupy)
    seen.wait(1)
    back.set()
    eventually(lambda: pool._busy == 2)
    go.set()
    eventually(lambda: len(pool._resumed) == 1)
    assert pool.discard() == 2
    pool.submit(1, seen, "new")
    end.set()
    assert seen.wait(2) == ["occupies", "new"]
    assert pool.wait_idle(Deadline(scaled(5)))
    assert not pool._lanes


def test_a_lane_ends_its_turn_when_too_many_work(make: Make) -> None:
    """Whoever lent its place has it back, so who ran in it takes nothing more, though there is more to do."""
    pool, seen = make(1), Collector()
    lent, back, go_on = threading.Event(), threading.Event(), threading.Event()
    first = threading.Event()

    def lender() -> None:
        with pool.managed_block():
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
    """What waits in its lane is the parent's, and nothing is taken any more."""
    pool, seen = make(1), Collector()
    done = threading.Event()

    def abandon() -> None:
        pool.submit("lane", seen, "the parent's")
        pool.abandon()
        done.set()

    pool.submit("lane", abandon)
    _wait(done)
    eventually(lambda: _workers() == 0)
    assert seen.items == []
    assert not pool.submit("lane", seen, "the child's")


def test_workers_that_arrive_late_are_waited_for(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the others hand their turn over meanwhile, no more are started than there are places, and one."""
    arrive, loop, begun = threading.Event(), WorkerPool._loop, Collector()
    numbers = iter(range(100))

    def late(pool: WorkerPool) -> None:
        if next(numbers) >= 2:
            _wait(arrive)
        loop(pool)

    monkeypatch.setattr(WorkerPool, "_loop", late)
    pool, ends = make(3), [threading.Event() for _ in range(12)]
    for number, end in enumerate(ends):
        pool.submit(None, _mark_and_wait(partial(begun, number), end))
    for number, end in enumerate(ends):
        begun.wait(number + 1)
        if number:
            ends[number - 1].set()
        pool.submit(None, end.wait, 0)
    assert _workers() <= 4
    arrive.set()
    ends[-1].set()
    assert sorted(begun.wait(12)) == list(range(12))


def test_a_pool_that_has_no_task_makes_nothing(make: Make) -> None:
    """Neither its queues nor a thread; whatever asks for them finds nothing to do."""
    pool = make()
    assert pool.discard() == 0
    assert pool.wait_idle(Deadline(0))
    assert pool.retry(0.0) == math.inf
    assert not pool.is_worker()
    pool.work_until_end()
    assert not pool._is_open
    pool.abandon()
    assert not pool.submit(None, lambda: None)
    assert not pool._is_open


@pytest.mark.parametrize("size", [1, 4])
def test_threads_that_submit_the_first_task_at_once_lose_none(make: Make, hasty: None, size: int) -> None:
    """One of them makes the queues, and all tasks run, each lane in its order."""
    count = 8
    for _ in range(20):
        pool, seen, begin = make(size, idle_timeout=0.0), Collector(), threading.Barrier(count)

        def submit(lane: int, pool: WorkerPool = pool, seen: Collector = seen, begin: Any = begin) -> None:
            begin.wait()
            for number in range(3):
                pool.submit(lane, seen, (lane, number))

        submitters = [threading.Thread(target=submit, args=(lane,)) for lane in range(count)]
        for submitter in submitters:
            submitter.start()
        ran = seen.wait(3 * count)
        assert sorted(ran) == [(lane, number) for lane in range(count) for number in range(3)]
        assert all([each for each in ran if each[0] == lane][-1] == (lane, 2) for lane in range(count))


def test_a_thread_that_works_for_a_second_pool_is_a_worker_of_the_first_again(make: Make) -> None:
    """As at the end of a connection without threads, whose last tasks run on the thread that closes it."""
    first, second, seen = make(1), make(1), Collector()

    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def work() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            second.submit(None, lambda: seen((second._local.pool is second, second._local.is_blocked)))
            second.end(Deadline(0))
        with first.managed_block():
            second.work_until_end()
            seen((first._local.pool is first, first._local.is_blocked))
        seen((first._local.pool is first, first._local.is_blocked))

    first.submit(None, work)
    assert seen.wait(3) == [(True, False), (True, True), (True, False)]
