"""The poller: one thread and one descriptor per link for all links of a process, none of which holds up another."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any, cast

import pytest

from owlsocket_sync import Backoff, Connection, SocketError, connect
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.runtime import poller
from owlsocket_sync.runtime.link import Link
from owlsocket_sync.server import Request, Server, serve
from owlsocket_sync.transport.selector import EpollSelector, PortableSelector
from support.handlers import drop_link
from support.helpers import Collector, eventually, scaled
from support.linked import Run, aside, poll_with, within
from support.sockets import TEXT, frame

QUICK = Backoff(initial=0.01, factor=1.0, cap=0.01, jitter="none", healthy_after=0.0)


def handler(conn: Connection, request: Request) -> None:
    """Answer, and send events on demand."""
    conn.perform("echo", lambda value: value)
    conn.observe("tell", lambda message: conn.notify("told", message.payload))


@pytest.fixture
def server() -> Iterator[Server]:
    """A server in this process, whose clients the same poller reads."""
    with serve(handler) as made:
        yield made


@pytest.fixture(params=[EpollSelector, PortableSelector], ids=["epoll", "portable"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Run]]:
    """Three links at one poller, on either kind of selector."""
    poll_with(request.param, monkeypatch)
    runs = [Run() for _ in range(3)]
    yield runs
    for run in runs:
        run.stop()


def _pollers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "owlsocket-poller"]


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="this system does not list the descriptors of a process")
def test_an_idle_connection_has_one_descriptor_and_no_thread(server: Server) -> None:
    """Of either end, however many there are."""
    with connect(server.url) as first:
        assert first.call("echo", 1) == 1
        eventually(lambda: _names() == {"acceptor", "poller"}, 10)
        before = _descriptors()
        others = [connect(server.url) for _ in range(20)]
        eventually(lambda: len(server.connections) == 21)
        eventually(lambda: _names() == {"acceptor", "poller"}, 10)
        assert _descriptors() == before + 40
        assert [conn.call("echo", number) for number, conn in enumerate(others)] == list(range(20))
        for conn in others:
            conn.close()
        eventually(lambda: _descriptors() == before)


def _names() -> set[str]:
    """Return what the threads of the package are for."""
    return {thread.name.rpartition("-")[2] for thread in threading.enumerate() if thread.name.startswith("owlsocket")}


@pytest.mark.timing
def test_the_thread_ends_when_there_was_no_link_for_a_while(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """And starts again with the next link; a link that follows soon finds it."""
    monkeypatch.setattr(poller, "IDLE_SECONDS", scaled(0.5))
    with connect(server.url) as conn:
        assert conn.call("echo", 1) == 1
        assert len(_pollers()) == 1
        (thread,) = [each for each in threading.enumerate() if each.name == "owlsocket-poller"]
    with connect(server.url) as conn:
        assert conn.call("echo", 2) == 2
        assert thread.is_alive()
    eventually(lambda: not _pollers())
    assert poller.get_poller()._moments == []
    with connect(server.url) as conn:
        assert conn.call("echo", 3) == 3
        assert len(_pollers()) == 1


@pytest.mark.parametrize("error", [SystemExit(1), MemoryError(), RuntimeError("x")], ids=lambda e: type(e).__name__)
def test_an_error_of_one_link_ends_that_link_alone(
    links: list[Run], error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is."""
    broken, *others = links
    step = Link._step

    def fail(link: Link, ready: int) -> float:
        if link is broken.link:
            raise error
        return step(link, ready)

    monkeypatch.setattr(Link, "_step", fail)
    broken.peer.send(frame(TEXT, b"x"))
    assert broken.ended().code in (1006, 1011)
    for run in others:
        run.peer.send(frame(TEXT, b"alive"))
        assert run.got.wait(1) == ["alive"]


def test_a_thread_that_is_held_up_while_it_reads_holds_up_its_link_alone(links: list[Run]) -> None:
    """By a signal handler, for example, under the lock of its link: the poller comes back to that link."""
    held, *others = links
    release, taken = threading.Event(), threading.Event()

    def hold() -> None:
        with held.link._stream.read_lock:
            taken.set()
            release.wait(scaled(10))

    holding = aside(hold)
    assert taken.wait(scaled(5))
    held.peer.send(frame(TEXT, b"late"))
    for number in range(20):
        for run in others:
            run.peer.send(frame(TEXT, b"%d" % number))
            run.got.wait(number + 1)
    assert held.got.items == []
    release.set()
    assert held.got.wait(1) == ["late"]
    holding.wait(1)


def test_a_writer_that_is_held_up_does_not_hold_up_other_links(links: list[Run]) -> None:
    """The end of its link waits for it, on another thread; the peer of that link is answered later."""
    held, *others = links
    release, taken = threading.Event(), threading.Event()

    def hold() -> None:
        with held.link._writer.lock:
            taken.set()
            release.wait(scaled(10))

    holding = aside(hold)
    assert taken.wait(scaled(5))
    held.peer.send(frame(8))
    for run in others:
        run.peer.send(frame(TEXT, b"alive"))
        assert run.got.wait(1) == ["alive"]
    assert not held.released.is_set()
    release.set()
    assert held.ended().code == 1005
    holding.wait(1)


def test_leaders_of_several_links_read_each_their_own(links: list[Run]) -> None:
    """A leader mutes its own link alone."""
    outcomes = [aside(lambda run=run: run.link.read_for(lambda: bool(run.got.items), within())) for run in links[:2]]  # type: ignore[misc]
    links[2].peer.send(frame(TEXT, b"of the poller"))
    assert links[2].got.wait(1) == ["of the poller"]
    for run in links[:2]:
        run.peer.send(frame(TEXT, b"left to the poller"))
        assert run.got.wait(1) == ["left to the poller"]
    for outcome in outcomes:
        assert outcome.wait(1) == [None]


@pytest.mark.slow
def test_a_wakeup_is_never_lost(links: list[Run]) -> None:
    """From many threads at once, whatever the poller does at that moment."""

    def wake() -> None:
        for number in range(200):
            run = links[number % len(links)]
            before = len(run.ticks)
            run.link._stream.wake()
            eventually(lambda before=before, run=run: len(run.ticks) > before)  # type: ignore[misc]

    for outcome in [aside(wake) for _ in range(4)]:
        assert outcome.wait(1, scaled(30)) == [None]


def test_a_log_handler_that_sleeps_holds_up_its_connection_alone(server: Server) -> None:
    """What follows from the end of a link runs on a thread of that connection."""
    sleeping, release = threading.Event(), threading.Event()

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("slow:"):
                sleeping.set()
                release.wait(scaled(10))

    logger, slow = logging.getLogger("owlsocket_sync"), Slow()
    logger.addHandler(slow)
    try:
        payloads = Collector()
        with connect(server.url) as other, connect(server.url, name="slow", reconnect=QUICK) as conn:
            other.observe("told", lambda message: payloads(message.payload))
            drop_link(max(server.connections, key=lambda end: int(end.name.rpartition("#")[2])))  # that of `conn`
            assert sleeping.wait(scaled(5))
            other.notify("tell", "meanwhile")
            assert payloads.wait(1) == ["meanwhile"]
            release.set()
            assert conn.call("echo", 1, timeout=scaled(5)) == 1
    finally:
        release.set()
        logger.removeHandler(slow)


def test_a_finalizer_on_the_poller_gets_an_error_from_any_connection(server: Server) -> None:
    """It would hold up all of them: also that of another link, and of one that is being connected."""
    outcomes = Collector()

    class Node:
        def __init__(self, victims: list[Connection]) -> None:
            self.me, self.victims = self, victims

        def __del__(self) -> None:
            for victim in self.victims:
                began = time.monotonic()
                try:
                    victim.call("echo", 1, timeout=scaled(5))
                except Exception as error:
                    outcomes((type(error), time.monotonic() - began))

    with connect(server.url) as conn, connect(server.url) as other, connect("ws://127.0.0.1:1", wait=False) as down:
        link: Link = cast(Any, conn._core.carrier)._link
        registration = link._reader.registration
        assert registration is not None
        step = registration.step
        nodes = [Node([conn, other, down])]

        def drop(ready: int) -> float | None:
            nodes.clear()
            gc.collect()
            return step(ready)

        registration.step = drop
        conn._core.carrier.schedule_wakeup(0.0)
        assert [kind for kind, _ in outcomes.wait(3)] == [SocketError] * 3
        assert max(seconds for _, seconds in outcomes.items) < scaled(1)
        assert conn.call("echo", 2) == other.call("echo", 2) == 2


def test_links_that_have_ended_are_forgotten(server: Server) -> None:
    """Also by the schedule, which would keep each of them until its heartbeat is due."""
    with connect(server.url) as kept:
        ended: list[weakref.ref[Link]] = []
        for _ in range(100):
            with connect(server.url) as conn:
                link: Link = cast(Any, conn._core.carrier)._link
                ended.append(weakref.ref(link))
                del link
        assert kept.call("echo", 1) == 1
        eventually(lambda: len(poller.get_poller()._moments) < 2 * len(poller.get_poller().links) + 70)

        def collected() -> bool:
            gc.collect()
            return all(reference() is None for reference in ended)

        del conn
        eventually(collected)


def test_a_thread_that_a_link_holds_up_is_relieved(links: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """By a thread that waits: other links go on, and so does that link once its step is over; again and again."""
    held, *others = links
    receive, entered, release = Run.receive, threading.Semaphore(0), threading.Semaphore(0)
    never = threading.Event()

    def hold(run: Run, text: str | bytes, link: int) -> None:
        if text == "hold":
            entered.release()
            assert release.acquire(timeout=scaled(10))
        receive(run, text, link)

    monkeypatch.setattr(held.link, "_receive", lambda text, link: hold(held, text, link))
    for number in range(3):
        held.peer.send(frame(TEXT, b"hold") + frame(TEXT, b"after %d" % number))
        assert entered.acquire(timeout=scaled(5))
        for run in others:
            run.peer.send(frame(TEXT, b"meanwhile %d" % number))
        assert not Deadline(scaled(0.3)).wait(never.wait)
        assert [run.got.wait(number + 1)[-1] for run in others] == [f"meanwhile {number}"] * 2
        held.peer.send(frame(TEXT, b"last %d" % number))
        release.release()
        assert held.got.wait(3 * number + 3)[-3:] == ["hold", f"after {number}", f"last {number}"]
    eventually(lambda: len(_pollers()) == 1)


def test_an_end_that_takes_its_time_holds_up_no_other_link(links: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that hands it over may be held up, too; the one that relieves it leaves that end alone."""
    held, *others = links
    entered, release = threading.Event(), threading.Event()
    handed, registration = Collector(), held.link._reader.registration
    assert registration is not None
    on_end = registration.on_end

    def hold() -> bool:
        handed(threading.current_thread())
        entered.set()
        assert release.wait(scaled(10))
        return on_end()

    monkeypatch.setattr(registration, "on_end", hold)
    held.peer.reset()
    assert entered.wait(scaled(5))
    assert not Deadline(scaled(0.3)).wait(threading.Event().wait)
    for run in others:
        run.peer.send(frame(TEXT, b"alive"))
        assert run.got.wait(1) == ["alive"]
    began = time.process_time()
    assert not Deadline(scaled(0.3)).wait(threading.Event().wait)
    assert time.process_time() - began < scaled(0.2), "nothing spins meanwhile"
    release.set()
    assert held.ended().code == 1006
    assert len(handed.items) == 1
