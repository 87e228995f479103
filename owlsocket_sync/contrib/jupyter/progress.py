"""Streams and parallel calls with a progress bar of ``tqdm``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import islice
from queue import SimpleQueue
from typing import Any

from ...connection import Connection
from ...deadline import next_item
from ...protocol.requests import Stream
from .libraries import library

CONCURRENCY = 64


def stream(
    conn: Connection,
    payload: Any,
    *,
    limit: int | None = None,
    timeout: float | None = None,
    progress: bool = False,
    description: str | None = None,
) -> Iterator[Any]:
    """Call `Connection.stream`, with a progress bar that counts the responses.

    Args:
        conn: connection to use.
        payload: payload of the request.
        limit: maximum number of responses, and the total of the bar.
        timeout: seconds to wait for each response.
        progress: show a progress bar.
        description: label of the bar.

    Returns:
        An iterator over the responses. The request is sent at once, and ends with the iteration or ``close()``.
    """
    return _counted(conn.stream(payload, timeout), limit, bar(limit, description, progress))


def _counted(responses: Stream, limit: int | None, progress_bar: Any) -> Iterator[Any]:
    with responses, progress_bar:
        for response in islice(responses, limit):
            progress_bar.update()
            yield response


def gather(
    conn: Connection,
    calls: Iterable[str | Sequence[Any]],
    *,
    timeout: float | None = None,
    concurrency: int = CONCURRENCY,
    progress: bool = False,
    description: str | None = None,
    return_exceptions: bool = False,
) -> list[Any]:
    """Make many calls in parallel, and return the results in the order of the calls.

    Args:
        conn: connection to use.
        calls: methods, or sequences of a method and its arguments.
        timeout: seconds for each call; a surrounding `Connection.deadline` applies, too.
        concurrency: maximum number of calls in flight.
        progress: show a progress bar.
        description: label of the bar.
        return_exceptions: return errors in place of results; otherwise the first error is raised, and the calls in
            flight are cancelled.

    Raises:
        ValueError: ``concurrency`` is not a positive integer.
    """
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise ValueError(f"concurrency must be a whole number, 1 or more, not {concurrency!r}")
    arguments = [(call,) if isinstance(call, str) else tuple(call) for call in calls]
    unsent = iter(enumerate(arguments))
    results: list[Any] = [None] * len(arguments)
    pending: dict[Future[Any], int] = {}
    # Not `concurrent.futures.wait`: an interrupt of the kernel may leave its lock held.
    done: SimpleQueue[Future[Any]] = SimpleQueue()
    try:
        with bar(len(arguments), description, progress) as progress_bar:
            while True:
                for index, call in islice(unsent, concurrency - len(pending)):
                    future = conn.submit(*call, timeout=timeout)
                    pending[future] = index
                    future.add_done_callback(done.put)
                if not pending:
                    return results
                future = next_item(done)
                results[pending.pop(future)] = _outcome(future, return_exceptions)
                progress_bar.update()
    finally:
        for future in pending:
            future.cancel()


def _outcome(future: Future[Any], return_exceptions: bool) -> Any:
    error = future.exception() if return_exceptions else None  # done already: neither call blocks
    return future.result() if error is None else error


class NullProgress:
    """Progress bar that shows nothing."""

    def update(self) -> None:
        """Do nothing."""

    def __enter__(self) -> NullProgress:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def bar(total: int | None, description: str | None, visible: bool) -> Any:
    """Return a progress bar; a context manager with ``update()``."""
    if not visible:
        return NullProgress()
    tqdm = library("tqdm.auto").tqdm
    # tqdm starts a monitor thread for bars that are updated rarely; miniters=1 makes that thread unnecessary.
    unmonitored = type("Bar", (tqdm,), {"monitor_interval": 0})
    return unmonitored(total=total, desc=description, miniters=1)
