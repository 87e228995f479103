"""Routes that accept OwlMeans connections: flask-sock shakes hands, then the link is one like any other.

flask-sock knows how to get at the socket below Werkzeug, gunicorn and gevent, and how to end the request that became a
WebSocket. What it would read with, on a thread of its own, is left out (`NoReader`): the thread of the request reads,
as that of a client of `owlsocket_sync.server` does, so deadlines, heartbeat, limits and backpressure are the same.
Compression is not agreed on.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import flask_sock
from flask import Blueprint, Flask, Response, current_app, request

from ...connection import Connection
from ...deadline import check_timeout
from ...runtime.timer import Timer
from ...runtime.workers import WorkerPool
from ...server.gate import CHALLENGE, Gate, Refused
from ...server.peer import Peer
from ...server.upgrade import Request
from ...server.wire import ServerWire
from ...transport.stream import DuplexStream

Accept = Callable[..., object]

OURS = "owlsocket.accepts"
_THEIRS = threading.Thread  # what flask-sock reads with where nobody says otherwise
_numbers = itertools.count(1)
_timers: dict[int, Timer] = {}


class NoReader:
    """In place of the thread that flask-sock would start."""

    name = ""

    def start(self) -> None:
        """Nothing: the link has its own reader."""


def make_reader(target: Callable[[], None]) -> Any:
    """The thread class that flask-sock gets: none for our routes, a thread for others."""
    return NoReader() if request.environ.get(OURS) else _THEIRS(target=target)


class _AppPool(WorkerPool):
    """Runs handlers in the context of an app."""

    def __init__(self, app: Flask, workers: int, name: str) -> None:
        super().__init__(workers, name)
        self._app = app

    def submit(self, lane: Any, function: Callable[..., object], *arguments: Any) -> bool:
        """Have it run."""
        return super().submit(lane, partial(self._within, function), *arguments)

    def _within(self, function: Callable[..., object], *arguments: Any) -> None:
        with self._app.app_context():
            function(*arguments)


class _AppPeer(Peer):
    """A client of an app."""

    def __init__(self, app: Flask, *arguments: Any) -> None:
        self._app = app
        super().__init__(*arguments)

    def _make_pool(self, workers: int, name: str) -> WorkerPool:
        return _AppPool(self._app, workers, name)


class Entrance:
    """One path at which clients connect.

    Args:
        path: of the URL.
        handler: called with each connection and its request.
        options: those of `owlsocket_sync.server.serve` that make sense here.

    Raises:
        ValueError: one of them cannot be used.
    """

    def __init__(self, path: str, handler: Accept, options: dict[str, Any]) -> None:
        if isinstance(options["origins"], str):
            raise ValueError("origins must be a list of origins, not one text")
        check_timeout(options["call_timeout"], "call_timeout")
        self._path = path
        self._handler = handler
        self._options = options
        self._gate = Gate(options["authenticate"])
        self._endpoint = f"owlsocket_{next(_numbers)}"

    def open(self, app: Flask | Blueprint) -> None:
        """Let clients of this app in."""
        captured: list[Callable[..., Any]] = []
        flask_sock.Sock().route(self._path, bp=_Capture(captured))(self._attend)

        def enter(**arguments: Any) -> Any:
            refusal = self._refusal()
            if refusal is not None:
                return refusal
            options = current_app.config.setdefault("SOCK_SERVER_OPTIONS", {})
            options.setdefault("thread_class", make_reader)
            request.environ[OURS] = True
            request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)  # no compression
            return captured[0](**arguments)

        app.add_url_rule(self._path, self._endpoint, enter, websocket=True)

    def _refusal(self) -> Response | None:
        """The answer to somebody who may not come in; who may is kept with the request."""
        origin, origins = request.headers.get("Origin"), self._options["origins"]
        if origin is not None and origins is not None and origin not in origins:
            return Response("this origin may not connect\n", 403)
        try:
            who = self._gate.admit(_request())
        except Refused as refused:
            headers = CHALLENGE if refused.status == 401 else None
            return Response(refused.text, int(refused.status), headers)
        request.environ["owlsocket.who"] = who
        return None

    def _attend(self, ws: Any, **arguments: Any) -> None:
        """Serve a client until it is gone; on the thread of its request."""
        ws.connected = False  # flask-sock has nothing more to say
        if not isinstance(ws.thread, NoReader):
            raise RuntimeError("SOCK_SERVER_OPTIONS names a thread_class of its own, which would read what is ours")
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        who, knock = request.environ["owlsocket.who"], _request()
        stream = DuplexStream(ws.sock)
        wire = ServerWire(stream, self._options["limits"].message_size, b"")
        name = f"{app.name}#{next(_numbers)}"
        timer = _timers.setdefault(os.getpid(), Timer("owlsocket-flask-timer"))
        peer = _AppPeer(app, wire, timer, name, f"ws://{knock.remote[0]}:{knock.remote[1]}", self._options)
        peer.request = replace(knock, auth=who)
        self._gate.attend(peer.connection, who, peer.end_at)
        peer.run(partial(_with_arguments, self._handler, arguments))


class _Capture:
    """What flask-sock takes for a blueprint: keeps the view that it makes."""

    def __init__(self, views: list[Callable[..., Any]]) -> None:
        self._views = views

    def route(self, path: str, **options: Any) -> Callable[[Callable[..., Any]], None]:
        """Keep it."""
        return self._views.append


def _with_arguments(handler: Any, arguments: dict[str, Any], connection: Connection, knock: Request) -> None:
    handler(connection, knock, **arguments)


def _request() -> Request:
    remote = request.environ.get("REMOTE_ADDR", ""), int(request.environ.get("REMOTE_PORT") or 0)
    return Request(request.path, request.args.to_dict(), dict(request.headers), remote)
