"""`OwlSocket`, the Flask extension: one object for any number of apps; the state of an app is kept in the app.

Threads: an app is set up by one thread; handlers may be registered later from any thread. ``_registrations`` is only
appended to, and each connection registers the entries that it does not have yet, so the extension needs no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from weakref import WeakSet

from flask import Blueprint, Flask, current_app

from ...connection import Connection
from ...errors import ConfigError
from ...options import Deflate, Heartbeat, Limits
from ...protocol.messages import CALL_TIMEOUT
from ...protocol.subscriptions import check_name
from .configuration import DEFAULT, DEFAULT_PREFIX
from .errors import NoAppContext
from .services import AppState, Registration
from .verbs import Verbs

if TYPE_CHECKING:
    from ...contracts import Contract
    from ...hub import Hub
    from ...server import Request, Server
    from ...server.admission import Authenticate
    from ...server.adopted import AdoptedServer
    from .fake import FakePeer
    from .routes import WebSocketRoute

EXTENSION = "owlsocket"

ClientHandler = TypeVar("ClientHandler", bound=Callable[..., object])


class NamedService(Verbs):
    """A service of ``OWLSOCKET_SERVICES``, with the verbs of the extension; made by ``owl["name"]``.

    Args:
        alias: name of the service.
        register: adds a handler for all apps.
        state: returns the state of the current app.
    """

    def __init__(self, alias: str, register: Callable[[Registration], None], state: Callable[[], AppState]) -> None:
        super().__init__(alias)
        self._add_registration = register
        self._find_state = state

    def _register(self, registration: Registration) -> None:
        self._add_registration(registration)

    def _state(self) -> AppState:
        return self._find_state()

    def __repr__(self) -> str:
        return f"<OwlSocket service {self._alias!r}>"


class OwlSocket(Verbs):
    """One connection per process and app to an OwlMeans server, as a Flask extension::

        owl = OwlSocket()

        @owl.observe("greeted")
        def greeted(message):
            current_app.logger.info("%s was greeted", message.payload["name"])

        def create_app():
            app = Flask(__name__)
            app.config["OWLSOCKET_URL"] = "wss://api.example.com/ws"
            owl.init_app(app)
            return app

    A view then calls ``owl.call("getUser", 7)``. The first call connects. The connection outlives requests, and
    reconnects when the link is lost. ``owl["orders"]`` is another service, from ``OWLSOCKET_SERVICES``.

    All methods of a `Connection` are available here and use the connection of the current app.

    Args:
        app: app to pass to `init_app`.
        prefix: prefix of the keys in the app's configuration; a second extension of one app needs another prefix.
    """

    def __init__(self, app: Flask | None = None, *, prefix: str = DEFAULT_PREFIX) -> None:
        super().__init__(DEFAULT)
        self._prefix = prefix
        self._key = EXTENSION if prefix == DEFAULT_PREFIX else f"{EXTENSION}:{prefix}"
        self._registrations: list[Registration] = []
        self._routes: list[WebSocketRoute] = []
        # Weak: the extension is often a module global, and must not keep the apps of a test suite alive.
        self._apps: WeakSet[Flask] = WeakSet()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Add the extension to an app, without connecting.

        The names of the configuration keys are checked now; the values are read when a service is first used.

        Raises:
            ConfigError: the app has an extension with this prefix already, or an ``OWLSOCKET_`` key is unknown.
        """
        if self._key in app.extensions:
            raise ConfigError(
                f"app {app.name!r} has an OwlSocket already: use owl['name'] for another service, or another prefix "
                "for a second extension"
            )
        from .commands import make_group

        app.extensions[self._key] = state = AppState(app, self, self._prefix, self._registrations)
        app.cli.add_command(make_group(state, self._key.replace(":", "-").rstrip("_").lower()))
        for route in self._routes:
            if not route.in_blueprint:  # a blueprint brings its routes itself
                route.add_to(app)
        self._apps.add(app)

    def __getitem__(self, alias: str) -> NamedService:
        """Return the service of a name in ``OWLSOCKET_SERVICES``."""
        return NamedService(alias, self._register, self._state)

    def _register(self, registration: Registration) -> None:
        # Append first: a connection made meanwhile either finds the entry in the list, or is synchronised below.
        self._registrations.append(registration)
        for app in list(self._apps):
            app.extensions[self._key].sync(registration.alias)

    def _state(self) -> AppState:
        app = current_app
        if not app:
            raise NoAppContext(
                "no application context: use the extension in a view, or inside 'with app.app_context():'"
            )
        state: AppState | None = app.extensions.get(self._key)
        if state is None or state.owner is not self:
            raise ConfigError(f"this OwlSocket is not initialised for app {app.name!r}: call init_app(app)")
        return state

    def close(self) -> None:
        """Close the connections of the current app in this process; the next use connects again.

        Raises:
            NoAppContext: called outside of an application context.
        """
        self._state().close()

    # -- incoming connections ----------------------------------------------------------------------------------------

    def accept(
        self,
        path: str,
        *,
        blueprint: Blueprint | None = None,
        authenticate: Authenticate | None = None,
        origins: list[str] | Literal["*"] | None = None,
        limits: Limits = Limits(),
        heartbeat: Heartbeat | None = Heartbeat(),
        workers: int = 4,
        call_timeout: float = CALL_TIMEOUT,
        expose_tracebacks: bool = False,
        name: str | None = None,
        compression: Deflate | str | None = None,
        hub: Hub | None = None,
        subprotocols: list[str] | None = None,
        describe: bool | Contract = False,
        **rule_options: Any,
    ) -> Callable[[ClientHandler], ClientHandler]:
        """Accept OwlMeans clients at a route, with ``handler(connection, request, **values)``; a decorator.

        The handler may return, as with `owlsocket_sync.server.serve`. The link stays open until either side closes it,
        and occupies the thread of its request until then. Handlers on the connection run inside ``app.app_context()``.
        Needs the extra ``server``, and ``flask run`` or gunicorn with the worker class ``gthread`` or ``gevent``.

        Args:
            path: URL rule; the handler receives the values of the rule by name.
            blueprint: of the route, to be registered by the app; ``None`` adds the route to each app of this extension.
            authenticate: an `owlsocket_sync.auth.Guard`, or a callable ``(request) -> identity``; as in
                `owlsocket_sync.server.serve`. Clients are rejected before the upgrade.
            origins: origins of web pages that may connect, ``"*"`` for all; ``None`` for the origin of the app itself,
                as the ``Host`` header names it. Clients other than browsers send no origin and are always allowed.
            limits: limits of buffers and messages, for each client.
            heartbeat: when to ping a silent client; ``None`` disables the heartbeat.
            workers: maximum of handlers that run at once, for each client.
            call_timeout: seconds to wait for the result of a call to a client; the default of `Connection.call`.
            expose_tracebacks: send tracebacks of handlers to clients.
            name: name of the route in logs.
            compression: ``"deflate"`` or a `Deflate` compresses messages for clients that offer it; ``None`` for none.
            hub: the clients are in this hub; ``None`` for that of ``OWLSOCKET_HUB``, or one in memory for the route.
            subprotocols: as in `owlsocket_sync.server.serve`; ``None`` takes those of ``SOCK_SERVER_OPTIONS``, if any.
            describe: as in `owlsocket_sync.server.serve`.
            rule_options: options of ``app.add_url_rule``, such as ``subdomain`` or ``endpoint``.

        Raises:
            SocketInitializationError: flask-sock, or the extra ``server``, is not installed.
            ValueError: an option is not usable; the message names the option.
        """
        check_name("accept", path)
        # Imported here: both need packages that an app which only calls does not install.
        from ...server import ServerOptions
        from .routes import WebSocketRoute

        options = ServerOptions(
            authenticate=authenticate,
            origins=origins,
            limits=limits,
            heartbeat=heartbeat,
            workers=workers,
            call_timeout=call_timeout,
            expose_tracebacks=expose_tracebacks,
            name=name,
            compression=compression,
            hub=hub,
            subprotocols=subprotocols,
            describe=describe,
        )

        def register(handler: ClientHandler) -> ClientHandler:
            route = WebSocketRoute(path, handler, options, rule_options, self._hub_of)
            for scaffold in list(self._apps) if blueprint is None else [blueprint]:
                route.add_to(scaffold)
            self._routes.append(route)
            return handler

        return register

    @property
    def hub(self) -> Hub:
        """The hub of ``OWLSOCKET_HUB``, in which the clients of the routes are: ``owl.hub.publish("tick", payload)``.

        Raises:
            NoAppContext: called outside of an application context.
            ConfigError: there is none, or its value is not usable.
        """
        return self._state().hub.get()

    def _hub_of(self, app: Flask) -> Hub | None:
        state: AppState | None = app.extensions.get(self._key)
        return None if state is None else state.hub.find()

    def clients(self, path: str) -> AdoptedServer:
        """Return the clients of a route of the current app in this process: ``connections``, ``broadcast``.

        Raises:
            NoAppContext: called outside of an application context.
            ConfigError: no route of `accept` has this path.
        """
        self._state()
        for route in self._routes:
            if route.path == path:
                return route.adopted(current_app._get_current_object())  # type: ignore[attr-defined]
        known = ", ".join(repr(route.path) for route in self._routes) or "none"
        raise ConfigError(f"no route accepts clients at {path!r}; routes: {known}")

    def close_clients(self, timeout: float = 3.0) -> None:
        """Close the connections of all clients of this process and reject new ones; from any thread.

        For a worker process that is shutting down. Needs no application context.

        Args:
            timeout: seconds to wait for the closing handshakes.
        """
        for route in self._routes:
            route.close(timeout)

    # -- for tests ---------------------------------------------------------------------------------------------------

    @contextmanager
    def fake_peer(self, app: Flask | None = None, *, service: str = DEFAULT, strict: bool = True) -> Iterator[FakePeer]:
        """Replace a service by a `FakePeer` inside the ``with`` block: no socket, no server, the same errors.

        So is the hub of ``OWLSOCKET_HUB``, by one in memory.

        Args:
            app: app whose calls the peer answers; the default is the current app, or the only app.
            service: name of the service to replace.
            strict: false to emit events whether or not the app observes them, and whatever its handlers raise.

        Raises:
            NoAppContext: called without an app and outside of a context, while the extension has several apps.
            ConfigError: the configuration is not usable.
        """
        from .fake import FakeService

        state = self._state_of(app)
        source = FakeService(state, service, strict)
        with state.hub.recorded(self._routes) as hub, state.override(service, source):
            source.peer.published = hub.published
            yield source.peer

    @contextmanager
    def test_server(
        self,
        app: Flask | None = None,
        handler: Callable[[Connection, Request], object] | None = None,
        *,
        service: str = DEFAULT,
        authenticate: Authenticate | None = None,
        **options: Any,
    ) -> Iterator[Server]:
        """Run a server on this machine inside the ``with`` block, and connect a service of the app to it.

        The credentials of the configuration (``TOKEN``, ``AUTH``, ``LOGIN``) are used only if the server has an
        ``authenticate``; ``PROXY``, ``SSL_CONTEXT``, ``INBOX`` and ``OUTBOX`` are not used. ``owl.hub`` is one in
        memory, whose ``published`` has its events. Needs the extra ``server``.

        Args:
            app: app to connect; the default is the current app, or the only app.
            handler: called with each connection of the app, as in `owlsocket_sync.server.serve`; ``None`` answers
                nothing, and the test uses the ``connections`` of the server.
            service: name of the service to replace.
            authenticate: as in `owlsocket_sync.server.serve`.
            options: other options of `owlsocket_sync.server.serve`.

        Raises:
            NoAppContext: called without an app and outside of a context, while the extension has several apps.
            ConfigError: the configuration is not usable.
        """
        from ...server import serve
        from .configuration import IDENTITY

        state = self._state_of(app)
        # A server that ignores the secrets of the configuration must not get them; nor the messages of its stores.
        exclude = ("proxy", "ssl_context", "inbox", "outbox", *(IDENTITY if authenticate is None else ()))
        with (
            serve(handler or _answer_nothing, authenticate=authenticate, **options) as server,
            state.override_url(server.url, service, exclude),
            state.hub.recorded(self._routes),
        ):
            yield server

    def _state_of(self, app: Flask | None) -> AppState:
        # A fixture has no application context yet; the only app is meant then.
        if app is None and not current_app and len(self._apps) == 1:
            (app,) = self._apps
        if app is None:
            return self._state()
        with app.app_context():
            return self._state()

    def __repr__(self) -> str:
        return f"<OwlSocket of {', '.join(sorted(app.name for app in self._apps)) or 'no apps'}>"


def _answer_nothing(connection: Connection, request: Request) -> None:
    # The error is marshalled to the app, where the test sees it: a log line on the server's end is noise.
    connection.on_error(lambda error, context: None)
