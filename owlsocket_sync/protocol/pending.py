"""A call that waits for its answer, and the future that its caller holds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any

from ..deadline import Deadline
from ..errors import SocketTimeout
from .messages import CallMessage


class CallFuture(Future[Any]):
    """The future of one call. Its callbacks run on a worker, so that they may call as well."""

    def __init__(self, run: Callable[[Callable[[], None]], None], forget: Callable[[], None]) -> None:
        super().__init__()
        self._run = run
        self._forget = forget
        self._untold = threading.Lock()

    def cancel(self) -> bool:
        """Forget the call; an answer that still comes is passed over."""
        if not super().cancel():
            return False
        self._forget()
        if self._untold.acquire(blocking=False):
            self.set_running_or_notify_cancel()  # who waits for it is freed
        return True

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Have ``fn(future)`` run on a worker once the call is answered, at once when it is already."""
        if self.done():
            super().add_done_callback(fn)
        else:
            super().add_done_callback(lambda future: self._run(lambda: _ignore(fn(future))))

    def complete(self, result: Any = None, error: BaseException | None = None) -> None:
        """Set the outcome, unless there is one already."""
        try:
            if error is None:
                self.set_result(result)
            else:
                self.set_exception(error)
        except InvalidStateError:
            return  # cancelled, or answered by another thread: the first outcome holds

    def leave(self, error: BaseException) -> None:
        """In a forked child: tell whoever waits for it; takes no lock, and runs no callback, of the parent's."""
        self._condition = threading.Condition()
        self._waiters.clear()
        self._run = _ignore
        self._untold = threading.Lock()
        self.complete(error=error)


def _ignore(_: object) -> None:
    """What comes of a callback has no use; nor have the parent's callbacks in a forked child."""


class PendingCall:
    """A call that waits for its answer."""

    __slots__ = ("data", "deadline", "future", "id", "link", "method", "result_type", "retry")

    def __init__(self, message: CallMessage, data: bytes, deadline: Deadline, result_type: Any, retry: bool) -> None:
        self.id = message.id
        self.method = message.method
        self.data = data
        self.deadline = deadline
        self.result_type = result_type
        self.retry = retry
        self.link: int | None = None
        self.future: CallFuture

    def sent(self) -> None:
        """Keep only what may have to be sent once more."""
        if not self.retry:
            self.data = b""

    def timeout_error(self) -> SocketTimeout:
        """What the caller gets when no answer came in time."""
        if self.link is None:
            return SocketTimeout(
                f"call {self.method!r} was not sent, there was no link for {self.deadline.seconds:g} s"
            )
        return SocketTimeout(f"call {self.method!r} was not answered within {self.deadline.seconds:g} s")
