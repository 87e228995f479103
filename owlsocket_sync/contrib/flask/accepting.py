"""OwlMeans clients that come to a route of an app: ``@owl.accept("/ws")``, over the WebSockets of flask-sock.

flask-sock's ``simple_websocket`` finds the socket in what the web server tells of a request, and shakes hands on it.
From there on its own reader would take in without a bound what comes, and its ``send`` would wait without a deadline;
so it is told to start none, and the link is served by `owlsocket_sync.server.lodging`, on the thread of the request.

Threads: a link keeps the thread of its request until it ends. A process makes its `Lodging` when it is first needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, cast
from weakref import WeakKeyDictionary

from flask import Blueprint, Flask, Response, current_app, request
from werkzeug.datastructures import Headers

from ...connection import Connection
from ...errors import SocketInitializationError

try:
    import simple_websocket
    from wsproto.utilities import RemoteProtocolError
except ImportError as error:
    raise SocketInitializationError(
        "accepting connections needs the package flask-sock: python -m pip install 'owlsocket-sync[flask,server]'"
    ) from error

from ...server import Request
from ...server.gate import Refused
from ...server.lodging import Lodging, lodge

EXTENSIONS = "HTTP_SEC_WEBSOCKET_EXTENSIONS"

ClientHandler = Callable[..., object]


class NoReader:
    """Stands in for the thread with which ``simple_websocket`` would read: the link is read by ours."""

    name = "no reader"

    def __init__(self, target: Callable[[], object]) -> None:
        """Takes what a thread takes."""

    def start(self) -> None:
        """Starts nothing."""


class LinkEnded(Response):
    """The answer to a request whose socket carried a link until its end: nothing is left to be said on it."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._mode = mode

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """End the request in the way that the web server wants it."""
        if self._mode == "gunicorn":
            raise StopIteration
        if self._mode == "werkzeug":
            return super().__call__(environ, start_response)
        return []


class Door:
    """A route to which clients come.

    Attributes:
        path: its URL rule.
        in_blueprint: whether it is the route of a blueprint.

    Args:
        path: its URL rule.
        handler: called as ``handler(connection, request, **values)``, with the values of the URL rule.
        options: those of `owlsocket_sync.server.serve` that make sense here.
        rule_options: those of ``app.add_url_rule``.
    """

    def __init__(
        self, path: str, handler: ClientHandler, options: dict[str, Any], rule_options: dict[str, Any]
    ) -> None:
        lodge(handler, **options)  # an option that cannot be used is told now
        self.path = path
        self.in_blueprint = False
        self._handler = handler
        self._options = options
        self._rule_options = rule_options
        self._lodgings: WeakKeyDictionary[Flask, dict[int, Lodging]] = WeakKeyDictionary()

    def add_to(self, place: Flask | Blueprint) -> None:
        """Make it a route of an app, or of a blueprint."""
        self.in_blueprint = isinstance(place, Blueprint)
        endpoint = self._rule_options.get("endpoint") or f"owlsocket:{self.path.replace('.', '_')}"
        options = {**self._rule_options, "endpoint": endpoint, "websocket": True}
        place.add_url_rule(self.path, view_func=self._let_in, **options)

    def lodging(self, app: Flask) -> Lodging:
        """The clients that came to this route of the app, in this process."""
        here = self._lodgings.setdefault(app, {})
        found = here.get(os.getpid())
        if found is None:
            name = self._options.get("name") or f"{app.name}{self.path}"
            options = {**self._options, "around": app.app_context, "name": name}
            found = here.setdefault(os.getpid(), lodge(self._handle, **options)())  # the first one's: in one step
        return found

    def close(self, timeout: float) -> None:
        """Say goodbye to the clients of this process, whichever app they came to."""
        for here in list(self._lodgings.values()):
            lodging = here.get(os.getpid())
            if lodging is not None:
                lodging.close(timeout)

    def _handle(self, connection: Connection, visit: Request) -> None:
        self._handler(connection, visit, **(request.view_args or {}))

    def _let_in(self, **values: Any) -> Response:
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        lodging = self.lodging(app)
        visit = read_request()
        try:
            who = lodging.admit(visit)
        except Refused as refused:
            return Response(refused.text, refused.status, lodging.headers_for(refused), mimetype="text/plain")
        try:
            socket = shake_hands(app)
        except (RemoteProtocolError, simple_websocket.ConnectionError) as error:
            return Response(f"This is no request for a WebSocket: {error}\n", 400, mimetype="text/plain")
        lodging.host(socket.sock, visit, who)
        return LinkEnded(socket.mode)


def read_request() -> Request:
    """The request that Flask is at, as handlers of clients get it."""
    query = {name: values[-1] for name, values in request.args.lists()}
    headers = cast(Mapping[str, str], Headers(request.headers))
    remote = request.remote_addr or "", int(request.environ.get("REMOTE_PORT") or 0)
    return Request(request.path, query, headers, remote)


def shake_hands(app: Flask) -> Any:
    """The ``simple_websocket.Server`` of this request, which has answered the upgrade, and reads nothing.

    Raises:
        SocketInitializationError: the web server does not lend its sockets.
        RemoteProtocolError: the request asks for something else than a WebSocket.
    """
    environ = {
        name: value for name, value in request.environ.items() if name != EXTENSIONS
    }  # messages come as they are
    options = {**app.config.get("SOCK_SERVER_OPTIONS", {}), "thread_class": NoReader, "ping_interval": None}
    try:
        return simple_websocket.Server(environ, **options)
    except RuntimeError as error:
        server = request.environ.get("SERVER_SOFTWARE", "this web server")
        raise SocketInitializationError(
            f"{server} does not lend its sockets: accept connections under 'flask run', or gunicorn with gthread"
        ) from error
