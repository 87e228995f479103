"""A hub in a file: its log is bounded, what is missed is told, and a file that is spoiled is replaced."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync import StoreError, StoreFull
from owlsocket_sync.hub import Gap, Hub, SqliteHub, sqlite_file, sqlite_tables
from owlsocket_sync.sqlite import file_turn, mounts
from owlsocket_sync.stores import SqliteStore
from support.helpers import Collector, eventually, scaled
from support.seats import FakeServer, client_of, received

MakeNode = Callable[..., SqliteHub]
ODD_ROOM = "a room\n\ud800"


def ask(path: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Look into the file, as another program does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(query, values).fetchall()


class Stalled:
    """A client in whose delivery the reader of its node stays."""

    def __init__(self, hub: Hub) -> None:
        self.seat = FakeServer(hub).connect()
        self.client = client_of(self.seat)
        self.client.on_send = self._hold_up
        self._reached, self._go_on = threading.Event(), threading.Event()
        hub.publish("n", "hold up")
        assert self._reached.wait(scaled(5))

    def _hold_up(self, payload: Any) -> None:
        if payload == "hold up":
            self._reached.set()
            assert self._go_on.wait(scaled(20))

    def go_on(self) -> None:
        """Let the reader read on."""
        self._go_on.set()


def test_a_node_that_only_publishes_has_no_thread_and_no_file(path: Path, make_node: MakeNode) -> None:
    """Nor does one that looks who is there."""
    listening, publishing = make_node(), make_node()
    seat = FakeServer(listening).connect()
    seat.join("owls", None)
    before = len(os.listdir(path.parent))
    publishing.publish("n", 1)
    publishing.send("n", 2, to=seat.id)
    assert (publishing.count("owls"), len(publishing.servers())) == (1, 1)
    assert [each.name for each in threading.enumerate()].count("owlsocket-hub-reader") == 1
    assert len(os.listdir(path.parent)) == before
    eventually(lambda: sorted(client_of(seat).got) == [1, 2])


def test_what_all_have_read_is_deleted(path: Path, make_node: MakeNode) -> None:
    """So the file of a hub stays small, however long it is used."""
    seats = [FakeServer(make_node()).connect() for _ in range(2)]
    for number in range(100):
        make_node().publish("n", number)
    assert [len(got) for got in received(*seats)] == [100, 100]
    eventually(lambda: ask(path, "SELECT count(*) FROM log") == [(0,)])
    assert received(*seats) == [list(range(100))] * 2


def test_row_b8_a_node_that_reads_too_slowly_tells_of_the_gap(path: Path, make_node: MakeNode) -> None:
    """With the number of entries that it has missed; then it goes on, and the others have missed nothing."""
    slow, quick = make_node(maxlen=10), make_node(maxlen=10)
    gaps: Collector = Collector()
    for hub in (slow, quick):
        hub.on_gap(gaps)
    stalled, other = Stalled(slow), FakeServer(quick).connect()
    for number in range(50):
        quick.publish("n", number)
        received(other)
    assert ask(path, "SELECT count(*) FROM log")[0][0] <= 12
    stalled.go_on()
    (gap,) = gaps.wait(1)
    assert isinstance(gap, Gap)
    assert "maxlen is too small" in gap.reason
    eventually(lambda: 49 in stalled.client.got)
    kept = stalled.client.got[1:]
    assert kept == list(range(50))[-len(kept) :]
    assert gap.missed is not None
    assert gap.missed >= 2 * (50 - len(kept))  # a fence follows each event
    assert len(gaps.items) == 1
    assert client_of(other).got[-50:] == list(range(50))


def test_the_log_is_bounded_in_bytes(path: Path, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few entries may be large ones; the last one is kept however large it is."""
    monkeypatch.setattr(sqlite_tables, "MAX_LOG", 100_000)
    monkeypatch.setattr(sqlite_file, "SHARE", 20_000)
    hub = make_node()
    gaps = Collector()
    hub.on_gap(gaps)
    stalled = Stalled(hub)
    for number in range(50):
        hub.publish("n", f"{number:05}" + "x" * 10_000)
    assert ask(path, "SELECT sum(length(record)) FROM log")[0][0] <= 140_000
    hub.publish("n", "y" * 200_000)
    stalled.go_on()
    gaps.wait(1)
    eventually(lambda: stalled.client.got[-1] == "y" * 200_000)


def test_the_log_is_bounded_whatever_is_appended(path: Path, make_node: MakeNode) -> None:
    """Changes of presence and messages count as well; and after the file was replaced, too."""
    hub, other = make_node(maxlen=64), make_node(maxlen=64)
    stalled, far = Stalled(hub), FakeServer(other).connect()
    for number in range(100):
        far.join("owls", number)
        other.publish("n", number)
        other.send("n", number, to=stalled.seat.id)
    assert ask(path, "SELECT count(*) FROM log")[0][0] <= 66
    path.unlink()
    for number in range(100):
        far.join("owls", number)
    assert ask(path, "SELECT count(*) FROM log")[0][0] <= 66
    stalled.go_on()


def test_a_read_takes_no_more_than_its_share(make_node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is read next, without a wait."""
    monkeypatch.setattr(sqlite_tables, "MAX_ENTRIES", 3)
    monkeypatch.setattr(sqlite_tables, "MAX_READ", 50_000)
    hub = make_node()
    stalled = Stalled(hub)
    payloads = ["x" * 20_000] * 10 + list(range(30))
    for payload in payloads:
        hub.publish("n", payload)
    stalled.go_on()
    eventually(lambda: stalled.client.got[1:] == payloads)


GARBAGE: list[tuple[Any, ...]] = [
    ("event", None, None, None, None), ("event", None, None, None, b"{"), ("event", None, None, None, "text"),
    ("event", None, None, None, b"{}\n{}"), ("join", None, b"owls", b"id", b"[1]"), ("join", None, None, None, None),
    ("leave", None, b"\xff", b"id", b'[null,"s",null]'), ("gone", None, None, 5, None),
    ("dance", None, None, None, None), (b"event", None, None, None, b"x"),
]  # fmt: skip


def test_garbage_is_logged_and_passed_over(path: Path, make_node: MakeNode, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is in the log; what follows is delivered, and no gap is told."""
    hub = make_node()
    gaps = Collector()
    hub.on_gap(gaps)
    seat = FakeServer(hub).connect()
    for row in GARBAGE:
        ask(path, "INSERT INTO log(kind, node, room, id, record) VALUES(?, ?, ?, ?, ?)", *row)
    hub.publish("n", 1)
    assert received(seat) == [[1]]
    assert "an entry of the hub was dropped, it is not valid" in caplog.text
    ask(path, "INSERT INTO members(room, id, node, record) VALUES(?, ?, ?, ?)", b"owls", b"x", "x", b"{")
    seat.join("owls", None)
    assert [member.id for member in hub.members("owls")] == [seat.id]
    assert "a value was passed over" in caplog.text
    assert gaps.items == []


def test_a_hook_on_the_reader_cannot_wait_for_another_process(make_node: MakeNode) -> None:
    """It would wait for itself: an error says so at once, and the events go on."""
    here, there = make_node(), make_node()
    seats = [FakeServer(hub).connect() for hub in (here, there)]
    client, far = client_of(seats[0]), seats[1].id

    def prepare(message: Any, is_request: bool) -> Any:
        here.call(far, "x", timeout=30)

    client.settings.prepare = prepare
    there.publish("n", 1)
    eventually(lambda: client.errors)
    assert "cannot wait for another server" in str(client.errors[0])
    client.settings.prepare = None
    assert received(*seats) == [[], [1]]


def replaced(path: Path) -> None:
    """Delete the file."""
    path.unlink()


def all_deleted(path: Path) -> None:
    """Delete everything."""
    for each in path.parent.iterdir():
        each.unlink()


def damaged(path: Path) -> None:
    """Damage it all."""
    path.write_bytes(b"\xa5" * 100_000)


@pytest.mark.parametrize("spoil", [replaced, all_deleted, damaged])
def test_a_spoiled_file_is_replaced(
    path: Path, make_node: MakeNode, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Each node enters itself again with its members and servers, and tells that it may have missed events."""
    hubs = make_node(), make_node()
    gaps = [Collector(), Collector()]
    for hub, collector in zip(hubs, gaps, strict=True):
        hub.on_gap(collector)
    seats = [FakeServer(hub).connect() for hub in hubs]
    for seat in seats:
        seat.join(ODD_ROOM, {"n": 1})
    received(*seats)
    with ExitStack() as closed:
        for hub in hubs:
            hub._sqlite_bus._file._database.enter_fork(closed)
        spoil(path)
    for collector in gaps:
        (gap,) = collector.wait(1)
        assert (gap.missed, "new one took its place" in gap.reason) == (None, True)
    eventually(lambda: hubs[0].count(ODD_ROOM) == 2)
    assert sorted(member.id for member in hubs[1].members(ODD_ROOM)) == sorted(seat.id for seat in seats)
    assert len(hubs[0].servers()) == 2
    hubs[0].publish("n", 1, room=ODD_ROOM)
    assert received(*seats) == [[1], [1]]
    client_of(seats[1]).perform = lambda method: "fine"
    assert hubs[0].call(seats[1].id, "x") == "fine"
    seats[1].leave(ODD_ROOM)
    assert hubs[0].count(ODD_ROOM) == 1
    if spoil is damaged:
        assert len(list(path.parent.glob("hub.db.corrupt-*[0-9]"))) == 1
        assert any(record.levelno == logging.ERROR and "was set aside" in record.message for record in caplog.records)


def test_a_node_that_was_taken_for_dead_comes_back(path: Path, make_node: MakeNode) -> None:
    """As after a program that deletes old files: its members leave, and join again."""
    hub, other = make_node(), make_node()
    changes = Collector()
    other.on_presence(lambda change: changes(change.kind))
    seat = FakeServer(hub).connect()
    seat.join("owls", None)
    (token,) = ask(path, "SELECT token FROM nodes WHERE node = ?", hub.node)[0]
    path.with_name(f"hub.db-owner-{token}").unlink()
    assert changes.wait(3) == ["join", "leave", "join"]
    assert (other.count("owls"), len(other.servers())) == (1, 1)
    client_of(seat).perform = lambda method: "fine"
    assert other.call(seat.id, "x") == "fine"


def test_a_full_disk_is_told_and_nothing_is_lost_of_presence(make_node: MakeNode) -> None:
    """What is published raises, who leaves has left once there is room."""
    hub, other = make_node(), make_node()
    server = FakeServer(hub)
    seat, second = server.connect(), server.connect()
    seat.join("owls", None)
    file = hub._sqlite_bus._file
    connection = file._database._lazy
    assert connection is not None
    connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreFull, match=r"hub\.db: there is no room"):
        for _ in range(100):
            hub.publish("n", "x" * 10_000)

    database = file._database
    database._lazy = database._durable = Refusing(connection)  # type: ignore[assignment]
    with pytest.raises(StoreFull):
        second.join("owls", None)
    assert second.rooms == []
    seat.end()
    assert other.count("owls") == 1
    database._lazy = database._durable = connection
    connection.execute("PRAGMA max_page_count = 100000")
    eventually(lambda: other.count("owls") == 0)
    second.join("owls", None)
    assert [member.id for member in other.members("owls")] == [second.id]


class Refusing:
    """A connection to a file on a disk that is full."""

    in_transaction = False

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, query: str, *values: Any) -> None:
        """Refuse."""
        raise sqlite3.OperationalError("database or disk is full")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def test_a_file_that_is_made_is_for_its_owner_only(path: Path, make_node: MakeNode) -> None:
    """And all that are beside it, whatever the umask allows."""
    former = os.umask(0)
    try:
        hub = make_node()
        FakeServer(hub)
        hub.publish("n")
        names = os.listdir(path.parent)
        assert len(names) == 7
        assert {stat.S_IMODE(os.stat(path.parent / name).st_mode) for name in names} == {0o600}
    finally:
        os.umask(former)


def test_a_closed_node_is_gone_at_once(path: Path, make_node: MakeNode) -> None:
    """With its members, its servers, and the files that were its own; also one that never listened can be closed."""
    hub, other = make_node(), make_node()
    seat = FakeServer(hub).connect()
    seat.join("owls", None)
    hub.close()
    assert (other.members("owls"), other.servers()) == ([], [])
    assert not [name for name in os.listdir(path.parent) if "owner" in name or "wake" in name]
    for use in (lambda: hub.publish("n"), lambda: hub.count("owls")):
        with pytest.raises(Exception, match="the hub is closed"):
            use()
    other.close()
    make_node().close()


def test_a_file_of_another_program_is_left_alone(path: Path, make_node: MakeNode) -> None:
    """That of a store is one."""
    with SqliteStore(path) as store:
        store.queue("jobs").put(1)
        with pytest.raises(StoreError, match="another program; give a hub a file of its own"):
            make_node().publish("n")
        with pytest.raises(StoreError, match="another program"):
            FakeServer(make_node())
        assert len(store.queue("jobs")) == 1
    assert not [name for name in os.listdir(path.parent) if "owner" in name or "wake" in name]


def test_a_place_that_cannot_hold_a_hub_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system, a system without locks, a wrong option."""
    monkeypatch.setattr(mounts, "find_file_system", lambda path, mounts: "nfs4")
    with pytest.raises(StoreError, match=r"network file system \(nfs4\)"):
        SqliteHub(path)
    monkeypatch.setattr(file_turn, "HAS_LOCKS", False)
    with pytest.raises(StoreError, match="SqliteHub needs the module fcntl"):
        SqliteHub(path)
    for options in ({"maxlen": 0}, {"maxlen": True}, {"busy_timeout": -1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            SqliteHub(path, **options)
