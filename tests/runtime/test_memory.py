"""The memory of idle connections, as far as Python knows it: a goal for both ends together."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from owlsocket_sync import Connection, connect
from owlsocket_sync.runtime import managed_block
from owlsocket_sync.runtime.managed_block import worker_local
from owlsocket_sync.server import Request, serve
from support.helpers import eventually

COUNT = 40
GOAL = 35 * 1024
"""Bytes of one connection: 20 KiB for the client, and 15 KiB for the client of a server."""


def _echo(conn: Connection, request: Request) -> None:
    conn.perform("echo", lambda value: value)


@pytest.fixture
def traced() -> Iterator[None]:
    """Python counts what it allocates."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.slow
def test_an_idle_connection_takes_little_memory(traced: None) -> None:
    """Both ends of it; the first connections load what all share."""
    with serve(_echo) as server, ExitStack() as stack:

        def open_some(count: int) -> int:
            for _ in range(count):
                stack.enter_context(connect(server.url))
            eventually(lambda: not any("#" in thread.name for thread in threading.enumerate()))
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        before = open_some(3)
        assert (open_some(COUNT) - before) / COUNT < GOAL


def test_threads_that_ask_for_the_local_of_the_workers_at_once_get_the_same(
    hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of them makes it: a pool that had another one would not know its workers."""
    for _ in range(30):
        monkeypatch.setattr(managed_block, "_locals", {})
        begin = threading.Barrier(8)
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda _, begin=begin: (begin.wait(), worker_local())[1], range(8)))
        assert len(set(map(id, found))) == 1
