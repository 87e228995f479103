"""What another program has written into the file of a hub, and interrupts while a node begins."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync.hub import SqliteHub
from support.helpers import eventually
from support.seats import FakeServer, received

MakeNode = Callable[..., SqliteHub]

LOG = "INSERT INTO log(kind, node, room, id, record) VALUES(?, ?, ?, ?, ?)"
MEMBER = "INSERT INTO members(room, id, node, record) VALUES(?, ?, ?, ?)"
NODE = "INSERT INTO nodes(node, token, pid, started, read) VALUES(?, ?, ?, ?, ?)"


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (LOG, ("event", None, None, None, 5)),
        (LOG, ("message", None, None, None, 5.5)),
        (LOG, ("event", None, None, None, "text")),
        ("INSERT INTO log(kind, record) VALUES('event', CAST(x'ff' AS TEXT))", ()),
        ("INSERT INTO log(kind, record) VALUES(CAST(x'ff' AS TEXT), x'00')", ()),
        (LOG, ("join", None, 5, 5, 5)),
        (MEMBER, (b"owls", b"\xff", "n", b'[null,"s",1]')),
        (MEMBER, (b"owls", 5, "n", 5)),
        ("INSERT INTO servers(name, node) VALUES(x'ff', 'n')", ()),
        ("INSERT INTO servers(name, node) VALUES(5, 5)", ()),
        (NODE, ("n", "a\0b", 1, "", 5)),
        (NODE, ("n", "../../a", 1, "", 5)),
        (NODE, (b"\0", b"\0", "pid", "", "read")),
    ],
)
def test_a_row_of_another_program_is_passed_over(
    path: Path, make_node: MakeNode, statement: str, values: tuple[Any, ...]
) -> None:
    """Whatever it is: what comes behind it arrives, and all questions are answered."""
    hub, other = make_node(), make_node()
    seat = FakeServer(hub).connect()
    seat.join("owls", None)
    with sqlite3.connect(path) as connection:
        connection.execute(statement, values)
    connection.close()
    other.publish("n", 1, room="owls")
    hub.publish("n", 2)
    assert received(seat) == [[1, 2]]
    assert seat.id in [member.id for member in other.members("owls")]
    assert hub.count("owls") >= 1
    assert len(hub.servers()) >= 1
    make_node().listen()


def test_an_interrupt_after_the_start_of_the_reader_ends_it(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would go on without a pause, and log an error each time; the next use begins again."""
    start = threading.Thread.start

    def interrupt(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    hub = make_node()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupt)
        with pytest.raises(KeyboardInterrupt):
            hub.listen()
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "owlsocket-hub-reader"])
    hub.listen()
    assert not caplog.records
