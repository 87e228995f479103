"""The verbs of a service: the methods of a `Connection`, on the connection of the current app.

Threads: methods may be called from any thread with an application context; handlers are registered from any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ...callables import ANY, find_misfit
from ...connection import Connection
from ...deadline import Deadline
from ...protocol.events import EVERY, EventStream
from ...protocol.messages import EventMessage
from ...protocol.requests import Stream
from ...protocol.subscriptions import check_name, check_pattern
from ...states import AuthenticationStage
from ..typed_verbs import TypedVerbs
from .services import Registration

if TYPE_CHECKING:
    from .services import AppState

PARAMETERS = {
    "observe": "message",
    "perform": ANY,
    "acknowledge": "id, payload",
    "listen": "message",
    "on_state": "change",
    "on_error": "error, context",
    "observe_response": "payload",
}
"""The parameters of a handler by the verb that registers it."""

Handler = TypeVar("Handler", bound=Callable[..., Any])
Observer = TypeVar("Observer", bound=Callable[[EventMessage], Any])


class Verbs(TypedVerbs):
    """A service; the first verb connects, once per process and app.

    Args:
        alias: name of the service in the configuration.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def _register(self, registration: Registration) -> None:
        """Add a handler for all apps, connected apps included."""
        raise NotImplementedError

    def _state(self) -> AppState:
        """Return the state of the current app; raises `NoAppContext` without an application context."""
        raise NotImplementedError

    @property
    def connection(self) -> Connection:
        """The connection of the current app in this process: open or reconnecting.

        Raises:
            NoAppContext: called outside of an application context.
            ConfigError: the extension is not initialised for the app, or a configuration value is not usable; the
                message names the key.
            SocketTimeout: no connection within ``OWLSOCKET_TIMEOUT``; `owlsocket_sync.connect` lists further errors.
        """
        return self._state().connection(self._alias)

    def _use(self, timeout: float | None = None) -> tuple[Connection, float | None]:
        """Connect within the timeout of a verb, default ``OWLSOCKET_CALL_TIMEOUT``; return also what is left of it."""
        return self._state().use(self._alias, timeout)

    # -- outgoing: as in `owlsocket_sync.Connection`; each raises what `connection` raises, too ------------------------

    def notify(self, event: str, payload: Any = None) -> None:
        """`Connection.notify`: send an event."""
        self._use()[0].notify(event, payload)

    def stream(self, payload: Any, timeout: float | None = None) -> Stream:
        """`Connection.stream`: iterate over the responses of one request."""
        return self._use()[0].stream(payload, timeout=timeout)

    def events(self, event: str, limit: int | None = None, timeout: float | None = None) -> EventStream:
        """`Connection.events`: iterate over events in this thread."""
        return self._use()[0].events(event, limit=limit, timeout=timeout)

    def enqueue(self, payload: Any, id: str | None = None) -> None:
        """`Connection.enqueue`: put a message on the peer's queue; with ``OWLSOCKET_OUTBOX``, without a wait for it."""
        self._state().source(self._alias).enqueue(payload, id)

    def reply(self, id: str, payload: Any) -> None:
        """`Connection.reply`: answer a request, in an `acknowledge` handler or later."""
        self._use()[0].reply(id, payload)

    def ping(self, timeout: float | None = None) -> float:
        """`Connection.ping`: measure the round-trip time in seconds."""
        connection, timeout = self._use(timeout)
        return connection.ping(timeout)

    def batch(self) -> AbstractContextManager[None]:
        """`Connection.batch`: send everything inside in as few writes as possible."""
        return self._use()[0].batch()

    def deadline(self, seconds: float) -> AbstractContextManager[Deadline]:
        """`Connection.deadline`: set one deadline for all calls inside."""
        connection, left = self._use(seconds)
        return connection.deadline(seconds if left is None else left)

    # -- incoming: handlers for all apps, run in the context of the app ------------------------------------------------

    @overload
    def observe(self, event: str, handler: Observer) -> Observer: ...
    @overload
    def observe(self, event: str) -> Callable[[Observer], Observer]: ...

    def observe(self, event: str, handler: Observer | None = None) -> Observer | Callable[[Observer], Observer]:
        """Run ``handler(message)`` for each event of a name, ``"*"`` for all, as `Connection.observe` does.

        The handler runs inside ``app.app_context()``, for each app of this extension, and stays registered. Without
        ``handler`` the method is a decorator. From any thread, before or after `init_app`. Returns the handler.
        """
        registered: Observer | Callable[[Observer], Observer] = self._add("observe", (event,), handler)
        return registered

    @overload
    def perform(self, method: str, handler: Handler, *, stage: AuthenticationStage | None = None) -> Handler: ...
    @overload
    def perform(self, method: str, *, stage: AuthenticationStage | None = None) -> Callable[[Handler], Handler]: ...

    def perform(
        self, method: str, handler: Handler | None = None, *, stage: AuthenticationStage | None = None
    ) -> Handler | Callable[[Handler], Handler]:
        """Answer the peer's calls of ``method``, as `Connection.perform` does; contexts as for `observe`."""
        registered: Handler | Callable[[Handler], Handler] = self._add("perform", (method,), handler, stage=stage)
        return registered

    def acknowledge(self, handler: Handler) -> Handler:
        """Accept the peer's requests with ``handler(id, payload) -> bool``, as `Connection.acknowledge` does.

        Usable as a decorator, as are the methods below; contexts as for `observe`.
        """
        registered: Handler = self._add("acknowledge", (), handler)
        return registered

    def listen(self, handler: Handler) -> Handler:
        """Run ``handler(message)`` for every message, as `Connection.listen` does."""
        registered: Handler = self._add("listen", (), handler)
        return registered

    def on_state(self, handler: Handler) -> Handler:
        """Run ``handler(change)`` at each change of the state, as `Connection.on_state` does."""
        registered: Handler = self._add("on_state", (), handler)
        return registered

    def on_error(self, handler: Handler) -> Handler:
        """Run ``handler(error, context)`` for errors in handlers, as `Connection.on_error` does.

        Without such a handler, errors are logged on ``app.logger``.
        """
        registered: Handler = self._add("on_error", (), handler)
        return registered

    def observe_response(self, observer: Handler) -> Handler:
        """Run ``observer(message)`` for every response without a request, as `Connection.observe_response` does."""
        registered: Handler = self._add("observe_response", (), observer)
        return registered

    def __getattr__(self, name: str) -> Any:
        """Return any other method of the connection."""
        # Not forwarded: copy, pickle and consoles probe such names, and a probe must not connect.
        if name.startswith("_") or not hasattr(Connection, name):
            raise AttributeError(f"OwlSocket has no attribute {name!r}; settable attributes are on owl.connection")
        return getattr(self._use()[0], name)

    def _add(self, verb: str, names: tuple[str, ...], handler: Any, **options: Any) -> Any:
        """Register a handler; return the handler, or a decorator if the handler is missing."""
        for name in names:
            check_name(verb, name)
            check_pattern(verb, name, EVERY if verb == "observe" else None)
        # Only what was set: the defaults of a verb are those of the connection.
        set_options = {name: value for name, value in options.items() if value is not None}

        def register(handler: Handler) -> Handler:
            # Flask runs async functions, as it runs async views.
            misfit = find_misfit(handler, PARAMETERS[verb], allow_async=True)
            if misfit is not None:
                raise TypeError(f"the handler of {' '.join((verb, *map(repr, names)))} {misfit}")
            self._register(Registration(self._alias, verb, names, handler, set_options))
            return handler

        # Verbs without a name are decorators themselves: with them, a missing handler is an error.
        return register if handler is None and names else register(handler)
