"""Streams and parallel calls with a progress bar of ``tqdm``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from ...connection import Connection
from ...core.call_results import CallResults, check_parallel
from ...core.progress import NullProgress, progress_bar
from ...deadline import Deadline
from ...protocol.requests import Stream

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
    """Make many calls in parallel, of different methods, and return the results in the order of the calls.

    For many calls of one method, see `Connection.map`.

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
    check_parallel("concurrency", concurrency)
    arguments = [(call,) if isinstance(call, str) else tuple(call) for call in calls]
    return list(
        CallResults[Any](
            lambda: conn._core,
            lambda call: conn.submit(*call, timeout=timeout),
            arguments,
            parallel=concurrency,
            ahead=math.inf,  # the list holds all results anyway: a slow call holds up no other one
            deadline=Deadline(math.inf),
            returns_errors=return_exceptions,
            fails_early=not return_exceptions,
            progress=bar(len(arguments), description, progress),
        )
    )


def bar(total: int | None, description: str | None, visible: bool) -> Any:
    """Return a progress bar; a context manager with ``update()`` and ``close()``."""
    return progress_bar(total, description) if visible else NullProgress()
