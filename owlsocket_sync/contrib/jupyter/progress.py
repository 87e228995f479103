"""Streams and parallel calls with a bar of ``tqdm`` over them.

They are here and not on `Connection`, since a client that shows nothing must not know of bars.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import islice
from queue import SimpleQueue
from typing import Any

from ...connection import Connection
from ...protocol.requests import Stream
from .libraries import library

AT_ONCE = 64


def stream(
    conn: Connection,
    payload: Any,
    *,
    limit: int | None = None,
    timeout: float | None = None,
    progress: bool = False,
    description: str | None = None,
) -> Iterator[Any]:
    """`Connection.stream` with a bar that counts the responses.

    Args:
        conn: whom to ask.
        payload: what is asked for.
        limit: end after so many responses; the bar then knows how many are to come.
        timeout: seconds to wait for each response.
        progress: show a bar.
        description: what stands before the bar.

    Returns:
        An iterator over the responses. The request is sent at once; it ends with the iteration, by ``close()`` too.
    """
    return _counted(conn.stream(payload, timeout), limit, bar(limit, description, progress))


def _counted(responses: Stream, limit: int | None, shown: Any) -> Iterator[Any]:
    with responses, shown:
        for response in islice(responses, limit):
            shown.update()
            yield response


def gather(
    conn: Connection,
    calls: Iterable[str | Sequence[Any]],
    *,
    timeout: float | None = None,
    at_once: int = AT_ONCE,
    progress: bool = False,
    description: str | None = None,
    return_errors: bool = False,
) -> list[Any]:
    """Make many calls side by side, and return their results in the order in which they were asked for.

    Args:
        conn: whom to call.
        calls: for each call its method, or a sequence of the method and its arguments.
        timeout: seconds for each call; a `Connection.deadline` around all of it holds too.
        at_once: how many are under way at the same time.
        progress: show a bar.
        description: what stands before the bar.
        return_errors: put an error in the place of its result; else the first one is raised, and the calls that are
            under way are given up.
    """
    if isinstance(at_once, bool) or not isinstance(at_once, int) or at_once < 1:
        raise ValueError(f"at_once must be a whole number, 1 or more, not {at_once!r}")
    asked = [(one,) if isinstance(one, str) else tuple(one) for one in calls]
    left = iter(enumerate(asked))
    results: list[Any] = [None] * len(asked)
    pending: dict[Future[Any], int] = {}
    # In place of `concurrent.futures.wait`, whose lock an interrupt of the kernel may leave taken.
    done: SimpleQueue[Future[Any]] = SimpleQueue()
    try:
        with bar(len(asked), description, progress) as shown:
            while True:
                for place, call in islice(left, at_once - len(pending)):
                    future = conn.submit(*call, timeout=timeout)
                    pending[future] = place
                    future.add_done_callback(done.put)
                if not pending:
                    return results
                future = done.get()
                results[pending.pop(future)] = _outcome(future, return_errors)
                shown.update()
    finally:
        for future in pending:
            future.cancel()


def _outcome(future: Future[Any], return_errors: bool) -> Any:
    error = future.exception() if return_errors else None
    return future.result() if error is None else error


class NoBar:
    """What takes the place of a bar where none is shown."""

    def update(self) -> None:
        """One more is done."""

    def __enter__(self) -> NoBar:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def bar(total: int | None, description: str | None, shown: bool) -> Any:
    """A bar that starts no thread to watch over it."""
    if not shown:
        return NoBar()
    kind = library("tqdm.auto").tqdm
    unwatched = type("Bar", (kind,), {"monitor_interval": 0})
    return unwatched(total=total, desc=description, miniters=1)
