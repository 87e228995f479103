"""A Flask site that answers with what a connection says, made when it is first used or as the site is loaded."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, jsonify

from owlsocket_sync import SocketError
from owlsocket_sync.contrib.flask import OwlSocket

owl = OwlSocket()


def create_app() -> Flask:
    """The site."""
    app = Flask("site")
    app.config.update(OWLSOCKET_URL=os.environ["OWLSOCKET_URL"], OWLSOCKET_TIMEOUT=20, OWLSOCKET_CALL_TIMEOUT=20)
    owl.init_app(app)

    @app.get("/double/<int:number>")
    def double(number: int) -> Any:
        try:
            answer = owl.call("double", os.getpid(), number)
        except SocketError as error:
            return jsonify(error=str(error)), 503
        return jsonify(process=os.getpid(), answer=answer)

    return app


def eager() -> Flask:
    """The same, connected as soon as it is loaded: before the fork, where the web server loads it before."""
    app = create_app()
    with app.app_context():
        assert owl.call("double", os.getpid(), 1) == 2
    return app
