"""Handlers run where their message was read: quick ones without a switch of threads, and none holds up reading."""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from owlsocket_sync import Backoff, CallMessage, Connection, ConnectionState, Limits, MessageType, connect, fork
from owlsocket_sync.core.tasks import Tasks, task_name
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.protocol.backlog import Backlog
from owlsocket_sync.protocol.counters import Counters
from owlsocket_sync.runtime import inline_pool, monitor, poller
from owlsocket_sync.runtime.inline_pool import KNOWN_SLOW_WAITS, InlinePool
from owlsocket_sync.runtime.monitor import Monitor
from owlsocket_sync.runtime.pool_state import WAITS
from owlsocket_sync.runtime.registration import POLLING
from owlsocket_sync.runtime.slow_tasks import MAX_NAMES, PENALTY, RARE, SlowTasks
from owlsocket_sync.server import Request, Server, serve
from support.handlers import drop_link
from support.helpers import Collector, eventually, scaled

POLLER = "owlsocket-poller"
QUICK = Backoff(initial=0.01, cap=0.01, jitter="none")


@pytest.fixture(autouse=True)
def slow_tasks(monkeypatch: pytest.MonkeyPatch) -> SlowTasks:
    """A poller and a memory of slow handlers for each test alone."""
    memory = SlowTasks()
    monkeypatch.setattr(inline_pool, "SLOW_TASKS", memory)
    monkeypatch.setattr(poller, "_pollers", fork.PerProcess(poller.Poller))
    return memory


class Methods:
    """What the clients of a server may call and tell, and what came of it."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Event()
        self.payloads = Collector()

    def __call__(self, conn: Connection, request: Request) -> None:
        """Answer a client."""
        conn.perform("where", lambda: threading.current_thread().name)
        conn.perform("wait", self.wait)
        conn.perform("spin", self.spin)
        conn.perform("ask", lambda: conn.call("where"))
        conn.perform("go", self.go.set)
        conn.perform("nap", lambda: (threading.current_thread().name, time.sleep(0.1))[0])
        conn.observe("wait", lambda message: self.wait())
        conn.observe("tell", lambda message: self.payloads(message.payload))

    def wait(self) -> str:
        """Hold up the thread until another handler frees it; return its name."""
        self.begun.set()
        assert self.go.wait(scaled(10))
        return threading.current_thread().name

    def spin(self) -> int:
        """Compute until another handler has run; return the rounds."""
        rounds, end = 0, time.monotonic() + scaled(10)
        while not self.go.is_set() and time.monotonic() < end:
            rounds += 1
        return rounds


@pytest.fixture
def methods() -> Methods:
    """The handlers of the server."""
    return Methods()


@pytest.fixture
def server(methods: Methods) -> Iterator[Server]:
    """A server, whose clients the poller of this process reads."""
    with serve(methods) as made:
        yield made
        methods.go.set()


@pytest.fixture
def conn(server: Server) -> Iterator[Connection]:
    """A client of it."""
    with connect(server.url) as made:
        yield made


def _where(conn: Connection) -> str:
    return str(conn.call("where"))


def _is_quick(conn: Connection) -> bool:
    """Return whether the handler of a call runs where it was read."""
    # The worker of the last task may have the turn for a moment more, and a busy machine may hold up any thread for so
    # long that it is taken for a slow handler, once.
    eventually(lambda: _where(conn) == POLLER)
    return True


def test_a_quick_handler_needs_no_worker(conn: Connection, server: Server) -> None:
    """Of either end: calls of the client, and events for it."""
    assert _is_quick(conn)
    (peer,) = server.connections
    names = Collector()
    conn.observe("named", lambda message: names(threading.current_thread().name))
    for _ in range(3):
        peer.notify("named")
    assert POLLER in names.wait(3)


def test_a_handler_that_waits_holds_up_nothing_else(conn: Connection, server: Server, methods: Methods) -> None:
    """Neither other calls and events of its connection, nor other connections."""
    waiting = conn.submit("wait")
    assert methods.begun.wait(scaled(5))
    conn.notify("tell", 1)
    assert methods.payloads.wait(1) == [1]
    assert _where(conn)
    with connect(server.url) as other:
        assert _where(other)
        other.call("go")
    assert waiting.result(scaled(5))


def test_a_handler_that_computes_holds_up_nothing_else(conn: Connection) -> None:
    """Although it gives no other thread the interpreter by itself."""
    rounds = conn.submit("spin")
    conn.call("go")
    assert rounds.result(scaled(10)) >= 0


@pytest.mark.parametrize("workers", [1, 4])
def test_a_handler_may_call_back(server: Server, workers: int) -> None:
    """On one thread that polls for both ends, which would wait for itself."""
    with connect(server.url, workers=workers) as conn:
        conn.perform("where", lambda: conn.call("where"))
        for _ in range(5):
            assert conn.call("ask")


def test_a_name_that_was_slow_goes_to_the_workers(conn: Connection, slow_tasks: SlowTasks) -> None:
    """From its second slow run on; other names stay where they are."""
    assert conn.call("nap") == POLLER
    conn.call("nap")
    eventually(lambda: slow_tasks.is_slow(("call", "nap")))
    assert str(conn.call("nap")).endswith("-worker")
    assert _is_quick(conn)


def test_handlers_start_in_order_whoever_runs_them(conn: Connection, methods: Methods) -> None:
    """The poller, until one of them waits, and workers from then on."""
    for number in range(50):
        conn.notify("tell", number)
    conn.notify("wait")
    for number in range(50, 100):
        conn.notify("tell", number)
    assert methods.payloads.wait(100) == list(range(100))
    assert not methods.go.is_set()


def test_what_a_handler_raises_ends_no_thread(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Not even the one that polls."""
    with connect(server.url) as conn:
        reported = Collector()
        conn.on_error(lambda error, context: reported(type(error)))
        conn.observe("exit", lambda message: sys.exit(1))
        for peer in server.connections:
            for _ in range(3):
                peer.notify("exit")
        assert reported.wait(3) == [SystemExit] * 3
        assert _is_quick(conn)


def test_a_handler_may_close_its_connection(server: Server) -> None:
    """And the connection of the other end, which the same thread reads."""
    with connect(server.url, reconnect=None) as conn:
        closed = Collector()
        conn.observe("close", lambda message: closed(conn.close()))
        for peer in server.connections:
            peer.notify("close")
        closed.wait(1)
        assert conn.wait_closed(scaled(5)).code == 1000
    eventually(lambda: not server.connections)
    with connect(server.url) as conn:
        assert _is_quick(conn)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_the_child_of_a_handler_does_not_poll(server: Server) -> None:
    """It ends with its handler, and the parent goes on."""
    children: list[int] = []
    with connect(server.url) as conn:

        def part(message: Any) -> None:
            pid = os.fork()
            if pid:
                children.append(pid)
            elif threading.current_thread().name == POLLER:
                os._exit(3 if poller.get_poller().links else 0)
            else:
                os._exit(0)

        conn.observe("part", part)
        for peer in server.connections:
            peer.notify("part")
        eventually(lambda: children)
        assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
        assert _is_quick(conn)


def test_many_quick_handlers_hold_up_no_other_connection(
    server: Server, methods: Methods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The poller comes back to what is left, once other links had their turn."""
    monkeypatch.setattr(poller, "INLINE_SECONDS", 0.0)
    with connect(server.url) as busy, connect(server.url) as other, busy.batch():
        for number in range(500):
            busy.notify("tell", number)
        busy.notify("tell", "last")
        assert _where(other)
    assert methods.payloads.wait(501) == [*range(500), "last"]


def test_without_a_thread_for_the_monitor_workers_run_the_handlers(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing would look whether they hold up the poller."""
    monkeypatch.setattr(Monitor, "ensure_awake", lambda self: False)
    assert _where(conn).endswith("-worker")


def test_a_full_backlog_is_worked_off(server: Server, methods: Methods) -> None:
    """Also by the poller itself, which reads nothing meanwhile."""
    with serve(methods, limits=Limits(dispatch_messages=2)) as narrow, connect(narrow.url) as conn:
        for number in range(300):
            conn.notify("tell", number)
        assert methods.payloads.wait(300) == list(range(300))


def test_a_lost_link_is_noticed_while_a_handler_waits(conn: Connection, server: Server, methods: Methods) -> None:
    """By the thread that polls instead."""
    waiting = conn.submit("wait")
    assert methods.begun.wait(scaled(5))
    with connect(server.url, reconnect=QUICK) as other:
        drop_link(server.connections[-1])
        eventually(lambda: other.stats.reconnects == 1)
        assert _where(other)
    assert not waiting.done()


def test_a_thread_that_waits_relieves_the_poller_of_a_handler_as_well(
    conn: Connection, methods: Methods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the monitor comes late, and with it goes what is behind that handler."""
    monkeypatch.setattr(Monitor, "ensure_awake", lambda self: True)
    with conn.batch():
        conn.notify("wait")
        conn.notify("tell", 1)
    assert methods.begun.wait(scaled(5))
    eventually(lambda: (poller.get_poller().relieve(), methods.payloads.items)[1])
    assert methods.payloads.items == [1]
    assert not methods.go.is_set()


def test_a_thread_that_holds_a_pool_holds_up_no_thread_that_relieves_the_poller(
    conn: Connection, server: Server, methods: Methods
) -> None:
    """A finalizer may wait there, for a lock that the other thread holds while it looks out."""
    _where(conn)
    (peer,) = server.connections
    pool: InlinePool = peer._core.carrier._pool  # type: ignore[attr-defined]
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with pool.lock:
            held.set()
            assert free.wait(scaled(20))

    holding = threading.Thread(target=hold)
    with connect(server.url) as other:
        conn.notify("wait")
        assert methods.begun.wait(scaled(5))
        holding.start()
        assert held.wait(scaled(5))
        conn.notify("tell", 1)
        for _ in range(20):
            poller.get_poller().relieve()
            assert other.call("where", timeout=scaled(5))
        polling = [thread for thread in threading.enumerate() if thread.name == POLLER]
        free.set()
        holding.join()
    assert len(polling) < 4
    assert methods.payloads.wait(1) == [1]


class Marks(set[int]):
    """The threads that poll; keeps whether the run of handlers was over when one was marked."""

    def __init__(self) -> None:
        super().__init__()
        self.over: list[bool] = []

    def add(self, thread: int) -> None:
        """Mark a thread."""
        self.over.append(not poller.get_poller()._step)
        super().add(thread)


def test_no_other_thread_is_needed_once_a_run_of_handlers_is_over(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What interrupts the poller from then on must not wait: no thread would relieve it."""
    assert _is_quick(conn)
    marks = Marks()
    monkeypatch.setattr(poller, "POLLING", marks)
    _where(conn)
    eventually(lambda: marks.over)
    assert not any(marks.over)


def test_a_run_that_fails_leaves_the_poller_as_it_was(
    conn: Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It polls, must not wait for a peer, and runs handlers."""
    assert _is_quick(conn)

    def fail(pool: InlinePool, *arguments: object) -> bool:
        raise RuntimeError("an error of our own")

    with monkeypatch.context() as patched:
        patched.setattr(InlinePool, "run_inline", fail)
        assert _where(conn).endswith("-worker")
    assert "the poller failed" in caplog.text
    (polling,) = [thread for thread in threading.enumerate() if thread.name == POLLER]
    eventually(lambda: polling.ident in POLLING)
    assert _is_quick(conn)


class Exiting(logging.Handler):
    """Ends the thread that logs, as far as that lies with it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Raise what no handler should."""
        raise SystemExit(record.getMessage())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_log_handler_that_exits_ends_no_thread(
    server: Server, workers: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not the poller either, where the record is of a handler that failed."""
    # Without a monitor: on a busy machine, another thread would poll, and this one end with its handler.
    monkeypatch.setattr(Monitor, "ensure_awake", lambda monitor: True)
    logger, handler = logging.getLogger("owlsocket_sync"), Exiting()
    logger.addHandler(handler)
    try:
        with connect(server.url, workers=workers) as conn:
            conn.observe("fail", lambda message: 1 / 0)
            done = Collector()
            conn.observe("done", done)
            polling = {thread for thread in threading.enumerate() if thread.name == POLLER}
            for peer in server.connections:
                for _ in range(3):
                    peer.notify("fail")
                peer.notify("done")
            done.wait(1)
            assert polling <= {*threading.enumerate()}
    finally:
        logger.removeHandler(handler)
    assert "a logging handler failed" in capsys.readouterr().err


def test_close_waits_for_what_the_poller_was_to_run(server: Server) -> None:
    """So the last change of the state is known once it returns."""
    for _ in range(50):
        with connect(server.url) as conn:
            states = Collector()
            conn.on_state(states)
            _where(conn)
        assert states.items[-1].state is ConnectionState.CLOSED


# -- the pool --------------------------------------------------------------------------------------------------------

Make = Callable[..., InlinePool]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes pools, and ends them."""
    pools: list[InlinePool] = []

    def make_one(size: int = 2) -> InlinePool:
        pools.append(InlinePool(size, "test", lambda key, function, arguments: key))
        return pools[-1]

    yield make_one
    for pool in pools:
        pool.end(Deadline(scaled(5)))


def _workers() -> int:
    return sum(thread.name == "test-worker" for thread in threading.enumerate())


def _soon() -> float:
    return time.monotonic() + scaled(5)


def test_what_is_submitted_while_the_pool_is_hosted_wakes_no_worker(make: Make) -> None:
    """It runs on the thread that hosts it."""
    pool, ran = make(), Collector()
    pool.is_hosted = True
    for number in range(3):
        pool.submit(None, lambda number=number: ran((number, threading.get_ident())))
    assert not pool.run_inline(_soon(), lambda: None)
    assert ran.items == [(number, threading.get_ident()) for number in range(3)]
    assert _workers() == 0
    assert not pool.is_hosted


def test_what_was_not_run_in_time_is_left_for_the_next_visit(make: Make) -> None:
    """At least one task runs in each."""
    pool, ran = make(), Collector()
    pool.is_hosted = True
    for number in range(3):
        pool.submit(("event", number), ran, number)
    for count in (1, 2):
        assert pool.run_inline(0.0, lambda: None)
        assert len(ran.items) == count
        assert pool.is_hosted
    assert not pool.run_inline(0.0, lambda: None)
    assert ran.items == [0, 1, 2]
    assert _workers() == 0


def test_a_task_that_waits_has_another_thread_poll(make: Make) -> None:
    """At once, and workers run what is behind it."""
    pool, handed_on, ran = make(), Collector(), threading.Event()

    def wait() -> None:
        with pool.managed_block():
            assert ran.wait(scaled(5))

    pool.is_hosted = True
    pool.submit(None, wait)
    pool.submit(None, ran.set)
    assert not pool.run_inline(_soon(), lambda: handed_on(True))
    assert handed_on.items == [True]


@pytest.mark.parametrize(("name", "waits"), [("slow", KNOWN_SLOW_WAITS), ("new", WAITS)])
def test_a_task_that_was_slow_before_keeps_the_turn_for_less_time(
    make: Make, slow_tasks: SlowTasks, monkeypatch: pytest.MonkeyPatch, name: str, waits: int
) -> None:
    """Beside one that computes, each wait takes as long as the interpreter takes to switch threads."""
    slow_tasks.note("slow")
    slow_tasks.note("slow")
    pool, begun, ran = make(), threading.Event(), threading.Event()
    changed, waited = pool._turn_changed, Collector()

    class Counting:
        """The condition on which a worker waits for the turn."""

        notify, notify_all = changed.notify, changed.notify_all

        def wait(self, seconds: float) -> bool:
            """Wait, and count that."""
            waited(seconds)
            return changed.wait(seconds)

    def last() -> None:
        begun.set()
        assert ran.wait(scaled(5))

    monkeypatch.setattr(pool, "_turn_changed", Counting())
    pool.submit(name, last)
    assert begun.wait(scaled(5))
    pool.submit(None, ran.set)
    assert ran.wait(scaled(5))
    assert len(waited.items) == waits


def test_a_task_that_lasts_leaves_what_is_behind_it_to_workers(make: Make) -> None:
    """Once the monitor has seen it."""
    pool, begun, ran = make(), threading.Event(), threading.Event()

    def last() -> None:
        begun.set()
        assert ran.wait(scaled(5))

    def watch() -> None:
        assert begun.wait(scaled(5))
        pool.leave_to_workers()

    pool.is_hosted = True
    pool.submit(None, last)
    pool.submit(None, ran.set)
    watching = threading.Thread(target=watch)
    watching.start()
    assert not pool.run_inline(_soon(), lambda: None)
    watching.join()


def test_a_worker_that_has_the_turn_keeps_it(make: Make) -> None:
    """What follows its task is not run by another thread before its start."""
    pool, begun, go, ran = make(1), threading.Event(), threading.Event(), Collector()
    pool.submit(None, lambda: (begun.set(), go.wait(scaled(5)), ran("first")))
    assert begun.wait(scaled(5))
    pool.is_hosted = True
    pool.submit(None, ran, "second")
    assert not pool.run_inline(_soon(), lambda: None)
    go.set()
    assert ran.wait(2) == ["first", "second"]


@pytest.mark.slow
def test_no_task_is_lost_between_a_thread_that_submits_and_one_that_hosts(make: Make) -> None:
    """Whatever the moment at which one of them looks."""
    pool, count, over = make(), 20_000, threading.Event()
    ran: list[int] = []
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def host() -> None:
        while not over.is_set():
            pool.is_hosted = True
            if not (pool.ready and pool.run_inline(time.monotonic() + 0.001, lambda: None)):
                pool.is_hosted = False
                if pool.ready:
                    pool.leave_to_workers()

    hosting = threading.Thread(target=host)
    hosting.start()
    try:
        for number in range(count):
            assert pool.submit(("event", "x"), ran.append, number)
        eventually(lambda: len(ran) == count, 20)
    finally:
        sys.setswitchinterval(before)
        over.set()
        hosting.join()
    assert ran == list(range(count))


def test_the_end_of_a_pool_waits_for_its_task_and_not_for_the_thread_that_hosts_it(make: Make) -> None:
    """That thread goes on."""
    pool, begun, go = make(), threading.Event(), threading.Event()
    over = threading.Event()

    def host() -> None:
        pool.is_hosted = True
        pool.submit(None, lambda: (begun.set(), go.wait(scaled(5))))
        pool.run_inline(_soon(), lambda: None)
        over.wait(scaled(10))

    hosting = threading.Thread(target=host)
    hosting.start()
    assert begun.wait(scaled(5))
    threading.Timer(0.05, go.set).start()
    start = time.monotonic()
    pool.end(Deadline(scaled(5)))
    assert go.is_set()
    assert time.monotonic() - start < scaled(4)
    assert hosting.is_alive()
    over.set()
    hosting.join()


def test_a_pool_without_a_task_has_nothing_to_leave_to_workers(make: Make) -> None:
    """Where a step of its link is held up before the first task."""
    pool = make()
    pool.is_hosted = True
    pool.leave_to_workers()
    assert not pool.is_hosted
    assert _workers() == 0


def test_the_end_of_a_pool_waits_for_what_is_hosted(make: Make) -> None:
    """It may be that the thread which hosts it comes late."""
    pool, ran = make(), Collector()
    pool.is_hosted = True
    pool.submit("notice", ran, 1)
    pool.end(Deadline(scaled(5)))
    assert ran.items == [1]


def test_what_a_lane_held_up_is_not_left_to_the_thread_that_hosts(make: Make) -> None:
    """It looks at what is ready: what a place was missing for runs on a worker once a task waits."""
    pool = make(1)
    pool._idle_timeout = scaled(60)
    begun, go, middle, block, ran = (threading.Event() for _ in range(5))

    def first() -> None:
        with pool.managed_block():
            begun.set()
            assert go.wait(scaled(5))

    def second() -> None:
        middle.set()
        assert block.wait(scaled(5))
        with pool.managed_block():
            ran.wait(scaled(10))

    pool.submit("x", first)
    assert begun.wait(scaled(5))
    pool.submit("x", ran.set)
    pool.submit("y", second)
    assert middle.wait(scaled(5))
    go.set()
    eventually(lambda: pool._resumed)
    pool.is_hosted = True  # by a step that submits nothing
    block.set()
    assert ran.wait(scaled(5))


def test_a_thread_that_ends_its_run_late_takes_no_other_one_its_turn(make: Make) -> None:
    """Two threads that poll may run handlers of one pool: one that was relieved, and the one that relieved it."""
    pool, late, go_late, begun, ran = make(3), *(threading.Event() for _ in range(4))

    def host(task: Callable[[], object]) -> threading.Thread:
        pool.is_hosted = True
        pool.submit(None, task)
        thread = threading.Thread(target=pool.run_inline, args=(_soon(), lambda: None))
        thread.start()
        return thread

    first = host(lambda: (late.set(), go_late.wait(scaled(5))))
    assert late.wait(scaled(5))
    pool.leave_to_workers()
    second = host(lambda: (begun.set(), ran.wait(scaled(5))))
    assert begun.wait(scaled(5))
    go_late.set()
    first.join()
    assert pool._inline_turn is not None
    ran.set()
    second.join()
    assert pool._inline_turn is None


def test_a_run_that_fails_leaves_nothing_behind(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads have the turn afterwards, and the end of the pool does not wait for this one."""
    pool, ran = make(), Collector()

    def fail(*arguments: object) -> None:
        raise RuntimeError("an error of our own")

    pool.is_hosted = True
    pool.submit("a", ran, 1)
    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr(InlinePool, "_run_from", fail)
        pool.run_inline(_soon(), lambda: None)
    pool.leave_to_workers()
    pool.submit("b", ran, 2)
    assert ran.wait(1) == [2]
    start = time.monotonic()
    pool.end(Deadline(scaled(5)))
    assert time.monotonic() - start < scaled(4)


# -- the monitor -----------------------------------------------------------------------------------------------------


def test_the_monitor_sleeps_until_it_is_needed_and_ends_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """And starts again."""
    monkeypatch.setattr(monitor, "IDLE_SECONDS", scaled(0.1))
    looks, busy = Collector(), threading.Event()

    def look() -> bool:
        looks(True)
        return busy.is_set()

    watch = Monitor(look)
    for _ in range(2):
        busy.set()
        assert watch.ensure_awake()
        count = len(looks.items)
        looks.wait(count + 5)
        busy.clear()
        eventually(lambda: "owlsocket-monitor" not in {thread.name for thread in threading.enumerate()})
    busy.set()
    assert watch.ensure_awake()
    looks.wait(len(looks.items) + 5)
    busy.clear()


@pytest.mark.slow
def test_the_monitor_misses_no_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that comes while it falls asleep, or ends."""
    monkeypatch.setattr(monitor, "IDLE_SECONDS", 0.0005)
    monkeypatch.setattr(monitor, "TICK", 0.0001)
    inline, seen = threading.Event(), threading.Event()

    def look() -> bool:
        if inline.is_set():
            seen.set()
        return inline.is_set()

    watch = Monitor(look)
    for number in range(1_000):
        inline.set()
        assert watch.ensure_awake()
        assert seen.wait(scaled(5)), number
        inline.clear()
        seen.clear()


def test_the_monitor_tells_that_it_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """And tries again."""

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    watch = Monitor(lambda: False)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        assert not watch.ensure_awake()
    assert watch.ensure_awake()


def _monitors() -> int:
    return sum(thread.name == "owlsocket-monitor" for thread in threading.enumerate())


def test_there_is_one_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the poller comes twice at the moment at which the monitor is about to end."""
    monkeypatch.setattr(monitor, "IDLE_SECONDS", 0.01)
    busy, counts = threading.Event(), Collector()
    watch = Monitor(busy.is_set)
    first = [True]

    class Racing(list[bool]):
        def pop(self, index: Any = -1) -> bool:
            if threading.current_thread().name == "owlsocket-monitor" and first:
                first.clear()
                busy.set()
                for _ in range(2):
                    assert watch.ensure_awake()
                counts(_monitors())
            return super().pop(index)

    for name, value in vars(watch).items():
        if isinstance(value, list):
            setattr(watch, name, Racing(value))
    assert watch.ensure_awake()
    assert counts.wait(1) == [1]
    busy.clear()
    eventually(lambda: not _monitors())


def test_the_monitor_outlives_what_a_look_raises(capsys: pytest.CaptureFixture[str]) -> None:
    """A look may log that there is no thread for a worker, and a log handler may raise anything."""
    looks = Collector()

    def look() -> bool:
        looks(True)
        if len(looks.items) < 3:
            raise SystemExit
        return len(looks.items) < 5

    watch = Monitor(look)
    assert watch.ensure_awake()
    looks.wait(5)


# -- what was slow ---------------------------------------------------------------------------------------------------


def test_a_name_is_slow_after_two_slow_runs_that_are_not_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """And for a while."""
    now = 1000.0
    monkeypatch.setattr("owlsocket_sync.runtime.slow_tasks.monotonic", lambda: now)
    memory = SlowTasks()
    memory.note("a")
    assert not memory.is_slow("a")
    memory.runs += RARE
    memory.note("a")
    assert not memory.is_slow("a")
    memory.runs += RARE - 1
    memory.note("a")
    assert memory.is_slow("a")
    assert not memory.is_slow("b")
    now += PENALTY
    assert not memory.is_slow("a")
    assert memory.slow_until == {}


def test_what_is_left_to_workers_stays_with_them() -> None:
    """Whatever else is slow, or forgotten."""
    memory = SlowTasks()
    memory.leave_to_workers("queue")
    for number in range(3 * MAX_NAMES):
        memory.note(number)
        memory.note("queue")
    assert memory.is_slow("queue")
    assert memory.slow_until["queue"] == math.inf


def test_names_that_a_peer_invents_take_no_memory_without_end() -> None:
    """It forgets all, rather than to grow."""
    memory = SlowTasks()
    for number in range(3 * MAX_NAMES):
        memory.note(number)
        memory.note(number)
    assert len(memory.slow_until) <= MAX_NAMES
    assert len(memory._slow_at) <= MAX_NAMES


@pytest.mark.parametrize("lane", [("event", "x" * 1_000_000), None])
def test_a_long_name_that_a_peer_invents_takes_little_memory(lane: Any) -> None:
    """Of an event as of a method: a peer may send many of them, each as long as a message."""
    counters = Counters(threading.Lock())
    tasks = Tasks(
        lambda *arguments: True, Backlog(1, 1, threading.Lock()), counters, lambda error, context, text=None: None
    )
    call = CallMessage(type=MessageType.CALL, method="y" * 1_000_000, payload=[], timeout=1.0)
    name = task_name(lane, tasks._run_task, (lane, 1, print, (call,)))
    assert len(repr(name)) < 2_000
    assert name == task_name(lane, tasks._run_task, (lane, 1, print, (call,)))
