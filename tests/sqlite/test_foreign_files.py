"""A path that is mistaken: what is there is no file of ours, and stays as it is, with nothing beside it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from owlsocket_sync import StoreCorrupt, StoreError
from owlsocket_sync.cli import main
from owlsocket_sync.hub import SqliteHub, sqlite_tables
from owlsocket_sync.hub.sqlite_tables import HUB_FILE
from owlsocket_sync.sqlite import tables
from owlsocket_sync.stores import SqliteStore
from support.seats import FakeServer

Fill = Callable[[Path], None]


def a_text(path: Path) -> None:
    """A program, or a log."""
    path.write_text("#!/usr/bin/env python\n" * 200)


def a_short_text(path: Path) -> None:
    """One that is shorter than the header of an SQLite file."""
    path.write_text("x")


def a_database(path: Path) -> None:
    """The database of an application."""
    sql(path, "CREATE TABLE users(id)")


def a_number(path: Path) -> None:
    """One without tables, which says whose it is."""
    sql(path, "PRAGMA application_id = 5")


def one_in_wal_mode(path: Path) -> None:
    """One in WAL mode."""
    sql(path, "PRAGMA journal_mode = WAL", "CREATE TABLE users(id)")


def a_damaged_one(path: Path) -> None:
    """One whose pages are damaged."""
    a_database(path)
    path.write_bytes(path.read_bytes()[:100] + b"\xa5" * 8092)


def sql(path: Path, *statements: str) -> None:
    """Do this as another program does it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


foreign = pytest.mark.parametrize(
    "fill", [a_text, a_short_text, a_database, a_number, one_in_wal_mode, a_damaged_one], ids=lambda fill: fill.__name__
)
VERBS: dict[str, Callable[[SqliteHub], object]] = {
    "publish": lambda hub: hub.publish("n"),
    "send": lambda hub: hub.send("n", to="0123456789abcdef-1"),
    "members": lambda hub: hub.members("owls"),
    "count": lambda hub: hub.count("owls"),
    "servers": lambda hub: hub.servers(),
    "attach": FakeServer,
    "listen": lambda hub: hub.listen(),
}


@foreign
@pytest.mark.parametrize("verb", VERBS)
def test_a_hub_leaves_a_file_alone_that_is_none(
    tmp_path: Path, fill: Fill, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is done first, and again."""
    path = tmp_path / "manage.py"
    fill(path)
    before = path.read_bytes()
    with SqliteHub(path) as hub:
        for _ in range(2):
            with pytest.raises(StoreError, match=r"manage\.py .*give a hub a file of its own") as caught:
                VERBS[verb](hub)
            assert "on_corrupt" not in str(caught.value)
    assert (path.read_bytes(), os.listdir(tmp_path)) == (before, ["manage.py"])
    assert caplog.records == []


@foreign
@pytest.mark.parametrize("arguments", [["servers"], ["members", "owls"], ["publish", "news"]], ids=lambda each: each[0])
def test_a_command_leaves_a_file_alone_that_is_no_hub(
    tmp_path: Path, fill: Fill, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """With exit code 1."""
    path = tmp_path / "g.log"
    fill(path)
    before = path.read_bytes()
    assert main(["hub", arguments[0], str(path), *arguments[1:]]) == 1
    assert "give a hub a file of its own" in capfd.readouterr().err
    assert (path.read_bytes(), os.listdir(tmp_path)) == (before, ["g.log"])


@foreign
def test_a_store_leaves_a_file_alone_that_is_none(tmp_path: Path, fill: Fill) -> None:
    """What is no database may be a store that was damaged, and is told as one."""
    path = tmp_path / "app.db"
    fill(path)
    before = path.read_bytes()
    with SqliteStore(path) as store:
        for use in (lambda: store.queue("jobs").put(1), store.queues, lambda: store.queue("jobs").get(timeout=0)):
            with pytest.raises(StoreError, match=r"another program|app\.db is damaged") as caught:
                use()
            assert isinstance(caught.value, StoreCorrupt) == (b"SQLite format" not in before or fill is a_damaged_one)
    assert (path.read_bytes(), os.listdir(tmp_path)) == (before, ["app.db"])


def test_a_foreign_database_in_use_is_left_alone(tmp_path: Path) -> None:
    """Also where all that it has is in its WAL yet."""
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE users(id)")
        before = sorted(os.listdir(tmp_path))
        with SqliteHub(path) as hub, pytest.raises(StoreError, match="another program"):
            hub.publish("n")
        assert sorted(os.listdir(tmp_path)) == before
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("users",)]


def test_an_empty_file_becomes_a_hub(tmp_path: Path) -> None:
    """Such as one of `tempfile`, or one whose permissions were set before."""
    path = tmp_path / "hub.db"
    path.touch()
    with SqliteHub(path) as hub:
        assert hub.servers() == []
    with SqliteHub(path, busy_timeout=1e9) as hub:
        hub.publish("n")


def test_a_pipe_is_no_hub(tmp_path: Path) -> None:
    """Nor a device; to open it would wait for ever."""
    path = tmp_path / "hub.db"
    os.mkfifo(path)
    with SqliteHub(path) as hub, pytest.raises(StoreError, match="not a file"):
        hub.publish("n")
    assert os.listdir(tmp_path) == ["hub.db"]


def cut_off(data: bytes) -> bytes:
    """A file of which the end is missing."""
    return data[: len(data) // 2]


def pages(data: bytes) -> bytes:
    """A file of which only the header was left."""
    return data[:100] + b"\xa5" * (len(data) - 100)


@pytest.mark.parametrize("damage", [cut_off, pages])
def test_a_hub_that_was_damaged_before_is_set_aside(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Its header says that it was one; the report gives no advice that hubs cannot follow."""
    path = tmp_path / "hub.db"
    with SqliteHub(path) as hub:
        hub.publish("n", "x" * 10_000)
    path.write_bytes(damage(path.read_bytes()))
    with SqliteHub(path) as hub:
        hub.publish("n", 1)
        assert hub.servers() == []
    (aside,) = tmp_path.glob("hub.db.corrupt-*[0-9]")
    (report,) = [record.getMessage() for record in caplog.records]
    assert aside.name in report
    assert "on_corrupt" not in report


def test_a_file_that_took_the_place_of_a_hub_is_left_alone(tmp_path: Path) -> None:
    """While the hub is in use."""
    path, other = tmp_path / "hub.db", tmp_path / "notes.txt"
    other.write_text("notes\n" * 100)
    with SqliteHub(path) as hub:
        hub.publish("n")
        os.replace(other, path)
        for suffix in ("-wal", "-shm"):
            path.with_name(f"hub.db{suffix}").unlink()
        with pytest.raises(StoreError, match="is not a hub: give a hub a file of its own"):
            hub.publish("n")
        assert path.read_text() == "notes\n" * 100
    assert not list(tmp_path.glob("*corrupt*"))


def test_a_hub_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    """An older release does not know its tables."""
    path = tmp_path / "hub.db"
    with SqliteHub(path) as hub:
        hub.publish("n")
    sql(path, f"PRAGMA user_version = {sqlite_tables.HUB_FILE.version + 1}")
    with SqliteHub(path) as hub, pytest.raises(StoreError, match="tables of version 2"):
        hub.publish("n")


@pytest.mark.parametrize("url", ["sqlite:///x.db", "sqlite:x.db", "redis://user:secret@host/0", "file:///x.db"])
def test_a_class_that_takes_a_path_tells_who_takes_a_url(url: str) -> None:
    """Without its secrets; it was read as the name of a folder."""
    words = "takes the path of a file, and that is a URL: use"
    with pytest.raises(ValueError, match=f"SqliteHub {words} open_hub") as caught:
        SqliteHub(url)
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match=f"SqliteStore {words} open_queue"):
        SqliteStore(url)


@pytest.mark.parametrize("has_wal", [True, False])
def test_a_file_that_another_process_makes_meanwhile_is_not_foreign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_wal: bool
) -> None:
    """Between two looks at it: the numbers in its header, and whether it has tables."""
    path, look = str(tmp_path / "hub.db"), tables._numbers
    with closing(sqlite3.connect(path, isolation_level=None)) as maker:
        maker.execute("PRAGMA journal_mode = WAL" if has_wal else "VACUUM")
        maker.execute("PRAGMA user_version").fetchall()
        assert os.path.exists(f"{path}-wal") is has_wal

        def numbers(connection: sqlite3.Connection) -> tuple[int, int]:
            seen = look(connection)
            maker.executescript(f"BEGIN; CREATE TABLE t(i); PRAGMA application_id = {HUB_FILE.application}; COMMIT")
            return seen

        monkeypatch.setattr(tables, "_numbers", numbers)
        assert not tables.is_ours(path, HUB_FILE, 5.0)
        monkeypatch.undo()
        assert tables.is_ours(path, HUB_FILE, 5.0)
