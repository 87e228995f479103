"""``owlsocket queue``: push and pull."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync import Connection
from owlsocket_sync.cli import main
from owlsocket_sync.contrib.exit_codes import wait_open
from owlsocket_sync.server import Request, Server, serve
from support.command_line import answers, complaint, run
from support.helpers import eventually, scaled

pytestmark = pytest.mark.slow


def sending(*messages: tuple[Any, str | None], leave: bool = False) -> Any:
    """Return a handler that puts messages on the queue of each client."""

    def handle(conn: Connection, request: Request) -> None:
        for payload, id in messages:
            conn.enqueue(payload, id)
        if leave:
            conn.close(1001, "bye")

    return handle


def test_pushed_messages_are_on_the_queue_of_the_peer(tmp_path: Path) -> None:
    """In order, when the command ends."""
    peers: list[Connection] = []
    file = tmp_path / "order.json"
    file.write_text('{"order": 7}')
    with serve(lambda conn, request: peers.append(conn)) as server:
        result = run("queue", "push", server.url, "1", f"@{file}", "owl")
        assert (result.returncode, answers(result)) == (0, [])
        assert [message.payload for message in iter(peers[0].consume, None)] == [1, {"order": 7}, "owl"]
        result = run("queue", "push", server.url, "null", "--id", "o-7")
        assert (result.returncode, answers(result)) == (0, [])
        message = peers[1].consume()
        assert message is not None
        assert message[:2] == (None, "o-7")


def test_pulled_messages_are_printed_up_to_the_limit() -> None:
    """With their ids."""
    with serve(sending(("a", None), ({"b": 2}, "o-7"), ("c", None))) as server:
        result = run("queue", "pull", server.url, "--limit", "2")
        assert result.returncode == 0
        assert [message["payload"] for message in answers(result)] == ["a", {"b": 2}]
        assert answers(result)[1]["id"] == "o-7"


def test_pull_succeeds_after_a_pause() -> None:
    """Without any message, the pause is a timeout."""
    with serve(sending(("a", None))) as server:
        result = run("queue", "pull", server.url, "--timeout", "0.5")
        assert (result.returncode, [message["payload"] for message in answers(result)]) == (0, ["a"])
    with serve(sending()) as server:
        result = run("queue", "pull", server.url, "--timeout", "0.3")
        assert (result.returncode, complaint(result)) == (4, "no message received within 0.3 s\n")


def test_a_closed_connection_is_exit_code_3() -> None:
    """The messages before are printed."""
    with serve(sending(("a", None), leave=True)) as server:
        result = run("queue", "pull", server.url)
    assert (result.returncode, result.stdout.count("\n")) == (3, 1)
    assert result.stderr == "connection closed: 1001 bye\n"


def test_messages_of_a_server_that_has_closed_already_are_printed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The command may come to wait for the link once it has ended."""

    def wait_late(connection: Connection, timeout: float | None, url: str) -> Connection:
        connection.wait_closed(scaled(5))
        return wait_open(connection, timeout, url)

    monkeypatch.setattr("owlsocket_sync.cli.connect_options.wait_open", wait_late)
    with serve(sending(("a", None), leave=True)) as server:
        code = main(["queue", "pull", server.url])
    assert (code, json.loads(capfd.readouterr().out)["payload"]) == (3, "a")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["push", "ws://x"], "Missing argument 'PAYLOAD...'"),
        (["push", "ws://x", "1", "2", "--id", "a"], "--id is for one PAYLOAD only"),
        (["pull", "ws://x", "--limit", "0"], "--limit"),
        (["pop", "ws://x"], "No such command 'pop'"),
    ],
)
def test_a_usage_error_is_exit_code_2(arguments: list[str], words: str) -> None:
    """In one line."""
    result = run("queue", *arguments)
    assert (result.returncode, words in complaint(result)) == (2, True), result.stderr


def test_pull_closes_its_connection(demo_server: Server) -> None:
    """No link is left open."""
    assert run("queue", "pull", demo_server.url, "--timeout", "0.1").returncode == 4
    eventually(lambda: not demo_server.connections)
