"""After the close frame of this end, the peer can start nothing here, however long it keeps the link open."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from owlsocket_sync import AuthenticationStage, Connection, Limits, SocketConnectionError, connect
from owlsocket_sync.runtime.timer import Timer
from owlsocket_sync.server import Request, serve
from support.helpers import Collector, eventually, scaled
from support.sockets import CLOSE, TEXT, ByteServer, RawPeer, frame, knock

NEW: list[dict[str, Any]] = [
    {"type": "call", "method": "work", "id": "c", "payload": []},
    {"type": "event", "event": "work", "payload": 1},
    {"type": "request", "id": "r", "payload": 1},
    {"type": "message", "payload": 1},
    {"type": "auth", "stage": "authenticate", "payload": {}},
    {"type": "system", "event": "work", "payload": {}},
]


class Deed:
    """What is registered for every kind of message, with a record of what ran."""

    def __init__(self) -> None:
        self.seen = Collector()

    def register(self, conn: Connection) -> None:
        """Register it."""
        seen = self.seen
        conn.on_error(lambda error, context: None)
        conn.perform("work", lambda: seen("call"))
        conn.observe("work", lambda message: seen("event"))
        conn.acknowledge(lambda id, payload: bool(seen("request")) or True)
        conn.listen(lambda message: seen("listener") if getattr(message, "event", "") != "close" else None)

        def authenticate(stage: Any, payload: Any) -> tuple[AuthenticationStage, None]:
            seen("auth")
            return AuthenticationStage.AUTHENTICATED, None

        conn.authenticate = authenticate


def send_all(peer: RawPeer, *, masked: bool) -> None:
    """Send one message of each kind."""
    for message in NEW:
        peer.send(frame(TEXT, json.dumps(message).encode(), masked=masked))


def await_close(peer: RawPeer) -> None:
    """Read past everything before the close frame of the other end."""
    while peer.read_frame(masked=False).opcode != CLOSE:
        pass


@pytest.mark.parametrize("kick", [lambda conn: conn.close(1008, "out"), None], ids=["kicked", "expired"])
def test_a_client_that_ignores_the_close_frame_starts_nothing(kick: Callable[[Connection], object] | None) -> None:
    """Whether it was kicked or its token expired; what it sends is counted as dropped."""
    deed, until = Deed(), datetime.now(timezone.utc) + timedelta(seconds=0.3)

    class Identity:
        expires_at = None if kick else until

    with serve(lambda conn, request: deed.register(conn), authenticate=lambda request: Identity()) as server:
        peer, _ = knock(server.port)
        with peer.sock:
            eventually(lambda: server.connections)
            (conn,) = server.connections
            if kick:
                threading.Thread(target=kick, args=(conn,), daemon=True).start()
            await_close(peer)
            send_all(peer, masked=True)
            eventually(lambda: conn.stats.dropped == len(NEW), scaled(5))
            assert deed.seen.items == []
            assert conn.enqueued() == 0
            assert conn.stage is AuthenticationStage.INIT


def test_calls_that_wait_for_a_worker_at_the_goodbye_are_not_performed() -> None:
    """Nor is what a hook held up; both are counted when the link ends."""
    hold, ran = threading.Event(), Collector()

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("work", lambda: (ran("call"), hold.wait(scaled(10))))

    with serve(handler, workers=1) as server:
        peer, _ = knock(server.port)
        with peer.sock:
            for _ in range(5):
                peer.send(frame(TEXT, json.dumps(NEW[0]).encode(), masked=True))
            eventually(lambda: server.connections and server.connections[0].stats.backlog == 5)
            (conn,) = server.connections
            threading.Thread(target=conn.close, kwargs={"timeout": scaled(5)}, daemon=True).start()
            await_close(peer)
            hold.set()
            eventually(lambda: conn.stats.backlog <= 4)
            peer.sock.close()
            conn.wait_closed(scaled(5))
            eventually(lambda: conn.stats.dropped >= 4)
            assert ran.items == ["call"]


def test_a_full_backlog_does_not_hide_the_answer_to_the_close_frame() -> None:
    """What waits for a worker is dropped, so the link ends as soon as the peer agrees."""
    hold = threading.Event()

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("work", lambda: hold.wait(scaled(10)))

    with serve(handler, workers=1, limits=Limits(dispatch_messages=2)) as server:
        peer, _ = knock(server.port)
        with peer.sock:
            for _ in range(50):
                peer.send(frame(TEXT, json.dumps(NEW[0]).encode(), masked=True))
            eventually(lambda: server.connections and server.connections[0].stats.backlog >= 2)
            (conn,) = server.connections
            began = time.monotonic()
            threading.Thread(target=conn.close, kwargs={"timeout": 60.0}, daemon=True).start()
            await_close(peer)
            peer.send(frame(CLOSE, b"\x03\xe8", masked=True))
            assert conn.wait_closed(scaled(5)).code == 1000
            assert time.monotonic() - began < scaled(3)
            hold.set()


def test_a_server_that_ignores_the_close_frame_starts_nothing() -> None:
    """At the end of a client too."""
    deed, ready = Deed(), threading.Event()

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        while peer.read_frame().opcode != CLOSE:
            pass
        send_all(peer, masked=False)
        ready.set()
        peer.at_end()

    with ByteServer(script) as server:
        conn = connect(server.url, reconnect=None, setup=deed.register)
        conn.close(timeout=scaled(0.5))
        assert ready.is_set()
        assert deed.seen.items == []
        assert conn.stats.dropped == len(NEW)


def test_a_token_that_never_ends_does_not_keep_others_alive() -> None:
    """The usual "never" is the end of the year 9999; another client's token is over in time."""
    ends = {"never": datetime(9999, 12, 31, tzinfo=timezone.utc), "naive": datetime.max, "past": datetime.min}

    def authenticate(request: Request) -> Any:
        class Identity:
            expires_at = ends.get(request.query["who"], datetime.now(timezone.utc) + timedelta(seconds=0.3))

        return Identity()

    with serve(lambda conn, request: None, authenticate=authenticate, heartbeat=None) as server:
        never, naive, soon = (
            connect(server.url, query={"who": who}, reconnect=None) for who in ("never", "naive", "soon")
        )
        assert soon.wait_closed(scaled(5)).code == 1008
        for conn in (never, naive):
            assert conn.ping(scaled(5)) >= 0
            conn.close()
        past = connect(server.url, query={"who": "past"}, reconnect=None)
        assert past.wait_closed(scaled(5)).code == 1008


def test_the_expiry_is_asked_on_the_way_in_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """The link ends with its token, even if the timer thread of the server does nothing."""

    class Identity:
        def __init__(self) -> None:
            self.expires_at = datetime.now(timezone.utc) + timedelta(seconds=0.3)

    monkeypatch.setattr(Timer, "add", lambda *_: None)
    with serve(lambda conn, request: None, authenticate=lambda request: Identity(), heartbeat=None) as server:
        assert connect(server.url, reconnect=None).wait_closed(scaled(5)).code == 1008


def test_a_token_ends_its_link_also_when_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the closing handshake then."""

    class Identity:
        def __init__(self) -> None:
            self.expires_at = datetime.now(timezone.utc) + timedelta(seconds=0.5)

    start = threading.Thread.start

    def fail_to_close(thread: threading.Thread) -> None:
        if thread.name.endswith("-close"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail_to_close)
    with serve(lambda conn, request: None, authenticate=lambda request: Identity()) as server:
        assert connect(server.url, reconnect=None).wait_closed(scaled(5)).code == 1006


def test_a_handler_whose_call_ends_with_the_server_has_not_failed(caplog: pytest.LogCaptureFixture) -> None:
    """The function that was given to `serve`, too: nothing is logged."""
    begun, gate, errors = threading.Event(), threading.Event(), Collector()

    def handler(conn: Connection, request: Request) -> None:
        try:
            conn.call("hang", timeout=scaled(30))
        except SocketConnectionError as error:
            errors(str(error))
            raise

    def setup(conn: Connection) -> None:
        conn.perform("hang", lambda: begun.set() or gate.wait())

    with serve(handler) as server, connect(server.url, setup=setup):
        assert begun.wait(scaled(5))
        server.close()
        [text] = errors.wait(1)
        gate.set()
    assert text.endswith("is closed: this end closed it")
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
