"""``OwlSocket``: one connection per process for each app, and handlers that run in the app's context.

Threads: an extension belongs to all threads of all processes. What belongs to an app is in ``app.extensions``; its
`SocketService` sees to it that each process has one connection. Handlers are registered on a list that only grows, and
on each connection by its service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast, overload

from flask import Blueprint, Flask, current_app, has_app_context

from ...client import connect
from ...connection import Connection
from ...context import Context, SocketService
from ...errors import ConfigError
from ...options import Heartbeat, Limits
from ...server import Server, serve
from .accepting import Entrance
from .commands import make_group
from .configuration import check_names, read
from .double import Double

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_PREFIX = "OWLSOCKET_"
VERBS = ("observe", "perform", "acknowledge", "listen", "on_error", "on_state", "observe_response")


class _App:
    """What an app has of one extension.

    Attributes:
        stand_in: what is used in place of a connection, in tests.
    """

    def __init__(self, app: Flask, prefix: str, setup: Callable[[Connection], None]) -> None:
        self.app = app
        self._prefix = prefix
        self._setup = setup
        self._services: dict[str, SocketService] = {}
        self.stand_in: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The connection of this process, made now if there is none."""
        return self.stand_in or self._service().connection

    @property
    def current(self) -> Connection | None:
        """The connection that is there; asking does not connect."""
        service = self._services.get("socket")
        return self.stand_in or (service.current if service is not None else None)

    def _service(self) -> SocketService:
        found = self._services.get("socket")
        if found is None:
            url, options = read(self.app, self._prefix)
            service = SocketService(url, setup=self._setup, **{"name": self.app.name, **options})
            Context(service)
            found = self._services.setdefault("socket", service)  # the first one is everybody's
        return found

    @contextmanager
    def connecting(self) -> Iterator[Connection]:
        """A connection on its way, for one command; without handlers: those belong to processes that stay."""
        if self.stand_in is not None:
            yield self.stand_in
            return
        url, options = read(self.app, self._prefix)
        with connect(url, **{"name": self.app.name, **options, "reconnect": None, "wait": False}) as connection:
            yield connection

    def close(self) -> None:
        """Close the connection of this process; the next use makes a new one, by the configuration as it is then."""
        service = self._services.pop("socket", None)
        if service is not None:
            service.close()


class OwlSocket:
    """The Flask extension; one object serves any number of apps.

    Every method of a `Connection` is one of this too: it goes to the connection of the app whose context is active,
    which is made when it is first used in a process, and lives as long as the process: no request closes it.

    Args:
        app: the app, or `init_app` later.
        prefix: of the names in its configuration; another one makes a second connection of the same app.
    """

    def __init__(self, app: Flask | None = None, *, prefix: str = DEFAULT_PREFIX) -> None:
        self._prefix = prefix
        self._handlers: list[tuple[str, tuple[Any, ...], dict[str, Any], Callable[..., Any]]] = []
        self._entrances: list[Entrance] = []
        self._apps: list[_App] = []
        if app is not None:
            self.init_app(app)

    @property
    def _key(self) -> str:
        return "owlsocket" if self._prefix == DEFAULT_PREFIX else f"owlsocket:{self._prefix}"

    def init_app(self, app: Flask) -> None:
        """Belong to an app too; connects nothing.

        Raises:
            ConfigError: it belongs to the app already, or the configuration has a name that is no option.
        """
        if self._key in app.extensions:
            raise ConfigError(f"{app.name!r} has an OwlSocket already: give the other one a prefix of its own")
        check_names(app.config.get_namespace(self._prefix), self._prefix)
        state = _App(app, self._prefix, lambda connection: self._set_up(app, connection))
        app.extensions[self._key] = state
        self._apps.append(state)
        app.cli.add_command(make_group(state.connecting, self._key.replace(":", "-").rstrip("_").lower()))
        for entrance in self._entrances:
            entrance.open(app)

    def _state(self) -> _App:
        if not has_app_context():
            raise RuntimeError(
                "which app's connection? Outside of a request, use this within `with app.app_context():`"
            )
        found = current_app.extensions.get(self._key)
        if not isinstance(found, _App):
            raise ConfigError(f"{current_app.name!r} does not know this OwlSocket: call init_app(app)")
        return found

    # -- calling -----------------------------------------------------------------------------------------------------

    @property
    def connection(self) -> Connection:
        """The connection of the active app in this process, made now if there is none.

        Raises:
            RuntimeError: no app's context is active.
            ConfigError: the app does not say where to connect to.
            SocketConnectionError: and what else `owlsocket_sync.connect` raises.
        """
        return self._state().connection

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in VERBS or not hasattr(Connection, name):
            raise AttributeError(f"an OwlSocket has no {name!r}; what is set on a connection is at owl.connection")
        return getattr(self.connection, name)

    def close(self) -> None:
        """Close the connection of the active app in this process; the next use makes a new one."""
        self._state().close()

    # -- handlers ------------------------------------------------------------------------------------------------------

    @overload
    def observe(self, event: str, handler: Function) -> Function: ...

    @overload
    def observe(self, event: str) -> Callable[[Function], Function]: ...

    def observe(self, event: str, handler: Function | None = None) -> Any:
        """Have ``handler(EventMessage)`` run for events, in each app's context; a decorator without a handler."""
        return self._register("observe", (event,), {}, handler)

    @overload
    def perform(self, method: str, handler: Function, **options: Any) -> Function: ...

    @overload
    def perform(self, method: str, **options: Any) -> Callable[[Function], Function]: ...

    def perform(self, method: str, handler: Function | None = None, **options: Any) -> Any:
        """Answer calls of this name, in each app's context; a decorator without a handler."""
        return self._register("perform", (method,), options, handler)

    def acknowledge(self, handler: Function) -> Function:
        """Answer requests, as `Connection.acknowledge` does, in each app's context; a decorator."""
        return cast(Function, self._register("acknowledge", (), {}, handler))

    def observe_response(self, observer: Function) -> Function:
        """See the responses that nobody captured, in each app's context; a decorator."""
        return cast(Function, self._register("observe_response", (), {}, observer))

    def listen(self, listener: Function) -> Function:
        """See every message, in each app's context; a decorator."""
        return cast(Function, self._register("listen", (), {}, listener))

    def on_error(self, handler: Function) -> Function:
        """Be told what goes wrong, in each app's context; a decorator."""
        return cast(Function, self._register("on_error", (), {}, handler))

    def on_state(self, handler: Function) -> Function:
        """Be told where the connection stands, in each app's context; a decorator."""
        return cast(Function, self._register("on_state", (), {}, handler))

    def _register(self, verb: str, names: tuple[Any, ...], options: dict[str, Any], handler: Any) -> Any:
        if handler is None:
            return lambda handler: self._register(verb, names, options, handler)
        entry = verb, names, options, handler
        self._handlers.append(entry)
        for state in self._apps:
            connection = state.current
            if connection is not None:
                _add(state.app, connection, entry)
        return handler

    def _set_up(self, app: Flask, connection: Connection) -> None:
        for entry in list(self._handlers):
            _add(app, connection, entry)

    # -- accepting -----------------------------------------------------------------------------------------------------

    def accept(
        self,
        path: str,
        *,
        blueprint: Blueprint | None = None,
        authenticate: Any = None,
        origins: list[str] | None = None,
        limits: Limits = Limits(),
        heartbeat: Heartbeat | None = Heartbeat(),
        workers: int = 4,
        call_timeout: float = 60.0,
        expose_tracebacks: bool = False,
    ) -> Callable[[Function], Function]:
        """Decorate ``handler(connection, request)``: clients connect to this path of each app.

        The handler runs within the request that became the connection, and may return; the link lives until either
        side closes it, and takes a thread of the web server for so long. Handlers that it registers run in the app's
        context. Variables of the path are further arguments. The options are those of `owlsocket_sync.server.serve`.
        """
        options = {
            "authenticate": authenticate,
            "origins": origins,
            "limits": limits,
            "heartbeat": heartbeat,
            "workers": workers,
            "call_timeout": call_timeout,
            "expose_tracebacks": expose_tracebacks,
        }

        def decorate(handler: Function) -> Function:
            entrance = Entrance(path, handler, options)
            if blueprint is not None:
                entrance.open(blueprint)
                return handler
            self._entrances.append(entrance)
            for state in self._apps:
                entrance.open(state.app)
            return handler

        return decorate

    # -- tests ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def double(self, app: Flask) -> Iterator[Double]:
        """Talk to a peer in memory inside the ``with`` block, in place of a server; see `Double`."""
        state = app.extensions[self._key]
        double = Double(app.name)
        self._set_up(app, double.connection)
        before, state.stand_in = state.stand_in, double.connection
        try:
            yield double
        finally:
            state.stand_in = before
            double.close()

    @contextmanager
    def test_server(self, app: Flask, handler: Callable[..., object], **options: Any) -> Iterator[Server]:
        """Run an embedded server inside the ``with`` block, and have the app connect to it.

        Args:
            app: whose connection it is.
            handler: as for `owlsocket_sync.server.serve`.
            options: likewise.
        """
        state = app.extensions[self._key]
        configured = app.config.get(f"{self._prefix}URL")
        with serve(handler, **options) as server:
            state.close()
            app.config[f"{self._prefix}URL"] = server.url
            try:
                yield server
            finally:
                state.close()
                app.config[f"{self._prefix}URL"] = configured


def _add(app: Flask, connection: Connection, entry: tuple[str, tuple[Any, ...], dict[str, Any], Any]) -> None:
    verb, names, options, handler = entry

    @wraps(handler)
    def within(*arguments: Any) -> Any:
        with app.app_context():
            return handler(*arguments)

    getattr(connection, verb)(*names, within, **options)
