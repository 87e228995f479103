"""Our calls of the peer's methods: ``call`` and ``submit``, over the messages ``call``, ``result`` and ``error``.

Threads: ``_calls_lock`` guards the table of pending calls and is a leaf: futures are completed and messages sent only
after it was released.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar, overload

from ..deadline import Deadline
from ..errors import ResilientError, SocketError
from ..options import Limits
from .codec import compact, decode_answer, malformed
from .endpoint import Endpoint, ErrorContext, left_to_parent
from .messages import Message, MessageType
from .pending import Asked, CallFuture, Pending
from .subscription import Registry
from .typed import convert

Result = TypeVar("Result")

_ANSWERS: dict[str, str] = {MessageType.RESULT: "a result", MessageType.ERROR: "an error"}


class Calls(Endpoint):
    """Call the peer's methods."""

    default_call_timeout: float
    prepare: Callable[[Message, bool], Message] | None
    _limits: Limits
    _listeners: Registry[Any]

    def __init__(self, pending_limit: int) -> None:
        self._calls_lock = threading.Lock()
        self._calls: dict[Any, Pending] = {}
        self._call_alarms: list[tuple[float, int, Any]] = []
        self._alarm_numbers = itertools.count()
        self._pending_limit = pending_limit

    # -- calling -----------------------------------------------------------------------------------------------------

    @overload
    def call(
        self, method: str, *payload: Any, timeout: float | None = None, result_type: None = None, retry: bool = False
    ) -> Any: ...
    @overload
    def call(
        self,
        method: str,
        *payload: Any,
        timeout: float | None = None,
        result_type: type[Result] | Callable[[Any], Result],
        retry: bool = False,
    ) -> Result: ...
    @overload
    def call(
        self, method: str, *payload: Any, timeout: float | None = None, result_type: Any, retry: bool = False
    ) -> Any: ...

    def call(
        self, method: str, *payload: Any, timeout: float | None = None, result_type: Any = None, retry: bool = False
    ) -> Any:
        """Call a method of the peer and wait for its answer; from any thread, from inside handlers too.

        Args:
            method: the name the peer performs it under.
            payload: the arguments: anything that JSON can carry, dataclasses, enums, dates, UUIDs, decimals, bytes (as
                base64), sets and what NumPy has.
            timeout: seconds; ``None`` for ``default_call_timeout``, ``math.inf`` for no limit. The peer is told.
            result_type: what the result is made: a dataclass, an enum, ``datetime``, ``list[User]``, ``User | None``
                and so on, or what any callable makes of it; ``docs/how-to/typed-payloads.md`` has the list.
            retry: send the call again, with the same id, when the link is lost: for calls that may run twice.

        Raises:
            SocketTimeout: no answer within the timeout.
            SocketConnectionError: the link was lost before the answer came, or the connection is closed.
            SocketMessageMalformed: the arguments cannot be sent as JSON, or the result is not of ``result_type``.
            ResilientError: what the peer's handler raised.
        """
        measured = self._measure("call", method) if self._instruments else None
        try:
            pending = Asked()
            self._describe(pending, method, payload, timeout, retry)
            try:
                self._register(pending)
                self._ask(pending)
            finally:
                self._calls.pop(pending.id, None)
            result = pending.outcome()
            return result if result_type is None else convert(result, result_type, f"the result of {method!r}")
        except BaseException as error:
            if measured is not None:
                measured.error = error
            raise
        finally:
            if measured is not None:
                measured.end()

    @overload
    def submit(
        self, method: str, *payload: Any, timeout: float | None = None, result_type: None = None, retry: bool = False
    ) -> Future[Any]: ...
    @overload
    def submit(
        self,
        method: str,
        *payload: Any,
        timeout: float | None = None,
        result_type: type[Result] | Callable[[Any], Result],
        retry: bool = False,
    ) -> Future[Result]: ...
    @overload
    def submit(
        self, method: str, *payload: Any, timeout: float | None = None, result_type: Any, retry: bool = False
    ) -> Future[Any]: ...

    def submit(
        self, method: str, *payload: Any, timeout: float | None = None, result_type: Any = None, retry: bool = False
    ) -> Future[Any]:
        """Call a method of the peer without waiting; works with ``concurrent.futures.wait`` and ``as_completed``.

        The timeout holds without anybody waiting; ``cancel()`` forgets the call. Arguments and errors are those of
        `call`; only unusable arguments raise here, everything else is raised by ``future.result()``.
        """
        measured = self._measure("call", method) if self._instruments else None
        future = CallFuture(self)
        try:
            self._describe(future, method, payload, timeout, retry)
            future.result_type = result_type
            self._register(future, expires=future.deadline.at < math.inf)
        except BaseException as error:
            if measured is not None:
                measured.error = error
                measured.end()
            raise
        if measured is not None:
            measured.follow(future)
        self._send_call(future)
        return future

    def _describe(
        self, pending: Pending, method: str, payload: tuple[Any, ...], timeout: float | None, retry: bool
    ) -> None:
        """Say what is called."""
        if not isinstance(method, str):
            raise TypeError(f"method must be text, not {type(method).__name__}")
        pending.deadline = deadline = self._budget(timeout)
        pending.link = self._link_for_call()
        if pending.link is None:
            self._check_open()
        pending.id, pending.data = self._encode_call(method, payload, deadline)
        if retry or pending.link is None:
            pending.data = compact(pending.data)  # it is kept
        pending.method = method
        pending.retry = retry

    def _register(self, pending: Pending, *, expires: bool = False) -> None:
        """Let it wait for its answer, and fail at its deadline where nobody else looks to that."""
        with self._calls_lock:
            calls = self._calls
            if len(calls) >= self._pending_limit:
                raise SocketError(
                    f"{self._pending_limit} calls wait for an answer already (Limits.pending_calls); "
                    f"{pending.method!r} was not sent"
                )
            calls[pending.id] = pending
            if expires:
                at = pending.deadline.at
                heapq.heappush(self._call_alarms, (at, next(self._alarm_numbers), pending.id))
                if len(self._call_alarms) > 2 * len(calls) + 64:
                    self._sweep_alarms()
        if expires:
            self._alarm(at)

    @abstractmethod
    def _encode_call(self, method: str, payload: tuple[Any, ...], deadline: Deadline) -> tuple[Any, bytes]:
        """The id of a new call, and its message."""

    @abstractmethod
    def _link_for_call(self) -> int | None:
        """The link on which a call that is made now leaves at once, ``None`` where it has to wait for one."""

    @abstractmethod
    def _ask(self, call: Asked) -> None:
        """Send a call, and wait for its answer until its deadline."""

    @abstractmethod
    def _send_call(self, call: Pending) -> None:
        """Send a call if there is a link, without waiting for one; never raises, the call is told what befell it."""

    @abstractmethod
    def _read_until(self, answered: Callable[[], bool], deadline: Deadline) -> None:
        """Send what was gathered, then read in place of the reader for a while."""

    @abstractmethod
    def _run_callback(self, function: Callable[[], None]) -> None:
        """Run a callback of a future on a worker, or here when there are none any more."""

    def _claim(self, pending: Pending, link: int) -> bool:
        """Mark a call as sent on this link; false when it is answered, forgotten or sent already."""
        with self._calls_lock:
            if pending.link is not None or pending.id not in self._calls:
                return False
            pending.link = link
            return True

    def _unclaim(self, pending: Pending) -> None:
        """Mark a call as not sent after all."""
        with self._calls_lock:
            pending.link = None

    def _forget_call(self, id: Any) -> Pending | None:
        with self._calls_lock:
            return self._calls.pop(id, None)

    def _unsent_calls(self) -> list[Pending]:
        """The calls that wait for a link, oldest first."""
        with self._calls_lock:
            return [pending for pending in self._calls.values() if pending.link is None]

    def _fail_calls(self, error: Callable[[], Exception], link: int | None = None) -> None:
        """Fail what is pending: all of it, or what was sent on links up to this one and may not be sent again."""
        with self._calls_lock:
            if link is None:
                failed, self._calls = list(self._calls.values()), {}
            else:
                sent = [one for one in self._calls.values() if one.link is not None and one.link <= link]
                failed = [one for one in sent if not one.retry]
                for one in failed:
                    del self._calls[one.id]
                for one in sent:
                    one.link = None
        for one in failed:
            one.complete(error=error())

    # -- the timeouts of calls that nobody waits for -----------------------------------------------------------------

    def _sweep_alarms(self) -> None:
        """Keep those of the calls that are pending; with the lock."""
        self._call_alarms = [alarm for alarm in self._call_alarms if alarm[2] in self._calls]
        heapq.heapify(self._call_alarms)

    @abstractmethod
    def _alarm(self, at: float) -> None:
        """Have `expire` called at this moment."""

    def expire(self, now: float) -> float:
        """Fail the submitted calls whose time is over; return when to look again (``math.inf``: never)."""
        late = []
        with self._calls_lock:
            while self._call_alarms and self._call_alarms[0][0] <= now:
                pending = self._calls.pop(heapq.heappop(self._call_alarms)[2], None)
                if pending is not None:
                    late.append(pending)
            following = self._call_alarms[0][0] if self._call_alarms else math.inf
        for pending in late:
            pending.complete(error=pending.timeout_error())
        return following

    def _renew_calls(self) -> None:
        """In a forked child: the calls that are pending are the parent's."""
        self._calls_lock = threading.Lock()
        left, self._calls, self._call_alarms = list(self._calls.values()), {}, []
        for pending in left:
            pending.leave(left_to_parent())

    # -- answers that come in ----------------------------------------------------------------------------------------

    def _take_answer(self, text: str) -> bool | None:
        """Take in a message if it is an answer and nothing else; by whoever reads, and maybe once more with the same.

        Returns:
            Whether somebody waits for it now; ``None`` for anything else than an answer, and for what cannot be done
            twice: that is left to the reader, which calls `receive`.
        """
        if self.prepare is not None or self._listeners or self._message_instruments:
            return None
        answer = decode_answer(text, self._limits.json_depth)
        pending = None if answer is None else self._calls.get(answer[1])
        if answer is None or pending is None or pending.watched:
            return None
        attended = pending.attended
        if answer[0]:
            pending.complete(answer[2])
        else:
            pending.complete(error=ResilientError.unmarshal(answer[2]))
        self._calls.pop(answer[1], None)
        self._count_traffic("in", 1, len(text) if text.isascii() else len(text.encode()))
        return attended

    def _receive_answer(self, message: Message) -> None:
        pending = self._forget_call(message.id)
        if pending is None:
            self._count("unmatched")
            text = message.raw or ""
            self._report(
                malformed(f"{_ANSWERS.get(message.type, 'an answer')} for a call that nobody waits for", text),
                ErrorContext("receive", str(message.id), message),
            )
        elif message.type is MessageType.ERROR:
            pending.complete(error=ResilientError.unmarshal(message.payload))
        elif pending.result_type is None:
            pending.complete(message.payload)
        else:
            self._submit(None, 0, self._complete_converted, pending, message.payload)

    def _complete_converted(self, pending: Pending, payload: Any) -> None:
        try:
            result = convert(payload, pending.result_type, f"the result of {pending.method!r}")
        except BaseException as error:
            pending.complete(error=error)
        else:
            pending.complete(result)
