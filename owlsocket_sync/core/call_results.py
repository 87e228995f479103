"""Many calls at once: so many in flight, and their results in the order of their arguments.

Threads: one thread at a time iterates, and reads the arguments; `CallResults.close` comes from any thread. There is no
lock: the thread that sets the outcome of a call puts its future on a queue, and the thread that iterates takes it.

Where a thread can block: in `CallResults.__next__`, as the leader or asleep; the end of any of its calls wakes it, and
each call has a deadline. And in the caller's iterable.
"""

from __future__ import annotations

import math
import queue
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sized
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..deadline import Deadline
from ..errors import SocketTimeout
from ..protocol.pending import CallFuture
from ..protocol.types.interfaces import type_adapter
from .progress import Progress, ReportProgress, make_progress

if TYPE_CHECKING:
    from .core import Core

Result = TypeVar("Result")
Self = TypeVar("Self", bound="CallResults[Any]")

RAISE, RETURN = "raise", "return"


class Announcement:
    """Puts a future on a queue at its outcome; a `owlsocket_sync.protocol.pending.Waiter`.

    Args:
        future: the future.
        ended: the queue.

    Attributes:
        release: note the outcome; a builtin call, since the lock of the future is held meanwhile.
    """

    __slots__ = ("release",)

    def __init__(self, future: Future[Any], ended: queue.SimpleQueue[Any]) -> None:
        self.release: Callable[[], None] = partial(ended.put, future)


class CallResults(Generic[Result]):
    """Results of many calls, in the order of their arguments; see `owlsocket_sync.Connection.map`.

    An iterator, for one thread at a time, and a context manager that closes it.

    Args:
        core: return the core of the connection; asked again for each wait, since a forked child has another one.
        start: start the call of one argument, and return its future.
        arguments: what is called for.
        parallel: the number of calls that may be in flight.
        ahead: the number of calls that may be started before their results are taken.
        deadline: of the whole; ``at`` is ``math.inf`` without one.
        returns_errors: whether an error takes the place of a result; otherwise it is raised.
        fails_early: whether an error is raised as soon as it is known, before the results that come first.
        progress: counts results that were taken.
    """

    # Closed until it is made: an interrupt may come before that, and `__del__` after it.
    _closed = True

    def __init__(
        self,
        core: Callable[[], Core],
        start: Callable[[Any], CallFuture[Any]],
        arguments: Iterable[Any],
        *,
        parallel: int,
        ahead: float,
        deadline: Deadline,
        returns_errors: bool,
        fails_early: bool,
        progress: Progress,
    ) -> None:
        self._core, self._start, self._arguments = core, start, iter(arguments)
        self._parallel, self._ahead, self._deadline = parallel, ahead, deadline
        self._returns_errors, self._fails_early, self._progress = returns_errors, fails_early, progress
        self._started: deque[Future[Any]] = deque()
        self._in_flight: set[Future[Any]] = set()
        self._ended: queue.SimpleQueue[Future[Any] | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._has_arguments = True
        self._taken = 0
        self._closed = False
        try:
            self._start_calls()
        except BaseException:
            self.close()
            raise

    def __iter__(self: Self) -> Self:
        return self

    def __next__(self) -> Result:
        try:
            while not self._closed:
                self._start_calls()
                if not self._started:
                    break
                future = self._started[0]
                if not future.done():
                    self._wait()
                elif not future.cancelled():  # else another thread closes this
                    result: Result = self._take(self._started.popleft())
                    return result
        except BaseException:
            self.close()
            raise
        self.close()
        failure, self._failure = self._failure, None
        raise failure or StopIteration

    def _start_calls(self) -> None:
        """Start as many calls as may be started now."""
        self._note_ended()
        while self._has_arguments and len(self._in_flight) < self._parallel and len(self._started) < self._ahead:
            expired = self._deadline.expired()
            if expired and self._started:
                return  # what is there already is handed out first
            try:
                argument = next(self._arguments)
            except StopIteration:
                self._has_arguments = False
                return
            except Exception as error:
                # Raised in its place: behind the results of the arguments before it.
                self._has_arguments, self._failure = False, error
                return
            if expired:
                raise self._timeout_error()
            # In one step after the call was started: an interrupt loses none that is in flight.
            self._started.extend(map(self._start_one, (argument,)))
            if self._closed:  # meanwhile, by another thread
                self.close()
            self._note_ended()

    def _start_one(self, argument: Any) -> Future[Any]:
        try:
            future = self._start(argument)
        except Exception as error:  # this argument cannot be sent; others may
            refused: Future[Any] = Future()
            refused.set_exception(error)
            self._ended.put(refused)
            return refused
        self._in_flight.add(future)
        future.add_waiter(Announcement(future, self._ended))
        return future

    def _note_ended(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._note(self._ended.get_nowait())

    def _note(self, future: Future[Any] | None) -> None:
        if future is not None:
            self._in_flight.discard(future)
            if self._fails_early and not future.cancelled():
                future.result(0)

    def _wait(self) -> None:
        """Wait until a call has ended; first in place of the reader, for a while."""
        core = self._core()
        core.calls.help_reader(self._has_ended, core.sender.deadline_for(None))
        if self._ended.empty():
            with core.services.blocking_wait(None):
                Deadline(math.inf).wait(self._wait_once)

    def _has_ended(self) -> bool:
        return not self._ended.empty()

    def _wait_once(self, seconds: float) -> bool:
        try:
            self._note(self._ended.get(timeout=seconds))
        except queue.Empty:
            return False
        return True

    def _take(self, future: Future[Any]) -> Any:
        """Return the outcome of a call that has ended, or raise it."""
        self._in_flight.discard(future)  # a forked child hears of no end of its parent's calls
        error = future.exception(0)
        if isinstance(error, SocketTimeout) and getattr(future, "deadline", None) is self._deadline:
            raise self._timeout_error() from error
        result = error if self._returns_errors and isinstance(error, Exception) else future.result(0)
        self._taken += 1
        self._progress.update()
        return result

    def _timeout_error(self) -> SocketTimeout:
        seconds = self._deadline.seconds
        return SocketTimeout(f"the calls did not end within {seconds:g} s; {self._taken} results came before")

    def close(self) -> None:
        """Cancel the calls that are in flight, and start no more; idempotent, from any thread."""
        self._closed = True
        # Afterwards: a thread that starts a call meanwhile looks at `_closed` once it is in the list.
        for future in list(self._started):
            future.cancel()
        self._ended.put(None)  # wakes the thread that iterates
        self._progress.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed and not sys.is_finalizing():
            self.close()

    def __repr__(self) -> str:
        return f"<CallResults, {self._taken} taken{', closed' if self._closed else ''}>"


def map_calls(
    core: Callable[[], Core],
    method: str,
    arguments: Iterable[Any],
    *,
    parallel: int,
    timeout: float | None,
    result_type: Any,
    retry: bool,
    errors: str,
    unpack: bool,
    progress: bool | ReportProgress,
) -> CallResults[Any]:
    """Call a method once for each argument; see `owlsocket_sync.Connection.map`."""
    if not isinstance(method, str):
        raise TypeError(f"method must be text, not {type(method).__name__}")
    check_parallel("parallel", parallel)
    if errors not in (RAISE, RETURN):
        raise ValueError(f'errors must be "raise" or "return", not {errors!r}')
    if isinstance(arguments, (str, bytes)) or not isinstance(arguments, Iterable):
        kind = type(arguments).__name__
        raise TypeError(f"arguments must be an iterable with one argument for each call, such as a list, not {kind}")
    if result_type is not None:
        type_adapter(result_type)  # raises before anything is sent
    current = core()
    current.services.check_open()
    deadline = current.sender.deadline_for(timeout, math.inf)

    def start(argument: Any) -> CallFuture[Any]:
        payload = tuple(argument) if unpack else (argument,)
        current = core()
        with current.scopes.deadline_scope(deadline) if deadline.at < math.inf else nullcontext():
            return current.calls.submit(method, payload, None, result_type, retry)

    total = len(arguments) if isinstance(arguments, Sized) else None
    return CallResults(
        core,
        start,
        arguments,
        parallel=parallel,
        ahead=parallel,
        deadline=deadline,
        returns_errors=errors == RETURN,
        fails_early=False,
        progress=make_progress(progress, total, method),
    )


def check_parallel(name: str, parallel: object) -> None:
    """Raise `ValueError` unless this can be a number of calls at once; ``name`` is that of the option."""
    if isinstance(parallel, bool) or not isinstance(parallel, int) or parallel < 1:
        raise ValueError(f"{name} must be a whole number, 1 or more, not {parallel!r}")
