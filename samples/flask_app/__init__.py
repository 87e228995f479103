"""A Flask app whose views share one connection per process.

OWLSOCKET_URL=wss://api.example.com/ws flask --app samples.flask_app run
"""

from __future__ import annotations

import os
import threading
from typing import Any

from flask import Flask, jsonify

from owlsocket_sync import Connection, ResilientError, SocketTimeout, connect


class Owl:
    """One connection for all threads of a worker, made when it is first needed.

    Made lazily, so that a server that loads the app before it forks does not connect in the parent.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connecting = threading.Lock()
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The connection; it reconnects by itself."""
        with self._connecting:
            if self._connection is None:
                self._connection = connect(self._url, call_timeout=5)
            return self._connection

    def close(self) -> None:
        """Say goodbye, at the end of a test."""
        if self._connection is not None:
            self._connection.close()


def create_app(url: str | None = None) -> Flask:
    """The app; Flask's own way to make one."""
    app = Flask(__name__)
    owl = app.extensions["owl"] = Owl(url or os.environ.get("OWLSOCKET_URL", "ws://127.0.0.1:8765"))

    @app.get("/users/<int:number>")
    def user(number: int) -> Any:
        return jsonify(owl.connection.call("getUser", number))

    @app.errorhandler(SocketTimeout)
    def too_slow(error: SocketTimeout) -> Any:
        return jsonify(error="the server took too long"), 504

    @app.errorhandler(ResilientError)
    def failed(error: ResilientError) -> Any:
        return jsonify(error=error.message), 502

    return app
