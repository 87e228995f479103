"""A Flask app that takes orders into a durable queue, for a worker in another process: `samples.orders.worker`.

ORDERS=orders.db flask --app samples.orders run
ORDERS=orders.db python -m samples.orders.worker
"""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, jsonify, request

from owlsocket_sync import StoreFull
from owlsocket_sync.stores import SqliteStore


def create_app(path: str | None = None) -> Flask:
    """Create the app: the factory that Flask looks for."""
    app = Flask(__name__)
    store = SqliteStore(path or os.environ.get("ORDERS", "orders.db"))
    app.extensions["orders"] = store  # it is closed at the exit of the process
    orders = store.queue("orders")

    @app.post("/orders")
    def order() -> Any:
        # On disk when put() returns: the customer may be told that the order is taken.
        return jsonify(id=orders.put(request.get_json())), 202

    @app.get("/orders")
    def state() -> Any:
        stats = orders.stats
        return jsonify(waiting=stats.depth, in_flight=stats.in_flight, dead=stats.dead)

    @app.errorhandler(StoreFull)
    def full(error: StoreFull) -> Any:
        return jsonify(error="too many orders are waiting"), 503

    return app
