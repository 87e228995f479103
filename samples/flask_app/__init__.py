"""A Flask app whose views share one connection per process.

OWLSOCKET_URL=wss://api.example.com/ws flask --app samples.flask_app run
"""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, jsonify

from owlsocket_sync import ResilientError, SocketTimeout
from owlsocket_sync.contrib.flask import OwlSocket

owl = OwlSocket()


def create_app(url: str | None = None) -> Flask:
    """Create the app: the factory that Flask looks for."""
    app = Flask(__name__)
    app.config["OWLSOCKET_URL"] = url or os.environ.get("OWLSOCKET_URL", "ws://127.0.0.1:8765")
    app.config["OWLSOCKET_CALL_TIMEOUT"] = 5
    owl.init_app(app)

    @app.get("/users/<int:number>")
    def user(number: int) -> Any:
        return jsonify(owl.call("getUser", number))

    @app.errorhandler(SocketTimeout)
    def too_slow(error: SocketTimeout) -> Any:
        app.logger.warning("%s", error)  # why: perhaps no server is running
        return jsonify(error="the server took too long"), 504

    @app.errorhandler(ResilientError)
    def failed(error: ResilientError) -> Any:
        app.logger.warning("%s", error)
        return jsonify(error=error.plain_message), 502

    return app
