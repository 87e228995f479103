"""`Connection`: the object that users hold, a facade over the core of a connection.

Each method is documented here and delegates to the family of messages that it belongs to; there is no state but the
core. A forked child gets a new core at its first use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from os import getpid
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, cast, overload

from . import fork
from .core.core import CLOSE_TIMEOUT, Core
from .deadline import Deadline, check_timeout
from .errors.safe_text import safe_str
from .fork import PROCESS, PerProcess
from .handshake_fields import ResponseHeaders
from .options import Backoff
from .protocol.connection_registry import REGISTRY
from .protocol.delivery import RETRY_DELAY, Consumed, Redelivery
from .protocol.events import EVERY, EventStream, message_converter
from .protocol.hooks import Instrument
from .protocol.messages import EventMessage, Message
from .protocol.performers import check_stage
from .protocol.queue import Filter
from .protocol.reports import ErrorContext
from .protocol.requests import ConvertedStream, Stream
from .protocol.scopes import copy_for_handler
from .protocol.services import Services
from .protocol.settings import Authenticate, Prepare, Stage
from .protocol.subscriptions import Subscription, check_handler, check_name, check_pattern
from .protocol.types.interfaces import Proxy, convert_arguments
from .protocol.types.public_methods import public_methods
from .reentrant import make_lock
from .states import AuthenticationStage, CloseInfo, ConnectionState, StateChange

if TYPE_CHECKING:
    from typing_extensions import TypeForm  # which type checkers have in themselves: no dependency

    from .core.call_results import CallResults
    from .core.progress import ReportProgress
    from .protocol.pending import CallFuture
    from .protocol.stats import Stats

Interface = TypeVar("Interface")
Result = TypeVar("Result")
Payload = TypeVar("Payload")
Handler = TypeVar("Handler", bound=Callable[..., Any])

CLOSE_REASON_BYTES = 123
DRAIN_TIMEOUT = 30.0

# Reentrant: a signal handler or a finalizer may use a connection on the thread that it interrupted here.
_renewal_lock = PerProcess(make_lock)
"""Held while a forked child makes the new core of a connection, for as long as that takes: it connects nothing."""


class Connection:
    """A connection to a peer: call and be called, notify and observe, request and reply, enqueue and consume.

    `owlsocket_sync.connect` returns one, and `owlsocket_sync.server.serve` passes one to its handler for each client;
    do not construct it yourself. Every method may be called from any thread, including handlers. Use ``with`` or
    `close` to close it.
    """

    # As programs import it: a program that calls `connect` alone sees it, too.
    __module__ = "owlsocket_sync"

    def __new__(cls, *arguments: Any, **options: Any) -> Connection:
        """Refuse what is not the core of a connection, such as a URL; Python would name the missing argument."""
        if not (arguments and isinstance(arguments[0], Core)):
            raise TypeError("a Connection is not constructed: use connect(url), which returns one")
        return super().__new__(cls)

    def __init__(self, core: Core, renew: Callable[[Core], Core]) -> None:
        """Make the facade of a core.

        Args:
            core: the parts of the connection.
            renew: make the core that follows this one in a forked child.
        """
        self._current = core
        self._renew = renew
        core.facade.use(self, Connection, renew)

    @property
    def _core(self) -> Core:
        # Compared here, not by a call: every method passes through.
        if getpid() != PROCESS.id:
            fork.ensure_process()
        core = self._current
        return self._renewed() if core.forked else core

    def _renewed(self) -> Core:
        renew = self._renew
        with _renewal_lock.get():
            if self._current.forked:  # else another thread of the child was here first
                core = renew(self._current)
                # Again: a signal handler on this thread may have been here meanwhile, and used a core of its own.
                if self._current.forked:
                    core.facade.use(self, Connection, renew)
                    core.facade.watch(self)
                    self._current = core
            return self._current

    def _services(self) -> Services:
        return self._core.services

    def _queue(self) -> Any:
        return self._core.active_queue

    # -- state -------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of the connection in logs and errors."""
        return self._current.options.name

    @property
    def url(self) -> str:
        """The URL of the peer, without secrets."""
        return self._core.carrier.url

    @property
    def accepted(self) -> bool:
        """True on the server, whose client connected; false on the client."""
        return self._current.options.accepted

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol of ``subprotocols=`` that the server selected in the latest handshake, or ``None``."""
        return self._core.facade.answer.subprotocol

    @property
    def response_headers(self) -> ResponseHeaders:
        """The headers of the response that completed the latest handshake of the client; empty before the first.

        A read-only mapping with names in any case. Its ``repr`` hides the values, among which are cookies and tokens.
        At the end of a server it is empty: what a client sent is in the headers of its `Request`.
        """
        return ResponseHeaders(self._core.facade.answer.head)

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self._core.carrier.state

    @property
    def latency(self) -> float | None:
        """The last round trip in seconds, measured by `ping` or the heartbeat; ``None`` before the first."""
        return self._core.carrier.latency

    @property
    def stats(self) -> Stats:
        """A snapshot of the counters of the connection."""
        return self._core.stats()

    @property
    def stage(self) -> Stage | None:
        """The stage of authentication on this link; `INIT` before its first step, ``None`` if that was refused.

        After an `auth` of this end it is the stage that the peer named. At the end of a server that proves nothing, so
        ``perform(stage=)`` requires the stage that the guard, or the `authenticate` hook, has granted.
        """
        return self._core.authentication.stage

    @stage.setter
    def stage(self, stage: Stage | None) -> None:
        self._core.authentication.stage = stage

    @property
    def auth_info(self) -> Any:
        """The identity of the peer, as the guard of this end verified it, or ``None``; set by the guard."""
        return self._core.authentication.auth_info

    @auth_info.setter
    def auth_info(self, identity: Any) -> None:
        self._core.authentication.auth_info = identity

    # -- settings ----------------------------------------------------------------------------------------------------

    @property
    def default_call_timeout(self) -> float:
        """The timeout of a call without ``timeout=``, in seconds; settable."""
        return self._current.settings.call_timeout

    @default_call_timeout.setter
    def default_call_timeout(self, seconds: float) -> None:
        self._current.settings.call_timeout = check_timeout(seconds, "default_call_timeout")

    @property
    def expose_tracebacks(self) -> bool:
        """True to send errors of handlers with their tracebacks, not with type and message alone; settable."""
        return self._current.settings.expose_tracebacks

    @expose_tracebacks.setter
    def expose_tracebacks(self, expose: bool) -> None:
        self._current.settings.expose_tracebacks = expose

    @property
    def prepare(self) -> Prepare | None:
        """A hook ``(message, is_request) -> message``; settable.

        It is called for each message before it is sent (``is_request`` false, on the sending thread) and after it is
        received (true, on a worker, in order). It must not call the peer: the reply would wait for the hook to return.
        A received message for which it raises goes no further: a call is answered with the error, an answer fails its
        call with it.
        """
        return self._current.settings.prepare

    @prepare.setter
    def prepare(self, hook: Prepare | None) -> None:
        if hook is not None:
            check_handler(hook, "the hook prepare", "message, is_request")
        settings = self._current.settings
        settings.prepare, settings.prepare_context = hook, copy_for_handler()

    @property
    def authenticate(self) -> Authenticate | None:
        """A hook ``(stage, payload) -> (stage or None, response)`` that answers the peer's auth messages; settable.

        It runs on a worker. A stage of ``None`` sends no answer. An exception is sent as a refusal. Without a hook, the
        end of a server refuses every step. The end of `connect` then answers nothing, as in the reference; the message
        is counted (``stats.unmatched``), and `on_error` handlers are called.
        """
        return self._current.settings.authenticate

    @authenticate.setter
    def authenticate(self, hook: Authenticate | None) -> None:
        if hook is not None:
            check_handler(hook, "the hook authenticate", "stage, payload")
        settings = self._current.settings
        settings.authenticate, settings.authenticate_context = hook, copy_for_handler()

    # -- calls -------------------------------------------------------------------------------------------------------

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
        result_type: TypeForm[Result],
        retry: bool = False,
    ) -> Result: ...
    @overload
    def call(
        self,
        method: str,
        *payload: Any,
        timeout: float | None = None,
        result_type: Callable[[Any], Result],
        retry: bool = False,
    ) -> Result: ...

    def call(
        self, method: str, *payload: Any, timeout: float | None = None, result_type: Any = None, retry: bool = False
    ) -> Any:
        """Call a method of the peer, and wait for the result; from any thread, including handlers.

        Args:
            method: the name of the method.
            payload: the arguments: JSON values, dataclasses, enums, dates, UUIDs, decimals, bytes (sent as base64),
                sets, and arrays of NumPy.
            timeout: seconds; ``None`` for ``default_call_timeout``, ``math.inf`` for no limit. It is sent to the peer
                with the call.
            result_type: convert the result to this type: a dataclass, an enum, ``datetime``, ``list[User]``,
                ``User | None`` and so on, or any callable; ``docs/how-to/typed-payloads.md`` lists them.
            retry: if the link is lost, send the call again with the same id; for methods that may run twice.

        Raises:
            SocketTimeout: no result within the timeout.
            SocketConnectionError: the link was lost before the result arrived, or the connection is closed.
            SocketUnsupported: the peer has no handler for this method.
            SocketMessageMalformed: JSON cannot represent the arguments, or the result does not fit ``result_type``.
            ResilientError: the error that the peer's handler raised.
            TypeError: JSON cannot be converted to ``result_type``; nothing is sent.
        """
        return self._core.calls.call(method, payload, timeout, result_type, retry)

    @overload
    def submit(
        self, method: str, *payload: Any, timeout: float | None = None, result_type: None = None, retry: bool = False
    ) -> CallFuture[Any]: ...
    @overload
    def submit(
        self,
        method: str,
        *payload: Any,
        timeout: float | None = None,
        result_type: TypeForm[Result],
        retry: bool = False,
    ) -> CallFuture[Result]: ...
    @overload
    def submit(
        self,
        method: str,
        *payload: Any,
        timeout: float | None = None,
        result_type: Callable[[Any], Result],
        retry: bool = False,
    ) -> CallFuture[Result]: ...

    def submit(
        self, method: str, *payload: Any, timeout: float | None = None, result_type: Any = None, retry: bool = False
    ) -> CallFuture[Any]:
        """Call a method of the peer without waiting for the result, and return a future.

        It is a ``concurrent.futures.Future``, which works with ``wait`` and ``as_completed``. A task of an ``asyncio``
        loop awaits it: ``user = await conn.submit("getUser", 7)``; a task that is cancelled cancels the call. The
        future fails at its timeout even if no thread waits for it, and ``cancel()`` drops the call. Arguments and
        errors are those of `call`: invalid arguments raise here, everything else is raised by ``future.result()``.

        The message is written on the calling thread, which waits for a peer that reads too slowly.
        """
        return self._core.calls.submit(method, payload, timeout, result_type, retry)

    @overload
    def map(
        self,
        method: str,
        arguments: Iterable[Any],
        *,
        parallel: int = 64,
        timeout: float | None = None,
        result_type: None = None,
        retry: bool = False,
        errors: Literal["raise", "return"] = "raise",
        unpack: bool = False,
        progress: bool | ReportProgress = False,
    ) -> CallResults[Any]: ...
    @overload
    def map(
        self,
        method: str,
        arguments: Iterable[Any],
        *,
        parallel: int = 64,
        timeout: float | None = None,
        result_type: type[Result] | Callable[[Any], Result],
        retry: bool = False,
        errors: Literal["raise"] = "raise",
        unpack: bool = False,
        progress: bool | ReportProgress = False,
    ) -> CallResults[Result]: ...
    @overload
    def map(
        self,
        method: str,
        arguments: Iterable[Any],
        *,
        parallel: int = 64,
        timeout: float | None = None,
        result_type: type[Result] | Callable[[Any], Result],
        retry: bool = False,
        errors: Literal["return"],
        unpack: bool = False,
        progress: bool | ReportProgress = False,
    ) -> CallResults[Result | Exception]: ...
    @overload
    def map(
        self,
        method: str,
        arguments: Iterable[Any],
        *,
        parallel: int = 64,
        timeout: float | None = None,
        result_type: Any,
        retry: bool = False,
        errors: Literal["raise", "return"] = "raise",
        unpack: bool = False,
        progress: bool | ReportProgress = False,
    ) -> CallResults[Any]: ...

    def map(
        self,
        method: str,
        arguments: Iterable[Any],
        *,
        parallel: int = 64,
        timeout: float | None = None,
        result_type: Any = None,
        retry: bool = False,
        errors: Literal["raise", "return"] = "raise",
        unpack: bool = False,
        progress: bool | ReportProgress = False,
    ) -> CallResults[Any]:
        """Call a method once for each argument, many at once, and iterate over the results in the same order.

        As ``Executor.map``, it returns an iterator, and not a list: the first results are there before the last calls
        are sent, and ``arguments`` may be endless. The first ``parallel`` calls are sent at once; each further argument
        is read, and its call sent, as the iteration asks for the next result. So calls beyond ``parallel`` are sent
        only while you iterate: ``list(conn.map(…))`` makes all of them.

        Leaving the iteration by ``break`` or ``close()``, and an error that it raises, cancel the calls in flight; the
        peer may have received them. If the link is lost, what was in flight fails at once, and later calls wait for the
        next link. From one thread at a time; ``close()`` from any.

        Args:
            method: the name of the method.
            arguments: any iterable, read on the thread that iterates; each item is the one argument of a call.
            parallel: how many calls may be in flight, which is also how many items are read before their results are
                taken.
            timeout: seconds for all results, from now on; ``None`` for no limit. The calls that are left then raise
                `SocketTimeout`, whatever ``errors`` is. Apart from it, each call has ``default_call_timeout``.
            result_type: convert each result to this type, as `call` does.
            retry: as of `call`, for each of the calls.
            errors: ``"raise"`` raises the error of a call in the place of its result, and ends the iteration.
                ``"return"`` returns it there, and goes on.
            unpack: each item is a sequence of the arguments of a call, as for ``itertools.starmap``.
            progress: ``True`` shows a bar of ``tqdm``. A function is called as ``progress(done, total)`` with each
                result; ``total`` is ``None`` if ``arguments`` has no length.

        Returns:
            An iterator that is also a context manager.

        Raises:
            SocketConnectionError: the connection is closed; later errors are raised by the iteration, as by `call`.
            MissingExtra: ``progress=True`` without ``tqdm``; an `ImportError`.
            TypeError: ``arguments`` cannot be iterated over, or is text.
            ValueError: ``parallel`` or ``errors`` is invalid.
        """
        from .core.call_results import map_calls  # for those who make many calls

        return map_calls(
            lambda: self._core,
            method,
            arguments,
            parallel=parallel,
            timeout=timeout,
            result_type=result_type,
            retry=retry,
            errors=errors,
            unpack=unpack,
            progress=progress,
        )

    @overload
    def perform(
        self, method: str, handler: Callable[..., Any], *, stage: AuthenticationStage | None = None
    ) -> Subscription: ...
    @overload
    def perform(self, method: str, *, stage: AuthenticationStage | None = None) -> Callable[[Handler], Handler]: ...

    def perform(
        self, method: str, handler: Callable[..., Any] | None = None, *, stage: AuthenticationStage | None = None
    ) -> Subscription | Callable[[Handler], Handler]:
        """Register ``handler(*payload)`` for the peer's calls of ``method``; without ``handler``, a decorator.

        The handler runs on a worker. Handlers start in the order in which messages of any kind arrived; while one
        waits, or takes longer than 2 ms, those of other messages start. The peer gets the return value as
        the result, and an exception as the error. The handler registered last is used; when it is unsubscribed, the
        previous handler is used again.

        Args:
            method: the name of the method.
            handler: called with the arguments of each call.
            stage: the authentication stage that the peer must have reached; an earlier call fails with
                `SocketUnauthorized`.
        """
        check_name("perform", method)
        check_pattern("perform", method)
        check_stage(stage)
        return _register(handler, lambda handler: self._core.performers.perform(method, handler, stage))

    def proxy(self, interface: TypeForm[Interface], prefix: str = "") -> Interface:
        """Return an object whose methods call the methods of the peer with the same names.

        Args:
            interface: a class or `typing.Protocol`; its public methods can be called. A return annotation is the
                ``result_type`` of the call; ``None`` discards the result.
            prefix: put before each name on the wire.

        Raises:
            ValueError: a method has keyword-only parameters.
            TypeError: ``interface`` is not a class, or a return annotation cannot be resolved or converted to.
        """
        return cast(Interface, Proxy(cast(Any, interface), prefix, self.call))

    def expose(self, target: object, prefix: str = "", *, only: Iterable[str] | None = None) -> Subscription:
        """Register the public methods of an object for the peer's calls, as `perform` does for each.

        These are the methods that the class of the object and its own bases define. Properties are not evaluated.
        Arguments are converted to the annotated types. If an argument does not fit, the call fails with
        `SocketMessageMalformed`, which names the place: ``argument user.email: expected str, got int``.

        Args:
            target: the object.
            prefix: put before each name on the wire.
            only: the names of the methods, instead of all. It may name a method that the class inherits from Python,
                or a function that was assigned to the object.

        Returns:
            One subscription for all methods.

        Raises:
            ValueError: the object has no public methods, or not the one that ``only`` names.
            TypeError: an annotation cannot be resolved, or JSON cannot be converted to it.
        """
        methods = [(name, convert_arguments(method)) for name, method in public_methods(target, only)]
        if not methods:
            raise ValueError(f"{safe_str(target, repr)} has no public methods that could answer calls")
        return Subscription._group([self.perform(f"{prefix}{name}", method) for name, method in methods])

    # -- events ------------------------------------------------------------------------------------------------------

    def notify(self, event: str, payload: Any = None) -> None:
        """Send an event. Events have no reply.

        Raises:
            SocketConnectionError: the connection is closed, or the link was lost while sending.
            SocketTimeout: no link within ``default_call_timeout``, or within the surrounding `deadline`.
            SocketMessageMalformed: JSON cannot represent the payload.
        """
        self._core.events.notify(event, payload)

    @overload
    def observe(
        self, event: str, handler: Callable[[EventMessage], Any], *, payload_type: Any = None, replace: bool = False
    ) -> Subscription: ...
    @overload
    def observe(
        self, event: str, *, payload_type: Any = None, replace: bool = False
    ) -> Callable[[Handler], Handler]: ...

    def observe(
        self,
        event: str,
        handler: Callable[[EventMessage], Any] | None = None,
        *,
        payload_type: Any = None,
        replace: bool = False,
    ) -> Subscription | Callable[[Handler], Handler]:
        """Register ``handler(message)`` for the events of a name; without ``handler``, a decorator.

        Handlers run on workers, and start in the order in which messages of any kind arrived. Those of one event run
        one after another; while one waits, or takes longer than 2 ms, those of other messages start.

        Args:
            event: the name of the event; ``"*"`` for all.
            handler: called with each message.
            payload_type: convert ``message.payload`` to this type, as ``result_type`` of `call` does. If the payload
                does not fit, `on_error` handlers receive `SocketMessageMalformed`, and the handler is not called.
            replace: unsubscribe earlier handlers of this event with the same module and qualified name, as a module has
                that was loaded again. IPython does so by default for functions of cells, here and for the handlers of
                all other methods.

        Raises:
            TypeError: JSON cannot be converted to ``payload_type``, or ``replace`` is set and the handler has no name.
        """
        check_name("observe", event)
        check_pattern("observe", event, EVERY)
        convert = message_converter(payload_type)
        return _register(handler, lambda handler: self._core.events.observe(event, handler, convert, replace))

    def events(
        self, event: str, limit: int | None = None, timeout: float | None = None, *, payload_type: Any = None
    ) -> EventStream:
        """Iterate over the events of a name that arrive from now on, in the calling thread.

        Args:
            event: the name of the event; ``"*"`` for all.
            limit: stop after this many events.
            timeout: seconds to wait for each event; ``None`` waits until the connection is closed.
            payload_type: convert each payload to this type, as ``result_type`` of `call` does. If a payload does not
                fit, the iteration raises `SocketMessageMalformed`; continue it to receive the next event.

        Returns:
            An iterator that is also a context manager. It ends when the connection is closed, and raises
            `SocketTimeout` if no event arrives in time.
        """
        check_name("events", event)
        check_pattern("events", event, EVERY)
        return self._core.events.events(self._services, event, limit, timeout, payload_type)

    # -- requests ----------------------------------------------------------------------------------------------------

    def request(
        self, payload: Any, observer: Callable[[Any], Any] | None = None, *, payload_type: Any = None
    ) -> Subscription:
        """Send a request, and call ``observer(payload)`` for each response until it returns false.

        Args:
            payload: the request.
            observer: returns true to receive further responses, false to stop. Without an observer, the responses go
                to the `observe_response` handlers.
            payload_type: convert each response to this type, as ``result_type`` of `call` does. If a response does not
                fit, `on_error` handlers receive `SocketMessageMalformed`, and the observer is not called.

        Returns:
            A subscription; call it to stop earlier. If the link is lost it ends, and `on_error` handlers are called.

        Raises:
            TypeError: JSON cannot be converted to ``payload_type``.
            ValueError: ``payload_type`` without an observer.
        """
        return self._core.requests.request(payload, observer, payload_type)

    @overload
    def stream(self, payload: Any, timeout: float | None = None, *, payload_type: None = None) -> Stream: ...
    @overload
    def stream(
        self, payload: Any, timeout: float | None = None, *, payload_type: TypeForm[Payload]
    ) -> ConvertedStream[Payload]: ...
    @overload
    def stream(
        self, payload: Any, timeout: float | None = None, *, payload_type: Callable[[Any], Payload]
    ) -> ConvertedStream[Payload]: ...

    def stream(self, payload: Any, timeout: float | None = None, *, payload_type: Any = None) -> Stream:
        """Send a request, and iterate over its responses in the calling thread.

        The protocol does not mark the last response: leave the loop with ``break`` when you have enough.

        Args:
            payload: the request.
            timeout: seconds to wait for each response; ``None`` for ``default_call_timeout``.
            payload_type: convert each response to this type, as ``result_type`` of `call` does. If a response does not
                fit, the iteration raises `SocketMessageMalformed`; continue it to receive the next response.

        Raises:
            SocketTimeout: no response arrived in time; raised by the iteration.
            TypeError: JSON cannot be converted to ``payload_type``.
        """
        return self._core.requests.stream(self._services, payload, timeout, payload_type)

    def observe_response(self, observer: Callable[[Any], Any]) -> Subscription:
        """Register ``observer(payload)`` for responses without a pending request.

        Observers are called in order of registration until one returns true.
        """
        return self._core.requests.observe_response(observer)

    def acknowledge(self, handler: Callable[[Any, Any], Any]) -> Subscription:
        """Register ``handler(id, payload)`` for the peer's requests.

        Handlers are called in order of registration until one returns true, which accepts the request. `reply` sends
        the responses, from the handler or later.
        """
        return self._core.requests.acknowledge(handler)

    def reply(self, id: Any, payload: Any) -> None:
        """Send a response to the request with this id, any number of times; raises what `notify` raises."""
        self._core.requests.reply(id, payload)

    # -- the queue ---------------------------------------------------------------------------------------------------

    def enqueue(self, payload: Any, id: str | None = None) -> None:
        """Put a message on the peer's queue; raises what `notify` raises.

        With an outbox, the message is stored when this returns, with or without a link, and is sent and acknowledged
        later; `flush` waits for that. It is not part of an open `batch`.

        Args:
            payload: any value that JSON can represent.
            id: the id of the message; with an outbox, by default one that no other message has.

        Raises:
            StoreFull: the outbox has no room; nothing was stored.
        """
        self._core.active_queue.enqueue(payload, id)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until the peer has acknowledged all messages of the outbox.

        Args:
            timeout: seconds; ``None`` for the timeout of calls.

        Raises:
            SocketTimeout: it has not, within the timeout; the message tells how many are left.
            SocketConnectionError: the connection is closed.
            SocketUnsupported: the connection has no outbox.
        """
        self._core.active_queue.flush(timeout)

    def enqueued(self) -> int:
        """Return the number of messages on our queue."""
        return len(self._core.active_queue)

    def consume(
        self, filter: Filter | None = None, timeout: float = 0.0, *, payload_type: Any = None, ack: bool = True
    ) -> Consumed | None:
        """Take the first message from our queue, or the first message that ``filter`` matches.

        Args:
            filter: called with the payload as it arrived; returns true for a match. If it raises, the exception is
                raised here, and no message is taken.
            timeout: seconds to wait for a message; 0 does not wait.
            payload_type: convert the payload to this type, as ``result_type`` of `call` does.
            ack: acknowledge the message at once; ``False`` leaves that to the caller, and needs an inbox.

        Returns:
            ``(payload, id, remaining)``; ``None`` if the queue is empty, ``(None, None, remaining)`` if no message
            matches. With an inbox, a `Delivery`.

        Raises:
            SocketMessageMalformed: the payload does not fit ``payload_type``. The message is taken nevertheless, since
                it would block the queue; ``fields`` of the error has its payload and id.
            TypeError: JSON cannot be converted to ``payload_type``; no message is taken.
            ValueError: ``ack=False`` without an inbox, or ``filter`` with one: its messages are taken in their order.
        """
        return self._core.active_queue.consume(filter, timeout, payload_type, ack)

    def messages(
        self,
        filter: Filter | None = None,
        timeout: float | None = None,
        limit: int | None = None,
        *,
        payload_type: Any = None,
        visibility_timeout: float = 60.0,
        max_attempts: int | None = 5,
        retry_delay: Backoff = RETRY_DELAY,
    ) -> Iterator[Consumed]:
        """Iterate over the messages on our queue, and wait for further messages.

        A message counts as done when the loop asks for the next one. If the loop body raises or leaves the loop with
        ``break``, the message goes back to the front of the queue; with an inbox, it is delivered again after a delay.

        Args:
            filter: called with each payload; messages for which it returns false stay on the queue.
            timeout: stop if no message arrives for this many seconds; ``None`` waits until the connection is closed.
            limit: stop after this many messages.
            payload_type: convert each payload to this type. If a payload does not fit, the iteration raises what
                `consume` raises, and the message is taken; iterate again to continue with the next message.
            visibility_timeout: of an inbox: seconds after which a message is delivered again that this process forgot.
                One that it works on stays its own, however long that takes.
            max_attempts: of an inbox: a message that was delivered so often becomes a dead letter; ``None`` for no
                limit.
            retry_delay: of an inbox: the delays before a message that was given back is delivered again.
        """
        redelivery = Redelivery(visibility_timeout, max_attempts, retry_delay)
        return self._core.active_queue.iterate(self._queue, filter, timeout, limit, payload_type, redelivery)

    # -- authentication ----------------------------------------------------------------------------------------------

    def auth(self, stage: Stage, payload: Any = None, timeout: float | None = None) -> Any:
        """Send one step of authentication, and return the payload of the peer's answer.

        The property `stage` becomes the requested stage, then the stage in the answer; if the step fails, it becomes
        what it was before. One exchange runs at a time; other threads wait for it.

        Args:
            stage: an `AuthenticationStage`, or its value on the wire.
            payload: the payload of the step.
            timeout: seconds; ``None`` for ``default_call_timeout``.

        Raises:
            ResilientError: the refusal that the peer marshalled; `AuthError` when it gave no reason.
            SocketTimeout: no answer within the timeout; or another exchange took all of it, or the time in which the
                answer to a step that timed out may still come, which is two seconds.
            SocketConnectionError: the link was lost, or the connection is closed.
        """
        return self._core.authentication.auth(stage, payload, timeout)

    # -- rooms -------------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The id of a client's connection, unique in the hub of its server; raises what `join` raises on a client."""
        return self._core.facade.membership.id

    @property
    def rooms(self) -> list[str]:
        """The rooms that a client's connection is in, in the order in which it joined; raises as `id` does."""
        return self._core.facade.membership.rooms

    def join(self, room: str, info: Any = None) -> None:
        """Put the connection of a client into a room of the hub of its server; until it leaves, or ends.

        To join once more replaces ``info``.

        Args:
            room: the name of the room, which exists as long as it has members.
            info: a JSON value for all who ask for the members of the room.

        Raises:
            SocketUnsupported: this is the end of a client, which has no rooms: its server decides about them.
            SocketConnectionError: the connection, or the hub, is closed.
            SocketMessageMalformed: JSON cannot represent ``info``.
        """
        self._core.facade.membership.join(room, info)

    def leave(self, room: str) -> None:
        """Take the connection out of a room; nothing happens if it is not there. Raises what `join` raises."""
        self._core.facade.membership.leave(room)

    # -- from outside ------------------------------------------------------------------------------------------------

    def listen(self, listener: Callable[[Any], Any]) -> Subscription:
        """Register ``listener(message)`` for every incoming message; listeners run in order, on a worker.

        ``message`` is a `Message`, or a ``str`` for text that begins like JSON and is not JSON. When a link ends,
        listeners receive one system message ``close`` with the payload ``{"code": …}``. Its ``local`` is ``True``: the
        peer may send a system message of that name too, and closes nothing with it.
        """
        return self._core.listeners.listen(listener)

    def on_state(self, handler: Callable[[StateChange], Any]) -> Subscription:
        """Register ``handler(change)`` for changes of the state; handlers run in order, on a worker."""
        return self._core.listeners.on_state(handler)

    def on_error(self, handler: Callable[[Exception, ErrorContext], Any]) -> Subscription:
        """Register ``handler(error, context)`` for errors in handlers and in incoming messages.

        Without such a handler, these errors are logged.
        """
        return self._core.reporter.on_error(handler)

    def instrument(self, instrument: Instrument) -> Subscription:
        """Observe this connection with an instrument; `owlsocket_sync.instrument` observes all connections."""
        return REGISTRY.instrument_one(lambda: self._core.hooks, instrument)

    def send(self, message: Message | str) -> None:
        """Send a message as it is, or any text; raises what `notify` raises."""
        if isinstance(message, str):
            self._core.sender.send_text(message)
        elif isinstance(message, Message):
            self._core.sender.send(message)
        else:
            raise TypeError(f"message must be a Message or text, not {type(message).__name__}")

    def receive(self, text: str | bytes | bytearray | memoryview) -> None:
        """Process the text of one message as if it had just arrived; never raises for its content."""
        if not isinstance(text, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"text must be text or bytes, not {type(text).__name__}")
        core = self._core
        core.tasks.run_deferred()
        core.receive(text, core.carrier.links)

    # -- several at once ---------------------------------------------------------------------------------------------

    def batch(self) -> AbstractContextManager[None]:
        """Return a context manager that collects what this thread sends, and sends it at the end in few writes.

        A wait for a reply inside the block first sends what was collected; if it finds no link in its time it raises,
        and what was collected stays. The end of the block raises what `notify` raises. If an error ends the block, that
        error is raised, and no link is waited for: without one, nothing is sent (``stats.dropped``).
        """
        return self._core.sender.batch(lambda: self._core.sender)

    def deadline(self, seconds: float) -> AbstractContextManager[Deadline]:
        """Return a context manager: one deadline for everything that is done on this connection inside.

        As `batch`, it belongs to the context (`contextvars`) that enters it: a handler that leaves a block open, in a
        generator for example, leaves none to the next handler. The block may be left in another thread or context.
        """
        return self._core.scopes.deadline_scope(Deadline(check_timeout(seconds, "seconds")))

    # -- the life of a connection ------------------------------------------------------------------------------------

    def wait_open(self, timeout: float | None = None) -> Connection:
        """Wait until the connection is open, and return it.

        Raises:
            SocketTimeout: it did not open within the timeout (seconds; default: ``default_call_timeout``).
            SocketConnectionError: it is closed for good.
        """
        self._core.waits.wait_open(timeout)
        return self

    def wait_closed(self, timeout: float | None = None) -> CloseInfo:
        """Wait until the connection is closed for good, and return close code, reason and error.

        Raises:
            SocketTimeout: it was not closed within the timeout (seconds; default: no limit).
        """
        return self._core.waits.wait_closed(timeout)

    def wait_idle(self, timeout: float = 30.0) -> bool:
        """Wait until no handler is running or queued; return false after ``timeout`` seconds."""
        core = self._core
        return core.wait_idle(core.sender.deadline_for(check_timeout(timeout)))

    def ping(self, timeout: float | None = None) -> float:
        """Send a ping, and return the round trip in seconds; raises what `notify` raises."""
        return self._core.waits.ping(timeout)

    def reconnect(self) -> None:
        """Close the link and connect again at once; handlers stay registered.

        Raises:
            SocketConnectionError: the connection is closed, or was made with ``reconnect=None``.
        """
        self._core.reconnect()

    def drain(self, timeout: float | None = DRAIN_TIMEOUT) -> None:
        """Refuse new work, wait for pending calls and running handlers, then close; within ``timeout`` seconds.

        Raises:
            SocketTimeout: they did not finish in time; the connection is closed nevertheless.
            SocketConnectionError: an open `batch` could not be sent; the connection is closed.
        """
        self._core.drain(check_timeout(timeout, default=DRAIN_TIMEOUT))

    def close(self, code: int = 1000, reason: str = "", timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Close the connection for good; idempotent, from any thread, in any state.

        Handlers that run are waited for, and those that have not started are dropped. Pending calls fail at once.

        Args:
            code: the close code for the peer (RFC 6455, section 7.4): 1000 to 1003, 1007 to 1014, or 3000 to 4999.
            reason: text for the peer, cut to 123 bytes.
            timeout: seconds (default: 3) to wait for the peer's close frame and for handlers of the connection that
                run; then the link is aborted, and the handlers are left alone.
        """
        reason = check_close(code, reason)
        core = self._core
        core.close(code, reason, core.sender.deadline_for(check_timeout(timeout, default=CLOSE_TIMEOUT)))

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        # A process pool, a cache or a task queue would pickle it; the error of a lock inside would not say why.
        raise TypeError("a Connection cannot be pickled or copied: call connect() in the process that uses it")

    def __repr__(self) -> str:
        return f"<Connection {self.name!r} {self.state.value} {self.url}>"

    def _repr_html_(self) -> str:
        from .html_repr import connection_card

        return connection_card(
            self, self._core.services.closing_error() if self.state is ConnectionState.CLOSED else None
        )


def connections() -> list[Connection]:
    """Return the connections of this process that are not closed, on both ends, in no order; from any thread.

    A connection that a forked child inherits is its own from the moment at which it uses it.
    """
    return [connection for connection in REGISTRY.connections() if connection.state is not ConnectionState.CLOSED]


def cut_reason(reason: str) -> str:
    """Return a close reason that fits its frame (RFC 6455, section 5.5): 123 bytes of UTF-8, no half characters."""
    return reason.encode("utf-8", "replace")[:CLOSE_REASON_BYTES].decode("utf-8", "ignore")


def check_close(code: object, reason: object) -> str:
    """Return a close reason that fits its frame; raise an error unless code and reason may be sent."""
    if isinstance(code, bool) or not isinstance(code, int) or not _may_be_sent(code):
        raise ValueError(f"code must be 1000 to 1003, 1007 to 1014 or 3000 to 4999, not {code!r}")
    if not isinstance(reason, str):
        raise TypeError(f"reason must be text, not {type(reason).__name__}")
    return cut_reason(reason)


def _may_be_sent(code: int) -> bool:
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def _register(
    handler: Callable[..., Any] | None, add: Callable[[Callable[..., Any]], Subscription]
) -> Subscription | Callable[[Handler], Handler]:
    """Register a handler; without one, return a decorator that does."""
    if handler is not None:
        return add(handler)

    def register(handler: Handler) -> Handler:
        add(handler)
        return handler

    return register
