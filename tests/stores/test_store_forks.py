"""Forks of a process whose store is open: the child has connections of its own, and neither harms the file."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path

import pytest

from owlsocket_sync.stores import MemoryStore, SqliteStore
from support.child_processes import Child, environment
from support.helpers import whole

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")]

FORKS = """
import os, sys, threading
from owlsocket_sync.stores import SqliteStore

path, forks = sys.argv[1], int(sys.argv[2])
store = SqliteStore(path)
queue = store.queue("jobs")
held = [queue.put("held"), queue.get()]
ended = threading.Event()
put = []

def keep_putting():
    while not ended.is_set():
        put.append(queue.put("parent"))

def use():
    queue.put("child")

def take():
    queue.put("child")
    queue.get().ack()
    queue.put("child")

def close():
    store.close()

def reopen():
    queue.put("child")
    store.close()
    with SqliteStore(path) as other:
        assert other.queue("jobs").stats.depth

def nothing():
    pass

def fork_again():
    child = os.fork()
    if child == 0:
        queue.put("grandchild")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

def drop():
    held.clear()

writer = threading.Thread(target=keep_putting)
writer.start()
ways = [use, take, close, reopen, nothing, fork_again, drop]
for n in range(forks):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ways[n % len(ways)]()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0, (ways[n % len(ways)], status)
ended.set()
writer.join()
# What a child has taken, it has acknowledged: nothing of the parent's is free, or lost.
stats = queue.stats
assert (stats.in_flight, stats.dead) == (1, 0), stats
held[1].ack()
expected = len(put) + sum(1 for n in range(forks) if n % len(ways) in (0, 1, 3, 5))
print(len(queue) - expected)
store.close()
"""

WATCHED_FORKS = """
import os, sys, threading, time
from owlsocket_sync.stores import SqliteStore

store = SqliteStore(sys.argv[1])
queue = store.queue("jobs")
queue.put("parent")
ended = threading.Event()

def watch():
    while not ended.is_set():
        len(queue)

watchers = [threading.Thread(target=watch) for _ in range(4)]
for watcher in watchers:
    watcher.start()
children = []
for n in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        try:
            for _ in range(20):
                queue.put("child")
                time.sleep(0.001)
            os._exit(0)
        finally:
            os._exit(1)
    children.append(child)
print({os.waitpid(child, 0)[1] for child in children})
ended.set()
for watcher in watchers:
    watcher.join()
print(len(queue))
store.close()
"""

C_FORK = """
import ctypes, os, sys
from owlsocket_sync.stores import SqliteStore

store = SqliteStore(sys.argv[1])
queue = store.queue("jobs")
queue.put("parent")
held = queue.get()
child = ctypes.PyDLL(None).fork()
if child == 0:
    del held
    queue.put("child")
    store.close()
    os._exit(0)
print(os.waitpid(child, 0)[1], queue.stats.in_flight, len(queue))
held.ack()
queue.put("parent")
print(len(queue))
store.close()
"""


@pytest.mark.stress
def test_children_of_any_kind_leave_the_file_whole(tmp_path: Path) -> None:
    """While a thread of the parent puts messages: it loses none, and its leases stay its own."""
    path = tmp_path / "queue.db"
    command = [sys.executable, "-c", FORKS, str(path), str(whole(21, 500))]
    with Child(command, environment()) as child:
        done = child.finish(whole(60, 300))
    assert (done.code, done.out, done.complaints) == (0, "0\n", "")
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_no_connection_is_opened_by_a_reader_during_a_fork(tmp_path: Path) -> None:
    """The child would take the locks of that one for its own, and what it puts would be lost."""
    count = whole(20, 200)
    command = [sys.executable, "-c", WATCHED_FORKS, str(tmp_path / "queue.db"), str(count)]
    with Child(command, environment()) as child:
        done = child.finish(whole(60, 300))
    assert (done.code, done.out, done.complaints) == (0, f"{{0}}\n{20 * count + 1}\n", "")


def test_a_fork_by_c_code_leaves_the_connections_of_the_parent_alone(tmp_path: Path) -> None:
    """As a master of uWSGI does it: no hook runs before."""
    with Child([sys.executable, "-c", C_FORK, str(tmp_path / "queue.db")], environment()) as child:
        done = child.finish()
    assert (done.code, done.out, done.complaints) == (0, "0 1 1\n2\n", "")


C_FORK_AND_CLOSE = """
import ctypes, os, sys
from owlsocket_sync.stores import SqliteStore

store = SqliteStore(sys.argv[1])
queue = store.queue("jobs")
queue.put("parent")
fork = ctypes.PyDLL(None).fork
reading, writing = os.pipe()
used, using = os.pipe()
child = fork()
if child == 0:
    queue.put("child")
    again = sys.argv[2] == "again" and os.fork()  # of a child, which has connections of two processes
    os.write(using, b"1")
    os.read(reading, 1)
    for _ in range(3):
        queue.put("child")
    if again:
        os.waitpid(again, 0)
    os._exit(0)
for _ in range(1 + (sys.argv[2] == "again")):
    os.read(used, 1)
store.close()
os.write(writing, b"12")
print(os.waitpid(child, 0)[1])
with SqliteStore(sys.argv[1]) as store:
    print(len(store.queue("jobs")))
"""


@pytest.mark.parametrize(("way", "expected"), [("once", 5), ("again", 8)])
def test_a_parent_that_closes_does_not_take_the_file_from_a_child_of_c_code(
    tmp_path: Path, way: str, expected: int
) -> None:
    """Nobody may take a file for unused that a child has open, though SQLite inherited the locks of the parent."""
    with Child([sys.executable, "-c", C_FORK_AND_CLOSE, str(tmp_path / "queue.db"), way], environment()) as child:
        done = child.finish()
    assert (done.code, done.out, done.complaints) == (0, f"0\n{expected}\n", "")


def test_a_child_of_c_code_that_comes_too_late_says_so(tmp_path: Path) -> None:
    """Its parent has closed the file before it was used in the child: what SQLite has inherited is of no file."""
    source = """
import ctypes, os, sys
from owlsocket_sync.stores import SqliteStore
store = SqliteStore(sys.argv[1])
store.queue("jobs").put("parent")
reading, writing = os.pipe()
if ctypes.PyDLL(None).fork() == 0:
    os.read(reading, 1)
    try:
        store.queue("jobs").put("child")
    except Exception as error:
        print(type(error).__name__, str(error).endswith("and cannot use it: open it after the fork"), flush=True)
    os._exit(0)
store.close()
os.write(writing, b"1")
print(os.wait()[1])
"""
    with Child([sys.executable, "-c", source, str(tmp_path / "queue.db")], environment()) as child:
        done = child.finish()
    assert (done.code, done.out, done.complaints) == (0, "StoreError True\n0\n", "")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_begins_with_an_empty_store_in_memory() -> None:
    """The messages are the parent's, which works on them."""
    with MemoryStore() as store:
        queue = store.queue("jobs")
        queue.put("parent")
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                before = len(queue)
                queue.put("child")
                os.write(writing, f"{before} {len(queue)}".encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        seen = os.read(reading, 100)
        os.close(reading)
        os.close(writing)
        assert seen == b"0 1"
        assert len(queue) == 1


def test_a_lease_of_a_process_ends_though_its_child_lives(tmp_path: Path) -> None:
    """Also where the child has a copy of what shows that its parent lives."""
    source = """
import ctypes, os, sys, time
from owlsocket_sync.stores import SqliteStore
store = SqliteStore(sys.argv[1])
held = store.queue("jobs").get()
if ctypes.PyDLL(None).fork() == 0:
    time.sleep(600)
print("forked", flush=True)
time.sleep(600)
"""
    path = tmp_path / "queue.db"
    with SqliteStore(path) as store:
        store.queue("jobs").put("work")
        with Child([sys.executable, "-c", source, str(path)], environment()) as child:
            assert child.line() == "forked"
            assert store.queue("jobs").get() is None
            child.send(9)
            again = store.queue("jobs").get(timeout=10)
            assert again is not None
            assert again.attempts == 2
            again.ack()
