"""What a view says to a service: the verbs of its connection, by name, on the app that is current.

Threads: every method may be called from any thread that has an application context; handlers are registered from any.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ...connection import Connection
from ...deadline import Deadline
from ...protocol.events import EventStream
from ...protocol.messages import EventMessage
from ...protocol.requests import Stream
from ...stages import AuthenticationStage
from .services import Registration

if TYPE_CHECKING:
    from .services import AppState

Handler = TypeVar("Handler", bound=Callable[..., Any])
Observer = TypeVar("Observer", bound=Callable[[EventMessage], Any])
Interface = TypeVar("Interface")


class Verbs:
    """A service by name; the connection is made by the first verb that needs it, one per process and app.

    Args:
        alias: its name in the configuration.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def _register(self, registration: Registration) -> None:
        """Keep a handler for all apps, those with a connection included."""
        raise NotImplementedError

    def _state(self) -> AppState:
        """What the current app has of the extension; raises `NoAppContext` where no app is current."""
        raise NotImplementedError

    @property
    def connection(self) -> Connection:
        """The connection of this process, of the app that is current: open, or on its way back.

        Raises:
            NoAppContext: no app is current.
            ConfigError: the app does not know this extension, or something in its configuration cannot be used; the
                message names the key.
            SocketTimeout: no connection within ``OWLSOCKET_TIMEOUT``; and what else `owlsocket_sync.connect` raises.
        """
        return self._state().connection(self._alias)

    # -- to the peer, as `owlsocket_sync.Connection` has them; each raises what `connection` raises as well -----------

    def call(
        self, method: str, *payload: Any, timeout: float | None = None, result_type: Any = None, retry: bool = False
    ) -> Any:
        """`Connection.call`: call a method of the peer, and wait for its answer."""
        return self.connection.call(method, *payload, timeout=timeout, result_type=result_type, retry=retry)

    def submit(
        self, method: str, *payload: Any, timeout: float | None = None, result_type: Any = None, retry: bool = False
    ) -> Future[Any]:
        """`Connection.submit`: call a method without waiting for its answer."""
        return self.connection.submit(method, *payload, timeout=timeout, result_type=result_type, retry=retry)

    def notify(self, event: str, payload: Any = None) -> None:
        """`Connection.notify`: send an event."""
        self.connection.notify(event, payload)

    def stream(self, payload: Any, timeout: float | None = None) -> Stream:
        """`Connection.stream`: iterate over the responses of one request."""
        return self.connection.stream(payload, timeout=timeout)

    def events(self, event: str, limit: int | None = None, timeout: float | None = None) -> EventStream:
        """`Connection.events`: iterate over events in this thread."""
        return self.connection.events(event, limit=limit, timeout=timeout)

    def enqueue(self, payload: Any, id: str | None = None) -> None:
        """`Connection.enqueue`: put a message on the peer's queue."""
        self.connection.enqueue(payload, id)

    def reply(self, id: str, payload: Any) -> None:
        """`Connection.reply`: answer a request, in a handler that `acknowledge` registered or after it."""
        self.connection.reply(id, payload)

    def ping(self, timeout: float | None = None) -> float:
        """`Connection.ping`: seconds of a round trip."""
        return self.connection.ping(timeout)

    def batch(self) -> AbstractContextManager[None]:
        """`Connection.batch`: what is sent inside leaves in as few writes as possible."""
        return self.connection.batch()

    def deadline(self, seconds: float) -> AbstractContextManager[Deadline]:
        """`Connection.deadline`: one deadline over all calls inside."""
        return self.connection.deadline(seconds)

    def proxy(self, interface: type[Interface], prefix: str = "") -> Interface:
        """`Connection.proxy`: an object whose methods are calls; of the app that is current now."""
        return self.connection.proxy(interface, prefix)

    # -- from the peer: handlers of all apps, each of which runs them in its own context ------------------------------

    @overload
    def observe(self, event: str, handler: Observer) -> Observer: ...
    @overload
    def observe(self, event: str) -> Callable[[Observer], Observer]: ...

    def observe(self, event: str, handler: Observer | None = None) -> Observer | Callable[[Observer], Observer]:
        """Have ``handler(message)`` run for each event of this name, ``"*"`` for all, as `Connection.observe` does.

        It runs inside ``app.app_context()``, for each app that knows this extension, and for as long as there is one.
        A decorator when ``handler`` is left out; returns the handler. From any thread, before `init_app` or after it.
        """
        kept: Observer | Callable[[Observer], Observer] = self._keep("observe", (event,), handler)
        return kept

    @overload
    def perform(self, method: str, handler: Handler, *, stage: AuthenticationStage | None = None) -> Handler: ...
    @overload
    def perform(self, method: str, *, stage: AuthenticationStage | None = None) -> Callable[[Handler], Handler]: ...

    def perform(
        self, method: str, handler: Handler | None = None, *, stage: AuthenticationStage | None = None
    ) -> Handler | Callable[[Handler], Handler]:
        """Answer the peer's calls of ``method``, as `Connection.perform` does; registered and run as `observe` says."""
        kept: Handler | Callable[[Handler], Handler] = self._keep("perform", (method,), handler, stage=stage)
        return kept

    def acknowledge(self, handler: Handler) -> Handler:
        """Have ``handler(id, payload) -> bool`` take on the peer's requests, as `Connection.acknowledge` does.

        A decorator, and no more than that; registered and run as `observe` says. So are those below.
        """
        kept: Handler = self._keep("acknowledge", (), handler)
        return kept

    def listen(self, handler: Handler) -> Handler:
        """Have ``handler(message)`` run for every message, as `Connection.listen` does; a decorator."""
        kept: Handler = self._keep("listen", (), handler)
        return kept

    def on_state(self, handler: Handler) -> Handler:
        """Have ``handler(change)`` run at each change of the state, as `Connection.on_state` does; a decorator."""
        kept: Handler = self._keep("on_state", (), handler)
        return kept

    def on_error(self, handler: Handler) -> Handler:
        """Have ``handler(error, context)`` run for what goes wrong in handlers, as `Connection.on_error` does.

        A decorator. Without such a handler, ``app.logger`` tells of errors.
        """
        kept: Handler = self._keep("on_error", (), handler)
        return kept

    def observe_response(self, observer: Handler) -> Handler:
        """Have ``observer(message)`` see every response that nobody captured; a decorator."""
        kept: Handler = self._keep("observe_response", (), observer)
        return kept

    def __getattr__(self, name: str) -> Any:
        """Every other method of the connection, too."""
        if name.startswith("_") or not hasattr(Connection, name):
            raise AttributeError(f"an OwlSocket has no {name!r}; what is set on a connection is at owl.connection")
        return getattr(self.connection, name)

    def _keep(self, verb: str, names: tuple[str, ...], handler: Any, **options: Any) -> Any:
        given = {name: value for name, value in options.items() if value is not None}

        def register(handler: Handler) -> Handler:
            self._register(Registration(self._alias, verb, names, handler, given))
            return handler

        return register if handler is None and names else register(handler)
