"""Our calls of the peer's methods: ``call`` and ``submit``, over the messages ``call``, ``result`` and ``error``.

Threads: ``_calls_lock`` guards the table of pending calls and is a leaf: futures are completed and messages sent only
after it was released. A thread that blocks in a call waits on a lock of its own, made once it has to wait.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from contextvars import Context
from functools import partial
from typing import Any

from ..deadline import Deadline
from ..delegation import delegate
from ..errors import ResilientError, SocketConnectionError, SocketError
from ..errors.marshalled import unsent
from ..locks import LockGroup, acquire_until
from ..states import CloseInfo
from .call_timeouts import CallTimeouts
from .carrier import Carrier
from .codec import compact, decode_answer
from .counters import UNCOUNTED
from .malformed import unmatched
from .messages import Message, MessageType
from .oversize import TOO_BIG, fail_refused_calls
from .pending import CallFuture, Pending
from .reports import ErrorContext
from .services import CallSender, Services, forked_error
from .settings import Settings
from .subscriptions import Registry
from .types.interfaces import type_adapter


def lost_error(carrier: Carrier, info: CloseInfo) -> SocketConnectionError:
    """Return a new error of what waited for an answer on a link that ended so."""
    closed = carrier.closing_error()
    if closed is not None and closed.closed_here:
        return closed  # as later uses get it
    ending = f"{info.code} {info.reason}".strip()  # few functions: the caller is waiting
    ending = ending if ending.isprintable() else info.summary
    lost = SocketConnectionError(f"the link was lost before the answer came: {ending}")
    lost.__cause__ = info.error
    return lost


class CallTable(CallTimeouts):
    """The calls of one connection that are pending.

    Args:
        limit: the number of calls that may be pending.
        carrier: knows why there is no link.
        locks: of the connection.

    Attributes:
        pending: the calls by id; looked into without the lock, changed under it.
    """

    __slots__ = ("_calls_lock", "_carrier", "_limit", "_numbers", "pending")

    def __init__(self, limit: int, carrier: Carrier, locks: LockGroup) -> None:
        self._calls_lock, self._limit, self._carrier = locks.make(), limit, carrier
        self._timeouts: list[tuple[float, int, Any]] = []
        self._given_up, self._numbers = None, itertools.count()
        self.pending: dict[Any, Pending] = {}

    def add(self, call: Pending, *, expires: bool = False) -> None:
        """Let a call wait for its answer; one that ``expires`` fails at its deadline by `expire`.

        Raises:
            SocketError: as many calls as allowed are pending.
        """
        with self._calls_lock:
            pending = self.pending
            if len(pending) >= self._limit:
                what = f"call {call.method!r} was not sent: {self._limit} calls wait for an answer"
                raise unsent(SocketError(f"{what} (Limits.pending_calls)"))
            pending[call.id] = call
            if expires:
                timeout = (call.deadline.at, next(self._numbers), call.id)
                heapq.heappush(self._timeouts, timeout)
                if len(self._timeouts) > 2 * len(pending) + 64:
                    self._purge_timeouts()

    def claim(self, call: Pending, link: int) -> bool:
        """Mark a call as sent on this link; return false when it is answered, forgotten or sent already."""
        with self._calls_lock:
            if call.link is not None or call.id not in self.pending:
                return False
            call.link = link
            return True

    def unclaim(self, call: Pending, link: int) -> None:
        """Mark a call as not sent on this link after all; another thread may have sent it on the next one."""
        with self._calls_lock:
            call.link = None if call.link == link else call.link

    def forget(self, id: Any) -> Pending | None:
        """Remove a call, and return it if it was pending."""
        with self._calls_lock:
            return self.pending.pop(id, None)

    def unsent(self) -> list[Pending]:
        """Return the calls that wait for a link, oldest first."""
        with self._calls_lock:
            return [call for call in self.pending.values() if call.link is None]

    def fail_lost(self, link: int, info: CloseInfo) -> None:
        """Fail what was sent on a link that ended; see `owlsocket_sync.protocol.carrier.CarrierEvents.fail_calls`."""
        if info.code == TOO_BIG:
            fail_refused_calls(self, info, link)
        self.fail(partial(lost_error, self._carrier, info), link)

    def fail(self, error: Callable[[], SocketConnectionError], link: int | None = None) -> None:
        """Fail what is pending: all of it, or what was sent on links up to this one and may not be sent again."""
        with self._calls_lock:
            if link is None:
                failed = []
                with suppress(KeyError):  # it is empty
                    while True:
                        failed.append(self.pending.popitem()[1])
                failed.reverse()
            else:
                sent = [call for call in self.pending.values() if call.link is not None and call.link <= link]
                failed = [call for call in sent if not call.retry and self.pending.pop(call.id, None) is not None]
                for call in sent:
                    # Kept for those that fail: it shows whether they were being sent.
                    call.link = None if call.retry else call.link
        # Completed outside of the lock: an outcome may wake threads, and callbacks of futures use the table.
        for call in failed:
            failure = error()
            failure.sent = True if call.sent else None if call.link is not None else False
            call.complete(error=failure)

    def orphan(self) -> None:
        """Fail what is pending without the lock, which a thread of the parent may have held; in a forked child."""
        pending, self.pending = self.pending, {}
        for call in list(pending.values()):
            call.orphan(forked_error())


class BlockingCall(Pending):
    """A call whose caller waits for it."""

    __slots__ = ("_outcome", "_waiters", "done")

    def __init__(self) -> None:
        self.done = self.sent = False
        self._waiters: list[threading.Lock] = []

    def is_done(self) -> bool:
        """Return whether there is an outcome."""
        return self.done

    def complete(self, result: Any = None, error: BaseException | None = None) -> None:
        """Set the outcome, unless there is one already."""
        if not self.done:
            # In one step: of two threads, one of which closes the connection at this moment, neither overwrites half.
            self._outcome = result, error
            self.done = True  # last: a thread that sees it finds the outcome in place
        for waiter in self._waiters:
            # A signal may have interrupted the first completion here; what is released already stays so.
            with suppress(RuntimeError):
                waiter.release()

    def wait(self, deadline: Deadline) -> bool:
        """Wait for the outcome; return whether it came within the deadline; several threads may wait."""
        waiter = threading.Lock()
        waiter.acquire()
        # Appended first, looked at afterwards; `complete` does it the other way round, so one of the two sees the
        # other.
        self._waiters.append(waiter)
        if not self.done:
            acquire_until(waiter, deadline.at)
        return self.done

    def outcome(self) -> Any:
        """Return the result; raise the error where it is one; once it is done."""
        result, error = self._outcome
        if error is None:
            return result
        try:
            raise error
        finally:
            self._outcome = result, error = None, None  # its traceback leads here: no cycle is left


class Calls:
    """Calls of the peer's methods.

    Args:
        services: what the connection offers.
        settings: of the connection.
        listeners: handlers that see every message.
        sender: the way out.
        table: the calls that are pending.
        tasks: run callbacks of futures on workers; ``waits``: read in place of the reader for a while.
    """

    __slots__ = (
        "_counters", "_deadline_for", "_hooks", "_listeners", "_sender", "_services", "_settings", "_tasks", "_waits",
        "table",
    )  # fmt: skip

    def __init__(
        self,
        services: Services,
        settings: Settings,
        listeners: Registry[Callable[..., Any]],
        sender: CallSender,
        table: CallTable,
        tasks: Any,
        waits: Any,
    ) -> None:
        self._services, self._settings, self._listeners = services, settings, listeners
        self._hooks, self._counters, self._deadline_for = services.hooks, services.counters, services.deadline_for
        self._sender, self.table, self._tasks, self._waits = sender, table, tasks, waits

    step_aside: Callable[[], AbstractContextManager[None]] = delegate("_services.step_aside")
    give_up: Callable[[Any], Pending | None] = delegate("table.give_up")
    run_callback: Callable[[Callable[[], None], Context], None] = delegate("_tasks.run_callback")
    help_reader: Callable[[Callable[[], bool], Deadline], None] = delegate("_waits.help_reader")

    def call(self, method: str, payload: tuple[Any, ...], timeout: float | None, result_type: Any, retry: bool) -> Any:
        """Call a method and wait for its answer; see `owlsocket_sync.Connection.call`."""
        call = BlockingCall()
        span = self._hooks.start("call", method) if self._hooks.instruments else None
        try:
            # Before the call is sent: the peer should not perform a call whose result cannot be converted.
            adapter = None if result_type is None else type_adapter(result_type)
            link = self._prepare(call, method, payload, timeout, retry)
            if span is not None:
                span.extend(call)
            try:
                self.table.add(call)
                self._sender.send_and_wait(call, link, call.is_done)
            except BaseException:
                self.table.give_up(call.id)
                raise
            if not call.done:
                self.table.give_up(call.id)
                raise self.table.timeout_error(call)
            # One step of the interpreter, so that it needs no lock; the answer has removed it already, as a rule.
            self.table.pending.pop(call.id, None)
            result = call.outcome()
            return result if adapter is None else adapter(result, f"the result of {method!r}")
        except BaseException as error:
            if call.sent and isinstance(error, ResilientError):
                error.sent = True  # the reader may not have known, if the link was lost right after
            if span is not None:
                span.error = error
            raise
        finally:
            if span is not None:
                span.end()

    def submit(
        self, method: str, payload: tuple[Any, ...], timeout: float | None, result_type: Any, retry: bool
    ) -> CallFuture[Any]:
        """Call a method without waiting; see `owlsocket_sync.Connection.submit`."""
        span = self._hooks.start("call", method) if self._hooks.instruments else None
        future: CallFuture[Any] = CallFuture(self)
        try:
            if result_type is not None:
                future.result_type = type_adapter(result_type)
            link = self._prepare(future, method, payload, timeout, retry)
            if span is not None:
                span.follow(future)
            expires = future.deadline.at < math.inf
            self.table.add(future, expires=expires)
            if expires:
                self._sender.schedule_wakeup(future.deadline.at)
        except BaseException as error:
            if span is not None:
                span.error = error
                span.end()
            raise
        self._sender.send_call(future, link)
        return future

    def _prepare(
        self, call: Pending, method: str, payload: tuple[Any, ...], timeout: float | None, retry: bool
    ) -> int | None:
        """Fill in what is called, encoded, and return the link that it is to leave on, ``None`` to wait for one."""
        if not isinstance(method, str):
            raise TypeError(f"method must be text, not {type(method).__name__}")
        call.deadline = deadline = self._deadline_for(timeout)
        call.link = link = self._sender.link_for_call()
        if link is None:
            self._services.check_open()
        call.id, call.data = self._sender.encode_call(method, payload, deadline)
        if retry or link is None:
            call.data = compact(call.data)  # it is kept for a while
        call.size, call.method, call.retry = len(call.data), method, retry
        return link

    # -- answers that come in ----------------------------------------------------------------------------------------

    def try_complete(self, text: str | bytes | memoryview) -> bool | None:
        """Take in a message if it is an answer that can be taken in twice; by the thread that reads.

        Returns:
            Whether a thread waits for it now; ``None`` for anything else, and where a hook, a listener or an
            instrument looks at messages as well: then the dispatcher gets it.
        """
        if self._settings.prepare is not None or self._listeners or self._hooks.message_instruments:
            return None
        answer = decode_answer(text, self._services.json_depth)
        call = None if answer is None else self.table.pending.get(answer[1])
        if answer is None or call is None or call.has_callbacks:
            return None
        has_waiter = call.has_waiter
        if answer[0]:
            call.complete(answer[2])
        else:
            call.refuse(ResilientError.unmarshal(answer[2]))
        # After the completion: a signal that interrupts between the two lets the answer be taken in once more.
        self.table.pending.pop(answer[1], None)
        sizes = self._counters.sizes_in
        sizes.append(len(text) if type(text) is not str or text.isascii() else len(text.encode()))
        if len(sizes) > UNCOUNTED:
            self._counters.flush()
        return has_waiter

    def receive_answer(self, message: Message) -> None:
        """Take in a result or an error."""
        if (call := self.table.forget(message.id)) is None:
            if self.table.take_given_up(message.id):
                self._counters.count("dropped")
                return
            self._counters.count("unmatched")
            error = unmatched(f"{MessageType(message.type).value} for an unknown or timed-out call", message)
            self._services.report(error, ErrorContext("receive", str(message.id), message))
        elif message.type is MessageType.ERROR:
            call.refuse(ResilientError.unmarshal(message.payload))
        elif call.result_type is None:
            call.complete(message.payload)
        else:
            self._services.dispatch(None, 0, call.complete_converted, message.payload)

    def receive_unreadable(self, id: Any, error: BaseException) -> None:
        """Fail the call whose answer could not be read, or prepared."""
        if (call := self.table.forget(id)) is not None:
            call.refuse(error)
