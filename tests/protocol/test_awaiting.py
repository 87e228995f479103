"""Calls in an asyncio program: a task awaits the future of a call, and the loop runs on meanwhile."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from owlsocket_sync import (
    Connection,
    ResilientError,
    SocketConnectionError,
    SocketMessageMalformed,
    SocketTimeout,
    connect,
)
from owlsocket_sync.server import Request
from owlsocket_sync.testing import FaultProxy
from support.helpers import Collector, eventually, scaled

Value = TypeVar("Value")


class Far:
    """The handler of the server."""

    def __init__(self) -> None:
        self.gate, self.asked = threading.Event(), Collector()

    def __call__(self, conn: Connection, request: Request) -> None:
        """Serve a client."""
        conn.on_error(lambda error, context: None)
        conn.perform("echo", lambda value: value)
        conn.perform("fail", self.fail)
        conn.perform("wait", lambda: self.asked(1) or (self.gate.wait(scaled(20)) and "late"))

    def fail(self) -> None:
        """Refuse."""
        raise KeyError("lobster")


@pytest.fixture
def far() -> Iterator[Far]:
    """The handler of the server."""
    far = Far()
    yield far
    far.gate.set()


@pytest.fixture
def owlsocket_handler(far: Far) -> Callable[[Connection, Request], object]:
    """The handler of the server, for the fixture of the server."""
    return far


@pytest.fixture
def conn(owlsocket_connection: Connection) -> Connection:
    """A connection to that server."""
    owlsocket_connection.default_call_timeout = scaled(10)
    return owlsocket_connection


def run(main: Coroutine[Any, Any, Value]) -> Value:
    """Run a program of asyncio, to its end or for so long."""
    return asyncio.run(asyncio.wait_for(main, scaled(20)))


@dataclass
class User:
    """A result."""

    name: str


def test_a_task_awaits_a_result(conn: Connection) -> None:
    """Whether it comes later or is there, and of the type that was asked for."""

    async def main() -> None:
        assert await conn.submit("echo", 1) == 1
        there = conn.submit("echo", 2)
        there.result()
        assert await there == 2
        assert await there == 2
        user = await conn.submit("echo", {"name": "ada"}, result_type=User)
        assert user.name == "ada"

    run(main())


def test_a_task_gets_the_error(conn: Connection) -> None:
    """That of the peer, or of a result that does not fit."""

    async def main() -> None:
        with pytest.raises(ResilientError, match="lobster"):
            await conn.submit("fail")
        with pytest.raises(SocketMessageMalformed):
            await conn.submit("echo", 5, result_type=User)

    run(main())


def test_many_tasks_wait_at_once(conn: Connection) -> None:
    """By the functions of asyncio."""

    async def main() -> None:
        assert await asyncio.gather(*(conn.submit("echo", number) for number in range(200))) == list(range(200))
        done, pending = await asyncio.wait([asyncio.ensure_future(conn.submit("echo", 1))])
        assert ([task.result() for task in done], pending) == ([1], set())
        assert [await each for each in asyncio.as_completed([conn.submit("echo", 7)])] == [7]

    run(main())


def test_the_loop_runs_on_meanwhile(conn: Connection, far: Far) -> None:
    """A task that awaits a call holds up no other one."""

    async def main() -> None:
        waiting = asyncio.ensure_future(conn.submit("wait"))
        await asyncio.sleep(0)
        assert await conn.submit("echo", "meanwhile") == "meanwhile"
        assert not waiting.done()
        far.gate.set()
        assert await waiting == "late"

    run(main())


def test_a_cancelled_task_cancels_its_call(conn: Connection) -> None:
    """An answer that still comes is dropped."""

    async def main() -> None:
        future = conn.submit("wait")
        task = asyncio.ensure_future(future)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert future.cancelled()
        assert conn.stats.pending == 0

    run(main())


def test_a_timeout_of_asyncio_cancels_the_call(conn: Connection) -> None:
    """As any other task."""

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(conn.submit("wait"), 0.05)
        assert conn.stats.pending == 0

    run(main())


def test_the_timeout_of_the_call_holds(conn: Connection) -> None:
    """No thread waits for it."""

    async def main() -> None:
        with pytest.raises(SocketTimeout, match=r"was not answered within 0\.05 s"):
            await conn.submit("wait", timeout=0.05)

    run(main())


def test_a_future_that_is_cancelled_elsewhere_cancels_the_task(conn: Connection, far: Far) -> None:
    """As a future of asyncio does, before the wait and during it."""

    async def main() -> None:
        future = conn.submit("wait")
        task = asyncio.ensure_future(future)
        await asyncio.sleep(0)
        await asyncio.to_thread(future.cancel)
        for waiting in (task, future):
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert task.cancelled()

    run(main())


def test_a_shielded_call_goes_on(conn: Connection, far: Far) -> None:
    """Its task is cancelled alone."""

    async def main() -> None:
        future = conn.submit("wait")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(future), 0.05)
        far.gate.set()
        assert await future == "late"

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="task groups are new in Python 3.11")
def test_a_task_group_cancels_its_calls(conn: Connection) -> None:
    """Where one of them fails."""

    async def ask(method: str) -> Any:
        return await conn.submit(method)

    async def main() -> None:
        failed: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined, unused-ignore]
                tasks = [group.create_task(ask(method)) for method in ("wait", "fail")]
        except BaseException as error:
            failed.extend(error.exceptions)  # type: ignore[attr-defined, unused-ignore]
        assert [type(error).__name__ for error in failed] == ["KeyError"] or "lobster" in str(failed[0])
        assert tasks[0].cancelled()
        assert conn.stats.pending == 0

    run(main())


def test_a_lost_link_fails_the_task_at_once(owlsocket_server: Any, far: Far) -> None:
    """Not at its timeout."""
    with FaultProxy("127.0.0.1", owlsocket_server.port) as proxy, connect(proxy.url()) as conn:

        async def main() -> None:
            future = conn.submit("wait", timeout=scaled(60))
            await asyncio.to_thread(far.asked.wait, 1)
            proxy.cut()
            with pytest.raises(SocketConnectionError):
                await future

        run(main())


def test_a_loop_that_has_closed_harms_no_connection(
    conn: Connection, far: Far, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer finds no loop, and the thread that reads goes on."""
    loop = asyncio.new_event_loop()
    future = conn.submit("wait")

    async def main() -> None:
        await future

    task = loop.create_task(main())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    far.gate.set()
    assert future.result(scaled(5)) == "late"
    with caplog.at_level(logging.DEBUG):
        assert conn.call("echo", 1) == 1
    assert "exception calling callback" not in caplog.text
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task, loop
    gc.collect()


def test_a_blocking_call_works_on_the_thread_of_a_loop(conn: Connection) -> None:
    """It holds up the loop for as long as it takes, as any other blocking call."""

    async def main() -> None:
        waiting = asyncio.ensure_future(conn.submit("echo", 1))
        await asyncio.sleep(0)
        assert conn.call("echo", 2) == 2
        assert await waiting == 1

    run(main())


def test_without_a_loop_of_asyncio_the_error_says_what_to_do(conn: Connection) -> None:
    """Another library's loop is not told when the answer comes, so its task would wait for all time."""

    async def main() -> Any:
        return await conn.submit("echo", 1)

    coroutine = main()
    with pytest.raises(RuntimeError, match=r"in a running asyncio loop only; in trio, .*trio.to_thread.run_sync"):
        coroutine.send(None)


def test_a_future_is_read_by_its_loop_when_its_connection_closes(conn: Connection) -> None:
    """The task ends with the error of the connection."""

    async def main() -> None:
        task = asyncio.ensure_future(conn.submit("wait"))
        await asyncio.sleep(0)
        await asyncio.to_thread(conn.close)
        with pytest.raises(SocketConnectionError):
            await task

    run(main())
    eventually(lambda: conn.stats.pending == 0)
