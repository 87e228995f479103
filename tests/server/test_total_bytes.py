"""The memory that all clients of a server hold together: bounded, and nobody fills it for the others."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest

from owlsocket_sync import Connection, Limits, SocketMessageError, SocketTimeout, connect
from owlsocket_sync.protocol.backlog import Backlog, SharedMemory
from owlsocket_sync.server import Request, serve
from support.helpers import Collector, eventually, scaled

DENSE: list[Any] = [[] for _ in range(50_000)]
SIZE = 5_000_000
"""Bytes of memory of such a message, about."""


def test_queues_of_all_clients_are_bounded_together() -> None:
    """Two that fill the memory lose what they send; a third one, with little in its queue, does not."""
    errors = Collector()

    def handler(conn: Connection, request: Request) -> None:
        conn.on_error(lambda error, context: errors(error))
        conn.perform("queued", conn.enqueued)

    with serve(handler, total_bytes=4 * SIZE) as server:
        with connect(server.url) as first, connect(server.url) as second, connect(server.url) as third:
            for conn in (first, second):
                for _ in range(8):
                    conn.enqueue(DENSE)
            held = first.call("queued") + second.call("queued")
            assert 3 <= held <= 8
            for number in range(3):
                third.enqueue(number)
            assert third.call("queued") == 3
            assert sum(conn.stats.dropped for conn in server.connections) == 16 - held
            assert {type(error) for error in errors.items} == {SocketMessageError}
            assert "total_bytes" in str(errors.items[0])
            first.close()
            second.close()
            eventually(lambda: server._memory._held < SIZE)
            third.enqueue(DENSE)
            third.enqueue(DENSE)
            assert third.call("queued") == 5
        eventually(lambda: (server._memory._held, server._memory._members) == (0, 0))


@pytest.mark.slow
def test_a_client_that_fills_the_memory_is_not_read_and_others_are() -> None:
    """Until a handler has come to an end."""
    gate = threading.Event()

    def handler(conn: Connection, request: Request) -> None:
        conn.observe("kept", lambda message: gate.wait(scaled(30)))
        conn.perform("echo", lambda value: value)

    with (
        serve(handler, total_bytes=2 * SIZE, limits=Limits(dispatch_bytes=100 * SIZE)) as server,
        connect(server.url) as quiet,
        connect(server.url, call_timeout=scaled(1.0)) as greedy,
    ):
        with contextlib.suppress(SocketTimeout):
            for _ in range(200):
                greedy.notify("kept", DENSE)
        with pytest.raises(SocketTimeout):
            greedy.call("echo", 1)
        assert server._memory._held < 6 * SIZE
        assert quiet.call("echo", 2) == 2
        gate.set()
        assert greedy.call("echo", 3, timeout=scaled(20)) == 3
        eventually(lambda: server._memory._held < SIZE, 20)


def test_a_share_counts_what_a_backlog_holds() -> None:
    """Large messages at once, and nothing once the connection has ended."""
    memory = SharedMemory(1000)
    first, second = (Backlog(10_000, 10**9, threading.Lock(), memory.join()) for _ in range(2))
    assert first.has_room()
    first.take(100_000)
    assert not first.has_room()
    assert second.has_room(), "it holds less than its part"
    first.release(100_000)
    assert first.has_room()
    second.take(100_000)
    second.leave()
    second.release(100_000)
    second.leave()
    assert (memory._held, memory._members) == (0, 1)
