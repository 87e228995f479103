"""Waits on a thread that was interrupted while it read or held a lock, and on the reader itself."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from owlsocket_sync import Connection, Heartbeat, SocketError, connect, locks
from owlsocket_sync.locks import Condition, LocksReleased
from owlsocket_sync.reentrant import make_lock
from owlsocket_sync.server import Request, Server, serve
from support.helpers import eventually, scaled
from support.linked import Run, aside, within
from support.sockets import PING, PONG, frame
from support.strikes import struck

pytestmark = pytest.mark.slow

SOON = 0.5


@pytest.fixture
def server() -> Iterator[Server]:
    """A server with a slow method and a quick one."""

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("echo", lambda value: value)
        conn.perform("slow", lambda: time.sleep(0.2))

    with serve(handler) as server:
        yield server


HANDLERS: dict[str, Callable[[Connection], object]] = {
    "ping": lambda conn: conn.ping(timeout=scaled(5)),
    "close": lambda conn: conn.close(timeout=scaled(5)),
    "future.result": lambda conn: conn.submit("echo", 1).result(scaled(5)),
    "wait_idle": lambda conn: conn.wait_idle(scaled(5)),
    "stream": lambda conn: _times_out(lambda: next(conn.stream(1, timeout=0.05))),
    "reconnect": lambda conn: conn.reconnect(),
}


def _times_out(action: Callable[[], object]) -> None:
    with pytest.raises(TimeoutError):
        action()


@pytest.mark.timing
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers that send signals")
@pytest.mark.parametrize("verb", HANDLERS)
def test_a_handler_that_waits_takes_the_role_of_the_reader(server: Server, verb: str) -> None:
    """It takes milliseconds, not its timeout, while the thread that it interrupted waits in a call and reads."""
    took: list[float] = []
    infos = []
    conn = connect(server.url, heartbeat=None)

    def handle(number: int, stack: object) -> None:
        began = time.monotonic()
        HANDLERS[verb](conn)
        took.append(time.monotonic() - began)

    before = signal.signal(signal.SIGALRM, handle)
    try:
        # While the main thread reads in place of the reader, which it does for 50 ms.
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        if verb in ("close", "reconnect"):
            with pytest.raises(SocketError):
                conn.call("slow", timeout=scaled(5))
        else:
            conn.call("slow", timeout=scaled(5))
    finally:
        signal.signal(signal.SIGALRM, before)
        conn.close()
        infos.append(conn.wait_closed(scaled(1)))
    assert took[0] < scaled(SOON)
    assert infos[0].code == 1000


def test_a_leader_that_lost_the_role_while_it_muted_the_reader_lets_it_read(server: Server) -> None:
    """A handler that calls there is the leader for a while; nobody else would read the answers afterwards."""
    with connect(server.url, heartbeat=None) as conn:
        conn.call("echo", 0)
        reader = conn._core.carrier._link._reader  # type: ignore[attr-defined]
        mute = reader._mute

        def interrupt_and_mute() -> None:
            reader._mute = mute
            assert conn.call("echo", 1, timeout=scaled(5)) == 1
            mute()

        reader._mute = interrupt_and_mute
        assert conn.call("echo", 2, timeout=scaled(5)) == 2
        assert conn.call("echo", 3, timeout=scaled(5)) == 3


class Forgotten:
    """Calls, when the collector finds it on the thread that it is to be found on."""

    def __init__(self, action: Callable[[], object], outcome: list[object]) -> None:
        self.me = self
        self.action = action
        self.outcome = outcome

    def __del__(self) -> None:
        began = time.monotonic()
        try:
            self.outcome.append(self.action())
        except Exception as error:
            self.outcome.append(error)
        self.outcome.append(time.monotonic() - began)


def _on_reader(conn: Connection, action: Callable[[], object]) -> list[object]:
    """Run an action in a finalizer on the reader of a connection; return what came of it, and the seconds it took."""
    outcome: list[object] = []
    receive = conn._core.receive

    def forget(text: str | bytes, link: int) -> None:
        link_object._receive = receive
        Forgotten(action, outcome)
        gc.collect()
        receive(text, link)

    link_object = conn._core.carrier._link  # type: ignore[attr-defined]
    link_object._receive = forget
    return outcome


WAITING: dict[str, Callable[[Connection], object]] = {
    "call": lambda conn: conn.call("echo", 1, timeout=20),
    "ping": lambda conn: conn.ping(timeout=20),
    "future.result": lambda conn: conn.submit("slow", timeout=20).result(),
    "stream": lambda conn: next(conn.stream(1, timeout=20)),
    "consume": lambda conn: conn.consume(timeout=20),
    "auth": lambda conn: conn.auth("authenticate", timeout=20),
    "wait_closed": lambda conn: conn.wait_closed(20),
    "wait_idle": lambda conn: conn.wait_idle(20),
    "drain": lambda conn: conn.drain(20),
}


@pytest.mark.timing
@pytest.mark.parametrize("verb", WAITING)
def test_a_wait_on_the_reader_raises_at_once(server: Server, verb: str) -> None:
    """The error says what to do, and other threads that call meanwhile do not notice."""
    with connect(server.url) as conn:
        eventually(lambda: server.connections)
        outcome = _on_reader(conn, lambda: WAITING[verb](conn))
        server.broadcast("anything")
        assert conn.call("echo", 1, timeout=scaled(2)) == 1
        eventually(lambda: len(outcome) == 2)
        assert isinstance(outcome[0], SocketError), outcome
        assert "the thread that reads" in str(outcome[0])
        assert "submit()" in str(outcome[0])
        assert isinstance(outcome[1], float)
        assert outcome[1] < scaled(SOON)
        assert conn.call("echo", 2, timeout=scaled(2)) == 2


def test_a_finalizer_on_the_reader_may_send_and_close(server: Server) -> None:
    """What needs no answer is sent without waiting; a close is carried out by another thread."""
    conn = connect(server.url)
    eventually(lambda: server.connections)
    seen = threading.Event()
    server.connections[0].observe("told", lambda message: seen.set())

    def use() -> None:
        conn.notify("told")
        conn.close()

    _on_reader(conn, use)
    server.broadcast("anything")
    assert seen.wait(scaled(5))
    assert conn.wait_closed(scaled(5)).code == 1000


@pytest.mark.timing
def test_a_finalizer_that_keeps_the_reader_costs_callers_their_deadline_only(server: Server) -> None:
    """The read lock is taken within the deadline of a call."""
    over = threading.Event()
    with connect(server.url) as conn:
        eventually(lambda: server.connections)
        _on_reader(conn, lambda: over.wait(scaled(20)))
        server.broadcast("anything")
        eventually(lambda: conn._core.carrier._link._receive == conn._core.receive)  # type: ignore[attr-defined]
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            conn.call("echo", 1, timeout=scaled(0.3))
        assert time.monotonic() - began < scaled(2)
        over.set()
        assert conn.call("echo", 2, timeout=scaled(5)) == 2


@pytest.mark.timing
def test_a_ping_after_calls_measures_the_peer(server: Server) -> None:
    """Not the pause of a reader that stands by between calls."""
    with connect(server.url) as conn:
        seconds = []
        for _ in range(20):
            for number in range(20):
                conn.call("echo", number)
            seconds.append(conn.ping())
            assert conn.latency == seconds[-1]
        assert sorted(seconds)[10] < scaled(0.0015)


def test_a_pong_is_read_by_the_thread_that_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leads, as a call does; no thread is woken for the pong."""
    run = Run()
    try:
        readers: list[threading.Thread] = []
        on_pong = run.link._pings.on_pong

        def note(payload: bytes) -> None:
            readers.append(threading.current_thread())
            on_pong(payload)

        monkeypatch.setattr(type(run.link._pings), "on_pong", staticmethod(note))

        def answer() -> None:
            run.peer.send(frame(PONG, run.peer.read_frame().payload))

        answering = aside(answer)
        run.link.ping(within())
        assert answering.wait(1) == [None]
        assert readers == [threading.current_thread()]
    finally:
        run.stop()


def test_a_ping_in_a_pause_is_no_measurement() -> None:
    """While a full backlog stops reading, its pong waits for us, which says nothing about the link."""
    run = Run(Heartbeat(interval=0.05, timeout=60))
    try:
        run.room.clear()
        sent = run.peer.read_frame()
        assert sent.opcode == PING
        run.peer.send(frame(PONG, sent.payload))
        while (sent := run.peer.read_frame()).opcode != PING:
            pass
        run.peer.send(frame(PONG, sent.payload))
        assert run.link.latency is None
        run.room.set()
        eventually(lambda: run.link._heartbeat.pinged_at is None)
        run.link._pings.on_pong(sent.payload)
        assert run.link.latency is None or run.link.latency < scaled(0.05)
    finally:
        run.stop()


@pytest.mark.timing
def test_a_condition_misses_nothing_between_its_look_and_its_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """What interrupts a wait at any point, and makes its condition true, ends it."""
    monkeypatch.setattr(locks, "SIGNAL_INTERVAL", scaled(5))  # the wait would come to further points every time
    at, came_to_it, ended = 0, True, 0
    while came_to_it:
        lock = make_lock()
        condition, done, in_time = Condition(lock), threading.Event(), threading.Event()

        def change(condition: Condition = condition, done: threading.Event = done) -> None:
            with condition:
                done.set()
                condition.notify_all()

        def interrupt(
            change: Callable[[], None] = change, done: threading.Event = done, in_time: threading.Event = in_time
        ) -> None:
            if not done.is_set():
                in_time.set()
                change()

        def wait(lock: threading.RLock = lock, condition: Condition = condition, done: threading.Event = done) -> None:
            with lock:
                assert condition.wait_for(done.is_set, scaled(5))

        # Ends the wait where the point is not reached before it.
        timer = threading.Timer(scaled(0.2), change)
        timer.start()
        began = time.monotonic()
        came_to_it = struck(at, wait, interrupt)
        if in_time.is_set():
            assert time.monotonic() - began < scaled(0.15), at
            ended += 1
        timer.cancel()
        timer.join()
        at += 1
    assert ended > 8


def test_an_interrupt_of_a_wait_leaves_its_lock_as_it_was() -> None:
    """Held by the thread that waited, at any point, and free after it."""
    lock = make_lock()
    condition = Condition(lock)

    def wait() -> None:
        with lock:
            condition.wait_for(lambda: False, 0.001)

    at = 0
    while struck(at, wait):
        assert aside(lambda: lock.acquire(timeout=scaled(1)) and lock.release()).wait(1) == [None], at
        at += 1
    assert at > 8


@pytest.mark.parametrize("holds", [False, True])
def test_an_interrupt_of_a_wait_takes_no_notification_of_the_next_one(holds: bool) -> None:
    """At any point, also where the interrupted wait has nothing to wait for."""
    lock = make_lock()
    condition, done = Condition(lock), threading.Event()

    def interrupted() -> None:
        with lock:
            condition.wait_for(lambda: holds, 0.001)

    def wait(looked: threading.Event) -> bool:
        def look() -> bool:
            looked.set()
            return done.is_set()

        with lock:
            return condition.wait_for(look, scaled(20))

    at = 0
    while struck(at, interrupted):
        done.clear()
        looked = threading.Event()
        outcome = aside(partial(wait, looked))
        assert looked.wait(scaled(5))
        with lock:  # which it has let go of: it waits
            done.set()
            condition.notify()
        assert outcome.wait(1, 2) == [True], at
        at += 1
    assert at > 6  # fewer from Python 3.13 on


def test_locks_are_free_during_the_wait_of_a_handler_and_held_after_it() -> None:
    """As deep as they were held."""
    held, other = make_lock(), make_lock()
    with held, held:
        with LocksReleased((held, other)):
            assert aside(lambda: held.acquire(timeout=scaled(1)) and held.release()).wait(1) == [None]
        assert aside(lambda: held.acquire(timeout=0.01)).wait(1) == [False]
    assert aside(lambda: held.acquire(timeout=scaled(1))).wait(1) == [True]
