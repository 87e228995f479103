"""Who watches connections at work, for metrics and traces: an `Instrument`, and what it is told.

A connection that nobody watches asks for that in one step, where its own verbs begin. Threads: ``_watch_lock``
guards which connections there are and what watches them all, and is a leaf; what watches one connection is a tuple that
is replaced under it, so that whoever works reads it without a lock.
"""

from __future__ import annotations

import os
import threading
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from ..errors import ResilientError
from ..stages import StateChange
from ..values import ByFields
from .endpoint import Endpoint, ErrorContext
from .messages import Message
from .pending import CallFuture
from .subscription import Subscription

OK, ERROR, TIMEOUT, LOST, CANCELLED, LATE = "ok", "error", "timeout", "lost", "cancelled", "late"
UNNAMED = "owlsocket"
_BY_CODE = {"TIMEOUT": TIMEOUT, "CONNECTION_LOST": LOST}


@dataclass(frozen=True, eq=False, repr=False)
class Activity(ByFields):
    """Something that a connection does, and that takes its time.

    Attributes:
        connection: the `owlsocket_sync.Connection`.
        name: the method or the event; ``"*"`` for a handler that observes all events.
        message: what the peer sent, for its calls and its events; ``None`` for ours.
    """

    connection: Any
    name: str
    message: Message | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Outcome(ByFields):
    """What became of an activity.

    Attributes:
        status: ``"ok"``, ``"error"``, ``"timeout"``, ``"lost"`` (the link), ``"cancelled"`` (by whoever called),
            or ``"late"`` (performed in vain: the answer was dropped, its deadline had passed).
        seconds: how long it took.
        error: what went wrong, or ``None``.
    """

    status: str
    seconds: float
    error: BaseException | None = None


class Instrument:
    """Watches connections at work: override what you want to hear of, the rest does nothing.

    What an ``on_…_start`` returns is handed to its ``on_…_end`` as ``kept``; after a start that raised there is no end.
    A method that raises is reported to ``on_error`` and disturbs nothing. All of them run in the way of what they
    watch, so they must be quick and must not use the connection. ``on_call_end`` of a call made by ``submit``, and
    ``on_state``, run on a worker; what belongs to a handler on the worker that runs it; ``on_message`` on whichever
    thread reads or writes; all else on the caller's thread.
    """

    def on_call_start(self, call: Activity) -> Any:
        """A call of the peer's method begins."""

    def on_call_end(self, call: Activity, outcome: Outcome, kept: Any) -> None:
        """A call was answered, failed or was given up."""

    def on_perform_start(self, call: Activity) -> Any:
        """The handler of a call by the peer is about to run."""

    def on_perform_end(self, call: Activity, outcome: Outcome, kept: Any) -> None:
        """It has run, and its answer was sent or dropped."""

    def on_notify_start(self, event: Activity) -> Any:
        """An event is about to be sent."""

    def on_notify_end(self, event: Activity, outcome: Outcome, kept: Any) -> None:
        """It was sent, was put into a batch, or could not be sent."""

    def on_observe_start(self, event: Activity) -> Any:
        """A handler is about to run for an event of the peer; once for each handler."""

    def on_observe_end(self, event: Activity, outcome: Outcome, kept: Any) -> None:
        """It has run."""

    def on_message(self, connection: Any, direction: str, size: int) -> None:
        """A message of so many bytes came ``"in"`` or went ``"out"``.

        While anybody overrides this, answers take the longer way over the reader; `Connection.stats` counts for less.
        """

    def on_state(self, connection: Any, change: StateChange) -> None:
        """The state of a connection changed; in order."""


class Measured:
    """One activity, from its start to its end, which is told once."""

    __slots__ = ("_activity", "_begun", "_ended", "_owner", "_started", "_verb", "error", "status")

    def __init__(self, owner: Instrumented, verb: str, activity: Activity) -> None:
        self._owner = owner
        self._verb = verb
        self._activity = activity
        self._ended: float | None = None
        self.error: BaseException | None = None
        self.status: str | None = None
        self._begun: list[tuple[Instrument, Any]] = []
        self._started = time.perf_counter()
        for one in owner._instruments:
            try:
                self._begun.append((one, getattr(one, f"on_{verb}_start")(activity)))
            except Exception as error:
                owner._report_instrument(f"on_{verb}_start", error)

    def follow(self, future: CallFuture) -> None:
        """End with this future: what is told is told on a worker."""
        Future.add_done_callback(future, self._completed)

    def _completed(self, future: Future[Any]) -> None:
        self._ended = time.perf_counter()
        assert isinstance(future, CallFuture)
        future._tell(self._end_with)

    def _end_with(self, future: Future[Any]) -> None:
        if future.cancelled():
            self.status = CANCELLED
        else:
            self.error = future.exception()
        self.end()

    def end(self) -> None:
        """Tell what became of it."""
        begun, self._begun = self._begun, []
        error, self.error = self.error, None  # whose traceback may lead here
        seconds = (self._ended or time.perf_counter()) - self._started
        outcome = Outcome(self.status or _status(error), seconds, error)
        for one, kept in begun:
            try:
                getattr(one, f"on_{self._verb}_end")(self._activity, outcome, kept)
            except Exception as failure:
                self._owner._report_instrument(f"on_{self._verb}_end", failure)


def _status(error: BaseException | None) -> str:
    if error is None:
        return OK
    if isinstance(error, ResilientError):
        return _BY_CODE.get(error.code, ERROR)
    return ERROR if isinstance(error, Exception) else CANCELLED


def family(name: str) -> str:
    """Under which name a connection is summed up: without the number that tells it from others of its kind."""
    stem = name.partition("#")[0]
    return UNNAMED if stem.removeprefix(f"{UNNAMED}-").isdecimal() else stem


class Process:
    """The connections of this process, what those that are over have counted, and what watches all of them."""

    def __init__(self) -> None:
        self._instruments: tuple[Instrument, ...] = ()
        self.renew()

    def renew(self) -> None:
        """In a forked child: the connections are the parent's, until they are used here."""
        self._watch_lock = threading.Lock()
        self._connections: WeakSet[Instrumented] = WeakSet()
        self._over: dict[str, Counter[str]] = {}

    def remember(self, connection: Instrumented) -> None:
        """It is one of this process, unless it is over."""
        with self._watch_lock:
            if connection._counts:
                self._connections.add(connection)
                connection._watch_by((*self._instruments, *connection._own_instruments))

    def forget(self, connection: Instrumented, counted: Mapping[str, int]) -> None:
        """It is over, with these counters."""
        with self._watch_lock:
            connection._counts = False
            if connection in self._connections:
                self._connections.discard(connection)
                self._over.setdefault(family(connection.name), Counter()).update(counted)

    def connections(self) -> list[Instrumented]:
        """Those that are not over."""
        with self._watch_lock:
            return list(self._connections)

    def survey(self) -> tuple[list[Instrumented], dict[str, Counter[str]]]:
        """Those that are not over, and the counters of those that are, by family; as of one moment."""
        with self._watch_lock:
            return list(self._connections), {name: counted.copy() for name, counted in self._over.items()}

    def change(self, instruments: Callable[[tuple[Instrument, ...]], tuple[Instrument, ...]]) -> None:
        """Have other instruments watch all."""
        with self._watch_lock:
            self._instruments = instruments(self._instruments)
            for connection in self._connections:
                connection._watch_by((*self._instruments, *connection._own_instruments))

    def change_one(
        self, connection: Instrumented, instruments: Callable[[tuple[Instrument, ...]], tuple[Instrument, ...]]
    ) -> None:
        """Have other instruments watch one."""
        with self._watch_lock:
            connection._own_instruments = instruments(connection._own_instruments)
            connection._watch_by((*self._instruments, *connection._own_instruments))


PROCESS = Process()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PROCESS.renew)


def instrument(instrument: Instrument) -> Subscription:
    """Have an instrument watch every connection of this process, those that are there and those to come.

    Both ends count: what `owlsocket_sync.connect` makes, and the clients of embedded servers. From any thread. What
    has begun when the subscription is called is still told its end.
    """
    return _registered(instrument, PROCESS.change)


class Instrumented(Endpoint):
    """The part of a connection that is watched."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What logs call this connection."""

    def __init__(self) -> None:
        self._counts = True
        self._own_instruments: tuple[Instrument, ...] = ()
        self._instruments: tuple[Instrument, ...] = ()
        self._message_instruments: tuple[Instrument, ...] = ()
        self._state_instruments: tuple[Instrument, ...] = ()
        PROCESS.remember(self)

    def instrument(self, instrument: Instrument) -> Subscription:
        """Have an instrument watch this connection; `owlsocket_sync.instrument` is for all of them."""
        return _registered(instrument, lambda change: PROCESS.change_one(self, change))

    def _remember(self) -> None:
        """It is about to be used in this process, which may be a forked child; again and again."""
        PROCESS.remember(self)

    def _watch_by(self, instruments: tuple[Instrument, ...]) -> None:
        self._message_instruments = tuple(one for one in instruments if _overrides(one, "on_message"))
        self._state_instruments = tuple(one for one in instruments if _overrides(one, "on_state"))
        self._instruments = instruments

    def _measure(self, verb: str, name: str, message: Message | None = None) -> Measured:
        return Measured(self, verb, Activity(self, name, message))

    def _tell_messages(self, direction: str, sizes: Iterable[int]) -> None:
        for size in sizes:
            for one in self._message_instruments:
                try:
                    one.on_message(self, direction, size)
                except Exception as error:
                    self._report_instrument("on_message", error)

    def _tell_instruments_state(self, change: StateChange) -> None:
        for one in self._state_instruments:
            try:
                one.on_state(self, change)
            except Exception as error:
                self._report_instrument("on_state", error)

    def _report_instrument(self, hook: str, error: Exception) -> None:
        self._report(error, ErrorContext("instrument", hook))


def _registered(
    instrument: Instrument, change: Callable[[Callable[[tuple[Instrument, ...]], tuple[Instrument, ...]]], None]
) -> Subscription:
    if not isinstance(instrument, Instrument):
        raise TypeError(f"instrument must be an Instrument, not {type(instrument).__name__}")

    def without(there: tuple[Instrument, ...]) -> tuple[Instrument, ...]:
        at = next((at for at, one in enumerate(there) if one is instrument), len(there))
        return there[:at] + there[at + 1 :]

    change(lambda there: (*there, instrument))
    return Subscription(type(instrument), lambda _: change(without))


def _overrides(instrument: Instrument, hook: str) -> bool:
    return getattr(type(instrument), hook) is not getattr(Instrument, hook)
