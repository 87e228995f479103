"""Our client says in every recorded scenario what the reference's client said, and makes what it should of answers."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from owlsocket_sync import Connection, ConnectionState, Message, ResilientError, SocketConnectionError, connect
from support.helpers import Collector, eventually
from wire.raw import RawServer, Stage
from wire.recorded import SCENARIOS, Row, stable

SECONDS = 5.0
RAW = {
    "call without id",
    "call without payload",
    "call payload object",
    "result unknown id",
    "error unknown id",
    "request without id",
    "response unknown",
    "bare object",
    "unknown type",
    "system",
    "plain text",
    "bad json",
    "empty",
    "soft ping",
    "payload null message",
}

BETTER_CLIENT = {
    '{"type":"auth","stage":null,"payload":{"message":"x"}}': {
        "type": "auth",
        "stage": None,
        "payload": "ResilientError|||x",
    }
}


class Play:
    """One scenario: what its user does on our client, and what the raw server checks and sends."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = [row for row in SCENARIOS[name] if not row.control and row.binary is None]
        self.ids: dict[Any, Any] = {}
        self.calls: dict[str, Future[Any]] = {}
        self.auths: list[tuple[threading.Thread, list[Any]]] = []
        self.responses = Collector()
        self.checked = threading.Semaphore(0)

    # -- the server's side

    def serve(self, stage: Stage) -> None:
        """Check the client's frames, and send the server's."""
        for row in self.rows:
            if row.way == "c2s":
                self._check(row, stage.receive() if row.ping is None else None)
                self.checked.release()
            elif row.way == "s2c":
                stage.send(self._renamed(row))
            elif "1001" in row.text:
                stage.close(1001, "bye")
            else:
                stage.drop()
        stage.wait_closed()

    def _check(self, row: Row, got: Any) -> None:
        if row.ping is not None:
            return
        if row.text == "<result>":
            assert stable(got) == {"type": "result", "id": got["id"], "payload": "me"}
            return
        try:
            recorded = row.json
        except ValueError:
            assert got == row.text
            return
        recorded = BETTER_CLIENT.get(row.text, recorded)
        if isinstance(got, dict) and recorded.get("type") in ("call", "request") and not self._raw(row):
            self.ids[recorded["id"]] = got["id"]
            assert isinstance(got["dt"], int)
            assert got["type"] != "call" or isinstance(got["timeout"], int)
            got = {**got, "id": recorded["id"]}
        assert stable(got) == stable(recorded)

    def _raw(self, row: Row) -> bool:
        """Whether no verb says this, so that it is sent as it is."""
        return self.name in RAW and '"method":"queue"' not in row.text and '"alive"' not in row.text

    def _renamed(self, row: Row) -> Any:
        message = row.json
        if message.get("type") in ("result", "error", "response") and message.get("id") in self.ids:
            message["id"] = self.ids[message["id"]]
        return message

    # -- the user's side

    def use(self, conn: Connection) -> None:
        """Do what the client's frames say was done, each after the server has seen the one before."""
        for place, row in enumerate(self.rows):
            if row.way != "c2s" or row.text == "<result>" or self._is_answer(place):
                if row.way == "c2s":
                    assert self.checked.acquire(timeout=SECONDS)
                continue
            self._act(conn, row)
            assert self.checked.acquire(timeout=SECONDS)

    def _is_answer(self, place: int) -> bool:
        before = self.rows[place - 1]
        return '"type":"auth"' in self.rows[place].text and before.way == "s2c" and before.json["type"] == "auth"

    def _act(self, conn: Connection, row: Row) -> None:
        if row.ping is not None:
            assert conn.ping(SECONDS) < SECONDS
        elif self._raw(row):
            conn.send(row.text)
        else:
            self._speak(conn, row.json)

    def _speak(self, conn: Connection, message: Any) -> None:
        match message["type"]:
            case "call":
                timeout = message.get("timeout", 60_000) / 1000 or float("inf")
                self.calls[message["id"]] = conn.submit(message["method"], *message["payload"], timeout=timeout)
            case "event":
                conn.notify(message["event"], message["payload"])
            case "request":
                conn.request(message["payload"], lambda payload: self.responses(payload) or True)
            case "message":
                conn.enqueue(message["payload"], message.get("id"))
            case "auth":
                outcome: list[Any] = []
                thread = threading.Thread(target=self._authenticate, args=(conn, message, outcome))
                thread.start()
                self.auths.append((thread, outcome))
            case _:
                conn.send(json.dumps(message))

    @staticmethod
    def _authenticate(conn: Connection, message: Any, outcome: list[Any]) -> None:
        try:
            outcome.append(conn.auth(message["stage"], message["payload"], timeout=SECONDS))
        except ResilientError as error:
            outcome.append(error)

    # -- what came of it

    def verify(self, conn: Connection, seen: Collector) -> None:
        """What callers, observers, and the queue got is what the server's frames say."""
        sent = [row.json for row in self.rows if row.way == "s2c"]
        answers = {message["id"]: message for message in sent if message.get("id") in self.calls}
        for id, future in self.calls.items():
            self._verify_call(future, answers.get(id))
        events = [(message["event"], message["payload"]) for message in sent if message["type"] == "event"]
        assert [(message.event, message.payload) for message in seen.wait(len(events))] == events
        responses = [message["payload"] for message in sent if message["type"] == "response"]
        assert self.responses.wait(len(responses)) == responses
        refused = [message for message in sent if message["type"] == "auth" and message["stage"] is None]
        for (thread, outcome), _ in zip(self.auths, refused, strict=True):
            thread.join(SECONDS)
            assert isinstance(outcome[0], ResilientError)

    @staticmethod
    def _verify_call(future: Future[Any], answer: Any) -> None:
        if answer is None:
            assert not future.done() or isinstance(future.exception(0), (SocketConnectionError, TimeoutError))
        elif answer["type"] == "result":
            assert future.result(SECONDS) == answer.get("payload")
        else:
            expected = ResilientError.unmarshal(answer["payload"])
            error = future.exception(SECONDS)
            assert isinstance(error, ResilientError)
            assert (type(error), error.type, error.message) == (type(expected), expected.type, expected.message)


def prepared(conn: Connection) -> Collector:
    """What the recorded client answers and observes."""
    conn.on_error(lambda error, context: None)
    conn.perform("whoami", lambda *values: "me")
    seen = Collector()
    conn.observe("*", seen)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "binary json"])
def test_our_client_plays_a_scenario(name: str) -> None:
    """Frame by frame, against a raw server that plays the other part."""
    play = Play(name)
    with RawServer(play.serve) as server, connect(server.url, reconnect=None) as conn:
        seen = prepared(conn)
        if "server-initiated auth" in name:
            conn.authenticate = (
                _authenticate_badly if "error" in name else lambda stage, payload: ("authenticated", {"ok": 1})
            )
        listened = Collector()
        conn.listen(listened)
        play.use(conn)
        play.verify(conn, seen)
        if "close" in name or "drop" in name:
            ending = conn.wait_closed(SECONDS)
            assert (ending.code, ending.reason) == ((1001, "bye") if "close" in name else (1006, ending.reason))
            eventually(
                lambda: any(
                    isinstance(message, Message) and message.payload == {"code": ending.code}
                    for message in listened.items
                )
            )
        else:
            assert conn.state is ConnectionState.OPEN


def _authenticate_badly(stage: Any, payload: Any) -> Any:
    raise ResilientError(message="x")


@pytest.mark.slow
def test_an_answer_without_id_is_nobodys() -> None:
    """The reference's server sends one; it is counted, and the link goes on."""

    def play(stage: Stage) -> None:
        stage.send({"type": "result", "payload": "x"})
        stage.wait_closed()

    with RawServer(play) as server, connect(server.url) as conn:
        eventually(lambda: conn.stats.malformed == 1)
        assert conn.state is ConnectionState.OPEN
