"""A Flask site whose views put messages into an outbox, as the path says, and whose worker takes those of an inbox."""

from __future__ import annotations

import os
import sys
from typing import Any

from flask import Flask, jsonify

from owlsocket_sync.contrib.flask import OwlSocket

owl = OwlSocket()


def create_app() -> Flask:
    """The site."""
    app = Flask("orders")
    app.config.update(OWLSOCKET_URL=os.environ["OWLSOCKET_URL"])
    app.config.update(OWLSOCKET_OUTBOX=os.environ.get("OUTBOX"), OWLSOCKET_INBOX=os.environ.get("INBOX"))
    owl.init_app(app)

    @app.get("/double/<int:number>")
    def double(number: int) -> Any:
        owl.enqueue(number)
        return jsonify(process=os.getpid(), answer=2 * number)

    return app


def eager() -> Flask:
    """The same, with a message as soon as it is loaded: before the fork, where the web server loads it before."""
    app = create_app()
    with app.app_context():
        owl.enqueue("loaded")
    return app


def work(count: int) -> None:
    """Print the payloads of so many messages of the inbox."""
    with create_app().app_context():
        for message in owl.messages(limit=count, timeout=30):
            print(message.payload, flush=True)
        owl.close()


if __name__ == "__main__":
    work(int(sys.argv[1]))
