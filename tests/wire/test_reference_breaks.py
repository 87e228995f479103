"""Where the reference breaks, and we do not: one test for each point, on real sockets."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as raw_connect

from owlsocket_sync import AuthError, Connection, ResilientError, SocketConnectionError, SocketTimeout, connect
from owlsocket_sync.server import Server, serve
from support.helpers import Collector, eventually, scaled
from wire.raw import RawServer, Stage
from wire.reference_server import reference_server

pytestmark = pytest.mark.slow

SECONDS = 5.0
REFUSAL: dict[str, Any] = {"type": "auth", "stage": None, "payload": {}}


@pytest.fixture
def server() -> Iterator[Server]:
    """Our server, with the recorded handlers."""
    with serve(reference_server) as ours:
        yield ours


@pytest.fixture
def raw(server: Server) -> Iterator[ClientConnection]:
    """A raw client of it."""
    with raw_connect(server.url, proxy=None) as ws:
        yield ws


def ask(ws: ClientConnection, **message: Any) -> None:
    """Send a message."""
    ws.send(json.dumps(message))


def alive(ws: ClientConnection) -> bool:
    """Whether the next thing that comes is the answer to a last question."""
    ask(ws, type="call", method="echo", payload=["alive"], id="last")
    return bool(json.loads(ws.recv(SECONDS)) == {"id": "last", "type": "result", "payload": "alive"})


def naive(stage: Stage, questions: list[Any], first: Any = None) -> None:
    """A peer that answers every auth message with a refusal, as the reference does."""
    if first is not None:
        stage.send(first)
    try:
        while len(questions) < 100:
            questions.append(stage.receive())
            stage.send(REFUSAL)
    except ConnectionClosed:
        return


def test_1_a_client_does_not_storm() -> None:
    """One question of ours, one refusal, and silence; one question of theirs, refused or not answered, and silence."""
    questions: list[Any] = []
    with RawServer(lambda stage: naive(stage, questions)) as server, connect(server.url) as conn:
        conn.authenticate = lambda stage, payload: ("authenticated", {})
        with pytest.raises(AuthError):
            conn.auth("init", {})
        conn.ping(SECONDS)
        assert len(questions) == 1
    questions.clear()
    asked = {"type": "auth", "stage": "init", "payload": {}}
    with RawServer(lambda stage: naive(stage, questions, asked)) as server, connect(server.url) as conn:
        eventually(lambda: conn.stats.unmatched == 1)
        conn.ping(SECONDS)
        assert questions == []

    def refuse(stage: Any, payload: Any) -> Any:
        raise AuthError("no")

    def set_hook(conn: Connection) -> None:
        conn.authenticate = refuse

    with (
        RawServer(lambda stage: naive(stage, questions, asked)) as server,
        connect(server.url, setup=set_hook) as conn,
    ):
        eventually(lambda: conn.stats.unmatched == 1)
        conn.ping(SECONDS)
        assert [question["stage"] for question in questions] == [None]


def test_1_a_server_does_not_storm(raw: ClientConnection) -> None:
    """A client that answers every refusal with a refusal gets one answer, to its question."""
    ask(raw, type="auth", stage="init", payload={})
    assert json.loads(raw.recv(SECONDS))["stage"] is None
    for _ in range(50):
        raw.send(json.dumps(REFUSAL))
    assert alive(raw)


def test_2_a_plain_error_is_read_as_what_it_says(server: Server) -> None:
    """Its first field is a message, not a type."""
    shifted = "a|||b|||RangeError: a|||b\n    at there"

    def play(stage: Stage) -> None:
        call = stage.receive()
        stage.send({"type": "error", "id": call["id"], "payload": shifted})
        stage.wait_closed()

    with RawServer(play) as raw_server, connect(raw_server.url) as conn:
        with pytest.raises(ResilientError) as failed:
            conn.call("x")
        assert (failed.value.message, failed.value.type) == ("a|||b", "ResilientError")


@pytest.mark.parametrize(
    "message",
    [
        {"type": "call", "method": "nope", "payload": [], "id": "c1"},
        {"type": "call", "method": "args", "id": "c1"},
        {"type": "call", "method": "args", "payload": {"a": 1}, "id": "c1"},
        {"type": "call", "method": "failTyped", "payload": ["syntax"], "id": "c1"},
        {"type": "call", "method": "failTyped", "payload": ["no such"], "id": "c1"},
    ],
)
def test_3_what_can_be_answered_is_answered_with_an_error(raw: ClientConnection, message: dict[str, Any]) -> None:
    """With the id that was asked under."""
    ask(raw, **message)
    answer = json.loads(raw.recv(SECONDS))
    assert (answer["id"], answer["type"]) == ("c1", "error")
    assert alive(raw)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "result", "id": "nobody", "payload": 1},
        {"type": "error", "id": "nobody", "payload": "x"},
        {"type": "request", "payload": 1},
        {"type": "event", "payload": 1},
        {"type": "call", "method": "echo", "payload": ["no id"]},
    ],
)
def test_3_what_cannot_be_answered_is_passed_over(raw: ClientConnection, message: dict[str, Any]) -> None:
    """The reference's process ends of it."""
    ask(raw, **message)
    assert alive(raw)


def test_4_an_observer_sees_responses_that_come_apart_in_time() -> None:
    """Until it returns false."""

    def play(stage: Stage) -> None:
        request = stage.receive()
        for number in range(4):
            stage.send({"type": "response", "id": request["id"], "payload": number})
            stage.send({"type": "event", "event": "pause", "payload": number})
            assert stage.receive()["event"] == "go on"
        stage.wait_closed()

    seen = Collector()
    with RawServer(play) as server, connect(server.url) as conn:
        conn.observe("pause", lambda message: conn.notify("go on"))
        conn.request("numbers", lambda payload: seen(payload) or payload < 2)
        eventually(lambda: conn.stats.messages_in == 8)
        assert seen.wait(3) == [0, 1, 2]


def test_5_a_result_for_nobody_is_counted(server: Server) -> None:
    """And the receiver goes on."""
    with connect(server.url) as conn:
        conn.receive('{"type":"result","id":"nobody","payload":1}')
        assert conn.stats.unmatched == 1
        assert conn.call("echo", 1) == 1


def test_6_a_close_fails_what_is_pending_and_sending_raises(server: Server) -> None:
    """At once."""
    conn = connect(server.url)
    future = conn.submit("slow", 1000)
    conn.ping(SECONDS)
    began = time.monotonic()
    conn.close()
    assert isinstance(future.exception(0), SocketConnectionError)
    assert time.monotonic() - began < scaled(1)
    for send in (lambda: conn.notify("x"), lambda: conn.call("x"), lambda: conn.enqueue(1)):
        with pytest.raises(SocketConnectionError):
            send()


def test_6_a_call_that_timed_out_is_forgotten(server: Server) -> None:
    """Nothing of it is left."""
    with connect(server.url) as conn:
        with pytest.raises(SocketTimeout):
            conn.call("slow", 2000, timeout=0.05)
        assert conn.stats.pending == 0


def test_7_auth_has_a_timeout_and_queues() -> None:
    """A second exchange waits for its turn; neither waits for ever."""

    def play(stage: Stage) -> None:
        assert stage.receive()["payload"] == "first"
        second = stage.receive()
        stage.send({"type": "auth", "stage": "allowence", "payload": second["payload"]})
        stage.wait_closed()

    with RawServer(play) as server, connect(server.url) as conn:
        outcomes = Collector()

        def authenticate(payload: str, timeout: float) -> None:
            try:
                outcomes(conn.auth("init", payload, timeout=timeout))
            except SocketTimeout as error:
                outcomes(error)

        first = threading.Thread(target=authenticate, args=("first", 0.2))
        first.start()
        eventually(lambda: conn.stats.messages_out == 1)
        authenticate("second", SECONDS)
        first.join(SECONDS)
        assert sorted(type(outcome).__name__ for outcome in outcomes.items) == ["SocketTimeout", "str"]


@pytest.mark.parametrize("name", ["toString", "constructor", "__proto__", "__init__", "call"])
def test_8_a_name_is_a_key(raw: ClientConnection, name: str) -> None:
    """As a method and as an event."""
    ask(raw, type="event", event=name, payload=1)
    ask(raw, type="call", method=name, payload=[], id="c1")
    answer = json.loads(raw.recv(SECONDS))
    assert (answer["id"], answer["type"]) == ("c1", "error")
    assert "SocketErrorConnectionUnsupported|||" in answer["payload"]


def test_9_a_handler_that_raises_on_connect_closes_with_a_reason_that_fits() -> None:
    """1011, and 123 bytes of UTF-8."""

    def fail(conn: Any, request: Any) -> None:
        conn.on_error(lambda error, context: None)
        raise ValueError("ż" * 200)

    with serve(fail) as server, raw_connect(server.url, proxy=None) as ws:
        with pytest.raises(ConnectionClosed):
            ws.recv(SECONDS)
        assert ws.close_code == 1011
        assert ws.close_reason is not None
        assert ws.close_reason.startswith("ValueError: żż")
        assert len(ws.close_reason.encode()) <= 123
