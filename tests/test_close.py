"""`close()`: from any thread, in any state, within its deadline, and with no thread left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest

from owlsocket_sync import Backoff, Connection, ConnectionState, EventMessage, SocketConnectionError, connect
from owlsocket_sync.server import Request, serve
from support.helpers import Collector, eventually, scaled
from support.sockets import TEXT, ByteServer, RawPeer, close_frame, frame, full_port

SLOW = Backoff(initial=60.0, cap=60.0, jitter="none")


def _nothing(conn: Connection, request: Request) -> None:
    conn.perform("echo", lambda value: value)


def _left(conn: Connection) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(conn.name)]


def _gone(conn: Connection) -> None:
    """It is closed, nobody can use it, and none of its threads is left."""
    assert conn.state is ConnectionState.CLOSED
    eventually(lambda: not _left(conn), 1.0)
    with pytest.raises(SocketConnectionError):
        conn.call("echo", 1)
    with pytest.raises(SocketConnectionError):
        conn.notify("late")


def test_the_code_of_the_peer_is_in_the_error() -> None:
    """Of every verb, afterwards: the code may be all that the peer gives as its reason."""

    def hang_up(peer: RawPeer) -> None:
        peer.upgrade()
        peer.send(close_frame(4401, ""))
        peer.at_end()

    with ByteServer(hang_up) as server, connect(server.url, reconnect=None) as conn:
        assert conn.wait_closed(scaled(5)).code == 4401
        for verb in (lambda: conn.call("echo"), lambda: conn.notify("late"), lambda: conn.ping()):
            with pytest.raises(SocketConnectionError, match="4401"):
                verb()


def test_the_reason_of_the_peer_steers_no_terminal() -> None:
    """It is told as it came, and escaped in the text of errors."""
    asked = threading.Event()

    def hang_up(peer: RawPeer) -> None:
        peer.upgrade()
        peer.read_frame()
        asked.set()
        peer.send(close_frame(4401, "\x1b[31m\nred"))
        peer.at_end()

    with ByteServer(hang_up) as server, connect(server.url, reconnect=None) as conn:
        pending = conn.submit("echo")
        assert asked.wait(scaled(5))
        assert conn.wait_closed(scaled(5)).reason == "\x1b[31m\nred"
        assert "31m" in str(pending.exception(0))
        assert str(pending.exception(0)).isprintable()
        with pytest.raises(SocketConnectionError, match="31m") as caught:
            conn.notify("late")
        assert str(caught.value).isprintable()


def _silent(peer: RawPeer) -> None:
    peer.at_end()


def _breaking(peer: RawPeer) -> None:
    peer.upgrade()
    peer.reset()


def _unfriendly(peer: RawPeer) -> None:
    peer.upgrade()
    peer.at_end()


@pytest.mark.timing
@pytest.mark.parametrize(
    ("script", "state"),
    [
        (_silent, ConnectionState.CONNECTING),
        (_breaking, ConnectionState.RECONNECTING),
        (_unfriendly, ConnectionState.OPEN),
    ],
    ids=["connecting", "in a backoff", "without consent"],
)
def test_in_any_state(script: Callable[[RawPeer], None], state: ConnectionState) -> None:
    """Whatever it is doing, and however unhelpful the peer."""
    with ByteServer(script) as server:
        conn = connect(server.url, wait=False, reconnect=SLOW)
        eventually(lambda: conn.state is state and server.accepted)
        began = time.monotonic()
        conn.close(timeout=0.5)
        assert time.monotonic() - began < 0.5 + scaled(0.2)
        _gone(conn)


@pytest.mark.timing
def test_while_a_port_does_not_answer() -> None:
    """A connection attempt that nobody answers ends with the close."""
    with full_port() as port:
        conn = connect(f"ws://127.0.0.1:{port}", wait=False)
        began = time.monotonic()
        conn.close(timeout=0.5)
        assert time.monotonic() - began < 0.5 + scaled(0.2)
        _gone(conn)


@pytest.mark.parametrize("kind", ["perform", "observe", "on_state", "listen", "on_error", "callback", "auth"])
def test_from_a_handler(kind: str) -> None:
    """Whoever is called may close, and nobody waits for itself."""
    closed = Collector()

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("echo", lambda value: value)

        @conn.observe("go")
        def go(message: EventMessage) -> None:
            conn.submit("m")
            conn.notify("e")
            conn.send("garbage")

    def close(*_: object) -> None:
        began = time.monotonic()
        conn.close(timeout=scaled(2))
        closed(time.monotonic() - began)

    with serve(handler) as server:
        auth = (lambda conn: conn.close(timeout=scaled(2))) if kind == "auth" else None
        if auth is not None:
            with pytest.raises(SocketConnectionError):
                connect(server.url, auth=auth)
            return
        conn = connect(server.url)
        if kind == "callback":
            conn.submit("echo", 1).add_done_callback(close)
        elif kind == "perform":
            conn.perform("m", close)
        elif kind == "observe":
            conn.observe("e", close)
        else:
            getattr(conn, kind)(close)
        if kind == "on_state":
            conn.reconnect()
        elif kind != "callback":
            conn.notify("go")
        assert closed.wait(1)[0] < scaled(1)
        conn.wait_closed(scaled(5))
        _gone(conn)


def test_no_worker_starts_for_a_connection_without_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting, a call and closing have nothing for it to do."""
    names: list[str] = []
    start = threading.Thread.start

    def note(thread: threading.Thread) -> None:
        names.append(thread.name)
        start(thread)

    with serve(lambda conn, request: conn.perform("echo", lambda value: value)) as server:
        monkeypatch.setattr(threading.Thread, "start", note)
        with connect(server.url, name="nb") as conn:
            assert conn.call("echo", 1) == 1
    assert not [name for name in names if name.startswith("nb-worker")]


def test_twice_and_at_once() -> None:
    """Eight threads close the same connection, and again."""
    with serve(_nothing) as server:
        conn = connect(server.url)
        done = Collector()

        def close() -> None:
            began = time.monotonic()
            conn.close()
            conn.close()
            done(time.monotonic() - began)

        for _ in range(8):
            threading.Thread(target=close).start()
        assert max(done.wait(8)) < scaled(1)
        _gone(conn)


def test_whoever_waits_is_freed() -> None:
    """Calls, pings, streams, event iterators, `consume` and `wait_closed`: all end at once."""
    ended = Collector()

    def attempt(action: Callable[[], object]) -> None:
        try:
            ended(action())
        except Exception as error:
            ended(error)

    with ByteServer(_unfriendly) as server:
        conn = connect(server.url, heartbeat=None)
        waits: list[Callable[[], object]] = [
            lambda: conn.call("never"),
            lambda: conn.ping(),
            lambda: list(conn.stream({})),
            lambda: list(conn.events("never")),
            lambda: conn.consume(timeout=60.0),
            lambda: conn.wait_closed(),
            lambda: conn.auth("init", {}),
        ]
        for wait in waits:
            threading.Thread(target=attempt, args=(wait,), daemon=True).start()
        eventually(lambda: conn.stats.messages_out == 3)
        conn.close(timeout=0.4)
        assert len(ended.wait(len(waits), 2.0)) == len(waits)
        _gone(conn)


@pytest.mark.slow
@pytest.mark.timing
def test_while_a_handler_runs() -> None:
    """A handler that goes on holds nobody for longer than the deadline, and ends in its own time."""
    go, started = threading.Event(), threading.Event()

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        peer.read_frame()
        peer.send(frame(TEXT, b'{"type":"event","event":"e"}') * 3)
        peer.at_end()

    with ByteServer(script) as server:
        conn = connect(server.url)
        handled = Collector()

        @conn.observe("e")
        def observe(message: object) -> None:
            handled(message)
            started.set()
            assert go.wait(scaled(5))

        conn.notify("ready")
        assert started.wait(scaled(5))
        eventually(lambda: conn.stats.messages_in == 3)
        began = time.monotonic()
        conn.close(timeout=0.5)
        assert time.monotonic() - began < 0.5 + scaled(0.2)
        assert conn.state is ConnectionState.CLOSED
        go.set()
        eventually(lambda: not _left(conn))
        assert len(handled.items) == 1
        assert conn.stats.dropped == 2


@pytest.mark.parametrize("fails", [False, True])
def test_as_a_context_manager(fails: bool) -> None:
    """Leaving the block closes, with and without an exception."""
    expected: AbstractContextManager[object] = pytest.raises(KeyError) if fails else nullcontext()
    with serve(_nothing) as server:
        with expected, connect(server.url) as conn:
            assert conn.call("echo", 1) == 1
            if fails:
                raise KeyError
        _gone(conn)
        eventually(lambda: not server.connections)


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (4321, "tschüß"), (1001, "x" * 200), (3000, "ü" * 100)], ids=str
)
def test_what_the_peer_is_told(code: int, reason: str) -> None:
    """Code and reason arrive, cut to 123 bytes and to whole characters."""
    endings = Collector()
    with serve(lambda conn, request: endings(conn.wait_closed(scaled(5)))) as server:
        connect(server.url).close(code, reason)
        ending = endings.wait(1)[0]
    assert ending.code == code
    assert ending.reason == reason.encode()[:123].decode("utf-8", "ignore")


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, True, "1000"])
def test_codes_that_cannot_be_sent(code: int) -> None:
    """They are refused before anything is closed."""
    with serve(_nothing) as server, connect(server.url) as conn:
        with pytest.raises(ValueError, match="code"):
            conn.close(code)
        assert conn.call("echo", 1) == 1


@pytest.mark.parametrize("how", ["in time", "too late"])
def test_draining(how: str) -> None:
    """What runs finishes first, nothing new begins; past the deadline it is closed all the same."""
    go, started, results = threading.Event(), threading.Event(), Collector()

    def handler(conn: Connection, request: Request) -> None:
        @conn.perform("slow")
        def slow() -> str:
            started.set()
            return "done" if go.wait(scaled(5)) else "late"

    with serve(handler) as server:
        conn = connect(server.url)
        future = conn.submit("slow")
        assert started.wait(scaled(5))
        if how == "in time":

            def drain() -> None:
                conn.drain(scaled(5))
                results(True)

            thread = threading.Thread(target=drain)
            thread.start()
            go.set()
            results.wait(1)
            assert future.result(0) == "done"
            thread.join(scaled(5))
        else:
            with pytest.raises(TimeoutError):
                conn.drain(0.1)
            assert isinstance(future.exception(0), SocketConnectionError)
            go.set()
        _gone(conn)


def test_by_a_finalizer_within_the_completion_of_a_call() -> None:
    """Its thread holds the lock of the call, and does not wait for the worker that waits for that lock."""
    with serve(_nothing) as server:
        conn = connect(server.url)
        future = conn.submit("unanswered")
        with future._condition:
            began = time.monotonic()
            conn.close(timeout=scaled(5))
            took = time.monotonic() - began
        assert isinstance(future.exception(scaled(5)), SocketConnectionError)
        assert took < scaled(2.5)  # half of its timeout
        _gone(conn)
