"""`OwlSocket`, the extension: one object for any number of apps, which keeps what is theirs in the apps themselves.

Threads: it is set up by one thread, as an app is; handlers may come later from any. ``_registrations`` is only appended
to, and each connection takes from it what it has not got yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from flask import Blueprint, Flask, current_app

from ...connection import Connection
from ...errors import ConfigError
from ...options import Heartbeat, Limits
from ...protocol.messages import CALL_TIMEOUT
from .configuration import DEFAULT, DEFAULT_PREFIX
from .errors import NoAppContext
from .services import AppState, Registration
from .verbs import Verbs

if TYPE_CHECKING:
    from ...server import Request, Server
    from ...server.gate import Authenticate
    from ...server.lodging import Lodging
    from .accepting import Door
    from .double import Double

EXTENSION = "owlsocket"

ClientHandler = TypeVar("ClientHandler", bound=Callable[..., object])


class NamedService(Verbs):
    """One of the services of ``OWLSOCKET_SERVICES``, with the verbs of the extension."""

    def __init__(self, alias: str, owner: OwlSocket) -> None:
        super().__init__(alias)
        self._extension = owner

    def _register(self, registration: Registration) -> None:
        self._extension._register(registration)

    def _state(self) -> AppState:
        return self._extension._state()

    def __repr__(self) -> str:
        return f"<OwlSocket service {self._alias!r}>"


class OwlSocket(Verbs):
    """One connection per process and app to an OwlMeans server, in the manner of Flask's extensions::

        owl = OwlSocket()

        @owl.observe("greeted")
        def greeted(message):
            current_app.logger.info("%s was greeted", message.payload["name"])

        def create_app():
            app = Flask(__name__)
            app.config["OWLSOCKET_URL"] = "wss://api.example.com/ws"
            owl.init_app(app)
            return app

    A view then says ``owl.call("getUser", 7)``. The connection is made by the first call, outlives requests, and comes
    back by itself when it was lost. ``owl["orders"]`` is another service, of ``OWLSOCKET_SERVICES``.

    Every method of a `Connection` is one of this too, and goes to the connection of the app whose context is active.

    Args:
        app: one to begin with, as for `init_app`.
        prefix: of the keys in its configuration; another one makes a second extension of the same app.
    """

    def __init__(self, app: Flask | None = None, *, prefix: str = DEFAULT_PREFIX) -> None:
        super().__init__(DEFAULT)
        self._prefix = prefix
        self._key = EXTENSION if prefix == DEFAULT_PREFIX else f"{EXTENSION}:{prefix}"
        self._registrations: list[Registration] = []
        self._doors: list[Door] = []
        self._apps: WeakSet[Flask] = WeakSet()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Let an app know this extension; connects nothing.

        Its configuration is looked at now for names that mean nothing, and read when a service is first used.

        Raises:
            ConfigError: the app has an extension of this kind already, or there is an unknown ``OWLSOCKET_`` key.
        """
        if self._key in app.extensions:
            raise ConfigError(
                f"{app.name!r} has an OwlSocket already: owl['name'] is another service of it, and another OwlSocket "
                "needs a prefix of its own"
            )
        from .commands import make_group

        app.extensions[self._key] = state = AppState(app, self, self._prefix, self._registrations)
        app.cli.add_command(make_group(state, self._key.replace(":", "-").rstrip("_").lower()))
        for door in self._doors:
            if not door.in_blueprint:
                door.add_to(app)
        self._apps.add(app)

    def __getitem__(self, alias: str) -> NamedService:
        """The service of this name in ``OWLSOCKET_SERVICES``."""
        return NamedService(alias, self)

    def _register(self, registration: Registration) -> None:
        self._registrations.append(registration)
        for app in list(self._apps):
            app.extensions[self._key].catch_up(registration.alias)

    def _state(self) -> AppState:
        app = current_app
        if not app:
            raise NoAppContext(
                "which app's connection? Do this in a view of the app, or inside 'with app.app_context():'"
            )
        state: AppState | None = app.extensions.get(self._key)
        if state is None or state.owner is not self:
            raise ConfigError(f"{app.name!r} does not know this OwlSocket: call init_app(app)")
        return state

    def close(self) -> None:
        """Close the connections of the current app in this process; the next use makes new ones.

        Raises:
            NoAppContext: no app is current.
        """
        self._state().close()

    # -- clients that come to the app --------------------------------------------------------------------------------

    def accept(
        self,
        path: str,
        *,
        blueprint: Blueprint | None = None,
        authenticate: Authenticate | None = None,
        origins: list[str] | None = None,
        limits: Limits = Limits(),
        heartbeat: Heartbeat | None = Heartbeat(),
        workers: int = 4,
        call_timeout: float = CALL_TIMEOUT,
        expose_tracebacks: bool = False,
        name: str | None = None,
        **rule_options: Any,
    ) -> Callable[[ClientHandler], ClientHandler]:
        """Make ``handler(connection, request, **values)`` a route to which OwlMeans clients connect; a decorator.

        It registers what it answers and may return, as with `owlsocket_sync.server.serve`; the link lives until either
        side closes it, and keeps the thread of its request until then. What is registered on the connection runs inside
        ``app.app_context()``. Needs the extra ``server``, and a web server that lends its sockets: ``flask run``, or
        gunicorn with the worker class ``gthread`` or ``gevent``.

        Args:
            path: a URL rule; the handler gets its values by name.
            blueprint: whose route it is; the app registers the blueprint. Without one it is a route of each app that
                knows this extension.
            authenticate: an `owlsocket_sync.auth.Guard`, or a callable ``(request) -> who``; what it raises refuses the
                client before the upgrade, with HTTP 401 or 403 for errors of authentication.
            origins: the web sites whose pages may connect; ``None`` lets all. Clients that are no browsers always may.
            limits: how much may pile up, for each client.
            heartbeat: when to ask a silent client for a sign of life; ``None`` never.
            workers: how many handlers run at once for each client.
            call_timeout: seconds that a call to a client waits for its answer when it does not say.
            expose_tracebacks: send tracebacks of handlers to clients.
            name: what logs call the route.
            rule_options: those of ``app.add_url_rule``, such as ``subdomain`` or ``endpoint``.

        Raises:
            SocketInitializationError: flask-sock, or the extra ``server``, is not installed.
            ValueError: an option cannot be used; the message names it.
        """
        from .accepting import Door

        options = {
            "authenticate": authenticate,
            "origins": origins,
            "limits": limits,
            "heartbeat": heartbeat,
            "workers": workers,
            "call_timeout": call_timeout,
            "expose_tracebacks": expose_tracebacks,
            "name": name,
        }

        def register(handler: ClientHandler) -> ClientHandler:
            door = Door(path, handler, options, rule_options)
            for place in list(self._apps) if blueprint is None else [blueprint]:
                door.add_to(place)
            self._doors.append(door)
            return handler

        return register

    def clients(self, path: str) -> Lodging:
        """The clients that came to this route of the current app, in this process: ``connections``, ``broadcast``.

        Raises:
            NoAppContext: no app is current.
            ConfigError: no `accept` has this path.
        """
        self._state()
        for door in self._doors:
            if door.path == path:
                return door.lodging(current_app._get_current_object())  # type: ignore[attr-defined]
        known = ", ".join(repr(door.path) for door in self._doors) or "none at all"
        raise ConfigError(f"no clients are accepted at {path!r}, but at {known}")

    def close_clients(self, timeout: float = 3.0) -> None:
        """Say goodbye to the clients that came to this process, and take no new ones; from any thread.

        For a worker that is about to end. Needs no application context.

        Args:
            timeout: seconds until it ends without their consent.
        """
        for door in self._doors:
            door.close(timeout)

    # -- for tests ---------------------------------------------------------------------------------------------------

    @contextmanager
    def double(self, app: Flask | None = None, *, service: str = DEFAULT) -> Iterator[Double]:
        """Have a peer in memory answer inside the ``with`` block: no socket, no server, and the errors of both.

        Args:
            app: whose calls it answers; the current app, or the only one, where it is left out.
            service: the service that it stands in for.

        Raises:
            NoAppContext: nobody knows which app is meant.
            ConfigError: the configuration cannot be used.
        """
        from .double import StandIn

        state = self._state_of(app)
        source = StandIn(state, service)
        with state.standing_in(service, source):
            yield source.double

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
        """Have a real server on this machine answer inside the ``with`` block, and the app connect to it.

        What the app is configured to prove who it is (``TOKEN``, ``AUTH``, ``LOGIN``) is left out, unless the server
        has something to ``authenticate``; so are ``PROXY`` and ``SSL_CONTEXT``. Needs the extra ``server``.

        Args:
            app: whose connection leads there; the current app, or the only one, where it is left out.
            handler: called with each connection of the app, as `owlsocket_sync.server.serve` has it; without one the
                server answers nothing by itself, and its ``connections`` do what the test has them do.
            service: the service that it stands in for.
            authenticate: as `owlsocket_sync.server.serve` has it.
            options: the other ones of `owlsocket_sync.server.serve`.

        Raises:
            NoAppContext: nobody knows which app is meant.
            ConfigError: the configuration cannot be used.
        """
        from ...server import serve
        from .configuration import IDENTITY

        state = self._state_of(app)
        leave_out = ("proxy", "ssl_context", *(IDENTITY if authenticate is None else ()))
        with (
            serve(handler or _answer_nothing, authenticate=authenticate, **options) as server,
            state.leading_to(server.url, service, leave_out),
        ):
            yield server

    def _state_of(self, app: Flask | None) -> AppState:
        if app is None and not current_app and len(self._apps) == 1:
            (app,) = self._apps
        if app is None:
            return self._state()
        with app.app_context():
            return self._state()

    def __repr__(self) -> str:
        return f"<OwlSocket of {', '.join(sorted(app.name for app in self._apps)) or 'no app'}>"


def _answer_nothing(connection: Connection, request: Request) -> None:
    connection.on_error(lambda error, context: None)  # the app gets it, and the test sees that
