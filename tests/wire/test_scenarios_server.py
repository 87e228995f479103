"""Our server answers every recorded scenario as the reference did, or better."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as raw_connect

from owlsocket_sync.server import Server, serve
from wire.recorded import BETTER, SCENARIOS, Row, stable
from wire.reference_server import reference_server

SECONDS = 5.0
PROBE = {"type": "call", "method": "echo", "payload": ["probe"], "id": "probe"}


@pytest.fixture
def server() -> Iterator[Server]:
    """The recorded server, as we build it."""
    with serve(reference_server) as ours:
        yield ours


class Player:
    """A raw client that plays the client's frames, and keeps what the server sends."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        self.got: list[Any] = []
        self.ids: dict[str, str] = {}

    def play(self, rows: list[Row], expected: list[Any]) -> None:
        """Send the client's frames; one that answers waits for what it answers."""
        for place, row in enumerate(rows):
            if row.way != "c2s":
                continue
            if self._answers(rows[:place]):
                self.receive(sum(row.way == "s2c" for row in rows[:place]))
            self._send(row)
        self.receive(len(expected))

    @staticmethod
    def _answers(before: list[Row]) -> bool:
        return (
            bool(before)
            and before[-1].way == "s2c"
            and '"type":"' in before[-1].text
            and (before[-1].json["type"] in ("call", "auth") and before[-1].json.get("stage", "") is not None)
        )

    def _send(self, row: Row) -> None:
        if row.text == "<result>":
            call = self.got[-1]
            self.ws.send(json.dumps({"type": "result", "id": call["id"], "payload": "me"}))
        elif row.ping is not None:
            assert self.ws.ping(row.ping).wait(SECONDS)
        elif row.binary is not None:
            self.ws.send(row.binary)
        else:
            self.ws.send(row.text)

    def receive(self, count: int) -> None:
        """Wait until so many messages came."""
        while len(self.got) < count:
            self.got.append(json.loads(self.ws.recv(SECONDS)))


def expectation(name: str) -> list[Any]:
    """What our server should send."""
    if name in BETTER:
        return BETTER[name][1]
    return [row.json for row in SCENARIOS[name] if row.way == "s2c" and not row.control]


def anonymous(messages: list[Any]) -> list[Any]:
    """Messages in an order of their own, generated ids replaced."""
    plain = []
    for message in map(stable, messages):
        if message.get("type") in ("call", "request"):
            message["id"] = "generated"
        plain.append(message)
    return sorted(plain, key=lambda message: json.dumps(message, sort_keys=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SCENARIOS))
def test_our_server_answers_a_scenario(server: Server, name: str) -> None:
    """Key by key; and the link is alive after it, unless it was to be closed."""
    rows, expected = SCENARIOS[name], expectation(name)
    with raw_connect(server.url, proxy=None) as ws:
        player = Player(ws)
        player.play(rows, expected)
        notes = [row.text for row in rows if row.way == "note"]
        if notes:
            with pytest.raises(ConnectionClosed):
                ws.recv(SECONDS)
            assert (ws.close_code, ws.close_reason) == ((1001, "bye") if "1001" in notes[0] else (1006, ""))
        else:
            ws.send(json.dumps(PROBE))
            player.receive(len(expected) + 1)
            assert player.got.pop() == {"id": "probe", "type": "result", "payload": "probe"}
    assert anonymous(player.got) == anonymous(expected)


def test_what_is_better_is_told_in_the_readme() -> None:
    """Each scenario that is answered in another way than recorded has its reason, and exists."""
    assert set(BETTER) <= set(SCENARIOS)
    assert all(reason for reason, _ in BETTER.values())
