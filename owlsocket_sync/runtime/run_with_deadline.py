"""Running a function on a thread of its own, with a deadline for the caller.

A user's callable, or an HTTP library, cannot be interrupted; the thread that waits for it can. A result that arrives
after the deadline is dropped, and the daemon thread ends when the function returns. The number of such threads is
bounded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketTimeout
from ..values import forget_locals
from .endings import failed_error

POLL_INTERVAL = 0.05
MAX_ABANDONED = 4

Result = TypeVar("Result")


def always() -> bool:
    """Return true: the default where no caller cancels."""
    return True


class DeadlineRunner:
    """Runs functions, one at a time; at most `MAX_ABANDONED` of them go on after their caller gave up.

    Threads: one at a time calls `run`; the functions run on threads of their own.
    """

    def __init__(self) -> None:
        self._abandoned: set[Future[Any]] = set()

    def run(
        self,
        function: Callable[[], Result],
        deadline: Deadline,
        *,
        label: str,
        should_continue: Callable[[], bool] = always,
    ) -> Result:
        """Return what ``function`` returns, or raise what it raises.

        Args:
            function: runs on a thread of its own.
            deadline: how long to wait for it.
            label: names the function in errors, and its thread.
            should_continue: checked regularly; false stops waiting.

        Raises:
            SocketTimeout: the function did not return in time, or too many calls before it have not returned yet.
            SocketConnectionError: ``should_continue`` returned false, or there are no more threads.
        """
        # Without a bound, a function that hangs would cost a thread, and what that thread holds, for each attempt to
        # reconnect. A function that hung a few times may still work the next time: hence more than one.
        while len(self._abandoned) >= MAX_ABANDONED:
            _wait_any(self._abandoned, deadline, label, should_continue)
            self._abandoned = {outcome for outcome in self._abandoned if not outcome.done()}
        outcome: Future[Result] = Future()
        thread = threading.Thread(target=_run, args=(outcome, function), name=f"owlsocket-{label}", daemon=True)
        try:
            thread.start()
        except Exception as error:  # the process has reached its limit of threads
            raise failed_error(f"cannot start a thread for the {label}", error) from error
        try:
            _wait_any({outcome}, deadline, label, should_continue)
        except BaseException:
            self._abandoned.add(outcome)
            raise
        return outcome.result()


def _wait_any(outcomes: set[Future[Any]], deadline: Deadline, label: str, should_continue: Callable[[], bool]) -> None:
    """Wait until one of the functions has returned."""
    while not wait(outcomes, min(deadline.remaining(), POLL_INTERVAL), FIRST_COMPLETED).done:
        if not should_continue():
            raise SocketConnectionError(f"closed during the {label}")
        if deadline.expired():
            raise SocketTimeout(f"the {label} timed out after {deadline.seconds:g} s")


def _run(outcome: Future[Result], function: Callable[[], Result]) -> None:
    # BaseException: a SystemExit of a user's callable belongs to the caller, not to this thread.
    try:
        outcome.set_result(function())
    except BaseException as error:
        try:
            forget_locals(error)
        finally:  # whatever an attribute of the error raises: its caller waits
            outcome.set_exception(error)
