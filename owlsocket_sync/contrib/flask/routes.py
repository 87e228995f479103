"""Routes that accept OwlMeans clients: ``@owl.accept("/ws")``; flask-sock performs the WebSocket handshake.

Threads: a link occupies the thread of its request until the link ends. Each process creates its `AdoptedServer` of a
route at the first request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast
from weakref import WeakKeyDictionary

from flask import Blueprint, Flask, Response, current_app, request
from werkzeug.datastructures import Headers

from ...connection import Connection
from ...errors import MissingExtra, SocketInitializationError
from ...fork import PerProcess
from ...hub import Hub

try:
    import simple_websocket
    from wsproto.events import AcceptConnection
    from wsproto.utilities import RemoteProtocolError
except ImportError as error:
    raise MissingExtra(
        "flask-sock is not installed, which accept() needs: python -m pip install 'owlsocket-sync[flask,server]'",
        error.name,
    ) from error

from ...server import Request, ServerOptions
from ...server.admission import HandshakeRejected
from ...server.adopted import AdoptedServer
from ...server.options import check_handler
from ...transport.deflate import EXTENSIONS

OFFERS = "HTTP_SEC_WEBSOCKET_EXTENSIONS"

ClientHandler = Callable[..., object]


class NullThread:
    """A thread that never runs, in place of the reader thread of ``simple_websocket``."""

    # That reader has no bound on what it buffers, and `send` there has no deadline: the link is read and written by
    # `owlsocket_sync.server.adopted`, on the thread of the request.
    name = "no reader"

    def __init__(self, target: Callable[[], object]) -> None:
        """Accept the argument of a thread."""

    def start(self) -> None:
        """Do nothing."""


class NegotiatedServer(simple_websocket.Server):  # type: ignore[misc]
    """A server that answers the upgrade with the extensions that were negotiated, and leaves them to the link.

    Args:
        extensions: the value of the header; empty for none.
        selected: the subprotocol of a route that lists some.
    """

    def __init__(self, environ: dict[str, Any], extensions: str, selected: str | None, **options: Any) -> None:
        self._extensions = extensions
        self._selected = selected
        super().__init__(environ, **options)

    def handshake(self) -> None:
        """Answer the upgrade."""
        send = self.ws.send

        def send_negotiated(event: Any) -> Any:
            if isinstance(event, AcceptConnection) and self._extensions:
                event.extra_headers.append((EXTENSIONS.encode(), self._extensions.encode()))
            return send(event)

        self.ws.send = send_negotiated
        super().handshake()

    def choose_subprotocol(self, request: Any) -> str | None:
        """Select that of the route, else one that the app lists in ``SOCK_SERVER_OPTIONS``, else the first offered."""
        if self._selected is not None:
            return self._selected
        if self.subprotocols:
            return cast("str | None", super().choose_subprotocol(request))
        return next(iter(request.subprotocols), None)


class LinkEnded(Response):
    """Response to a request whose socket was used by a link: nothing may be written any more."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._mode = mode

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """End the request without a response, in the way that the web server supports."""
        if self._mode == "gunicorn":  # its workers take this for an end without a response, and do not log it
            raise StopIteration
        if self._mode == "werkzeug":
            return super().__call__(environ, start_response)
        return []


class WebSocketRoute:
    """A route that accepts OwlMeans clients.

    Attributes:
        path: URL rule.
        in_blueprint: whether the route belongs to a blueprint.

    Args:
        path: URL rule.
        handler: called as ``handler(connection, request, **values)``, with the values of the URL rule.
        options: options of the server of the clients.
        rule_options: options of ``app.add_url_rule``.
        hub_of: returns the hub of an app, for a route without one in its options.

    Raises:
        ValueError: the handler is not callable.
    """

    def __init__(
        self,
        path: str,
        handler: ClientHandler,
        options: ServerOptions,
        rule_options: dict[str, Any],
        hub_of: Callable[[Flask], Hub | None],
    ) -> None:
        check_handler(handler, None)  # fails where the route is declared, not at the first client
        self.path = path
        self.in_blueprint = False
        self._handler = handler
        self._options = options
        self._rule_options = rule_options
        self._hub_of = hub_of
        # By process too: a pre-forking web server imports the app before it forks, and clients belong to one process.
        self._servers: WeakKeyDictionary[Flask, dict[Hub | None, PerProcess[AdoptedServer]]] = WeakKeyDictionary()

    def add_to(self, scaffold: Flask | Blueprint) -> None:
        """Add the route to an app or a blueprint."""
        self.in_blueprint = isinstance(scaffold, Blueprint)
        # Endpoints must not contain dots: Flask reads the text before a dot as the name of a blueprint.
        endpoint = self._rule_options.get("endpoint") or f"owlsocket:{self.path.replace('.', '_')}"
        options = {**self._rule_options, "endpoint": endpoint, "websocket": True}
        scaffold.add_url_rule(self.path, view_func=self._view, **options)

    def adopted(self, app: Flask) -> AdoptedServer:
        """Return the server of the clients at this route of an app, in this process."""
        hub = self._hub_of(app) if self._options.hub is None else self._options.hub
        # By hub too: in a test the app has another one, and its own afterwards.
        servers = self._servers.get(app) or self._servers.setdefault(app, {})
        server = servers.get(hub)
        if server is None:
            name = self._options.name or f"{app.name}{self.path}"
            options = replace(
                self._options,
                handler_context=app.app_context,
                name=name,
                hub=hub,
            )
            # Requests that race to here use the one that was stored first; it makes one server in each process.
            server = servers.setdefault(hub, PerProcess(partial(AdoptedServer, self._handle, options)))
        return server.get()

    def close(self, timeout: float) -> None:
        """Close the connections of this process, for all apps."""
        for servers in list(self._servers.values()):
            for per_process in list(servers.values()):
                server = per_process.peek()
                if server is not None:
                    server.close(timeout)

    def leave(self, hub: Hub) -> None:
        """Close the connections that are in a hub, which is used no more."""
        for servers in list(self._servers.values()):
            # Taken out first: a request that comes now gets a server in the hub of the app.
            per_process = servers.pop(hub, None)
            server = None if per_process is None else per_process.peek()
            if server is not None:
                server.close(0.0)

    def _handle(self, connection: Connection, ws_request: Request) -> None:
        # Runs on the thread of the request, so Flask's `request` is still the upgrade request.
        self._handler(connection, ws_request, **(request.view_args or {}))

    def _view(self, **values: Any) -> Response:
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        server = self.adopted(app)
        ws_request = read_request()
        # A plain HTTP request gets 400, whatever page it comes from.
        if "Sec-WebSocket-Key" not in ws_request.headers:
            return Response("Not a WebSocket request: no Sec-WebSocket-Key\n", 400, mimetype="text/plain")
        # Before the upgrade: a rejected client gets an HTTP status, which it cannot get on a WebSocket.
        try:
            # PEP 3333 leaves the value open; werkzeug and gunicorn store the address on which they listen.
            identity = server.admit(ws_request, request.environ.get("SERVER_NAME", ""))
            selected = server.select_subprotocol(ws_request) if self._options.subprotocols else None
        except HandshakeRejected as rejected:
            return Response(rejected.text, rejected.status, dict(rejected.headers), mimetype="text/plain")
        try:
            extensions, compression = server.negotiate(ws_request)
            socket = upgrade(app, extensions, selected)
        except (RemoteProtocolError, simple_websocket.ConnectionError) as error:
            return Response(f"Not a WebSocket request: {error}\n", 400, mimetype="text/plain")
        server.serve_socket(socket.sock, ws_request, identity, compression, socket.subprotocol)
        return LinkEnded(socket.mode)


def read_request() -> Request:
    """Return Flask's current request in the form that handlers of clients receive."""
    query = {name: values[-1] for name, values in request.args.lists()}
    headers = cast(Mapping[str, str], Headers(request.headers))
    remote = request.remote_addr or "", int(request.environ.get("REMOTE_PORT") or 0)
    return Request(request.path, query, headers, remote)


def upgrade(app: Flask, extensions: str = "", selected: str | None = None) -> Any:
    """Accept the WebSocket upgrade of the current request; return a ``simple_websocket.Server`` that reads nothing.

    Args:
        app: the current one.
        extensions: those of the link (RFC 6455, section 9.1), in the form of the header.
        selected: the subprotocol of a route that lists some.

    Raises:
        SocketInitializationError: the web server does not expose the sockets of its requests.
        RemoteProtocolError: the request is not a WebSocket handshake.
    """
    # Without the offers of the client: wsproto would accept a compression that the link does not have.
    environ = {name: value for name, value in request.environ.items() if name != OFFERS}
    options = {**app.config.get("SOCK_SERVER_OPTIONS", {}), "thread_class": NullThread, "ping_interval": None}
    try:
        return NegotiatedServer(environ, extensions, selected, **options)
    except RuntimeError as error:
        server = request.environ.get("SERVER_SOFTWARE", "this web server")
        raise SocketInitializationError(
            f"{server} does not expose the sockets of its requests: use 'flask run', or gunicorn with gthread"
        ) from error
