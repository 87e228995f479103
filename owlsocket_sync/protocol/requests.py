"""Streamed requests, both ways: ``request``, ``stream``, ``acknowledge``, ``reply`` and ``observe_response``.

One ``request`` may be answered by any number of ``response`` messages; the protocol has no word for the last one, so
the end that asked decides when there were enough.

Threads: the table of pending requests has no lock: each entry is put in, and taken out, in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial, wraps
from typing import Any, Generic, TypeVar

from ..errors import SocketConnectionError, SocketError, SocketTimeout
from ..values import shorten_name
from .iterators import BlockingIterator
from .mailbox import Mailbox
from .messages import IDS, Message, MessageType, is_id
from .private_copy import copy_payload
from .reports import ErrorContext
from .services import Services, forked_error
from .subscriptions import ALL, Registry, Subscription, check_handler, run_isolated
from .types.interfaces import type_adapter

Payload = TypeVar("Payload")

REQUEST = "request"
"""The name of each request, as instruments see it: the protocol gives it none."""


class Stream(BlockingIterator[Any]):
    """The responses to one request, taken by the thread that iterates; see `owlsocket_sync.Connection.stream`.

    ``for payload in stream`` waits for each response; leaving the loop by ``break`` and the ``with`` block, or
    `close`, stops it. An iteration that waits longer than the timeout raises `SocketTimeout`, one whose link is lost
    `SocketConnectionError`.

    Attributes:
        id: the id of the request.
    """

    def __init__(self, services: Callable[[], Services], id: str, mailbox: Mailbox[Any], timeout: float | None) -> None:
        super().__init__(services, mailbox, timeout)
        self.id = id

    def __next__(self) -> Any:
        if self._closed:
            raise StopIteration
        try:
            return self._get_nowait()
        except LookupError:
            deadline = self._services().deadline_for(self._timeout)
        try:
            return self._get(deadline)
        except SocketTimeout:
            raise
        except TimeoutError:
            timeout = SocketTimeout(f"no response came within {deadline.seconds:g} s (request {self.id})")
            timeout.sent = True
            raise timeout from None
        except EOFError as ended:
            if ended.__cause__ is None:
                raise StopIteration from None
            raise ended.__cause__ from None

    def __repr__(self) -> str:
        return f"<Stream of request {self.id}{', closed' if self._closed else ''}>"


class ConvertedStream(Stream, Generic[Payload]):
    """The responses to one request, each converted."""

    convert: Callable[[Any], Payload]

    def __next__(self) -> Payload:
        return self.convert(super().__next__())


class PendingRequest:
    """The consumer of the responses to one request.

    Attributes:
        on_response: called with each response, by the reader.
        on_lost: called with an error when the link is lost.
        on_forked: called with an error in a forked child; takes no lock of the parent's.
        sent: whether the request is known to be sent; it is not if it was gathered in a batch.
    """

    __slots__ = ("on_forked", "on_lost", "on_response", "sent")

    def __init__(
        self,
        on_response: Callable[[Message], None],
        on_lost: Callable[[Exception], object],
        on_forked: Callable[[Exception], object] = lambda error: None,
    ) -> None:
        self.on_response = on_response
        self.on_lost = on_lost
        self.sent = False
        self.on_forked = on_forked


class Requests:
    """Requests of ours and their responses, and requests of the peer.

    Args:
        services: what the connection offers.
        acknowledgers: handlers of requests.
        response_observers: handlers of responses that belong to no pending request.

    Attributes:
        pending: the requests of ours that wait for responses, by id; read without a lock.
    """

    __slots__ = ("_acknowledgers", "_hooks", "_response_observers", "_services", "pending")

    def __init__(
        self,
        services: Services,
        acknowledgers: Registry[Callable[..., Any]],
        response_observers: Registry[Callable[..., Any]],
    ) -> None:
        self._services, self._hooks = services, services.hooks
        self.pending: dict[Any, PendingRequest] = {}
        self._acknowledgers = acknowledgers
        self._response_observers = response_observers

    # -- our requests ------------------------------------------------------------------------------------------------

    def request(self, payload: Any, observer: Callable[[Any], Any] | None, payload_type: Any) -> Subscription:
        """Send a request; see `owlsocket_sync.Connection.request`."""
        if payload_type is not None:
            if observer is None:
                raise ValueError("payload_type is for an observer, and there is none")
            check_handler(observer, "the observer of a request", "payload")
            observer = _with_converted_payload(payload_type, observer)
        id = IDS.next()
        if observer is None:
            message = Message(MessageType.REQUEST, payload, id)
            self._send_observed(message) if self._hooks.instruments else self._services.send(message)
            return Subscription._group([])
        check_handler(observer, "the observer of a request", "payload")
        dispatch, report, weigh = self._services.dispatch, self._services.report, self._services.backlog.weigh

        def on_response(message: Message) -> None:
            dispatch(("response", id), weigh(message.raw), self._notify_observer, subscription, message)

        def on_lost(error: Exception) -> None:
            subscription()
            report(error, ErrorContext("request", id))

        subscription = Subscription(observer, lambda _: self._forget(id))
        self._send_request(payload, id, PendingRequest(on_response, on_lost), subscription)
        return subscription

    def stream(
        self, services: Callable[[], Services], payload: Any, timeout: float | None, payload_type: Any
    ) -> Stream:
        """Send a request, and return an iterator; see `owlsocket_sync.Connection.stream`."""
        id = IDS.next()
        mailbox: Mailbox[Any] = Mailbox(self._services.backlog, self._services.mailbox_lock())
        weigh = self._services.backlog.weigh
        stream: Stream
        if payload_type is None:
            stream = Stream(services, id, mailbox, timeout)
        else:
            convert = _response_converter(payload_type)
            stream = converted = ConvertedStream[Any](services, id, mailbox, timeout)
            converted.convert = convert

        def on_response(message: Message) -> None:
            mailbox(message.payload, weigh(message.raw))

        subscription = Subscription(mailbox, lambda _: self._forget(id))
        stream._attach(subscription)
        self._send_request(payload, id, PendingRequest(on_response, mailbox.close, mailbox.orphan), subscription)
        return stream

    def _send_request(self, payload: Any, id: str, pending: PendingRequest, subscription: Subscription) -> None:
        # Registered before it is sent: the first response may arrive before `send` returns.
        self.pending[id] = pending
        message = Message(MessageType.REQUEST, payload, id)
        try:
            self._send_observed(message) if self._hooks.instruments else self._services.send(message)
        except BaseException:
            subscription()
            raise
        pending.sent = not self._services.has_open_batch()

    def _send_observed(self, message: Message) -> None:
        span = self._hooks.start("request", REQUEST)
        try:
            self._services.send_observed(message, span)
        except BaseException as error:
            span.error = error
            raise
        finally:
            span.end()

    def _forget(self, id: Any) -> None:
        self.pending.pop(id, None)

    def observe_response(self, observer: Callable[[Any], Any]) -> Subscription:
        """Register an observer; see `owlsocket_sync.Connection.observe_response`."""
        self._services.check_open()
        return self._response_observers.add(ALL, observer, "payload")

    def _notify_observer(self, subscription: Subscription, message: Message) -> None:
        if not subscription.active:
            return
        try:
            wants_more = subscription._invoke(self._services.surroundings, message.payload)
        except BaseException as error:
            self._services.report(error, ErrorContext("request", str(message.id), message))
            return
        if not wants_more:
            subscription()

    def receive_response(self, message: Message) -> None:
        """Take in a response."""
        pending = self.pending.get(message.id)
        if pending is not None:
            pending.on_response(message)
        elif self._response_observers.get(ALL):
            size = self._services.backlog.weigh(message.raw)
            self._services.dispatch(("response", message.id), size, self._notify_response_observers, message)
        else:
            self._services.counters.count("unmatched")

    def _notify_response_observers(self, message: Message) -> None:
        call_handler, id = self._services.call_handler, str(message.id)
        observers = self._response_observers.get(ALL)
        for observer in observers:
            payload = message.payload if observer is observers[-1] else copy_payload(message.payload)
            if observer.active and call_handler("observe_response", id, observer, payload):
                return

    def fail(self, error: Callable[[], SocketConnectionError]) -> None:
        """Fail what is pending: the link is lost, and the peer has forgotten the requests that came on it."""
        for pending in self._drain_pending():
            lost = error()
            lost.sent = True if pending.sent else None
            pending.on_lost(lost)

    def orphan(self) -> None:
        """Fail what is pending without any lock of the parent's; in a forked child."""
        for pending in self._drain_pending():
            pending.on_forked(forked_error())

    def _drain_pending(self) -> Iterator[PendingRequest]:
        with suppress(KeyError):  # it is empty
            while True:
                yield self.pending.popitem()[1]

    # -- requests of the peer ----------------------------------------------------------------------------------------

    def acknowledge(self, handler: Callable[[Any, Any], Any]) -> Subscription:
        """Register a handler; see `owlsocket_sync.Connection.acknowledge`."""
        self._services.check_open()
        return self._acknowledgers.add(ALL, handler, "id, payload")

    def reply(self, id: Any, payload: Any) -> None:
        """Answer a request; see `owlsocket_sync.Connection.reply`."""
        if not is_id(id):
            raise TypeError(f"id must be that of a request, text or a number, not {type(id).__name__}")
        self._services.send(Message(MessageType.RESPONSE, payload, id))

    def receive_request(self, message: Message) -> None:
        """Take in a request."""
        size = self._services.backlog.weigh(message.raw)
        self._services.dispatch(("request", message.id), size, self._acknowledge, message)

    def _acknowledge(self, message: Message) -> None:
        call_handler, id = self._services.call_handler, str(message.id)
        if self._hooks.instruments:
            call_handler = partial(self._call_observed, message)
        handlers = self._acknowledgers.get(ALL)
        for handler in handlers:
            payload = message.payload if handler is handlers[-1] else copy_payload(message.payload)
            if handler.active and call_handler("acknowledge", id, handler, message.id, payload):
                return
        self._services.report(
            SocketError(f"no acknowledge() handler accepted request {shorten_name(id)!r}"),
            ErrorContext("acknowledge", id, message),
        )

    def _call_observed(self, message: Message, source: str, name: str, handler: Subscription, *arguments: Any) -> Any:
        """Do what `Services.call_handler` does, and show it to the instruments."""

        def invoke() -> Any:
            # Inside of the context and of the surroundings: that may be where a tracer keeps the span.
            span = self._hooks.start("acknowledge", REQUEST, message)
            try:
                return handler.handler(*arguments)
            except BaseException as error:
                span.error = error
                raise
            finally:
                span.end()

        try:
            return run_isolated(handler.context.copy(), self._services.surroundings, invoke)
        except BaseException as error:
            self._services.report(error, ErrorContext(source, name))
            return None


def _response_converter(payload_type: Any) -> Callable[[Any], Any]:
    convert = type_adapter(payload_type)
    return lambda payload: convert(payload, "a response")


def _with_converted_payload(payload_type: Any, observer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    convert = _response_converter(payload_type)

    @wraps(observer)
    def observe(payload: Any) -> Any:
        return observer(convert(payload))

    return observe
