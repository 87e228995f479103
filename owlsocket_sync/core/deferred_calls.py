"""Calls that never wait for the peer: their frames take the way of broadcasts, and wait for a peer that lags there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..clock import perf_counter
from ..errors import SocketConnectionError, SocketError
from ..errors.marshalled import unsent
from ..protocol.codec import compact
from ..protocol.hooks import Outcome, status_of
from ..protocol.pending import CallFuture
from .core import Core

COMPLETION_SECONDS = 1.0
"""The time for a thread that has taken a call out of the table to complete it."""


class TimedFuture(CallFuture[Any]):
    """The future of a call that knows how long its answer took.

    Attributes:
        seconds: from the call to its outcome; so far, while there is none.
    """

    def __init__(self, core: Core) -> None:
        super().__init__(core.calls)
        self._table = core.calls.table
        self._began = perf_counter()
        self._ended: float | None = None

    @property
    def seconds(self) -> float:
        """The duration of the call."""
        return (perf_counter() if self._ended is None else self._ended) - self._began

    def outcome(self) -> Outcome:
        """Wait until the deadline of the call, and return its outcome."""
        self._wait_outcome(self.deadline.remaining())
        timeout = None
        if not self._has_outcome():
            timeout = self._table.timeout_error(self)
            if self._table.give_up(self.id) is not None:
                self.complete(error=timeout)
            else:
                self._wait_outcome(COMPLETION_SECONDS)
        # A handler that has the lock of the future may keep another thread from completing it still.
        error = self._exception if self._has_outcome() else timeout
        return Outcome(status_of(error), self.seconds, error, None if error else self._result)

    def complete(self, result: Any = None, error: BaseException | None = None) -> None:
        """Set the outcome, unless there is one already."""
        if self._ended is None:
            self._ended = perf_counter()
        super().complete(result, error)


def submit_now(
    core: Core,
    send: Callable[[bytes], bool],
    method: str,
    payload: tuple[Any, ...],
    timeout: float | None,
    extra: dict[str, str] | None = None,
) -> TimedFuture:
    """Call a method of the peer without waiting for anything; an open ``batch()`` is ignored.

    Args:
        core: of the connection, which has one link in its life.
        send: sends the text of a message or queues it, and returns whether it did.
        method: the name of the method.
        payload: its arguments.
        timeout: seconds; ``None`` for that of the connection's calls.
        extra: further keys for its message, of the server that hands the call over; instruments may change them.

    Raises:
        SocketConnectionError: the connection is closed.
        SocketMessageMalformed: JSON cannot represent the arguments.
    """
    span = core.hooks.start("call", method, extra=extra) if core.hooks.instruments else None
    future, table = TimedFuture(core), core.calls.table
    try:
        future.deadline = deadline = core.sender.deadline_for(timeout)
        future.link = link = core.carrier.current_link_id()
        if link is None:
            core.services.check_open()
        future.id, data = core.sender.encode_call(method, payload, deadline)
        future.data, future.size, future.method, future.retry = compact(data), len(data), method, False
        if span is not None:
            span.follow(future)
        expires = deadline.at < math.inf
        table.add(future, expires=expires)
        if expires:
            core.sender.schedule_wakeup(deadline.at)
    except BaseException as error:
        if span is not None:
            span.error = error
            span.end()
        raise
    if link is None:
        core.sender.send_call(future, None)  # before the client is accepted: it leaves once it is
    elif not send(future.data):
        table.forget(future.id)
        future.complete(error=_refusal(core, method))
    else:
        future.data = b""  # it is not sent again
    return future


def _refusal(core: Core, method: str) -> SocketError:
    """Return the error of a call that the queue to the peer did not take."""
    if core.carrier.current_link_id() is None:
        return core.services.closing_error() or unsent(SocketConnectionError(f"call {method!r}: the link has ended"))
    limits = "(Limits.dispatch_messages, Limits.dispatch_bytes)"
    return unsent(SocketError(f"call {method!r} was not sent: the peer reads nothing, and its queue is full {limits}"))
