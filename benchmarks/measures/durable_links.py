"""Messages between two processes: with a store at either end, and without one."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from owlsocket_sync import Connection, Limits, connect
from owlsocket_sync.server import Request, serve
from owlsocket_sync.stores import Queue, SqliteStore

from ..child import Figures, Turn
from ..echo_servers import EchoServers
from ..result import Result, result_of
from ..rounds import Task, run_rounds
from ..scale import Scale
from .durable import MESSAGE

PLAIN, FULL, NORMAL = "enqueue", "enqueue with an outbox, full", "enqueue with an outbox, normal"
MANY, NORMAL_MANY = "put_many of 64 into an outbox, full", "put_many of 64 into an outbox, normal"
COLUMNS = {"rate": "messages/s, until the server has stored them", "cpu": "CPU of the sender for each, µs"}
TOGETHER = 64


class Contestant(NamedTuple):
    """A way to send: with which stores, and whether messages are put together."""

    synchronous: str | None
    together: bool = False


CONTESTANTS = {
    PLAIN: Contestant(None),
    FULL: Contestant("full"),
    MANY: Contestant("full", together=True),
    NORMAL: Contestant("normal"),
    NORMAL_MANY: Contestant("normal", together=True),
}


def measure(servers: EchoServers, scale: Scale) -> Result:
    """Measure messages of 200 bytes, one after the other, from one process to another one."""
    tasks = {
        name: Task("durable_links:prepare", {"name": name, "count": _count(scale, way)})
        for name, way in CONTESTANTS.items()
    }
    return result_of("Messages with and without a store at both ends", COLUMNS, run_rounds(tasks, scale.rounds))


def _count(scale: Scale, way: Contestant) -> int:
    # As many as take about the same time.
    return scale.durable * (1 if way.synchronous == "full" and not way.together else 16)


def prepare(name: str, count: int) -> Turn:
    """Connect to a server in a process of its own."""
    way, folder = CONTESTANTS[name], Path(tempfile.mkdtemp())
    processes = multiprocessing.get_context("spawn")
    ours, theirs = processes.Pipe()
    processes.Process(target=run_server, args=(theirs, way.synchronous, str(folder)), daemon=True).start()
    theirs.close()
    outbox = None if way.synchronous is None else _queue(folder / "outbox.db", way.synchronous)
    conn = connect(ours.recv(), outbox=outbox)
    send = _sender(conn, outbox, way)
    wait = conn.ping if outbox is None else lambda: conn.flush(60)

    def turn() -> Figures:
        assert not ours.closed  # the server lives as long as this end does
        cpu, begun = time.process_time(), time.perf_counter()
        send(count)
        wait()
        seconds, spent = time.perf_counter() - begun, time.process_time() - cpu
        assert conn.call("clear") == count
        return {"rate": count / seconds, "cpu": spent / count * 1e6}

    return turn


def _sender(conn: Connection, outbox: Queue | None, way: Contestant) -> Callable[[int], None]:
    def send(count: int) -> None:
        for _ in range(count):
            conn.enqueue(MESSAGE)

    def send_together(count: int) -> None:
        assert outbox is not None
        for first in range(0, count, TOGETHER):
            outbox.put_many([MESSAGE] * min(TOGETHER, count - first))

    return send_together if way.together else send


def _queue(path: Path, synchronous: str) -> Queue:
    return SqliteStore(path, synchronous=synchronous, max_messages=10_000_000).queue("jobs")


def run_server(pipe: Any, synchronous: str | None, folder: str) -> None:
    """Tell the URL of a server with or without an inbox, and serve until the other end of the pipe is gone."""
    inbox = None if synchronous is None else _queue(Path(folder) / "inbox.db", synchronous)

    def handler(conn: Connection, request: Request) -> None:
        def clear() -> int:
            if inbox is not None:
                return inbox.purge()
            count = 0
            while conn.consume() is not None:
                count += 1
            return count

        conn.perform("clear", clear)

    with serve(handler, inbox=inbox, limits=Limits(inbox_messages=1_000_000)) as server:
        pipe.send(server.url)
        with suppress(EOFError):
            pipe.recv()
