"""Something that may take its time, done on a thread of its own, and waited for under a deadline.

A user's callable, or an HTTP library, cannot be interrupted; the one who waits for it can. What comes of it after
nobody waits any more is dropped, and its thread, a daemon, ends when it returns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketTimeout

SLICE = 0.05

Result = TypeVar("Result")


def always() -> bool:
    """Whether it is still wanted, where nobody changes his mind."""
    return True


def run_aside(
    function: Callable[[], Result], deadline: Deadline, *, what: str, wanted: Callable[[], bool] = always
) -> Result:
    """Run it, and return what it returns, or raise what it raises.

    Args:
        function: runs on a thread of its own.
        deadline: how long to wait for it.
        what: what it does, for the error and the name of the thread.
        wanted: asked now and then; false gives up.

    Raises:
        SocketTimeout: it did not return in time.
        SocketConnectionError: it is not wanted any more.
    """
    outcome: Future[Result] = Future()
    threading.Thread(target=_settle, args=(outcome, function), name=f"owlsocket-{what}", daemon=True).start()
    while wanted():
        try:
            return outcome.result(min(deadline.remaining(), SLICE))
        except FutureTimeoutError:
            if outcome.done():
                return outcome.result()
            if deadline.expired():
                raise SocketTimeout(f"the {what} took more than {deadline.seconds:g} s") from None
    raise SocketConnectionError(f"closed during the {what}")


def _settle(outcome: Future[Result], function: Callable[[], Result]) -> None:
    try:
        outcome.set_result(function())
    except BaseException as error:
        outcome.set_exception(error)
