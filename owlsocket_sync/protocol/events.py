"""Events, both ways: ``notify``, ``observe`` and ``events``, over the message ``event``.

Handlers of one event run in order, on the lane of that event.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast, overload

from ..errors import SocketTimeout
from .endpoint import Endpoint, ErrorContext
from .instruments import Measured
from .mailbox import Mailbox
from .messages import EventMessage
from .pull import Pull
from .subscription import Registry, Subscription

EVERY = "*"

Observer = TypeVar("Observer", bound=Callable[[EventMessage], Any])


class EventStream(Pull[EventMessage]):
    """The events of one name, taken by the thread that iterates; see `Events.events`."""

    def __init__(
        self, owner: Endpoint, mailbox: Mailbox[EventMessage], name: str, limit: int | None, timeout: float | None
    ) -> None:
        super().__init__(owner, mailbox, timeout)
        self._name = name
        self._left = math.inf if limit is None else limit

    def __next__(self) -> EventMessage:
        if self._left <= 0:
            self.close()
            raise StopIteration
        self._left -= 1
        try:
            return self._take_now()
        except LookupError:
            deadline = self._owner._budget(self._timeout, math.inf)
        try:
            return self._take(deadline)
        except TimeoutError:
            raise SocketTimeout(f"no event {self._name!r} came within {deadline.seconds:g} s") from None
        except EOFError:
            raise StopIteration from None


class Events(Endpoint):
    """Send events to the peer, and observe those of the peer."""

    def __init__(self) -> None:
        self._observers: Registry[Callable[[EventMessage], Any]] = Registry()
        self._event_mail: Registry[Mailbox[EventMessage]] = Registry()

    def notify(self, event: str, payload: Any = None) -> None:
        """Send an event; nobody answers it.

        Raises:
            SocketConnectionError: the connection is closed, or the link broke while it was sent.
            SocketTimeout: there was no link within ``default_call_timeout``, or within the `deadline` around it.
            SocketMessageMalformed: the payload cannot be sent as JSON.
        """
        if not isinstance(event, str):
            raise TypeError(f"event must be text, not {type(event).__name__}")
        if not self._instruments:
            self._send_event(event, payload)
            return
        measured = self._measure("notify", event)
        try:
            self._send_event(event, payload)
        except BaseException as error:
            measured.error = error
            raise
        finally:
            measured.end()

    @overload
    def observe(self, event: str, handler: Callable[[EventMessage], Any]) -> Subscription: ...
    @overload
    def observe(self, event: str) -> Callable[[Observer], Observer]: ...

    def observe(
        self, event: str, handler: Callable[[EventMessage], Any] | None = None
    ) -> Subscription | Callable[[Observer], Observer]:
        """Have ``handler(message)`` run for each event of this name, ``"*"`` for all; a decorator without handler.

        Handlers run on workers: those of one event in order, different events side by side.
        """
        if handler is not None:
            return self._observers.add(event, handler)

        def register(handler: Observer) -> Observer:
            self._observers.add(event, handler)
            return handler

        return register

    def events(self, event: str, limit: int | None = None, timeout: float | None = None) -> EventStream:
        """Iterate over the events of this name, from now on, in the caller's own thread.

        Args:
            event: its name, ``"*"`` for all.
            limit: end after so many.
            timeout: seconds to wait for each; ``None`` for as long as the connection lasts.

        Returns:
            An iterator that is also a context manager; it ends with the connection. While it waits in
            ``__next__`` it raises `SocketTimeout` when no event came in time.
        """
        mailbox: Mailbox[EventMessage] = Mailbox(self._backlog)
        stream = EventStream(self, mailbox, event, limit, timeout)
        stream._subscription = self._event_mail.add(event, mailbox)
        if self._closing_error() is not None:
            mailbox.close()
        return stream

    def _receive_event(self, message: EventMessage) -> None:
        name, size = message.event, len(message.raw or "")
        if self._event_mail:
            for key in _keys(name):
                for letter_box in self._event_mail.get(key):
                    letter_box.handler(message, size)
        find = self._observers.find
        if find(name) or find(EVERY):
            self._backlog.take(size)
            if not self._run(("event", name), self._observe, message, size):
                self._count("dropped")
                self._backlog.give_back(size)

    def _observe(self, message: EventMessage, size: int) -> None:
        name, find = message.event, self._observers.find
        try:
            observers = find(name)
            if observers is not None:
                self._run_observers(observers, message)
            observers = find(EVERY)
            if observers is not None and name != EVERY:
                self._run_observers(observers, message)
        finally:
            self._backlog.give_back(size)

    def _run_observers(self, observers: tuple[Subscription, ...], message: EventMessage) -> None:
        for observer in observers:
            if observer._cancel is not None:  # `active`, asked for every message
                measured = self._measure_handler(observer, message) if self._instruments else None
                try:
                    observer._handler(message)  # type: ignore[misc]
                except BaseException as error:
                    self._report(error, ErrorContext("observe", message.event, message))
                    if measured is not None:
                        measured.error = error
                if measured is not None:
                    measured.end()

    def _measure_handler(self, observer: Subscription, message: EventMessage) -> Measured:
        """Under the name that it observes: a peer may make up any number of others."""
        every = observer in self._observers.get(EVERY)
        return self._measure("observe", EVERY if every else message.event, message)

    def _end_events(self) -> None:
        """The connection is over: end each iterator once it has given out what came."""
        for mailbox in self._mailboxes():
            mailbox.close()

    def _mailboxes(self) -> list[Mailbox[EventMessage]]:
        boxes = (box for key in self._event_mail.keys() for box in self._event_mail.get(key))  # noqa: SIM118
        return [cast(Mailbox[EventMessage], box.handler) for box in boxes]

    def _renew_events(self) -> None:
        for registry in (self._observers, self._event_mail):
            registry.renew_locks()
        for mailbox in self._mailboxes():
            mailbox.renew_locks()


def _keys(event: str) -> tuple[str, ...]:
    """What one event is observed under, each once."""
    return (event,) if event == EVERY else (event, EVERY)
