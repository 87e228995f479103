"""Row 27: authentication that goes wrong says so, is not tried for ever, and lets nothing out before it is done."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest

from owlsocket_sync import (
    AuthenticationStage,
    AuthError,
    Connection,
    ConnectionState,
    ResilientError,
    SocketConnectionError,
    SocketTimeout,
    connect,
)
from owlsocket_sync.auth import KeyPair, StageLogin
from support.behind_proxy import SOON
from support.figures import Figure
from support.helpers import Collector, eventually, scaled
from support.sockets import CLOSE, TEXT, ByteServer, Frame, RawPeer, close_frame, frame

KEY = KeyPair.generate()
KIND = "AuthManagerErrorAuthenFailedPayload"
REFUSAL = f"{KIND}|||auth:manager:authen:payload:the key is unknown"


def _refuse_upgrade(peer: RawPeer) -> None:
    body = REFUSAL.encode()
    peer.read_header()
    peer.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def _tell(peer: RawPeer, stage: str | None, payload: object) -> None:
    peer.send(frame(TEXT, json.dumps({"type": "auth", "stage": stage, "payload": payload}).encode()))


def _answering(*steps: tuple[str | None, object], seen: Collector) -> Callable[[RawPeer], None]:
    """A server that answers one step after the other, whatever it is asked, and notes what comes."""

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        left = list(steps)
        while True:
            came: Frame = peer.read_frame()
            if came.opcode == CLOSE:
                peer.send(close_frame(came.code))
                return
            seen(json.loads(came.payload)["type"])
            if left:
                _tell(peer, *left.pop(0))

    return script


CHALLENGE = {"challenge": "eyJ0IjoieCIsIm1zZyI6ImFiYyIsImR0IjoxLCJ0dGwiOm51bGx9"}
DISORDER = {
    "refused at the first step": [(None, REFUSAL)],
    "refused at the proof": [("authenticate", CHALLENGE), (None, REFUSAL)],
    "no challenge": [("authenticate", {"token": "x"})],
    "done before the proof": [("authenticated", {"token": "x"})],
    "back at the beginning": [("authenticate", CHALLENGE), ("init", CHALLENGE)],
    "an unknown stage": [("authenticate", CHALLENGE), ("toString", {})],
    "failed": [("authenticate", CHALLENGE), ("error", {})],
}


@pytest.mark.slow
@pytest.mark.parametrize("steps", DISORDER.values(), ids=DISORDER)
def test_row_27_a_refused_or_out_of_order_login(steps: list[tuple[str | None, object]]) -> None:
    """It is an `AuthError` at once, one attempt, and the connection is closed for good with that reason."""
    seen, states = Collector(), Collector()
    with ByteServer(_answering(*steps, seen=seen)) as server:
        with pytest.raises(AuthError):
            connect(server.url, auth=StageLogin(KEY), reconnect=SOON, timeout=scaled(5))
        conn = connect(server.url, auth=StageLogin(KEY), reconnect=SOON, wait=False)
        conn.on_state(states)
        ending = conn.wait_closed(scaled(5))
        assert isinstance(ending.error, AuthError)
        with pytest.raises(SocketConnectionError) as caught:
            conn.call("anything")
        assert not caught.value.retryable
        assert server.accepted == 2
    assert set(seen.items) == {"auth"}


def test_row_27_a_refusal_during_a_reconnect_closes_the_connection() -> None:
    """A token that ran out is refused with 401: waiting calls fail, nobody knocks again, and the reason is told."""
    knocks = iter(range(10))

    def script(peer: RawPeer) -> None:
        if next(knocks):
            _refuse_upgrade(peer)
        else:
            peer.upgrade()
            peer.read_frame()
            peer.reset()

    with ByteServer(script) as server:
        conn = connect(server.url, token="t-1", reconnect=SOON)
        waiting = conn.submit("again", retry=True)
        ending = conn.wait_closed(scaled(5))
        error = waiting.exception(scaled(5))
        assert isinstance(error, SocketConnectionError)
        assert isinstance(ending.error, ResilientError)
        assert (ending.error.type, ending.error.code) == (KIND, "AUTH_FAILED")
        assert error.__cause__ is ending.error
        assert conn.state is ConnectionState.CLOSED
        assert server.accepted == 2


@pytest.mark.slow
def test_row_27_an_unanswered_step(figure: Figure) -> None:
    """`connect` fails by its timeout; one that does not wait tries again, after its backoff and without a storm."""
    with ByteServer(_answering(seen=Collector())) as server:
        began = time.monotonic()
        with pytest.raises(SocketTimeout):
            connect(server.url, auth=StageLogin(KEY), timeout=0.5)
        figure("connect, beyond its timeout", time.monotonic() - began - 0.5, scaled(0.5), "s")
        conn = connect(server.url, auth=StageLogin(KEY), timeout=0.2, wait=False, reconnect=SOON)
        began = time.monotonic()
        eventually(lambda: server.accepted >= 4)
        assert time.monotonic() - began >= 2 * 0.2
        assert conn.state is not ConnectionState.OPEN
        conn.close()


@pytest.mark.parametrize("end", ["granted", "refused"])
def test_row_27_nothing_is_sent_before_authentication(end: str) -> None:
    """Calls, events and messages wait; a refusal lets none of them out."""
    seen, go = Collector(), threading.Event()

    def authenticate(conn: Connection) -> None:
        go.wait(scaled(5))
        conn.auth(AuthenticationStage.INIT, "who", timeout=scaled(5))

    answer = ("authenticated", "you") if end == "granted" else (None, REFUSAL)
    with ByteServer(_answering(answer, seen=seen)) as server:
        conn = connect(server.url, auth=authenticate, wait=False)
        future = conn.submit("early")
        notifier = threading.Thread(target=lambda: _notify(conn))
        notifier.start()
        eventually(lambda: server.accepted)
        go.set()
        if end == "granted":
            assert seen.wait(3)[0] == "auth"
            assert sorted(seen.items[1:]) == ["call", "event"]
        else:
            assert isinstance(future.exception(scaled(5)), SocketConnectionError)
            assert seen.items == ["auth"]
        conn.close()
        notifier.join(scaled(5))


def _notify(conn: Connection) -> None:
    try:
        conn.notify("early")
    except SocketConnectionError:
        pass
