"""Events, both ways: ``notify``, ``observe`` and ``events``, over the message ``event``.

Handlers of one event run in order, on the lane of that event.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from functools import wraps
from typing import Any, cast

from ..errors import SocketTimeout
from .backlog import SHORT
from .hooks import Span
from .iterators import BlockingIterator, check_limit
from .mailbox import Mailbox
from .messages import EventMessage
from .private_copy import private_copy
from .reports import ErrorContext
from .reruns import name_to_replace
from .services import Services
from .subscriptions import Registry, Subscription, check_handler
from .types.interfaces import type_adapter

EVERY = "*"

Convert = Callable[[EventMessage], EventMessage]


class EventStream(BlockingIterator[EventMessage]):
    """Events of one name, taken by the thread that iterates; see `owlsocket_sync.Connection.events`."""

    def __init__(
        self,
        services: Callable[[], Services],
        mailbox: Mailbox[EventMessage],
        name: str,
        limit: int | None,
        timeout: float | None,
    ) -> None:
        super().__init__(services, mailbox, timeout)
        self._name = name
        self._left = math.inf if limit is None else limit

    def __repr__(self) -> str:
        return f"<EventStream of {self._name!r}{', closed' if self._closed else ''}>"

    def __next__(self) -> EventMessage:
        if self._left <= 0:
            self.close()
            raise StopIteration
        self._left -= 1
        try:
            return self._get_nowait()
        except LookupError:
            deadline = self._services().deadline_for(self._timeout, math.inf)
        try:
            return self._get(deadline)
        except SocketTimeout:
            raise
        except TimeoutError:
            raise SocketTimeout(f"no event {self._name!r} came within {deadline.seconds:g} s") from None
        except EOFError:
            raise StopIteration from None


class ConvertedEvents(EventStream):
    """Events of one name, each payload converted."""

    convert: Convert

    def __next__(self) -> EventMessage:
        return self.convert(super().__next__())


def not_text(event: object) -> TypeError:
    """Return the error for an event whose name is not text."""
    return TypeError(f"event must be text, not {type(event).__name__}")


class Events:
    """Events of the peer, and ours.

    Args:
        services: what the connection offers.
        send_event: send an event; raises what `owlsocket_sync.Connection.notify` raises.
        observers: handlers by name.
        queues: queues of iterators by name.
    """

    __slots__ = ("_backlog", "_hooks", "_invoke", "_observers", "_queues", "_run", "_send_event", "_services")

    def __init__(
        self,
        services: Services,
        send_event: Callable[[str, Any], None],
        observers: Registry[Callable[..., Any]],
        queues: Registry[Mailbox[EventMessage]],
    ) -> None:
        self._services = services
        self._hooks = services.hooks
        self._backlog = services.backlog
        self._run = services.run
        self._send_event = send_event
        self._invoke = self._invoke_plainly if services.surroundings is None else self._invoke_within
        self._observers = observers
        self._queues = queues

    def notify(self, event: str, payload: Any) -> None:
        """Send an event; see `owlsocket_sync.Connection.notify`."""
        if not isinstance(event, str):
            raise not_text(event)
        if not self._hooks.instruments:
            self._send_event(event, payload)
            return
        span = self._hooks.start("notify", event)
        try:
            self._services.send_observed(EventMessage(payload=payload, event=event), span)
        except BaseException as error:
            span.error = error
            raise
        finally:
            span.end()

    def observe(
        self, event: str, handler: Callable[[EventMessage], Any], convert: Convert | None, replace: bool
    ) -> Subscription:
        """Register a handler, which gets messages as `message_converter` leaves them."""
        check_handler(handler, f"the handler of {event!r}", "message")
        self._services.check_open()
        replaced = name_to_replace(handler) if replace else None
        observer = handler if convert is None else _with_converted_payload(convert, handler)
        return self._observers.add(event, observer, replaced=replaced)

    def events(
        self,
        services: Callable[[], Services],
        event: str,
        limit: int | None,
        timeout: float | None,
        payload_type: Any,
    ) -> EventStream:
        """Return an iterator; see `owlsocket_sync.Connection.events`."""
        check_limit(limit)
        mailbox: Mailbox[EventMessage] = Mailbox(self._backlog, self._services.mailbox_lock())
        # Made first: a type that cannot be converted to raises before anything is registered.
        convert = message_converter(payload_type)
        if convert is None:
            stream = EventStream(services, mailbox, event, limit, timeout)
        else:
            stream = converted = ConvertedEvents(services, mailbox, event, limit, timeout)
            converted.convert = convert
        stream._attach(self._queues.add(event, mailbox))
        if self._services.closing_error() is not None:
            mailbox.close()
        return stream

    def receive_event(self, message: EventMessage) -> None:
        """Take in an event: to the queues at once, to the observers by a worker."""
        name, size = message.event, len(message.raw or "")
        if size > SHORT:  # weigh() asks this as well; a function call less is measurable
            size = self._backlog.weigh(message.raw)
        find = self._observers.find
        observed = find(name) or find(EVERY)
        if self._queues.find(name) or self._queues.find(EVERY):
            queues = self._find_both(self._queues, name)
            for queue in queues[1:] if not observed else queues:
                queue.handler(private_copy(message), size)
            if not observed:  # last: the one that gets the message itself may change it at once
                queues[0].handler(message, size)
        if observed:
            self._backlog.take(size)
            if not self._run(("event", name), self._observe, message, size):
                self._services.counters.count("dropped")
                self._backlog.release(size)

    def _observe(self, message: EventMessage, size: int) -> None:
        name, find = message.event, self._observers.find
        try:
            observers = find(name) or ()
            if len(observers) != 1 or find(EVERY):
                observers = self._find_both(self._observers, name)
                # The last one gets the message itself: until then it is as it came.
                for observer in observers[:-1]:
                    self._notify_observer(observer, private_copy(message))
            if observers:
                self._notify_observer(observers[-1], message)
        finally:
            self._backlog.release(size)

    def _find_both(self, registry: Registry[Any], name: str) -> tuple[Subscription, ...]:
        """Return the subscriptions of an event, and then those of all events."""
        find = registry.find
        every = find(EVERY) if name != EVERY else None
        return find(name, ()) if not every else (*find(name, ()), *every)

    def _notify_observer(self, observer: Subscription, message: EventMessage) -> None:
        if observer.active:
            # As `Subscription._invoke`, with the span inside of the context: that may be where a tracer keeps it.
            observer.context.copy().run(self._invoke, observer, message)

    def _invoke_plainly(self, observer: Subscription, message: EventMessage) -> None:
        span = self._start_span(observer, message) if self._hooks.instruments else None
        try:
            observer.handler(message)
        except BaseException as error:
            self._services.report(error, ErrorContext("observe", message.event, message))
            if span is not None:
                span.error = error
        if span is not None:
            span.end()

    def _invoke_within(self, observer: Subscription, message: EventMessage) -> None:
        assert self._services.surroundings is not None
        try:
            with self._services.surroundings():
                self._invoke_plainly(observer, message)
        except BaseException as error:
            self._services.report(error, ErrorContext("observe", message.event, message))

    def _start_span(self, observer: Subscription, message: EventMessage) -> Span:
        # Under the name that the handler observes: the peer may invent any number of names, and metrics keep each.
        observes_all = observer in self._observers.get(EVERY)
        return self._hooks.start("observe", EVERY if observes_all else message.event, message)

    def end(self) -> None:
        """End each iterator once it has handed out what came; the connection is closed."""
        for mailbox in self._mailboxes():
            mailbox.close()

    def adopt_queues(self) -> None:
        """Let the iterators that the parent made go on here; in a forked child."""
        for mailbox in self._mailboxes():
            mailbox.adopt(self._backlog, self._services.mailbox_lock())

    def _mailboxes(self) -> list[Mailbox[EventMessage]]:
        return [cast(Mailbox[EventMessage], subscription.handler) for subscription in self._queues.subscriptions()]


def message_converter(payload_type: Any) -> Convert | None:
    """Return a function that returns a copy of a message with a converted payload, ``None`` for no type.

    Raises:
        TypeError: JSON cannot be converted to the type.
    """
    if payload_type is None:
        return None
    convert = type_adapter(payload_type)

    def convert_message(message: EventMessage) -> EventMessage:
        converted = copy(message)  # other handlers see the same message
        converted.payload = convert(message.payload, f"the payload of event {message.event!r}")
        return converted

    return convert_message


def _with_converted_payload(convert: Convert, handler: Callable[[EventMessage], Any]) -> Callable[[EventMessage], Any]:
    @wraps(handler)
    def observe(message: EventMessage) -> Any:
        return handler(convert(message))

    return observe
