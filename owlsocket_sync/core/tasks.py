"""Tasks of a connection: functions that run on workers and hold a share of the backlog, and cleanups that run later."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from contextvars import Context
from typing import Any

from ..protocol.backlog import Backlog
from ..protocol.counters import Counters
from ..protocol.messages import CallMessage
from ..protocol.reports import ErrorContext, Report
from ..protocol.subscriptions import HandlerContext, Subscription, run_isolated


class Tasks:
    """Hands functions to workers.

    Args:
        run: has a function run on a worker, in order within its lane; false when it will not run.
        backlog: where each task takes room until it has run.
        counters: where a task that will not run counts.
        report: reports what a task raises.
        surroundings: returns the context manager inside which each handler runs; ``None`` for none.

    Attributes:
        deferred: cleanups that were deferred and have not run.
    """

    __slots__ = ("_backlog", "_counters", "_report", "_run", "_surroundings", "deferred")

    def __init__(
        self,
        run: Callable[..., bool],
        backlog: Backlog,
        counters: Counters,
        report: Report,
        surroundings: HandlerContext | None = None,
    ) -> None:
        self._run = run
        self._surroundings = surroundings
        self._backlog = backlog
        self._counters = counters
        self._report = report
        self.deferred: list[Callable[[], object]] = []

    def dispatch(self, lane: Hashable, size: int, function: Callable[..., Any], *arguments: Any) -> None:
        """Have a function run on a worker, in order within its lane; ``size`` is its share of the backlog."""
        if size:
            self._backlog.take(size)
        if not self._run(lane, self._run_task, lane, size, function, arguments):
            self._counters.count("dropped")
            if size:
                self._backlog.release(size)

    def _run_task(self, lane: Hashable, size: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            function(*arguments)
        except BaseException as error:  # a worker outlives whatever a handler raises
            self._report(error, ErrorContext(str(lane or "worker")))
        finally:
            if size:
                self._backlog.release(size)

    def call_handler(self, source: str, name: str, handler: Subscription, *arguments: Any) -> Any:
        """Invoke a user's handler here; report what it raises, and return ``None`` then."""
        try:
            return handler._invoke(self._surroundings, *arguments)
        except BaseException as error:
            self._report(error, ErrorContext(source, name))
            return None

    def run_callback(self, function: Callable[[], None], context: Context) -> None:
        """Run a callback of a future on a worker, or here when there are none any more."""
        # A lane of its own, which is text: such lanes are notices, which the end of the connection does not discard.
        if not self._run(f"callback {id(function)}", self._run_callback, function, context):
            self._run_callback(function, context)

    def _run_callback(self, function: Callable[[], None], context: Context) -> None:
        try:
            run_isolated(context, self._surroundings, function)
        except BaseException as error:
            self._report(error, ErrorContext("submit"))

    def defer(self, cleanup: Callable[[], object]) -> None:
        """Have a cleanup run soon, where no lock is held."""
        # One step, without a lock: the garbage collector may call this in a thread that holds any.
        self.deferred.append(cleanup)

    def run_deferred(self) -> None:
        """Run the cleanups that were deferred; where no lock is held."""
        while self.deferred:
            with suppress(IndexError):  # another thread took it
                self.deferred.pop()()


MAX_NAME = 256
"""The characters of a name that count. A peer may send names of the size of a message."""


def task_name(lane: Hashable, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Hashable:
    """Return the name of what a task handles: a method, an event, or the kind of a message."""
    if isinstance(lane, tuple):
        return ("event", lane[1][:MAX_NAME]) if lane[0] == "event" else lane[0]
    if isinstance(lane, str):
        return lane.partition(" ")[0]
    # Of the tasks without a lane, those of a performer come with its call.
    handed = arguments[3] if getattr(function, "__func__", None) is Tasks._run_task else ()
    return "call", next((value.method[:MAX_NAME] for value in handed if isinstance(value, CallMessage)), "")
