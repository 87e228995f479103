"""Durable queues: to put a message, to take it and to acknowledge it, beside others that use an SQLite file."""

from __future__ import annotations

import multiprocessing
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from owlsocket_sync.stores import Queue, SqliteStore

from ..child import Figures, Turn
from ..echo_servers import EchoServers
from ..result import Result, result_of
from ..rounds import Task, run_rounds
from ..scale import Scale

FULL, NORMAL = "owlsocket_sync, full", "owlsocket_sync, normal"
LOOP, MANY, THREADS = f"{FULL}, messages()", f"{FULL}, put_many of 64", f"{FULL}, 16 threads put"
LITEQUEUE, PERSIST, HUEY = "litequeue (normal)", "persist-queue (full)", "huey (full, no ack)"
MESSAGE = {"type": "order", "id": 123_456, "text": "x" * 150}
COLUMNS = {"put": "to put: µs", "take": "to take and acknowledge: µs", "both": "both: µs", "cpu": "CPU, µs"}
WAITS = {"p50": "to put beside a process that puts without a pause: p50, ms", "worst": "the second longest of all, ms"}


class Contestant(NamedTuple):
    """A queue in a file: how many messages are put, and how all of them are taken."""

    put: Callable[[int], None]
    take: Callable[[int], None]


def one_by_one(put: Callable[[Any], object], take: Callable[[], object]) -> Contestant:
    """Return a contestant that puts and takes one message after the other."""

    def put_all(count: int) -> None:
        for _ in range(count):
            put(MESSAGE)

    def take_all(count: int) -> None:
        for _ in range(count):
            take()

    return Contestant(put_all, take_all)


def _get_and_ack(queue: Queue) -> None:
    delivery = queue.get()
    assert delivery is not None
    delivery.ack()


def _ours(path: str, synchronous: str) -> Contestant:
    queue = SqliteStore(path, synchronous=synchronous, max_messages=10_000_000).queue("jobs")
    return one_by_one(queue.put, lambda: _get_and_ack(queue))


def _loop(path: str) -> Contestant:
    queue = SqliteStore(path).queue("jobs")

    def take(count: int) -> None:
        for _ in queue.messages(timeout=0, limit=count):
            pass

    return Contestant(one_by_one(queue.put, lambda: None).put, take)


def _many(path: str) -> Contestant:
    queue = SqliteStore(path).queue("jobs")

    def put(count: int) -> None:
        for first in range(0, count, 64):
            queue.put_many([MESSAGE] * min(64, count - first))

    return Contestant(put, one_by_one(queue.put, lambda: _get_and_ack(queue)).take)


def _threads(path: str) -> Contestant:
    contestant = _ours(path, "full")

    def put(count: int) -> None:
        threads = [threading.Thread(target=contestant.put, args=(count // 16,)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        contestant.put(count % 16)

    return Contestant(put, contestant.take)


def _litequeue(path: str) -> Contestant:
    from json import dumps, loads

    from litequeue import LiteQueue

    queue = LiteQueue(path)

    def take() -> None:
        message = queue.pop()
        loads(message.data)
        queue.done(message.message_id)

    return one_by_one(lambda message: queue.put(dumps(message)), take)


def _persist(path: str) -> Contestant:
    import persistqueue
    from persistqueue.serializers import json as serializer

    queue = persistqueue.SQLiteAckQueue(f"{path}.folder", multithreading=True, serializer=serializer)
    return one_by_one(queue.put, lambda: queue.ack(queue.get()))


def _huey(path: str) -> Contestant:
    from json import dumps, loads

    from huey.storage import SqliteStorage

    storage = SqliteStorage("jobs", path)
    return one_by_one(lambda message: storage.enqueue(dumps(message).encode()), lambda: loads(storage.dequeue()))


CONTESTANTS: dict[str, Callable[[str], Contestant]] = {
    FULL: lambda path: _ours(path, "full"),
    LOOP: _loop,
    MANY: _many,
    THREADS: _threads,
    NORMAL: lambda path: _ours(path, "normal"),
    LITEQUEUE: _litequeue,
    PERSIST: _persist,
    HUEY: _huey,
}


def measure(servers: EchoServers, scale: Scale) -> Result:
    """Measure messages of 200 bytes, in a file on the disk of the temporary folder."""
    tasks = {name: Task("durable:prepare", {"name": name, "count": scale.durable}) for name in CONTESTANTS}
    return result_of("A durable queue in a file", COLUMNS, run_rounds(tasks, scale.rounds))


def prepare(name: str, count: int) -> Turn:
    """Open a queue in a new file."""
    folder = tempfile.mkdtemp()
    contestant = CONTESTANTS[name](str(Path(folder) / "queue.db"))
    contestant.put(2)
    contestant.take(2)

    def turn() -> Figures:
        cpu, begun = time.process_time(), time.perf_counter()
        contestant.put(count)
        between = time.perf_counter()
        contestant.take(count)
        ended, spent = time.perf_counter(), time.process_time() - cpu
        seconds = {"put": between - begun, "take": ended - between, "both": ended - begun, "cpu": spent}
        return {key: value / count * 1e6 for key, value in seconds.items()}

    return turn


def measure_waits(servers: EchoServers, scale: Scale) -> Result:
    """Measure how long a process waits to put one message, while another one puts without a pause."""
    tasks = {
        name: Task("durable:prepare_waits", {"name": name, "count": scale.durable_waits})
        for name in (FULL, LITEQUEUE, HUEY)
    }
    return result_of("A durable queue that two processes write to", WAITS, run_rounds(tasks, scale.rounds))


def put_without_a_pause(name: str, path: str, ready: Any) -> None:
    """Put messages until this process is ended."""
    contestant = CONTESTANTS[name](path)
    contestant.put(1)
    ready.set()
    while True:
        contestant.put(1)


def prepare_waits(name: str, count: int) -> Turn:
    """Open a queue in a new file, in a second process as well during each turn."""
    path = str(Path(tempfile.mkdtemp()) / "queue.db")
    contestant = CONTESTANTS[name](path)
    contestant.put(1)
    processes = multiprocessing.get_context("spawn")

    def turn() -> Figures:
        ready = processes.Event()
        other = processes.Process(target=put_without_a_pause, args=(name, path, ready), daemon=True)
        other.start()
        ready.wait(20)
        seconds: list[float] = []
        try:
            # Bounded, as the wait of SQLite can be seconds for each.
            end = time.perf_counter() + 10
            while len(seconds) < count and time.perf_counter() < end:
                begun = time.perf_counter()
                # "database is locked" of a peer is a wait that ended without a message.
                with suppress(sqlite3.OperationalError):
                    contestant.put(1)
                seconds.append(time.perf_counter() - begun)
                time.sleep(0.005)
        finally:
            other.kill()
            other.join()
        ranked = sorted(seconds)
        return {"p50": ranked[len(ranked) // 2] * 1000, "worst": ranked[-2 if len(ranked) > 1 else -1] * 1000}

    return turn
