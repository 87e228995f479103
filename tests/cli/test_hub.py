"""``owlsocket hub``: members, publish and servers, of a hub in a file."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync.cli import main
from owlsocket_sync.hub import SqliteHub
from support.helpers import eventually
from support.seats import FakeServer, client_of

Run = Callable[..., tuple[int, list[Any], str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run ``owlsocket hub``: its exit code, what it printed, and its complaint."""

    def run(*arguments: object) -> tuple[int, list[Any], str]:
        code = main(["hub", *map(str, arguments)])
        seen = capfd.readouterr()
        return code, [json.loads(line) for line in seen.out.splitlines()], seen.err

    return run


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SqliteHub]:
    """A hub of this process."""
    with SqliteHub(tmp_path / "hub.db") as hub:
        yield hub


def test_who_is_there_is_printed(tmp_path: Path, hub: SqliteHub, run: Run) -> None:
    """One line for each; an empty room is no mistake."""
    seat = FakeServer(hub, "chat").connect("ann")
    seat.join("lobby", {"name": "Ann"})
    path = tmp_path / "hub.db"
    member = {"id": seat.id, "user": "ann", "server": f"chat@{hub.node}", "info": {"name": "Ann"}}
    assert run("members", path, "lobby") == (0, [member], "")
    assert run("members", f"sqlite:///{path}", "-5") == (0, [], "the room has no members\n")
    assert run("servers", path) == (0, [{"server": f"chat@{hub.node}"}], "")


def test_an_event_is_published(tmp_path: Path, hub: SqliteHub, run: Run) -> None:
    """To all, or to a room; a payload is JSON, a text, or a file."""
    server = FakeServer(hub)
    ann, bob = server.connect(), server.connect()
    ann.join("lobby", None)
    path, file = tmp_path / "hub.db", tmp_path / "payload.json"
    file.write_text("[1]")
    for arguments in (["news"], ["news", '{"n": 1}', "--room", "lobby"], ["news", f"@{file}"], ["news", "text"]):
        assert run("publish", path, *arguments) == (0, [], "")
    eventually(lambda: client_of(bob).got == [None, [1], "text"])
    eventually(lambda: client_of(ann).got == [None, {"n": 1}, [1], "text"])


def test_what_reaches_nobody_is_told(tmp_path: Path, hub: SqliteHub, run: Run) -> None:
    """On stderr, with exit code 0: whom an event reaches is no matter of who sends it."""
    path = tmp_path / "hub.db"
    hub.publish("news")
    assert run("publish", path, "news") == (0, [], "no server uses this hub\n")
    assert run("publish", path, "news", "--room", "lobby") == (0, [], "no server uses this hub\n")
    assert run("members", path, "lobby") == (0, [], "the room has no members\n")
    seat = FakeServer(hub).connect()
    assert run("publish", path, "news", "--room", "lobby") == (0, [], "the room has no members\n")
    seat.join("lobby", None)
    assert run("publish", path, "news", "--room", "lobby") == (0, [], "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["servers", "{}/missing.db"], "there is no such hub"),
        (["members", "sqlite:///{}/missing.db", "lobby"], "there is no such hub"),
        (["publish", "{}/missing.db", "news"], "there is no such hub"),
        (["servers", "http://user:hidden@host"], "sqlite:/// or redis://"),
        (["servers", "sqlite:///{}/hub.db?color=red"], "unknown option 'color'"),
        (["members", "{}/hub.db", ""], "must not be empty"),
        (["members", "{}/hub.db"], "ROOM"),
        (["publish", "{}/hub.db", "news", "@missing"], "missing"),
    ],
)
def test_a_mistake_is_told(tmp_path: Path, hub: SqliteHub, run: Run, arguments: list[str], complaint: str) -> None:
    """With exit code 2, and nothing is made."""
    FakeServer(hub)
    code, printed, complaints = run(*(argument.format(tmp_path) for argument in arguments))
    assert (code, printed) == (2, [])
    assert complaint in complaints
    assert "hidden" not in complaints
    assert not os.path.exists(tmp_path / "missing.db")


def test_a_file_that_is_no_hub_is_an_error(tmp_path: Path, run: Run) -> None:
    """And is left as it is."""
    path = tmp_path / "hub.db"
    with SqliteHub(path) as hub:
        hub.publish("n")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA application_id = 5")
    connection.close()
    code, printed, complaint = run("servers", path)
    assert (code, printed, "another program" in complaint) == (1, [], True)
