"""Streamed requests, both ways: ``request``, ``stream``, ``acknowledge``, ``reply`` and ``observe_response``.

One ``request`` may be answered by any number of ``response`` messages; the protocol has no word for the last one, so
whoever asked decides when there were enough.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Generic, TypeVar, cast, overload

from ..errors import SocketError, SocketTimeout
from .codec import is_id
from .endpoint import Endpoint, ErrorContext, left_to_parent
from .mailbox import Mailbox
from .messages import Message, MessageType, new_id
from .pull import Pull
from .subscription import Registry, Subscription
from .typed import converter

ANY = ""

Payload = TypeVar("Payload")
ResponseHandler = TypeVar("ResponseHandler", bound=Callable[[Any], Any])


class Stream(Pull[Any]):
    """The responses to one request, taken by the thread that iterates; see `Requests.stream`.

    ``for payload in stream`` waits for each response; leaving the loop by ``break`` and the ``with`` block, or
    `close`, stops it. An iteration that waits longer than the timeout raises `SocketTimeout`, one whose link is lost
    `SocketConnectionError`.
    """

    def __init__(self, owner: Endpoint, id: str, mailbox: Mailbox[Any], timeout: float | None) -> None:
        super().__init__(owner, mailbox, timeout)
        self.id = id

    def __next__(self) -> Any:
        if self._over:
            raise StopIteration
        try:
            return self._take_now()
        except LookupError:
            deadline = self._owner._budget(self._timeout)
        try:
            return self._take(deadline)
        except TimeoutError:
            raise SocketTimeout(f"no response came within {deadline.seconds:g} s (request {self.id})") from None
        except EOFError as ended:
            if ended.__cause__ is None:
                raise StopIteration from None
            raise ended.__cause__ from None

    def __repr__(self) -> str:
        return f"<Stream of request {self.id}{', over' if self._over else ''}>"


class ConvertedStream(Stream, Generic[Payload]):
    """The same, each response made what was asked for."""

    _make: Callable[[Any], Payload]

    def __next__(self) -> Payload:
        return self._make(super().__next__())


class Waiter:
    """What is invoked with each response to one request, and told when the link is lost, or left to a parent."""

    __slots__ = ("deliver", "left", "lost")

    def __init__(
        self,
        deliver: Callable[[Message], None],
        lost: Callable[[Exception], None],
        left: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self.deliver = deliver
        self.lost = lost
        self.left = left

    def __call__(self, message: Message) -> None:
        """Take one response."""
        self.deliver(message)


class Requests(Endpoint):
    """Ask the peer for streams of responses, and answer its requests."""

    def __init__(self) -> None:
        self._waiters: Registry[Waiter] = Registry()
        self._response_observers: Registry[Callable[[Any], Any]] = Registry()
        self._acknowledgers: Registry[Callable[[Any, Any], Any]] = Registry()

    # -- asking ------------------------------------------------------------------------------------------------------

    def request(
        self, payload: Any, observer: Callable[[Any], Any] | None = None, *, payload_type: Any = None
    ) -> Subscription:
        """Send a request, and have ``observer(payload)`` run for each response until it returns false.

        Args:
            payload: what is asked for.
            observer: true to go on receiving, false to stop; without one, ``observe_response`` sees the responses.
            payload_type: what the payload of each response is made, as by ``result_type`` of `call`. Where it cannot
                be made that, ``on_error`` gets `SocketMessageMalformed`, the observer does not run, and receiving
                goes on.

        Returns:
            A subscription; calling it stops earlier. When the link is lost it ends, and ``on_error`` is told.

        Raises:
            TypeError: nothing of JSON can be made ``payload_type``.
            ValueError: there is a ``payload_type`` and no observer.
        """
        if payload_type is not None:
            if observer is None:
                raise ValueError("payload_type is for an observer, and there is none")
            observer = _with_payload(payload_type, observer)
        id = new_id()
        if observer is None:
            self._send(Message(MessageType.REQUEST, payload, id))
            return Subscription(None, lambda _: None)
        observe = observer

        def deliver(message: Message) -> None:
            self._submit(("response", id), len(message.raw or ""), self._observe_one, subscription, message)

        def lost(error: Exception) -> None:
            subscription()
            self._report(error, ErrorContext("request", id))

        subscription = Subscription(observe, lambda _: waiting())
        waiting = self._waiters.add(id, Waiter(deliver, lost))
        self._send_request(payload, id, subscription)
        return subscription

    @overload
    def stream(self, payload: Any, timeout: float | None = None, *, payload_type: None = None) -> Stream: ...
    @overload
    def stream(
        self, payload: Any, timeout: float | None = None, *, payload_type: type[Payload] | Callable[[Any], Payload]
    ) -> ConvertedStream[Payload]: ...
    @overload
    def stream(self, payload: Any, timeout: float | None = None, *, payload_type: Any) -> Stream: ...

    def stream(self, payload: Any, timeout: float | None = None, *, payload_type: Any = None) -> Stream:
        """Send a request and iterate over its responses, in the caller's own thread.

        Args:
            payload: what is asked for.
            timeout: seconds to wait for each response; ``None`` for ``default_call_timeout``.
            payload_type: what each response is made, as by ``result_type`` of `call`. One that cannot be made that
                raises `SocketMessageMalformed`; to iterate further goes on with the next.

        Raises:
            TypeError: nothing of JSON can be made ``payload_type``.
        """
        id = new_id()
        mailbox: Mailbox[Any] = Mailbox(self._backlog)
        stream: Stream
        if payload_type is None:
            stream = Stream(self, id, mailbox, timeout)
        else:
            make = _making(payload_type)
            stream = converted = ConvertedStream[Any](self, id, mailbox, timeout)
            converted._make = make

        def deliver(message: Message) -> None:
            mailbox(message.payload, len(message.raw or ""))

        stream._subscription = self._waiters.add(id, Waiter(deliver, mailbox.close, mailbox.leave))
        self._send_request(payload, id, stream._subscription)
        return stream

    def _send_request(self, payload: Any, id: str, subscription: Subscription) -> None:
        try:
            self._send(Message(MessageType.REQUEST, payload, id))
        except BaseException:
            subscription()
            raise

    def observe_response(self, observer: Callable[[Any], Any]) -> Subscription:
        """Have ``observer(payload)`` run for each response that nobody captured; true captures it for itself."""
        return self._response_observers.add(ANY, observer)

    def _observe_one(self, subscription: Subscription, message: Message) -> None:
        if not subscription.active:
            return
        try:
            go_on = subscription.handler(message.payload)
        except BaseException as error:
            self._report(error, ErrorContext("request", str(message.id), message))
            return
        if not go_on:
            subscription()

    def _receive_response(self, message: Message) -> None:
        waiters = self._waiters.get(message.id)
        if waiters:
            waiters[-1].handler(message)
        elif self._response_observers.get(ANY):
            self._submit(("response", message.id), len(message.raw or ""), self._observe_any, message)
        else:
            self._count("unmatched")

    def _observe_any(self, message: Message) -> None:
        for observer in self._response_observers.get(ANY):
            if observer.active and self._guarded(
                "observe_response", str(message.id), observer.handler, message.payload
            ):
                return

    def _fail_requests(self, error: Callable[[], Exception]) -> None:
        """The link is lost: the peer has forgotten what was asked on it."""
        for waiter in self._take_waiters():
            waiter.lost(error())

    def _take_waiters(self) -> list[Waiter]:
        taken = self._waiters.pop_all().values()
        return [cast(Waiter, waiter.handler) for waiters in taken for waiter in waiters]

    # -- answering ---------------------------------------------------------------------------------------------------

    def acknowledge(self, handler: Callable[[Any, Any], Any]) -> Subscription:
        """Have ``handler(id, payload)`` asked for each request, in the order registered, until one returns true."""
        return self._acknowledgers.add(ANY, handler)

    def reply(self, id: Any, payload: Any) -> None:
        """Answer the request with this id, any number of times; raises what `notify` raises."""
        if not is_id(id):
            raise TypeError(f"id must be that of a request, text or a number, not {type(id).__name__}")
        self._send(Message(MessageType.RESPONSE, payload, id))

    def _receive_request(self, message: Message) -> None:
        self._submit(("request", message.id), len(message.raw or ""), self._acknowledge, message)

    def _acknowledge(self, message: Message) -> None:
        for one in self._acknowledgers.get(ANY):
            if one.active and self._guarded("acknowledge", str(message.id), one.handler, message.id, message.payload):
                return
        self._report(
            SocketError(f"request {message.id!r} was acknowledged by nobody"),
            ErrorContext("acknowledge", str(message.id), message),
        )

    def _renew_requests(self) -> None:
        """In a forked child: the requests that are open are the parent's."""
        for registry in (self._waiters, self._response_observers, self._acknowledgers):
            registry.renew_locks()
        for waiter in self._take_waiters():
            waiter.left(left_to_parent())


def _making(payload_type: Any) -> Callable[[Any], Any]:
    convert = converter(payload_type)
    return lambda payload: convert(payload, "a response")


def _with_payload(payload_type: Any, observer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    make = _making(payload_type)

    @wraps(observer)
    def observe(payload: Any) -> Any:
        return observer(make(payload))

    return observe
