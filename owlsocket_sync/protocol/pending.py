"""Calls that wait for their answers: one whose caller waits itself, and one whose caller holds a future.

Threads: whoever reads completes a call; the first outcome holds, and completing it again changes nothing. In `Asked`
the caller is told by a bell, which is made only once it has to wait for one; who makes it holds ``_calls_lock``.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import wait as wait_for
from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol

from ..deadline import Deadline
from ..errors import SocketTimeout


class Pending(ABC):
    """A call that waits for its answer.

    Attributes:
        data: the message, until it was sent, and for longer where it may have to be sent once more.
        link: the number of the link on which it was sent, ``None`` before.
        result_type: what makes the result of what comes, where that is done before it is handed out.
        watched: whether somebody but the caller is told of the outcome.
        attended: whether somebody waits for it now.
    """

    __slots__ = ("data", "deadline", "id", "link", "method", "retry")

    data: bytes
    deadline: Deadline
    id: str
    link: int | None
    method: str
    retry: bool

    result_type: Any = None
    watched: bool = False
    attended: bool = True

    @abstractmethod
    def complete(self, result: Any = None, error: BaseException | None = None) -> None:
        """Set the outcome, unless there is one already."""

    @abstractmethod
    def outlast(self, deadline: Deadline, guard: AbstractContextManager[object]) -> bool:
        """Whether there is an outcome within the deadline."""

    def leave(self, error: BaseException) -> None:
        """In a forked child: tell whoever waits for it; takes no lock, and runs no callback, of the parent's."""
        self.complete(error=error)

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


class Asked(Pending):
    """A call whose caller waits for it."""

    __slots__ = ("_bell", "_error", "_result", "done")

    def __init__(self) -> None:
        self.done = False
        self._bell: threading.Lock | None = None

    def is_done(self) -> bool:
        """Whether there is an outcome."""
        return self.done

    def complete(self, result: Any = None, error: BaseException | None = None) -> None:
        """Set the outcome, unless there is one already."""
        if not self.done:
            self._result = result
            self._error = error
            self.done = True
        if self._bell is not None:
            with suppress(RuntimeError):  # it has rung already
                self._bell.release()

    def outlast(self, deadline: Deadline, guard: AbstractContextManager[object]) -> bool:
        """Whether there is an outcome within the deadline; several may wait."""
        with guard:
            if self._bell is None:
                self._bell = threading.Lock()
                self._bell.acquire()
            bell = self._bell
        if not self.done and bell.acquire(timeout=min(deadline.remaining(), threading.TIMEOUT_MAX)):
            with suppress(RuntimeError):
                bell.release()  # for the next one who waits
        return self.done

    def outcome(self) -> Any:
        """The result; raises the error where it is one, and where there is neither."""
        if not self.done:
            raise self.timeout_error()
        error = self._error
        if error is None:
            return self._result
        try:
            raise error
        finally:
            self._error = error = None  # whose traceback leads here


class Owner(Protocol):
    """What a future asks of the connection that its call was made on."""

    def _run_callback(self, function: Callable[[], None]) -> None: ...

    def _forget_call(self, id: Any) -> object: ...

    def _read_until(self, answered: Callable[[], bool], deadline: Deadline) -> None: ...


class CallFuture(Future[Any], Pending):
    """The future of one call. Its callbacks run on a worker, so that they may call as well."""

    def __init__(self, owner: Owner) -> None:
        # In place of `Future.__init__`, which makes a condition of many times the size.
        self._condition: Any = Signal()
        self._state = "PENDING"
        self._result = self._exception = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []
        self._owner: Owner | None = owner

    @property
    def watched(self) -> bool:  # type: ignore[override]
        """Whether somebody is told of the outcome."""
        return bool(self._done_callbacks or self._waiters) or self.result_type is not None

    @property
    def attended(self) -> bool:  # type: ignore[override]
        """Whether somebody waits for it now."""
        return self._condition.attended  # type: ignore[no-any-return]

    def cancel(self) -> bool:
        """Forget the call; an answer that still comes is passed over."""
        if not super().cancel():
            return False
        if self._owner is not None:
            self._owner._forget_call(self.id)
        with self._condition:
            if self._state == "CANCELLED":  # else another thread did it
                self.set_running_or_notify_cancel()  # who waits for it is freed
        return True

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Have ``fn(future)`` run on a worker once the call is answered, at once when it is already."""
        if self.done():
            super().add_done_callback(fn)
        else:
            super().add_done_callback(lambda _: self._tell(fn))

    def _tell(self, fn: Callable[[Future[Any]], object]) -> None:
        if self._owner is not None:
            self._owner._run_callback(lambda: _ignore(fn(self)))

    def result(self, timeout: float | None = None) -> Any:
        """The result, once it is there; raises the error where it is one."""
        if self._state == "FINISHED" and self._exception is None:
            return self._result  # which was there before the state said so
        return super().result(self._read(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error, once there is an outcome; ``None`` where that is a result."""
        return super().exception(self._read(timeout))

    def _read(self, timeout: float | None) -> float | None:
        """Read in place of the reader for a while; what is left of the timeout."""
        if self._state != "PENDING" or self._owner is None:
            return timeout
        deadline = Deadline(threading.TIMEOUT_MAX if timeout is None else timeout)
        self._owner._read_until(self.done, deadline)
        return None if timeout is None else deadline.remaining()

    def complete(self, result: Any = None, error: BaseException | None = None) -> None:
        """Set the outcome, unless there is one already."""
        try:
            if error is None:
                self.set_result(result)
            else:
                self.set_exception(error)
        except InvalidStateError:  # cancelled, or answered before: the first outcome holds
            with self._condition:
                self._condition.notify_all()  # if it was interrupted in the middle, nobody was told

    def outlast(self, deadline: Deadline, guard: AbstractContextManager[object]) -> bool:
        """Whether there is an outcome within the deadline."""
        return bool(wait_for([self], deadline.wait_seconds()).done)

    def leave(self, error: BaseException) -> None:
        """In a forked child: tell whoever waits for it; takes no lock, and runs no callback, of the parent's."""
        self._condition = Signal()
        self._waiters.clear()
        self._owner = None
        self.complete(error=error)


class Signal(type(threading.RLock())):  # type: ignore[misc]  # a class by another name
    """A condition that is but its lock before somebody waits: thousands of futures have one each."""

    _bells: tuple[threading.Lock, ...] = ()

    @property
    def attended(self) -> bool:
        """Whether somebody waits."""
        return bool(self._bells)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, without the lock, to be notified; whether that was within so many seconds."""
        bell = threading.Lock()
        bell.acquire()
        self._bells = (*self._bells, bell)
        self.release()
        try:
            return bell.acquire(timeout=-1 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX))
        finally:
            self.acquire()

    def notify_all(self) -> None:
        """Free all who wait; with the lock."""
        bells = self._bells
        if bells:
            self._bells = ()
        for bell in bells:
            bell.release()


def _ignore(_: object) -> None:
    """What comes of a callback has no use; nor have the parent's callbacks in a forked child."""
