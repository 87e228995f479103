"""Many users of one file: processes that write without a pause, threads that put together, and many messages."""

from __future__ import annotations

import queue as queues
import sqlite3
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from owlsocket_sync import StoreError, StoreFull
from owlsocket_sync.sqlite import file_turn
from owlsocket_sync.stores import Draft, Queue, SqliteStore, StoredQueue
from support.child_processes import Child, environment
from support.figures import Figure
from support.helpers import eventually, scaled, whole

HOG = """
import os, sys
from owlsocket_sync.stores import SqliteStore
store = SqliteStore(sys.argv[1], max_messages=10_000_000)
queue = store.queue("jobs")
queue.put(0)
print("up", flush=True)
while True:
    queue.put("x" * 200)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("hogs", "limit"), [(1, 150.0), (3, 450.0)], ids=["one", "three"])
def test_row_a11_a_process_that_puts_without_a_pause_starves_no_other(
    tmp_path: Path, hogs: int, limit: float, figure: Figure
) -> None:
    """SQLite's own way to wait took 5 and 8 seconds for one message here; the goal is 50 and 150 ms.

    The limits are three times that: the disk is shared with all else that runs.
    """
    path = tmp_path / "queue.db"
    with ExitStack() as stack:
        queue = stack.enter_context(SqliteStore(path, max_messages=10_000_000)).queue("jobs")
        command = [sys.executable, "-c", HOG, str(path)]
        for child in [stack.enter_context(Child(command, environment())) for _ in range(hogs)]:
            assert child.line() == "up"
        seconds = []
        for _ in range(100):
            begun = time.monotonic()
            queue.put("me")
            seconds.append(time.monotonic() - begun)
        # Of a hundred, the second one from above: 99 of 100 take no longer.
        figure(f"99 of 100 take, beside {hogs}", sorted(seconds)[-2] * 1000, scaled(limit), "ms")


def test_threads_that_put_together_wait_for_the_disk_together(tmp_path: Path) -> None:
    """While one transaction is on its way to the disk, the next one collects what comes."""
    with SqliteStore(tmp_path / "queue.db") as store:
        queue = store.queue("jobs")
        queue.put(0)
        writes = store._database._writes
        threads = [threading.Thread(target=queue.put, args=(n,)) for n in range(8)]
        with store._database.turn.among_threads():
            for thread in threads:
                thread.start()
            eventually(lambda: len(store._commits._jobs) >= 8)
        for thread in threads:
            thread.join(scaled(10))
        assert store._database._writes == writes + 1
        assert sorted(message.payload for message in queue.peek(20)) == [0, *range(8)]


def test_one_that_has_no_room_does_not_fail_the_others(tmp_path: Path) -> None:
    """Of one transaction: it alone gets the error, and ids lead to their messages."""
    with SqliteStore(tmp_path / "queue.db", max_bytes=5_000) as store:
        queue = store.queue("jobs")
        outcomes: queues.Queue[object] = queues.Queue()

        def put(payload: str) -> None:
            try:
                outcomes.put((queue.put(payload), payload))
            except StoreFull as error:
                outcomes.put(error)

        threads = [threading.Thread(target=put, args=(payload,)) for payload in ("a", "b" * 6_000, "c")]
        with store._database.turn.among_threads():
            for thread in threads:
                thread.start()
            eventually(lambda: len(store._commits._jobs) >= 3)
        for thread in threads:
            thread.join(scaled(10))
        found = [outcomes.get() for _ in threads]
        assert [type(each) for each in found if not isinstance(each, tuple)] == [StoreFull]
        assert {each for each in found if isinstance(each, tuple)} == {(m.id, m.payload) for m in queue.peek()}


def test_an_interrupt_of_the_one_that_commits_loses_nothing_of_the_others(tmp_path: Path) -> None:
    """Those that wait come next, and put what they have; exactly once."""
    with SqliteStore(tmp_path / "queue.db") as store:
        queue = store.queue("jobs")
        queue.put(0)
        others = [threading.Thread(target=queue.put, args=(n,)) for n in (1, 2)]

        def interrupted(connection: sqlite3.Connection) -> None:
            for other in others:
                other.start()
            eventually(lambda: len(store._commits._jobs) >= 2)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            store._commits.commit(interrupted)
        for other in others:
            other.join(scaled(10))
        assert sorted(message.payload for message in queue.peek()) == [0, 1, 2]
        assert not store._commits._jobs


def test_an_interrupt_behind_a_claim_leaves_the_message_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delivery never came to its consumer: its lease ends by the clock, though the process lives."""
    with SqliteStore(tmp_path / "queue.db") as store:
        queue = store.queue("jobs")
        queue.put("once")
        database = store._database
        write = database.write

        def interrupted(action: object, **options: object) -> object:
            write(action, **options)  # type: ignore[arg-type]
            raise KeyboardInterrupt

        monkeypatch.setattr(database, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            queue.get(visibility_timeout=0.01)
        monkeypatch.undo()
        again = queue.get(timeout=scaled(5))
        assert again is not None
        assert again.attempts == 2
        again.ack()


def test_a_use_that_interrupts_another_one_on_its_thread_is_an_error(tmp_path: Path) -> None:
    """Of a signal handler, or of a finalizer: it would wait for itself, or spoil the transaction."""
    with SqliteStore(tmp_path / "queue.db") as store:
        queue = store.queue("jobs")
        errors = []

        def handler(connection: sqlite3.Connection) -> None:
            for use in (lambda: queue.put(1), queue.get):
                with pytest.raises(StoreError, match="signal handler") as caught:
                    use()
                errors.append(caught.value)

        store._database.write(handler, durable=False)
        assert len(errors) == 2
        queue.put(1)
        assert len(queue) == 1


def test_a_turn_that_does_not_come_is_an_error(tmp_path: Path) -> None:
    """After busy_timeout: of another thread, of another process, and of another program."""
    path = tmp_path / "queue.db"
    with SqliteStore(path) as store, SqliteStore(path, busy_timeout=0.05) as hasty:
        queue = hasty.queue("jobs")
        queue.put(1)
        assert len(queue) == 1
        with store._database.turn.among_threads(), store._database.turn.among_processes():
            with pytest.raises(StoreError, match="another process") as caught:
                queue.put(2)
            assert caught.value.retryable
            assert len(queue) == 1
        held, free = threading.Event(), threading.Event()

        def hold() -> None:
            with hasty._database.turn.among_threads():
                held.set()
                free.wait(scaled(10))

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(scaled(10))
        with pytest.raises(StoreError, match="another thread"):
            queue.put(2)
        free.set()
        thread.join(scaled(10))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked") as locked:
            queue.put(2)
        assert locked.value.retryable
        other.close()
        queue.put(2)


def test_without_file_locks_there_is_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows, which is said at once."""
    monkeypatch.setattr(file_turn, "HAS_LOCKS", False)
    with pytest.raises(StoreError, match="fcntl"):
        SqliteStore(tmp_path / "queue.db")


def steps_of(store: SqliteStore, action: object) -> int:
    """The instructions of SQLite's machine that an action takes."""
    count = [0]

    def step() -> int:
        count[0] += 1
        return 0

    connections = (store._database._lazy, store._database._durable)
    for connection in connections:
        assert connection is not None
        connection.set_progress_handler(step, 1)
    action()  # type: ignore[operator]
    for connection in connections:
        assert connection is not None
        connection.set_progress_handler(None, 1)
    return count[0]


@pytest.mark.stress
def test_the_cost_of_a_message_does_not_grow_with_the_queue(tmp_path: Path) -> None:
    """Neither with those that wait, nor with those that are claimed, or delayed: in steps of SQLite."""
    many, claimed = whole((3_000, 300), (1_000_000, 100_000))
    with SqliteStore(tmp_path / "queue.db", synchronous="normal", max_messages=2_000_000) as store:
        queue = store.queue("jobs")

        def work() -> None:
            queue.put("x" * 190)
            delivery = queue.get()
            assert delivery is not None
            delivery.ack()

        work()
        alone = steps_of(store, work)
        for _ in range(0, many, 3_000):
            queue.put_many(["x" * 190] * 3_000)
        assert steps_of(store, work) <= 1.2 * alone
        held = [queue.get() for _ in range(claimed)]
        queue.stored.append([Draft(None, b"1")] * claimed, delay=3_600)
        assert steps_of(store, work) <= 1.2 * alone
        assert queue.stats.in_flight == claimed
        size = Path(store.path).stat().st_size
        del held
        drain(queue)
        queue.put_many(["x" * 190] * min(many, 50_000))
        drain(queue)
        assert Path(store.path).stat().st_size <= 1.1 * size + 1_000_000
        assert Path(f"{store.path}-wal").stat().st_size <= 65 * 1024 * 1024


def drain(queue: Queue) -> None:
    """Delete what is free, as an outbox does it."""
    stored: StoredQueue = queue.stored
    stored.delete_to(stored.bounds().next)  # type: ignore[attr-defined]


@pytest.mark.stress
def test_a_long_queue_takes_no_memory(tmp_path: Path) -> None:
    """The messages are in the file."""
    source = """
import resource, sys
from owlsocket_sync.stores import SqliteStore
with SqliteStore(sys.argv[1], synchronous="normal", max_messages=2_000_000, max_bytes=2**31) as store:
    queue = store.queue("jobs")
    queue.put_many(["x" * 190] * 1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(int(sys.argv[2])):
        queue.put_many(["x" * 190] * 1000)
    for _ in range(200):
        queue.get().ack()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-c", source, str(tmp_path / "queue.db"), str(whole(20, 1000))]
    with Child(command, environment()) as child:
        done = child.finish(whole(60, 300))
    assert done.complaints == ""
    assert int(done.out) < 16 * 1024


def test_a_wake_up_that_was_lost_is_made_up_for(tmp_path: Path) -> None:
    """An interrupt may come right after the turn was left: those who wait look for themselves."""
    with SqliteStore(tmp_path / "queue.db") as store:
        queue = store.queue("jobs")
        queue.put(0)
        turn = store._database.turn
        wake, turn.on_free = turn.on_free, None
        thread = threading.Thread(target=queue.put, args=("put",))
        with turn.among_threads():
            thread.start()
            eventually(lambda: len(store._commits._jobs) >= 1)
        thread.join(scaled(10))
        turn.on_free = wake
        assert [message.payload for message in queue.peek()] == [0, "put"]
