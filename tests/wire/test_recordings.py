"""Longer recordings, of a real client and a real server: each end of ours takes the part of either."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

import pytest
from websockets.sync.client import connect as raw_connect

from owlsocket_sync import AuthForbidden, Connection, Message, ResilientError, connect
from owlsocket_sync.server import serve
from support.helpers import Collector, eventually
from wire.longer_server import longer_server
from wire.raw import RawServer, Stage
from wire.recorded import recording, stable

SECONDS = 5.0
CIRCULAR = "Converting circular structure"

ANSWERED_BY_US = {
    "call-unknown-method": 1,
    "call-error-no-reply": 2,
    "event-odd": 1,
    "odd-text-to-server": 1,
    "event": 2,
}

PLAYED_TO_OUR_SERVER = [
    "call-ok", "call-none", "call-values", "call-out-of-order", "call-timeout", "call-timeout-0", "call-unknown-method",
    "event", "event-odd", "request-stream-true", "request-stream-false", "request-stream-slow",
    "request-ack-chain", "request-off", "request-global-capture", "enqueue-to-server", "enqueue-to-client",
    "metadata", "listen", "system", "ping-soft", "odd-text-to-server", "result-unknown-to-server",
    "close-by-server-code",
]  # fmt: skip
PLAYED_TO_OUR_CLIENT = [
    "call-ok", "call-none", "call-out-of-order", "call-timeout-0", "call-error-typed", "call-error-plain", "event",
    "request-stream-true", "request-stream-slow", "request-ack-chain", "enqueue-to-server", "enqueue-to-client",
    "system", "server-requests-client", "close-by-server-code",
    "auth-client-init-custom", "auth-server-initiated", "metadata", "ping-soft",
]  # fmt: skip


def frames(name: str) -> list[tuple[str, Any]]:
    """The frames of a recording: which way each went, and its text or bytes."""
    found = []
    for row in recording(name):
        if row["dir"] in ("c2s", "s2c"):
            found.append((row["dir"], base64.b64decode(row["raw_b64"]) if row.get("binary") else row["raw"]))
    return found


def improved(message: Any) -> Any:
    """What is sent here in the place of what the reference sent."""
    message = stable(message)
    if not isinstance(message, dict):
        return message
    kind = message.get("type")
    if message.get("id") == "big-int":
        message["payload"] = 9007199254740993
    # The reference has no integers of this size, and answers with the nearest float; ours are exact.
    if message.get("id") == "huge-int":
        message["payload"] = 12345678901234567890123
    if kind in ("result", "event") and "payload" not in message:
        message["payload"] = None
    if kind == "error" and CIRCULAR in message["payload"]:
        return {"id": message["id"], "type": "result"}
    if kind == "result" and isinstance(message["payload"], (list, dict)):
        message["payload"] = without_circles(message["payload"])
    return message


def without_circles(payload: Any) -> Any:
    """Null, where the reference put the whole message in its place; ``None`` for what was not defined."""
    if isinstance(payload, list):
        return [None if "[circular" in json.dumps(item) or item == "[undefined]" else item for item in payload]
    if "[circular" in json.dumps(payload):
        return {key: None if "[circular" in json.dumps(value) else value for key, value in payload.items()}
    return payload


def same(got: list[Any], expected: list[Any], more: int) -> None:
    """Each wanted message came, key by key, in any order; where the reference failed altogether, one with its id."""
    left = list(got)
    for message in expected:
        if message.get("type") == "result" and "payload" not in message:
            message = next(candidate for candidate in left if candidate.get("id") == message["id"])
        assert message in left
        left.remove(message)
    assert len(left) == more, left


# -- our server, the recorded client


class Client:
    """A raw client that says what the recorded one said."""

    def __init__(self, ws: Any) -> None:
        self.ws = ws
        self.got: list[Any] = []
        self.ids: dict[Any, Any] = {}

    def play(self, rows: list[tuple[str, Any]], more: int) -> None:
        """Send each frame once what came before it in the recording has come."""
        expected = 0
        for way, frame in rows:
            if way == "s2c":
                expected += 1
                continue
            self.receive(expected, rows)
            self.ws.send(self._renamed(frame))
        self.receive(expected + more, rows)

    def _renamed(self, frame: Any) -> Any:
        for recorded, actual in self.ids.items():
            frame = frame.replace(recorded, actual) if isinstance(frame, str) else frame
        return frame

    def receive(self, count: int, rows: list[tuple[str, Any]]) -> None:
        """Wait for so many messages; questions of the server have ids of their own."""
        while len(self.got) < count:
            message = json.loads(self.ws.recv(SECONDS))
            self.got.append(message)
            if message.get("type") in ("call", "request"):
                asked = [json.loads(text) for way, text in rows if way == "s2c"]
                asked = [message["id"] for message in asked if message.get("type") in ("call", "request")]
                self.ids[asked[len(self.ids)]] = message["id"]


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAYED_TO_OUR_SERVER)
def test_our_server_answers_the_recorded_client(name: str) -> None:
    """As the recorded server did, or better."""
    rows = frames(name)
    with serve(longer_server) as server, raw_connect(server.url, proxy=None) as ws:
        client = Client(ws)
        client.play(rows, ANSWERED_BY_US.get(name, 0))
        expected = [improved(json.loads(text)) for way, text in rows if way == "s2c"]
        same([improved(message) for message in client.got], expected, ANSWERED_BY_US.get(name, 0))
        if not name.startswith("close"):
            ws.send('{"type":"call","method":"echo","payload":["alive"],"id":"last"}')
            assert json.loads(ws.recv(SECONDS)) == {"id": "last", "type": "result", "payload": "alive"}


# -- our client, the recorded server


class Play:
    """The recorded server's part, and what its client did, done by ours."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = [(way, frame) for way, frame in frames(name) if isinstance(frame, str)]
        self.ids: dict[str, str] = {}
        self.outcomes: list[tuple[Any, Any]] = []
        self.responses = Collector()
        self.sent = threading.Event()

    def serve(self, stage: Stage) -> None:
        """Check what the client says, and say what the server said."""
        for way, text in self.rows:
            if way == "c2s":
                self._check(text, stage.receive())
            else:
                stage.send(self._renamed(text))
        code = next(row["value"]["code"] for row in recording(self.name) if row.get("kind") == "ws close")
        if code not in (1005, 1006):
            stage.close(code, "bye")
        self.sent.set()
        stage.wait_closed()

    def _check(self, text: str, got: Any) -> None:
        try:
            recorded = json.loads(text)
        except ValueError:
            assert got == text
            return
        if isinstance(recorded, list):
            assert got == recorded
            return
        if recorded.get("type") in ("call", "request"):
            self.ids[recorded["id"]] = got["id"]
            recorded["id"] = got["id"]
        if recorded.get("type") == "error" or recorded.get("stage", "") is None:
            assert (got["type"], got.get("id")) == (recorded["type"], recorded.get("id"))
            return
        assert improved({"payload": None, **stable(got)}) == improved({"payload": None, **stable(recorded)})

    def _renamed(self, text: str) -> str:
        for recorded, actual in self.ids.items():
            text = text.replace(recorded, actual)
        return text

    def use(self, conn: Connection) -> None:
        """Do what the recorded client did, in its order; answers are given by handlers."""
        for place, (way, text) in enumerate(self.rows):
            if way == "c2s":
                self._act(conn, place, text)

    def _act(self, conn: Connection, place: int, text: str) -> None:
        try:
            message = json.loads(text)
        except ValueError:
            conn.send(text)
            return
        if isinstance(message, list):
            conn.send(text)
            return
        kind, payload = message.get("type"), message.get("payload")
        if kind == "call" and "dt" in message:
            timeout = message["timeout"] / 1000 or float("inf")
            self.outcomes.append((message["id"], conn.submit(message["method"], *payload, timeout=timeout)))
        elif kind == "event" and "dt" in message and "sender" not in message:
            conn.notify(message["event"], payload)
        elif kind == "request":
            conn.request(payload, lambda response: self.responses(message["id"], response) or True)
        elif kind == "message" and "sender" not in message and "rawData" not in message:
            conn.enqueue(payload, message.get("id"))
        elif kind == "auth" and not self._answers(place):
            self.outcomes.append((None, conn.auth(message["stage"], payload, timeout=SECONDS)))
        elif kind not in ("result", "error", "response", "auth"):
            conn.send(text)
        if kind in ("call", "auth") and self.outcomes and not isinstance(self.outcomes[-1][1], (dict, list)):
            self._pace(place)

    def _answers(self, place: int) -> bool:
        return place > 0 and self.rows[place - 1][0] == "s2c" and '"type":"auth"' in self.rows[place - 1][1]

    def _pace(self, place: int) -> None:
        """Wait for the answer before going on, where the recorded client did."""
        id, future = self.outcomes[-1]
        following = [json.loads(text) for way, text in self.rows[place + 1 :] if way == "s2c" and text.startswith("{")]
        answered = any(message.get("id") == id for message in following)
        crowded = any(way == "c2s" and '"type":"call"' in text for way, text in self.rows[place + 1 : place + 2])
        if answered and not crowded:
            future.exception(SECONDS)

    def verify(self) -> None:
        """Each caller got what the server said to it."""
        sent = [json.loads(text) for way, text in self.rows if way == "s2c" and text.startswith("{")]
        answers = {message["id"]: message for message in sent if message.get("type") in ("result", "error")}
        for id, outcome in self.outcomes:
            if id is None or id not in answers:
                continue
            if answers[id]["type"] == "result":
                assert outcome.result(SECONDS) == answers[id].get("payload")
            else:
                expected, error = ResilientError.unmarshal(answers[id]["payload"]), outcome.exception(SECONDS)
                assert (type(error), error.message) == (type(expected), expected.message)
        responses = [(message["id"], message["payload"]) for message in sent if message.get("type") == "response"]
        came = self.responses.wait(len(responses))
        for id, _ in responses:  # those to one request come in order, different requests are answered side by side
            payloads = [payload for request_id, payload in responses if request_id == id]
            assert [payload for request_id, payload in came if request_id == id] == payloads


def recorded_client(conn: Connection) -> Collector:
    """What the recorded client answers; and what its listener hears."""

    def fail(message: str) -> None:
        raise RuntimeError(message)

    def acknowledge(id: Any, payload: Any) -> bool:
        if payload.get("action") == "one":
            conn.reply(id, {"by": "client", "echo": payload})
        for number in range(payload.get("count", 0)):
            conn.reply(id, {"data": number, "hasMore": number < payload["count"] - 1})
        return bool(payload.get("action") != "none")

    def authenticate(stage: Any, payload: Any) -> Any:
        if "throw" in payload:
            raise AuthForbidden("as asked")
        return "authenticated", {"signed": payload}

    conn.on_error(lambda error, context: None)
    conn.perform("clientEcho", lambda value: value)
    conn.perform("clientAdd", lambda a, b: a + b)
    conn.perform("clientNone", lambda: None)
    conn.perform("clientFail", fail)
    conn.perform("clientTyped", lambda: fail("typed"))
    conn.acknowledge(acknowledge)
    conn.authenticate = authenticate
    heard = Collector()
    conn.listen(heard)
    return heard


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAYED_TO_OUR_CLIENT)
def test_our_client_talks_to_the_recorded_server(name: str) -> None:
    """It says what the recorded client said, and its listener hears what the server said, and the end of the link."""
    play = Play(name)
    with RawServer(play.serve) as server:
        conn = connect(server.url, reconnect=None)
        heard = recorded_client(conn)
        play.use(conn)
        play.verify()
        if not name.startswith("close"):
            sent = [text for way, text in play.rows if way == "s2c" and "pong" not in text]
            eventually(lambda: len(heard.items) == len(sent))
            assert play.sent.wait(SECONDS)
            conn.close()
        ending = conn.wait_closed(SECONDS)
        eventually(lambda: heard.items and heard.items[-1].payload == {"code": ending.code})
        assert all(isinstance(item, (Message, str)) for item in heard.items)
