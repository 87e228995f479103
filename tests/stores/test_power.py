"""Power cuts: of each file is left what was synced, and nothing that was put is missing."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from owlsocket_sync.stores import SqliteStore
from support.child_processes import Child, environment
from support.helpers import whole

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("gcc") is None or not sys.platform.startswith("linux"), reason="needs gcc and LD_PRELOAD"
    ),
]

PUTS = """
import os, sys
from owlsocket_sync.stores import SqliteStore
store = SqliteStore(sys.argv[1], synchronous=sys.argv[2])
queue = store.queue("jobs")
n = 0
while True:
    n += 1
    queue.put([n, "x" * 3000])
    os.write(1, b"%d\\n" % n)
    if n % 7 == 0:
        queue.get().ack()
"""
COUNTS = """
import ctypes, json, sys
from owlsocket_sync.stores import Entry, SqliteStore
syncs = ctypes.CDLL(None).sync_count
syncs.restype = ctypes.c_long
store = SqliteStore(sys.argv[1], synchronous=sys.argv[2])
queue = store.queue("jobs")
queue.put(0)

def count(action):
    before = syncs()
    action()
    return syncs() - before

print(json.dumps({
    "20 puts": count(lambda: [queue.put(n) for n in range(20)]),
    "put_many": count(lambda: queue.put_many(range(100))),
    "take and ack": count(lambda: [queue.get().ack() for _ in range(100)]),
    "receive": count(lambda: queue.stored.receive("5" * 32, [Entry(n, "id", b"1") for n in range(1, 101)])),
}))
store.close()
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library that keeps what was synced."""
    library = tmp_path_factory.mktemp("power") / "power.so"
    source = Path(__file__).parent / "apps" / "power.c"
    command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return str(library)


def left_after_a_cut(folder: Path, shim: str, synchronous: str, puts: int) -> tuple[int, Path]:
    """Cut the power after so many puts have returned; the number of the last one, and the file that is left."""
    folder.mkdir()
    path, left = folder / "queue.db", folder / "left" / "queue.db"
    left.parent.mkdir()
    command = [sys.executable, "-c", PUTS, str(path), synchronous]
    with Child(command, environment(LD_PRELOAD=shim, POWER_KEEPS="1")) as child:
        for _ in range(puts):
            child.line()
        child.send(9)
        returned = max(puts, *map(int, child.finish().words or ["0"]))
    for suffix in ("", "-wal"):
        kept = folder / f"queue.db{suffix}.kept"
        if kept.exists():
            shutil.copy(kept, left.with_name(f"queue.db{suffix}"))
    return returned, left


@pytest.mark.stress
@pytest.mark.parametrize("synchronous", ["full", "normal"])
def test_nothing_that_was_put_is_lost_at_a_power_cut(tmp_path: Path, shim: str, synchronous: str) -> None:
    """With ``full``; with ``normal`` the end may be missing, but never a message before one that is there."""
    for n in range(whole(1, 15)):
        returned, path = left_after_a_cut(tmp_path / str(n), shim, synchronous, puts=40 + 97 * n)
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
        with SqliteStore(path) as store:
            numbers = [delivery.payload[0] for delivery in store.queue("jobs").messages(timeout=0)]
        first, last = (numbers[0], numbers[-1]) if numbers else (1, 0)
        assert numbers == list(range(first, last + 1))
        assert first <= returned // 7 + 2
        if synchronous == "full":
            assert last >= returned


@pytest.mark.parametrize(
    ("synchronous", "syncs"),
    [
        ("full", {"20 puts": 20, "put_many": 1, "take and ack": 0, "receive": 1}),
        ("normal", {"20 puts": 0, "put_many": 0, "take and ack": 0, "receive": 0}),
    ],
)
def test_the_disk_is_waited_for_only_where_something_could_be_lost(
    tmp_path: Path, shim: str, synchronous: str, syncs: dict[str, int]
) -> None:
    """Once for what is put together, and not to take or to acknowledge a message."""
    command = [sys.executable, "-c", COUNTS, str(tmp_path / "queue.db"), synchronous]
    with Child(command, environment(LD_PRELOAD=shim)) as child:
        assert json.loads(child.finish().out) == syncs
