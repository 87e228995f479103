"""Instruments: objects that observe what connections do, for metrics and traces.

A connection that no instrument observes pays one look at a tuple where its own verbs begin.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..clock import perf_counter
from ..errors import ResilientError
from ..states import StateChange
from ..values import FieldwiseEq, shorten_name
from .messages import Message
from .pending import CallFuture, Pending
from .reports import ErrorContext, Report

OK, ERROR, TIMEOUT, LOST, CANCELLED, LATE = "ok", "error", "timeout", "lost", "cancelled", "late"
_BY_CODE = {"TIMEOUT": TIMEOUT, "CONNECTION_LOST": LOST}


@dataclass(frozen=True, eq=False, repr=False)
class Operation(FieldwiseEq):
    """An operation of a connection that takes time.

    Attributes:
        connection: the `owlsocket_sync.Connection`.
        name: the method or the event, at most 200 characters of it; ``"*"`` for a handler that observes all events.
        message: the message of the peer, for its calls, events and requests; ``None`` for ours.
        extra: further keys, as text, for the message of ours: what a start sets here travels with it, and is in the
            JSON object beside the keys of the protocol. A key of the protocol is refused. Empty for the peer's.
    """

    connection: Any
    name: str
    message: Message | None = None
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class Outcome(FieldwiseEq):
    """The outcome of an operation.

    Attributes:
        status: ``"ok"``, ``"error"``, ``"timeout"``, ``"lost"`` (the link), ``"cancelled"`` (by the caller),
            or ``"late"`` (the answer was dropped, since its deadline had passed).
        seconds: its duration.
        error: the error, or ``None``.
        result: the result of a call, in the outcomes of `owlsocket_sync.hub.Hub.call_all` alone.
    """

    status: str
    seconds: float
    error: BaseException | None = None
    result: Any = None


class Instrument:
    """Observes what connections do: override the methods that you need, the others do nothing.

    The value that an ``on_…_start`` returns is passed to its ``on_…_end`` as ``token``; a start that raised has no end.
    A method that raises is reported to ``on_error`` and disturbs nothing. Hooks run synchronously on the thread that
    they observe: they must be quick and must not use the connection. ``on_call_end`` of a call made by ``submit``, and
    ``on_state``, run on a worker; hooks of a handler on the worker that runs it; ``on_message`` on the thread that
    reads or writes; all others on the caller's thread.
    """

    def on_call_start(self, call: Operation) -> Any:
        """A call of the peer's method begins."""

    def on_call_end(self, call: Operation, outcome: Outcome, token: Any) -> None:
        """A call was answered, has failed, or was cancelled."""

    def on_perform_start(self, call: Operation) -> Any:
        """The handler of a call by the peer is about to run."""

    def on_perform_end(self, call: Operation, outcome: Outcome, token: Any) -> None:
        """The handler has run, and its answer was sent or dropped."""

    def on_notify_start(self, event: Operation) -> Any:
        """An event is about to be sent."""

    def on_notify_end(self, event: Operation, outcome: Outcome, token: Any) -> None:
        """The event was sent, was put into a batch, or could not be sent."""

    def on_observe_start(self, event: Operation) -> Any:
        """A handler is about to run for an event of the peer; once for each handler."""

    def on_observe_end(self, event: Operation, outcome: Outcome, token: Any) -> None:
        """The handler has run."""

    def on_request_start(self, request: Operation) -> Any:
        """A request is about to be sent; requests have no names, so its name is ``"request"``."""

    def on_request_end(self, request: Operation, outcome: Outcome, token: Any) -> None:
        """The request was sent, was put into a batch, or could not be sent; its responses come later."""

    def on_acknowledge_start(self, request: Operation) -> Any:
        """A handler is about to run for a request of the peer; once for each handler that is asked."""

    def on_acknowledge_end(self, request: Operation, outcome: Outcome, token: Any) -> None:
        """The handler has run."""

    def on_hand_over(self, operation: Operation) -> None:
        """A hub takes an event for its connections, or a call for a connection of another server; by `instrument` only.

        There is no connection: ``operation.connection`` is ``None``. What is set in ``operation.extra`` travels with
        the event; of a call, the other server has it in the `Operation` of its ``on_call_start``.
        """

    def on_message(self, connection: Any, direction: str, size: int) -> None:
        """A message of so many bytes came ``"in"`` or went ``"out"``.

        While an instrument overrides this, answers take the longer way over the reader; `Connection.stats` counts for
        less.
        """

    def on_state(self, connection: Any, change: StateChange) -> None:
        """The state of a connection changed; in order."""


class Span:
    """One operation, from its start to its end, which is reported once."""

    __slots__ = ("_caught", "_ended", "_hooks", "_operation", "_started", "_tokens", "_verb", "error", "status")

    # Of our workers; see below.
    _HANDLERS = frozenset({"perform", "observe", "acknowledge"})

    def __init__(self, hooks: Hooks, verb: str, operation: Operation) -> None:
        self._hooks = hooks
        self._verb = verb
        # On our workers nothing may keep a handler from its message, or a peer from its answer. A caller's thread must
        # see its own KeyboardInterrupt, and whatever ends its greenlet.
        self._caught: type[BaseException] = BaseException if verb in self._HANDLERS else Exception
        self._operation = operation
        self._ended: float | None = None
        self.error: BaseException | None = None
        self.status: str | None = None
        self._tokens: list[tuple[Instrument, Any]] = []
        self._started = perf_counter()
        for instrument in hooks.instruments:
            try:
                self._tokens.append((instrument, getattr(instrument, f"on_{verb}_start")(operation)))
            except self._caught as error:
                hooks.report_failure(f"on_{verb}_start", error)

    def extend(self, call: Pending) -> None:
        """Add the keys of the instruments to the message of a call that was prepared."""
        if self._operation.extra:
            call.data = self.extended(call.data)
            call.size = len(call.data)

    def extended(self, data: bytes) -> bytes:
        """Return an encoded message with the keys that instruments add; without them if they cannot be sent."""
        keys = self._operation.extra
        return self._hooks.extended(data, keys, self._verb) if keys else data

    def follow(self, future: CallFuture[Any]) -> None:
        """Add the keys of the instruments to its message, and end with this future; that is reported on a worker."""
        self.extend(future)
        # Not `CallFuture.add_done_callback`: the moment of the end is to be taken where the answer arrives.
        Future.add_done_callback(future, self._completed)

    def _completed(self, future: Future[Any]) -> None:
        self._ended = perf_counter()
        assert isinstance(future, CallFuture)
        future.schedule_callback(self._end_with)

    def _end_with(self, future: Future[Any]) -> None:
        if future.cancelled():
            self.status = CANCELLED
        else:
            self.error = future.exception()
        self.end()

    def end(self) -> None:
        """Report the outcome."""
        tokens, self._tokens = self._tokens, []
        error, self.error = self.error, None  # its traceback may lead here: no cycle is left
        seconds = (self._ended or perf_counter()) - self._started
        outcome = Outcome(self.status or status_of(error), seconds, error)
        for instrument, token in tokens:
            try:
                getattr(instrument, f"on_{self._verb}_end")(self._operation, outcome, token)
            except self._caught as failure:
                self._hooks.report_failure(f"on_{self._verb}_end", failure)


class LeadsToConnection(Protocol):
    """A reference to the connection."""

    def get(self) -> Any:
        """Return the `owlsocket_sync.Connection`, ``None`` before there is one."""


class Hooks:
    """The instruments that observe one connection.

    Args:
        name: the name of the connection.
        own: the instruments that observe this connection alone.
        report: reports an instrument that failed.
        facade: leads to the connection that instruments are shown.
        message_size: the most bytes of a message.

    Attributes:
        instruments: all that observe it.
        message_instruments: those that look at each message.
        state_instruments: those that look at changes of the state.
    """

    __slots__ = (
        "__weakref__", "_facade", "_message_size", "_report", "instruments", "message_instruments", "name", "own",
        "state_instruments",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        own: tuple[Instrument, ...],
        report: Report,
        facade: LeadsToConnection,
        message_size: int,
    ) -> None:
        self.name = name
        self._message_size = message_size
        self.own = own
        self._report = report
        self._facade = facade
        self.instruments: tuple[Instrument, ...] = ()
        self.message_instruments: tuple[Instrument, ...] = ()
        self.state_instruments: tuple[Instrument, ...] = ()

    @property
    def connection(self) -> Any:
        """Return the `owlsocket_sync.Connection`."""
        return self._facade.get()

    def observe_by(self, instruments: tuple[Instrument, ...]) -> None:
        """Let these, and those of the connection itself, observe it from now on."""
        instruments = (*instruments, *self.own)
        self.message_instruments = tuple(each for each in instruments if _overrides(each, "on_message"))
        self.state_instruments = tuple(each for each in instruments if _overrides(each, "on_state"))
        self.instruments = instruments  # last: a thread that sees it finds the others in place

    def start(self, verb: str, name: str, message: Message | None = None, extra: dict[str, str] | None = None) -> Span:
        """Report that an operation begins, and return what is to be told its end."""
        return Span(self, verb, Operation(self.connection, shorten_name(name), message, {} if extra is None else extra))

    def extended(self, data: bytes, keys: dict[str, str], verb: str) -> bytes:
        """Return an encoded message with further keys; without them where they are refused, or it grows too large."""
        from .extra_keys import write_keys  # where no instrument adds any, it is not loaded

        try:
            extended = write_keys(data, keys)
        except (TypeError, ValueError) as error:
            self.report_failure(f"on_{verb}_start", error)
            return data
        # A message that may be sent stays one: those who watch disturb nothing.
        return extended if len(extended) <= self._message_size else data

    def report_messages(self, direction: str, sizes: Iterable[int]) -> None:
        """Report messages of so many bytes each."""
        for size in sizes:
            for instrument in self.message_instruments:
                try:
                    instrument.on_message(self.connection, direction, size)
                except Exception as error:
                    self.report_failure("on_message", error)

    def report_state(self, change: StateChange) -> None:
        """Report a change of the state."""
        for instrument in self.state_instruments:
            try:
                instrument.on_state(self.connection, change)
            except Exception as error:
                self.report_failure("on_state", error)

    def report_failure(self, hook: str, error: BaseException) -> None:
        """Report that a hook raised."""
        self._report(error, ErrorContext("instrument", hook))


def status_of(error: BaseException | None) -> str:
    """Return the status of an operation that ended with this error."""
    if error is None:
        return OK
    if isinstance(error, ResilientError):
        return _BY_CODE.get(error.code, ERROR)
    return ERROR if isinstance(error, Exception) else CANCELLED


def _overrides(instrument: Instrument, hook: str) -> bool:
    return getattr(type(instrument), hook) is not getattr(Instrument, hook)
