"""Messages above a limit: the call that they belong to fails, and the others go on."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest

from owlsocket_sync import Backoff, Connection, Limits, SocketConnectionError, SocketMessageError, connect
from owlsocket_sync.server import Request, serve
from support.helpers import Collector, eventually, scaled
from support.sockets import CLOSE, CONTINUATION, TEXT, ByteServer, RawPeer, close_frame, frame

LIMIT = 4000
LARGE = "x" * 2 * LIMIT
SOON = Backoff(initial=0.02, cap=0.02)


def answer(call: dict[str, Any], payload: Any) -> bytes:
    """A result as a raw server sends it."""
    return frame(TEXT, json.dumps({"id": call["id"], "type": "result", "payload": payload}).encode())


def answer_in_fragments(call: dict[str, Any], payload: Any) -> bytes:
    """The same in two frames, the second of which is too large."""
    text = json.dumps({"type": "result", "id": call["id"], "payload": payload}).encode()
    return frame(TEXT, text[:300], fin=False) + frame(CONTINUATION, text[300:])


def answer_backwards(call: dict[str, Any], payload: Any) -> bytes:
    """The same with the id behind the payload, where nobody looks for it any more."""
    return frame(TEXT, json.dumps({"payload": payload, "type": "result", "id": call["id"]}).encode())


class Script:
    """A raw server: answers each call by its method, and notes how often each was performed."""

    def __init__(self, large: Callable[[dict[str, Any], Any], bytes]) -> None:
        self._large = large
        self.performed: list[str] = []
        self._links = 0

    def __call__(self, peer: RawPeer) -> None:
        peer.upgrade()
        self._links += 1
        while (came := peer.read_frame()).opcode != CLOSE:
            call = json.loads(came.payload)
            self.performed.append(call["method"])
            if call["method"] == "large":
                peer.send(self._large(call, LARGE))
                peer.consent()
                return
            if call["method"] == "patient" and self._links == 1:
                continue
            peer.send(answer(call, call["method"]))
        peer.send(close_frame(came.code))


@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.parametrize("large", [answer, answer_in_fragments])
def test_an_answer_above_the_limit_fails_its_call_alone(
    large: Callable[[dict[str, Any], Any], bytes], retry: bool
) -> None:
    """It is performed once, its error says why, and a call beside it is sent again."""
    script = Script(large)
    with ByteServer(script) as server, connect(server.url, limits=Limits(message_size=LIMIT), reconnect=SOON) as conn:
        patient = conn.submit("patient", retry=True, timeout=scaled(20))
        lost = conn.submit("patient", timeout=scaled(20))
        with pytest.raises(SocketMessageError, match=r"'large' is larger than Limits\.message_size") as caught:
            conn.call("large", retry=retry, timeout=scaled(20))
        assert (caught.value.retryable, caught.value.sent) == (False, True)
        assert patient.result(scaled(20)) == "patient"
        with pytest.raises(SocketConnectionError):
            lost.result(scaled(20))
        assert conn.call("small", timeout=scaled(20)) == "small"
        assert conn.stats.reconnects == 1
    assert script.performed.count("large") == 1


def test_an_answer_that_cannot_be_told_from_others_is_not_asked_for_again() -> None:
    """It may be that of any call: each fails that would be sent again, with the reason."""
    script = Script(answer_backwards)
    with ByteServer(script) as server, connect(server.url, limits=Limits(message_size=LIMIT), reconnect=SOON) as conn:
        patient = conn.submit("patient", retry=True, timeout=scaled(20))
        with pytest.raises(SocketMessageError, match=r"may be the answer to call 'large'.*Limits\.message_size"):
            conn.call("large", retry=True, timeout=scaled(20))
        with pytest.raises(SocketMessageError, match="may be the answer to call 'patient'"):
            patient.result(scaled(20))
        assert conn.call("small", timeout=scaled(20)) == "small"
    assert script.performed.count("large") == 1


def test_a_message_above_the_limit_that_is_no_answer_fails_no_retried_call() -> None:
    """An event ends the link as well, and calls that may be sent again are."""
    script = Script(lambda call, payload: frame(TEXT, json.dumps({"type": "event", "event": payload}).encode()))
    with ByteServer(script) as server, connect(server.url, limits=Limits(message_size=LIMIT), reconnect=SOON) as conn:
        patient = conn.submit("patient", retry=True, timeout=scaled(20))
        with pytest.raises(SocketConnectionError):
            conn.call("large", timeout=scaled(20))
        assert patient.result(scaled(20)) == "patient"


def test_a_server_asks_for_a_large_answer_once() -> None:
    """The frames of a client are masked; the id is found in them too."""
    outcomes: queue.Queue[BaseException] = queue.Queue()

    def handler(conn: Connection, request: Request) -> None:
        try:
            conn.call("large", timeout=scaled(10))
        except SocketMessageError as error:
            outcomes.put(error)

    with (
        serve(handler, limits=Limits(message_size=LIMIT)) as server,
        connect(server.url, reconnect=None, setup=lambda conn: conn.perform("large", lambda: LARGE)),
    ):
        error = outcomes.get(timeout=scaled(10))
    assert "'large' is larger than Limits.message_size" in str(error)


@pytest.mark.parametrize("retry", [False, True])
def test_a_call_that_the_peer_refuses_as_too_large_is_not_sent_again(retry: bool) -> None:
    """It closes the link with 1009; what waits beside the call is sent again, and answered."""
    performed = Collector()

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("large", performed)
        conn.perform("patient", lambda: gate.wait(scaled(20)))

    gate = threading.Event()
    with serve(handler, limits=Limits(message_size=LIMIT)) as server, connect(server.url, reconnect=SOON) as conn:
        patient = conn.submit("patient", retry=True, timeout=scaled(20))
        with pytest.raises(SocketMessageError, match="larger than the peer accepts") as caught:
            conn.call("large", LARGE, retry=retry, timeout=scaled(20))
        assert not caught.value.retryable
        gate.set()
        assert patient.result(scaled(20)) is True
        assert conn.stats.reconnects == 1
    assert performed.items == []


@pytest.mark.parametrize("verb", ["call", "notify"])
def test_a_message_that_is_refused_while_it_is_written_says_so(verb: str) -> None:
    """The peer refuses it by its header, and reads no further."""
    links = Collector()
    over = threading.Event()

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        links(peer)
        peer.read(2)
        peer.send(close_frame(1009))
        over.wait(scaled(20))

    with ByteServer(script) as server, connect(server.url, reconnect=SOON) as conn:
        try:
            with pytest.raises(SocketMessageError, match="larger than the peer accepts"):
                if verb == "call":
                    conn.call("large", "x" * 15_000_000, retry=True, timeout=scaled(20))
                else:
                    conn.notify("large", "x" * 15_000_000)
            eventually(lambda: conn.stats.reconnects == 1)
            assert conn.stats.pending == 0
        finally:
            over.set()
