"""Links that come and go under one connection: what fails at once, what waits, and what is kept."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import Future
from itertools import pairwise
from typing import Any

import pytest

from owlsocket_sync import (
    Backoff,
    Connection,
    ConnectionState,
    EventMessage,
    SocketConnectionError,
    SocketTimeout,
    SocketUnauthorized,
    connect,
)
from owlsocket_sync.server import Request, Server, serve
from owlsocket_sync.states import CloseInfo
from support.helpers import Collector, eventually, scaled
from support.sockets import CLOSE, TEXT, ByteServer, RawPeer, close_frame, frame, free_port

QUICK = Backoff(initial=0.02, factor=1.0, cap=0.02, jitter="none", healthy_after=0.0)
SLOW = Backoff(initial=60.0, cap=60.0, jitter="none")


def _serve(port: int = 0) -> Server:
    def handler(conn: Connection, request: Request) -> None:
        conn.perform("echo", lambda value: value)
        conn.perform("links", lambda: conn.name)

    return serve(handler, port=port)


def _answer(peer: RawPeer) -> None:
    """Answer calls with their first argument until the end."""
    while True:
        came = peer.read_frame()
        if came.opcode == CLOSE:
            peer.send(close_frame(came.code))
            return
        if came.opcode == TEXT:
            message = json.loads(came.payload)
            if message["type"] == "call":
                reply = {"type": "result", "id": message["id"], "payload": message["payload"][0]}
                peer.send(frame(TEXT, json.dumps(reply).encode()))


def _answering(peer: RawPeer) -> None:
    peer.upgrade()
    _answer(peer)


def _swallow(peer: RawPeer) -> None:
    """Grant the upgrade, read one message, and break the link."""
    peer.upgrade()
    peer.read_frame()
    peer.reset()


@pytest.fixture
def calls() -> Collector:
    """Messages that a raw server saw."""
    return Collector()


# -- the first link ----------------------------------------------------------------------------------------------------


def test_the_first_failure_is_raised_at_once() -> None:
    """Nobody listens: no second attempt, and the place is named."""
    port = free_port()
    began = time.monotonic()
    with pytest.raises(SocketConnectionError, match=f"127.0.0.1:{port}") as caught:
        connect(f"ws://127.0.0.1:{port}/ws", reconnect=QUICK)
    assert caught.value.code == "CONNECTION_LOST"
    assert time.monotonic() - began < scaled(1)


def test_a_server_that_does_not_answer() -> None:
    """The timeout is one deadline over all, and names the place."""
    with (
        ByteServer(lambda peer: peer.at_end()) as server,
        pytest.raises(SocketTimeout, match=str(server.port)),
    ):
        connect(server.url, timeout=0.2)


@pytest.mark.slow
def test_a_host_whose_name_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline holds over the look-up of the name as well."""
    found = threading.Event()

    def look_up(*_: object, **__: object) -> list[Any]:
        found.wait(scaled(5))
        raise socket.gaierror("no")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    began = time.monotonic()
    with pytest.raises(SocketTimeout):
        connect("ws://slow.example", timeout=0.2)
    assert time.monotonic() - began < scaled(1)
    found.set()


def test_without_waiting_it_keeps_trying() -> None:
    """`wait=False` returns at once and connects once the server is there; calls made before are answered."""
    port = free_port()
    with connect(f"ws://127.0.0.1:{port}", wait=False, reconnect=QUICK) as conn:
        assert conn.state is ConnectionState.CONNECTING
        early = conn.submit("echo", "early")
        with ByteServer(_answering, port=port):
            assert early.result(scaled(5)) == "early"
            conn.wait_open(scaled(5))


@pytest.mark.slow
def test_a_refusal_is_not_retried() -> None:
    """A server that refuses who we are is asked once, behind the caller too."""

    def refuse(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")

    with ByteServer(refuse) as server:
        with pytest.raises(SocketUnauthorized):
            connect(server.url, reconnect=QUICK)
        conn = connect(server.url, reconnect=QUICK, wait=False)
        ending = conn.wait_closed(scaled(5))
        assert isinstance(ending.error, SocketUnauthorized)
        with pytest.raises(SocketConnectionError):
            conn.call("echo", 1)
        assert server.accepted == 2


# -- a link that is lost -----------------------------------------------------------------------------------------------


@pytest.mark.timing
@pytest.mark.parametrize("retries", [None, SLOW])
def test_a_lost_link_fails_its_calls_at_once(retries: Backoff | None) -> None:
    """Within 0.2 s, with ``CONNECTION_LOST``: calls, futures and notifications that wait for an answer."""
    go = threading.Event()

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        for _ in range(2):
            peer.read_frame()
        assert go.wait(scaled(5))
        peer.reset()

    with ByteServer(script) as server, connect(server.url, reconnect=retries) as conn:
        failed = Collector()
        future = conn.submit("never")
        future.add_done_callback(lambda done: failed(time.monotonic(), done.exception()))

        def call() -> None:
            with pytest.raises(SocketConnectionError) as caught:
                conn.call("never")
            failed(time.monotonic(), caught.value)

        thread = threading.Thread(target=call)
        thread.start()
        eventually(lambda: conn.stats.pending == 2 and conn.stats.messages_out == 2)
        began = time.monotonic()
        go.set()
        for at, error in failed.wait(2):
            assert error.code == "CONNECTION_LOST"
            assert at - began < scaled(0.2)
        thread.join(scaled(5))


def test_a_message_after_the_end_of_a_link_waits_for_the_next_one() -> None:
    """Even before the reader has changed the state: nothing was sent on the link that ended, so nothing is lost."""
    events = Collector()
    with _serve() as server, connect(server.url, reconnect=QUICK) as conn:
        carrier: Any = conn._core.carrier
        # The reader changes the state under this condition, so it has not while the test holds it.
        with carrier._state_changed:
            carrier._link.abort(CloseInfo(1006, "cut"))
            futures = [conn.submit("echo", number, timeout=scaled(5)) for number in range(3)]
            thread = threading.Thread(target=lambda: events(conn.call("echo", "called", timeout=scaled(5))))
            thread.start()
            thread.join(0.1)
            assert not any(future.done() for future in futures)
        assert [future.result() for future in futures] == [0, 1, 2]
        assert events.wait(1) == ["called"]
        thread.join()
        assert conn.stats.reconnects == 1


def test_authentication_ends_with_its_link() -> None:
    """It does not wait for the next link, on which it would speak in place of that link's own authentication."""
    attempts = Collector()

    def authenticate(conn: Connection) -> None:
        attempts(conn.stats.reconnects)
        carrier: Any = conn._core.carrier
        carrier._link.abort(CloseInfo(1006, "cut"))
        conn.call("echo", 1, timeout=scaled(5))

    with _serve() as server, pytest.raises(SocketConnectionError):
        connect(server.url, auth=authenticate, reconnect=None, timeout=scaled(5))
    assert attempts.items == [0]


def test_what_outlives_a_lost_link() -> None:
    """Observers stay, calls made meanwhile are answered later, and the states are told in order."""
    port, events, states = free_port(), Collector(), Collector()

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        peer.send(frame(TEXT, b'{"type":"event","event":"hi","payload":1}'))
        _answer(peer)

    server = ByteServer(script, port=port)
    with connect(server.url, reconnect=QUICK) as conn:
        conn.on_state(states)
        conn.observe("hi", events)
        conn.call("echo", 1)
        seen = len(events.items)
        server.stop()
        eventually(lambda: conn.state is ConnectionState.RECONNECTING)
        futures = [conn.submit("echo", number) for number in range(5)]
        with ByteServer(script, port=port):
            assert [future.result(scaled(5)) for future in futures] == list(range(5))
            events.wait(seen + 1)
            assert conn.stats.reconnects >= 1
            assert [change.state.name for change in states.wait(2)] == ["RECONNECTING", "OPEN"]


def test_only_what_may_be_is_sent_again(calls: Collector) -> None:
    """`retry=True` sends the call again with the same id; everything else fails and is never sent twice."""
    links = iter(range(10))

    def script(peer: RawPeer) -> None:
        number = next(links)
        peer.upgrade()
        for _ in range(2 if number == 0 else 1):
            message = json.loads(peer.read_frame().payload)
            calls(number, message["method"], message["id"])
        if number == 0:
            peer.reset()
            return
        reply = {"type": "result", "id": message["id"], "payload": "at last"}
        peer.send(frame(TEXT, json.dumps(reply).encode()))
        _answer(peer)

    with ByteServer(script) as server, connect(server.url, reconnect=QUICK) as conn:
        once = conn.submit("once")
        again = conn.submit("again", retry=True)
        assert again.result(scaled(5)) == "at last"
        with pytest.raises(SocketConnectionError):
            once.result(0)
        seen = calls.wait(3)
    assert [(link, method) for link, method, _ in seen] == [(0, "once"), (0, "again"), (1, "again")]
    assert seen[1][2] == seen[2][2]


@pytest.mark.slow
@pytest.mark.timing
def test_attempts_follow_the_backoff() -> None:
    """The waits grow by the factor up to the cap, and the attempts come to an end."""
    moments = Collector()
    opened = threading.Event()
    backoff = Backoff(initial=0.1, factor=2.0, cap=0.2, jitter="none", max_attempts=3)

    def script(peer: RawPeer) -> None:
        if not moments.items:
            peer.upgrade()
            opened.wait(scaled(5))  # while `connect` waited, it would ask for early attempts
        moments(time.monotonic())

    with ByteServer(script) as server:
        conn = connect(server.url, reconnect=backoff)
        opened.set()
        ending = conn.wait_closed(scaled(5))
        at = moments.wait(4)
    assert len(moments.items) == 4
    waits = [after - before for before, after in pairwise(at)]
    for waited, delay in zip(waits, [0.1, 0.2, 0.2], strict=True):
        assert delay - 0.02 <= waited < delay + scaled(0.15)
    assert ending.error is not None
    with pytest.raises(SocketConnectionError):
        conn.notify("late")


@pytest.mark.slow
def test_a_server_that_asks_for_a_pause_gets_it() -> None:
    """``Retry-After`` is the least of the pause, whatever the backoff would do."""
    moments: list[float] = []

    def script(peer: RawPeer) -> None:
        peer.read_header()
        moments.append(time.monotonic())
        peer.send(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")

    eager = Backoff(initial=0.01, factor=1.0, cap=0.01, max_attempts=2)
    with ByteServer(script) as server, connect(server.url, wait=False, reconnect=eager) as conn:
        conn.wait_closed(scaled(10))
    assert [later - earlier >= 1.0 for earlier, later in pairwise(moments)] == [True, True]


def test_without_reconnect_the_end_is_the_end() -> None:
    """`reconnect=None`: closed for good, with the code of the link."""

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        peer.send(close_frame(4005, "enough"))

    with ByteServer(script) as server:
        conn = connect(server.url, reconnect=None)
        ending = conn.wait_closed(scaled(5))
        assert (ending.code, ending.reason) == (4005, "enough")
        assert conn.state is ConnectionState.CLOSED
        assert server.accepted == 1


def test_a_new_link_on_demand() -> None:
    """`reconnect()` makes one at once, whatever the backoff says; what was in flight fails."""

    with ByteServer(_answering) as server, connect(server.url, reconnect=SLOW) as conn:
        assert conn.call("echo", 1) == 1
        conn.reconnect()
        eventually(lambda: conn.stats.reconnects == 1 and conn.state is ConnectionState.OPEN)
        assert conn.call("echo", 2) == 2
        assert server.accepted == 2


def test_reconnect_ends_a_backoff() -> None:
    """Whoever knows that the server is back need not wait."""
    port = free_port()
    server = ByteServer(_answering, port=port)
    with connect(server.url, reconnect=SLOW) as conn:
        server.stop()
        eventually(lambda: conn.state is ConnectionState.RECONNECTING)
        with ByteServer(_answering, port=port):
            conn.reconnect()
            assert conn.call("echo", 1, timeout=scaled(5)) == 1


def test_a_closed_connection_does_not_reconnect() -> None:
    """`reconnect()` after `close()` raises."""
    with ByteServer(_answering) as server:
        conn = connect(server.url)
        conn.close()
        with pytest.raises(SocketConnectionError):
            conn.reconnect()
        assert conn.state is ConnectionState.CLOSED


@pytest.mark.timing
@pytest.mark.parametrize("connected", [True, False])
def test_a_submitted_call_times_out_while_there_is_no_link(connected: bool) -> None:
    """Nobody waits, and there may be no link at all: the timeout holds."""
    port = free_port()
    server = ByteServer(_swallow, port=port)
    with connect(server.url, reconnect=SLOW) as conn:
        if not connected:
            conn.notify("break")
            eventually(lambda: conn.state is ConnectionState.RECONNECTING)
        done = Collector()
        future: Future[Any] = conn.submit("never", timeout=0.2, retry=True)
        began = time.monotonic()
        future.add_done_callback(done)
        done.wait(1, 2.0)
        assert time.monotonic() - began < scaled(0.6)
        assert isinstance(future.exception(), SocketTimeout)
        assert conn.stats.pending == 0
    server.stop()


def test_a_notification_waits_for_the_link_within_its_deadline() -> None:
    """While reconnecting, `notify` and `call` wait no longer than they may."""
    with ByteServer(_swallow) as server, connect(server.url, reconnect=SLOW) as conn:
        conn.notify("break")
        eventually(lambda: conn.state is ConnectionState.RECONNECTING)
        with pytest.raises(SocketTimeout), conn.deadline(0.1):
            conn.notify("late")
        with pytest.raises(SocketTimeout):
            conn.call("late", timeout=0.1)


def test_a_start_without_a_thread_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was out of threads at the first use connects at a later one, instead of waiting for no reader."""
    start, refusals = threading.Thread.start, [RuntimeError("can't start new thread")]

    def refuse_once(thread: threading.Thread) -> None:
        if refusals and thread.name == "scarce-supervisor":
            raise refusals.pop()
        start(thread)

    def use(conn: Connection) -> None:
        with pytest.raises(SocketConnectionError, match="new thread"):
            conn.wait_open(scaled(5))
        assert conn.call("echo", 1, timeout=scaled(5)) == 1

    monkeypatch.setattr(threading.Thread, "start", refuse_once)
    with _serve() as server, connect(server.url, name="scarce", setup=use) as conn:
        assert conn.call("echo", 2) == 2


def test_a_link_that_nothing_can_read_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a thread for the poller the attempt fails, its socket is closed, and the next attempt is served."""
    start, refusals = threading.Thread.start, [RuntimeError("can't start new thread")]

    def refuse_once(thread: threading.Thread) -> None:
        if refusals and thread.name == "owlsocket-poller":
            raise refusals.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_once)
    with ByteServer(_answering) as server, connect(server.url, reconnect=QUICK, wait=False) as conn:
        assert conn.call("echo", 1, timeout=scaled(5)) == 1
        assert not refusals
        assert server.accepted == 2


def test_the_end_of_a_link_waits_for_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calls fail at once, and all else follows as soon as the process has a thread again."""
    start, refused = threading.Thread.start, Collector()
    is_scarce = False

    def refuse(thread: threading.Thread) -> None:
        if is_scarce and thread.name == "scarce-supervisor":
            refused(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    with ByteServer(_swallow) as server, connect(server.url, name="scarce", reconnect=QUICK) as conn:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        is_scarce = True
        with pytest.raises(SocketConnectionError):
            conn.call("echo", 1, timeout=scaled(5))
        refused.wait(3)
        assert conn.state is ConnectionState.RECONNECTING
        is_scarce = False
        eventually(lambda: server.accepted >= 2)


def test_a_connection_closes_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the exit of the interpreter, which starts no thread any more: the thread that closes does what is left."""
    start, changes = threading.Thread.start, Collector()

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "scarce-supervisor":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    with ByteServer(_answering) as server:
        conn = connect(server.url, name="scarce")
        conn.on_state(lambda change: changes(change.state))
        monkeypatch.setattr(threading.Thread, "start", refuse)
        began = time.monotonic()
        conn.close(timeout=scaled(5))
        assert time.monotonic() - began < scaled(2)
        assert conn.state is ConnectionState.CLOSED
        assert changes.wait(2) == [ConnectionState.CLOSING, ConnectionState.CLOSED]


# -- the goodbye of this end -------------------------------------------------------------------------------------------


def test_handlers_of_what_came_before_the_close_run_until_the_link_ends() -> None:
    """A program that closes at once has its last events handled: it trusts its server, and may be a short script."""
    hold, ran = threading.Event(), Collector()

    def run(event: EventMessage) -> None:
        hold.wait(scaled(10))
        ran(event.payload)

    def peer(peer: RawPeer) -> None:
        peer.upgrade()
        peer.read_frame()
        for number in range(3):
            peer.send(frame(TEXT, json.dumps({"type": "event", "event": "news", "payload": number}).encode()))
        while peer.read_frame().opcode != CLOSE:
            pass
        hold.set()
        ran.wait(3)
        peer.send(close_frame(1000))

    with ByteServer(peer) as server:
        conn = connect(server.url, reconnect=None)
        conn.observe("news", run)
        conn.notify("ready")
        eventually(lambda: conn.stats.backlog == 3)
        conn.close(timeout=scaled(10))
        assert ran.items == [0, 1, 2]
        assert conn.stats.dropped == 0
