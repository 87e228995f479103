"""``owlsocket queue``: messages there, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import answers, complaint, run
from helpers import eventually

from owlsocket_sync import Connection
from owlsocket_sync.server import Request, Server, serve


def sending(*messages: tuple[Any, str | None], leave: bool = False) -> Any:
    """A handler that puts these onto the queue of whoever comes."""

    def handle(conn: Connection, request: Request) -> None:
        for payload, id in messages:
            conn.enqueue(payload, id)
        if leave:
            conn.close(1001, "bye")

    return handle


def test_what_is_pushed_is_on_the_peers_queue(tmp_path: Path) -> None:
    """In order, and it is there once the command has ended."""
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


def test_what_is_pulled_is_printed_up_to_the_limit() -> None:
    """With its id."""
    with serve(sending(("a", None), ({"b": 2}, "o-7"), ("c", None))) as server:
        result = run("queue", "pull", server.url, "--limit", "2")
        assert result.returncode == 0
        assert [one["payload"] for one in answers(result)] == ["a", {"b": 2}]
        assert answers(result)[1]["id"] == "o-7"


def test_a_pause_ends_it_well_where_something_came() -> None:
    """And is a timeout where nothing did."""
    with serve(sending(("a", None))) as server:
        result = run("queue", "pull", server.url, "--timeout", "0.5")
        assert (result.returncode, [one["payload"] for one in answers(result)]) == (0, ["a"])
    with serve(sending()) as server:
        result = run("queue", "pull", server.url, "--timeout", "0.3")
        assert (result.returncode, complaint(result)) == (4, "no message came within 0.3 s\n")


def test_a_connection_that_ends_is_exit_code_3() -> None:
    """What came before is printed."""
    with serve(sending(("a", None), leave=True)) as server:
        result = run("queue", "pull", server.url)
    assert (result.returncode, result.stdout.count("\n")) == (3, 1)
    assert result.stderr == "the connection ended: 1001 bye\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["push", "ws://x"], "Missing argument 'PAYLOAD...'"),
        (["push", "ws://x", "1", "2", "--id", "a"], "--id is for one PAYLOAD only"),
        (["pull", "ws://x", "--limit", "0"], "--limit"),
        (["pop", "ws://x"], "No such command 'pop'"),
    ],
)
def test_a_mistake_is_exit_code_2(arguments: list[str], words: str) -> None:
    """In one line."""
    result = run("queue", *arguments)
    assert (result.returncode, words in complaint(result)) == (2, True), result.stderr


def test_pull_says_goodbye(playing: Server) -> None:
    """No link is left behind."""
    assert run("queue", "pull", playing.url, "--timeout", "0.1").returncode == 4
    eventually(lambda: not playing.connections)
