"""Calls that wait for their answers: one whose caller blocks, and one whose caller holds a future.

Threads: the thread that reads completes a call; the first outcome holds, and completing it again changes nothing.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .. import fork
from ..clock import monotonic
from ..deadline import Deadline
from ..errors import ResilientError, SocketTimeout
from ..locks import acquire_until, held_up_by
from ..reentrant import REENTRANT
from .carrier import no_link_error
from .scopes import copy_for_handler
from .types.interfaces import convert

Result = TypeVar("Result")


class Pending(ABC):
    """A call that waits for its answer.

    Attributes:
        data: the message, until it was sent, and for longer where it may have to be sent once more.
        size: the bytes of the message.
        link: the number of the link on which it was sent, ``None`` before.
        sent: whether it was sent, on whatever link.
        result_type: the type that the result is converted to before it is handed out.
        has_callbacks: whether anything but the caller waits for the outcome, or the result is to be converted.
        has_waiter: whether a thread waits for it now.
    """

    __slots__ = ("data", "deadline", "id", "link", "method", "retry", "sent", "size")

    data: bytes
    deadline: Deadline
    id: str
    link: int | None
    method: str
    retry: bool
    sent: bool
    size: int

    result_type: Any = None
    has_callbacks: bool = False
    has_waiter: bool = True

    @abstractmethod
    def complete(self, result: Any = None, error: BaseException | None = None) -> None:
        """Set the outcome, unless there is one already."""

    @abstractmethod
    def wait(self, deadline: Deadline) -> bool:
        """Wait for the outcome; return whether it came within the deadline."""

    def orphan(self, error: BaseException) -> None:
        """Fail in a forked child; takes no lock, and runs no callback, of the parent's."""
        self.complete(error=error)

    def refuse(self, error: BaseException) -> None:
        """Set an error in an answer of the peer, which received the call, as the outcome."""
        self.sent = True
        if isinstance(error, ResilientError):
            error.sent = True
        self.complete(error=error)

    def complete_converted(self, payload: Any) -> None:
        """Set a result once it is converted; on a worker, as a converter is user code."""
        try:
            result = convert(payload, self.result_type, f"the result of {self.method!r}")
        except BaseException as error:
            self.refuse(error)
        else:
            self.complete(result)

    def timeout_error(self, failure: Exception | None) -> SocketTimeout:
        """Return the error of a call that was not answered in time.

        Args:
            failure: the reason why there is no link, where there is none.
        """
        seconds = self.deadline.seconds
        if self.link is None:
            what = "a connection to be sent again" if self.sent else "a connection"
            error = no_link_error(f"call {self.method!r} timed out after {seconds:g} s waiting for {what}", failure)
        else:
            error = SocketTimeout(f"call {self.method!r} was not answered within {seconds:g} s")
        error.sent = True if self.sent else error.sent
        return error


class CallOwner(Protocol):
    """The connection of a future, as the future sees it."""

    def run_callback(self, function: Callable[[], None], context: Context) -> None:
        """Run a callback on a worker, or here when there are none any more."""

    def give_up(self, id: Any) -> object:
        """Remove the call from the table: the caller does not wait any more."""

    def help_reader(self, is_done: Callable[[], bool], deadline: Deadline) -> None:
        """Read in place of the reader for a while."""

    def step_aside(self) -> AbstractContextManager[None]:
        """Return a context manager around a wait; raise `SocketError` on the reader."""


class Waiter(Protocol):
    """An object that the outcome of a call releases, as the lock of a thread that waits."""

    def release(self) -> None:
        """Note the outcome; waits for nothing, and may be interrupted."""


class CallFuture(Future[Result], Pending):
    """The future of one call; see `owlsocket_sync.Connection.submit`.

    A task of an ``asyncio`` loop may await it. Its callbacks run on a worker, so that they may call as well.

    Attributes:
        id: of the message that asks.
        method: that is called.
        deadline: until which it waits for the answer.
        retry: whether the call is sent again when its link was lost.
    """

    def __init__(self, owner: CallOwner) -> None:
        # In place of `Future.__init__`, which makes a condition of many times the size: 100 000 of these may be
        # pending.
        self._lazy_condition = LazyCondition()
        self._state = "PENDING"
        self._result = self._exception = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []
        self._owner: CallOwner | None = owner
        self.sent = False

    if not TYPE_CHECKING:  # for type checkers it stays the attribute that `as_completed` asks for

        @property
        def _condition(self) -> Any:
            # Whatever is done with a future takes this, the functions of `concurrent.futures` too. So a child that no
            # hook was run in fails the parent's futures here, and takes no lock of the parent's.
            fork.ensure_process()
            return self._lazy_condition

    @property
    def has_callbacks(self) -> bool:  # type: ignore[override]
        """Return whether anything but the caller waits for the outcome, or the result is to be converted."""
        return bool(self._done_callbacks or self._waiters) or self.result_type is not None

    @property
    def has_waiter(self) -> bool:  # type: ignore[override]
        """Return whether a thread waits for it now."""
        return self._lazy_condition.has_waiter

    def cancel(self) -> bool:
        """Give up the call; an answer that still comes is dropped, and counted."""
        if not super().cancel():
            return False
        if self._owner is not None:
            self._owner.give_up(self.id)
        with self._condition:
            if self._state == "CANCELLED":  # else another thread notified those who wait
                self.set_running_or_notify_cancel()
        return True

    def add_done_callback(self, fn: Callable[[Future[Result]], object]) -> None:
        """Have ``fn(future)`` run on a worker once the call is answered, at once when it is already."""
        if self.done():
            super().add_done_callback(fn)
        else:
            context = copy_for_handler()
            super().add_done_callback(lambda _: self.schedule_callback(fn, context))

    def __await__(self) -> Generator[Any, None, Result]:
        from .awaiting import await_outcome  # programs without an event loop have no use for it

        return await_outcome(self)

    def add_waiter(self, waiter: Waiter) -> None:
        """Have a waiter released once there is an outcome, at least once; by the thread that sets it."""
        self._lazy_condition.enter(waiter)
        if self._has_outcome():  # entered first: one of the two sees the other
            waiter.release()

    def schedule_callback(self, fn: Callable[[Future[Result]], object], context: Context | None = None) -> None:
        """Have ``fn(future)`` run on a worker, in this context, or in a new one."""
        if self._owner is not None:
            self._owner.run_callback(lambda: _discard(fn(self)), Context() if context is None else context)

    def result(self, timeout: float | None = None) -> Result:
        """Return the result, once it is there; raise the error where it is one."""
        # Without the lock: the result was stored before the state says so.
        if self._state == "FINISHED" and self._exception is None:
            return self._result  # type: ignore[return-value]
        self._wait_outcome(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the error, once there is an outcome; ``None`` where that is a result."""
        self._wait_outcome(timeout)
        return super().exception(0)

    def _has_outcome(self) -> bool:
        # Unlike `done`, without the lock: it is asked after each message that is read.
        return self._state != "PENDING"

    def _wait_outcome(self, timeout: float | None) -> None:
        """Wait for an outcome: first in place of the reader, for a while."""
        fork.ensure_process()  # before it reads: a child takes nothing from its parent's socket
        owner = self._owner
        if self._state != "PENDING" or owner is None:
            return
        deadline = Deadline(threading.TIMEOUT_MAX if timeout is None else timeout)
        owner.help_reader(self._has_outcome, deadline)
        if self._state == "PENDING":
            # Without the lock of the future, which a signal handler could not let go of: the reader takes it.
            with owner.step_aside():
                self._lazy_condition.wait_unlocked(self._has_outcome, deadline)

    def complete(self, result: Any = None, error: BaseException | None = None) -> None:
        """Set the outcome, unless there is one already."""
        # As `set_result` and `set_exception`, which would ask for the process twice: the reader has no need to.
        condition, held = self._lazy_condition, [False]
        try:
            # Noted in the builtin call that takes the lock: an interrupt does not leave it locked.
            held[:] = map(condition.acquire, (self._owner is None,))
            if not held[0]:
                # Another thread has it, for as long as a handler takes that interrupted it: the reader does not wait.
                # Nor does a worker where there is an outcome: the handler may close the pool, and wait for its end.
                if self._state == "PENDING":
                    self._complete_later(result, error)
                return
            if self._state != "PENDING":  # cancelled, or answered before: the first outcome holds
                # A signal may have interrupted the first one between the outcome and the notification.
                condition.notify_all()
                return
            self._result, self._exception = result, error
            self._state = "FINISHED"  # last: threads without the lock that see it find the outcome
            for waiter in self._waiters:
                waiter.add_result(self) if error is None else waiter.add_exception(self)
            condition.notify_all()
        finally:
            if held[0]:
                condition.release()
        self._invoke_callbacks()  # type: ignore[attr-defined]

    def _complete_later(self, result: Any, error: BaseException | None) -> None:
        """Set the outcome on a worker, which waits for the lock."""

        def complete() -> None:
            with held_up_by(self._lazy_condition):
                self.complete(result, error)

        if self._owner is not None:
            self._owner.run_callback(complete, Context())

    def wait(self, deadline: Deadline) -> bool:
        """Wait for the outcome; return whether it came within the deadline."""
        # Not `concurrent.futures.wait`: an interrupt may leave the lock of the future held.
        self._lazy_condition.wait_unlocked(self._has_outcome, deadline)
        return self._has_outcome()

    def orphan(self, error: BaseException) -> None:
        """Fail in a forked child; takes no lock, and runs no callback, of the parent's."""
        self._lazy_condition = LazyCondition()
        self._waiters.clear()
        self._owner = None
        self.complete(error=error)


class LazyCondition(REENTRANT):  # type: ignore[misc]  # a class by another name
    """A condition that is only its lock until a thread waits: thousands of futures have one each."""

    _waiting: tuple[Waiter, ...] = ()

    @property
    def has_waiter(self) -> bool:
        """Return whether a thread waits."""
        return bool(self._waiting)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, without the lock, to be notified; return whether that was within so many seconds."""
        waiter = threading.Lock()
        waiter.acquire()
        self._waiting = (*self._waiting, waiter)
        self.release()
        try:
            return acquire_until(waiter, math.inf if timeout is None else monotonic() + timeout)
        finally:
            self.acquire()

    def wait_unlocked(self, done: Callable[[], bool], deadline: Deadline) -> None:
        """Wait until ``done`` returns true after a notification, without taking the lock."""
        while not done() and not deadline.expired():
            waiter = threading.Lock()
            waiter.acquire()
            waiters = self._waiting
            entered = (*waiters, waiter)
            # No call between the two, and so no interrupt. Entered first, looked at afterwards; who completes does it
            # the other way round, so one of the two sees the other.
            if self._waiting is waiters:
                self._waiting = entered
                try:
                    if not done():
                        acquire_until(waiter, deadline.at)
                finally:
                    self._drop(waiter)

    def enter(self, waiter: Waiter) -> None:
        """Have this released at the next notification, without taking the lock; look for an outcome afterwards."""
        entered = False
        while not entered:
            waiters = self._waiting
            after = (*waiters, waiter)
            if self._waiting is waiters:  # as below
                self._waiting = after
                entered = True

    def _drop(self, waiter: threading.Lock) -> None:
        """Remove a thread that waits no more, unless it was notified; without the lock."""
        while waiter in self._waiting:
            waiters = self._waiting
            left = tuple(other for other in waiters if other is not waiter)
            if self._waiting is waiters:  # as above
                self._waiting = left

    def notify_all(self) -> None:
        """Free all threads that wait; with the lock."""
        waiting = self._waiting
        if waiting:
            self._waiting = ()
        for waiter in waiting:
            waiter.release()


def _discard(_: object) -> None:
    """Drop the result of a callback."""
