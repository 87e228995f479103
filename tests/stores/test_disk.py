"""Disks that are full, files that are damaged or replaced, and file systems that cannot hold a store."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from owlsocket_sync import StoreCorrupt, StoreError, StoreFull
from owlsocket_sync.hub import SqliteHub
from owlsocket_sync.sqlite import database, mounts
from owlsocket_sync.stores import SqliteStore
from support.child_processes import Child, environment


def filled(path: Path, count: int = 200) -> None:
    """A closed store with messages of a known size."""
    with SqliteStore(path) as store:
        store.queue("jobs").put_many(["x" * 1000] * count)


def integrity(path: Path) -> str:
    """What SQLite says about a file."""
    connection = sqlite3.connect(path)
    (found,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return str(found)


def test_a_full_disk_stores_nothing_and_the_rest_goes_on(tmp_path: Path) -> None:
    """SQLITE_FULL: acknowledging and reading need no room, and there is room again afterwards."""
    with SqliteStore(tmp_path / "queue.db") as store:
        queue = store.queue("jobs")
        queue.put_many(["x" * 1000] * 20)
        durable = store._database._durable
        assert durable is not None
        durable.execute("PRAGMA max_page_count = 40")
        with pytest.raises(StoreFull, match=r"queue\.db: there is no room on the disk") as caught:
            for _ in range(100):
                queue.put("x" * 1000)
        assert caught.value.path == store.path
        count = len(queue)
        with pytest.raises(StoreFull):
            queue.put_many(["y" * 1000] * 50)
        assert (len(queue), len(queue.peek(1000))) == (count, count)
        for _ in queue.messages(limit=20):
            pass
        queue.put("there is room")
        assert len(queue) == count - 19


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="the error of SQLite has no name before Python 3.11")
def test_a_file_that_cannot_grow_is_a_full_disk(tmp_path: Path) -> None:
    """SQLITE_IOERR_WRITE, of a quota for one."""
    source = """
import resource, sys
from owlsocket_sync import StoreFull
from owlsocket_sync.stores import SqliteStore
with SqliteStore(sys.argv[1]) as store:
    queue = store.queue("jobs")
    queue.put("first")
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    n = 0
    try:
        while True:
            queue.put("x" * 1000)
            n += 1
    except StoreFull as error:
        print("full" if n > 10 and len(queue) == n + 1 else (n, len(queue)), type(error.__cause__).__name__)
    # To acknowledge takes room in the WAL, too: without any, nothing changes, and the messages can still be read.
    try:
        queue.get().ack()
        n -= 1
    except StoreFull:
        assert len(queue.peek(10_000)) == n + 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    queue.put("room again")
    print(len(queue) == n + 2)
"""
    path = tmp_path / "queue.db"
    with Child([sys.executable, "-c", source, str(path)], environment()) as child:
        done = child.finish()
    assert (done.out, done.complaints) == ("full OperationalError\nTrue\n", "")
    assert integrity(path) == "ok"


def header(data: bytes) -> bytes:
    """A file with a damaged header."""
    return b"\0" * 16 + data[16:]


def cut_off(data: bytes) -> bytes:
    """A file of which half is missing."""
    return data[: len(data) // 2]


def pages(data: bytes) -> bytes:
    """A file with damaged pages in the middle."""
    return data[:8192] + b"\xa5" * 100_000 + data[108_192:]


@pytest.mark.parametrize("damage", [header, cut_off, pages])
def test_a_damaged_file_is_named_and_stays_as_it_is(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """Whether SQLite finds it at once, or at the first touch of a page; never is there a new file in silence."""
    path = tmp_path / "queue.db"
    filled(path)
    path.write_bytes(damage(path.read_bytes()))
    with SqliteStore(path) as store, pytest.raises(StoreCorrupt, match=r"queue\.db is damaged") as caught:
        for delivery in store.queue("jobs").messages(timeout=0):
            assert delivery.payload == "x" * 1000
    assert (caught.value.code, caught.value.path) == ("STORE_CORRUPT", str(path))
    assert {each.name for each in tmp_path.iterdir() if "corrupt" in each.name} == set()


@pytest.mark.parametrize("damage", [header, cut_off, pages])
def test_a_damaged_file_is_set_aside_where_that_is_asked_for(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """With a report; the damaged file is kept under another name."""
    path = tmp_path / "queue.db"
    filled(path)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with SqliteStore(path, on_corrupt="quarantine") as store:
        queue = store.queue("jobs")
        for _ in queue.messages(timeout=0):
            pass
        queue.put("goes on")
        assert [delivery.payload for delivery in queue.messages(timeout=0)] == ["goes on"]
    (aside,) = tmp_path.glob("queue.db.corrupt-*[0-9]")
    assert aside.stat().st_size >= len(damaged) // 2
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert aside.name in record.getMessage()
    assert integrity(path) == "ok"


def test_a_damaged_file_is_set_aside_by_a_reader_as_well(tmp_path: Path) -> None:
    """`len` and `peek` go on, too; and another store takes the new file, which it does not set aside."""
    path = tmp_path / "queue.db"
    filled(path)
    with (
        SqliteStore(path, on_corrupt="quarantine") as store,
        SqliteStore(path, on_corrupt="quarantine") as other,
    ):
        assert len(other.queue("jobs")) == len(store.queue("jobs")) == 200
        for each in (other, store):
            each._database._close_connections()
        data = path.read_bytes()
        # Whole pages, none of which is read to open it: within half a page, numbers may end a query early.
        path.write_bytes(data[:118_784] + b"\xa5" * 61_440 + data[180_224:])
        assert store.queue("jobs").peek(1000) == []
        store.queue("jobs").put("new")
        assert [message.payload for message in other.queue("jobs").peek()] == ["new"]
    assert len(list(tmp_path.glob("queue.db.corrupt-*[0-9]"))) == 1


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """A path that is mistaken must not get tables of ours."""
    path = tmp_path / "app.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE users(id)")
    connection.close()
    before = path.read_bytes()
    with SqliteStore(path) as store, pytest.raises(StoreError, match="another program"):
        store.queue("jobs").put(1)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("users",)]
    connection.close()
    assert len(path.read_bytes()) == len(before)


def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    """An older release does not know its tables."""
    path = tmp_path / "queue.db"
    filled(path, 1)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with SqliteStore(path) as store, pytest.raises(StoreError, match="version 2"):
        store.queue("jobs").put(1)


def test_a_file_that_is_replaced_is_opened_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By a backup, or by nothing: what is put then is in the file of that name."""
    path, backup = tmp_path / "queue.db", tmp_path / "backup.db"
    filled(path, 3)
    shutil.copy(path, backup)
    with SqliteStore(path) as store:
        queue = store.queue("jobs")
        queue.put("later")
        delivery = queue.get()
        assert delivery is not None
        os.replace(backup, path)
        for suffix in ("-wal", "-shm"):
            path.with_name(f"queue.db{suffix}").unlink()
        assert len(queue) == 3
        assert "was replaced" in caplog.text
        path.unlink()
        queue.put("first")
        assert [each.payload for each in queue.messages(timeout=0)] == ["first"]
    assert integrity(path) == "ok"


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("", ValueError, "MemoryStore()"),
        (":memory:", ValueError, "MemoryStore()"),
        (".", StoreError, "is a folder"),
        ("folder/", StoreError, "is a folder"),
    ],
)
def test_a_path_that_cannot_be_a_file_is_refused_at_once(
    path: str, error: type[Exception], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And makes no file of a name that means something else to SQLite."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(error, match=re.escape(words)):
        SqliteStore(path)
    with pytest.raises(error, match=re.escape(words.replace("Store", "Hub"))):
        SqliteHub(path)
    assert os.listdir() == ["folder"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """As is a file that cannot be written to."""
    with pytest.raises(StoreError, match="is not a folder"):
        SqliteStore(tmp_path / "missing" / "queue.db")
    with SqliteStore(tmp_path / "queue.db") as store, pytest.raises(StoreError, match=r"queue\.db"):
        (tmp_path / "queue.db").mkdir()
        store.queue("jobs").put(1)


@pytest.mark.parametrize("options", [{"synchronous": "off"}, {"on_corrupt": "delete"}, {"max_bytes": 0}])
def test_a_wrong_option_is_refused(tmp_path: Path, options: dict[str, object]) -> None:
    """When the store is made."""
    with pytest.raises(ValueError, match=next(iter(options))):
        SqliteStore(tmp_path / "queue.db", **options)  # type: ignore[arg-type]


def test_the_wal_is_bounded_once_a_reader_lets_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While a program keeps a transaction open it grows, which is reported; then it is cut to its limit again."""
    monkeypatch.setattr(database, "WAL_LIMIT", 200_000)
    monkeypatch.setattr(database, "WAL_WARNING", 5_000_000)
    monkeypatch.setattr(database, "WAL_CHECK", 5)
    path = tmp_path / "queue.db"
    wal = path.with_name("queue.db-wal")
    with SqliteStore(path, synchronous="normal") as store:
        queue = store.queue("jobs")
        queue.put(1)
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM messages").fetchall()
        for _ in range(10):
            queue.put_many(["x" * 1000] * 800)
        assert wal.stat().st_size > 5_000_000
        assert "keeps a transaction of this file open" in caplog.text
        reader.execute("COMMIT")
        reader.close()
        for _ in range(10):
            queue.put("y" * 100)
        assert wal.stat().st_size <= 200_000


MOUNTS = """/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/local\\040disk xfs rw 0 0
share /mnt/share cifs rw 0 0
none /mnt/share/over tmpfs rw 0 0
host /mnt/host 9p rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/queue.db", "ext4"),
        ("/home/ann/queue.db", "nfs4"),
        ("/homework/queue.db", "ext4"),
        ("/home/local disk/queue.db", "xfs"),
        ("/mnt/share/queue.db", "cifs"),
        ("/mnt/share/over/queue.db", "tmpfs"),
        ("/mnt/host/queue.db", "9p"),
    ],
)
def test_the_file_system_of_a_path_is_found(path: str, kind: str) -> None:
    """That of the longest mount point above it."""
    assert mounts.find_file_system(path, MOUNTS) == kind


def test_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One between a machine and its virtual machines is warned of."""
    kinds = iter(["nfs4", "virtiofs", "ext4"])
    monkeypatch.setattr(mounts, "find_file_system", lambda path, mounts: next(kinds))
    with pytest.raises(StoreError, match=r"network file system \(nfs4\)"):
        SqliteStore(tmp_path / "queue.db")
    assert not caplog.records
    SqliteStore(tmp_path / "queue.db").close()
    assert "virtiofs" in caplog.text
    caplog.clear()
    SqliteStore(tmp_path / "queue.db").close()
    assert not caplog.records


@pytest.mark.slow
@pytest.mark.parametrize(
    "kept", ["store, queue = store, store.queue('jobs')", "queue = store.queue('jobs'); del store"]
)
def test_the_exit_of_the_process_closes_a_store(tmp_path: Path, kept: str) -> None:
    """Whether the program has it, or a queue of it; without a warning, and what it had in flight is free."""
    path = tmp_path / "queue.db"
    source = f"""
import sys
from owlsocket_sync.stores import SqliteStore
store = SqliteStore(sys.argv[1])
{kept}
queue.put(1)
delivery = queue.get()
"""
    with Child([sys.executable, "-c", source, str(path)], environment("default")) as child:
        done = child.finish()
    assert (done.code, done.out, done.complaints) == (0, "", "")
    assert sorted(os.listdir(tmp_path)) == ["queue.db", "queue.db-lock", "queue.db-next"]
