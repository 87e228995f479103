"""A WSGI app that answers with what a connection says: one made at import, or one of a context."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from owlsocket_sync import Connection, connect
from owlsocket_sync.context import Context, SocketService

URL = os.environ["OWLSOCKET_URL"]
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def _app(connection: Callable[[], Connection]) -> App:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        number = int(environ["QUERY_STRING"])
        answer = connection().call("double", os.getpid(), number, timeout=20)
        body = json.dumps({"process": os.getpid(), "answer": answer}).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return app


def eager() -> App:
    """Connected as soon as the app is loaded: before the fork, where the server loads it before."""
    conn = connect(URL, timeout=20)
    assert conn.call("double", os.getpid(), 1) == 2
    return _app(lambda: conn)


def lazy() -> App:
    """Connected when it is first used."""
    context = Context(SocketService(URL, timeout=20))
    return _app(lambda: context.service("socket").connection)
