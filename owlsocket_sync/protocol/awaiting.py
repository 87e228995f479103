"""The wait of a task in an ``asyncio`` loop for the outcome of a call.

Threads: the thread that sets the outcome wakes the loop by ``call_soon_threadsafe``, which waits for nothing.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio

Result = TypeVar("Result")


def await_outcome(future: Future[Result]) -> Generator[Any, None, Result]:
    """Let the task that runs wait for a call; return the result, or raise the error.

    A task that is cancelled meanwhile gives up the call.

    Raises:
        RuntimeError: no ``asyncio`` loop runs in this thread.
        asyncio.CancelledError: the task, or the future, was cancelled.
    """
    import asyncio  # here alone: a loop that runs has loaded it already

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "a call can be awaited in a running asyncio loop only; in trio, wait for it in a thread: "
            "await trio.to_thread.run_sync(future.result)"
        ) from None
    if not future.done():
        woken = loop.create_future()
        # Not `CallFuture.add_done_callback`, whose functions run on a worker: this one takes no time.
        Future.add_done_callback(future, lambda _: _wake(loop, woken))
        try:
            yield from woken.__await__()
        except BaseException:  # the task is cancelled, or thrown away with its loop
            future.cancel()
            raise
    if future.cancelled():
        raise asyncio.CancelledError
    return future.result(0)


def _wake(loop: asyncio.AbstractEventLoop, woken: asyncio.Future[None]) -> None:
    with suppress(RuntimeError):  # the loop is closed, and its tasks with it
        loop.call_soon_threadsafe(_set_outcome, woken)


def _set_outcome(woken: asyncio.Future[None]) -> None:
    if not woken.done():  # else its task was cancelled
        woken.set_result(None)
