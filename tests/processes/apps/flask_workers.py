"""A Flask app that answers ``/?number`` with what its OwlMeans server says; and ``/ws`` echoes, and says who does.

``python flask_workers.py WORKERS THREADS CALLS`` forks as uWSGI does: the app is loaded, and used, once, and each
worker is a copy of the process. So many calls are made on so many threads of so many workers.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flask import Flask, current_app, jsonify, request

from owlsocket_sync import Connection
from owlsocket_sync.contrib.flask import OwlSocket
from owlsocket_sync.server import Request

owl = OwlSocket()


@owl.perform("whoami")
def whoami() -> list[Any]:
    """The process, and the app, that the server called."""
    return [os.getpid(), current_app.name]


@owl.accept("/ws")
def accept(conn: Connection, visit: Request) -> None:
    """A client of ours."""
    conn.perform("echo", lambda value: [os.getpid(), value])


def create_app(used: bool = False) -> Flask:
    """The app; ``used`` before a server that loads it forks its workers."""
    app = Flask("site")
    app.config.from_prefixed_env()
    owl.init_app(app)

    @app.get("/")
    def double() -> Any:
        number = int(request.query_string)
        return jsonify(process=os.getpid(), answer=owl.call("double", os.getpid(), number))

    if used:
        with app.app_context():
            assert owl.call("double", os.getpid(), 1) == 2
    return app


def work(app: Flask, worker: int, threads: int, calls: int) -> None:
    """What one worker does."""

    def visit(thread: int) -> None:
        client = app.test_client()
        for call in range(calls):
            number = (worker * threads + thread) * calls + call
            response = client.get(f"/?{number}")
            assert response.json == {"process": os.getpid(), "answer": 2 * number}, response.data

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(visit, range(threads)))
    with app.app_context():
        owl.close()


def main(workers: int, threads: int, calls: int) -> None:
    """Load, use, fork, wait."""
    app = create_app(used=True)
    children = []
    for worker in range(workers):
        child = os.fork()
        if not child:
            try:
                work(app, worker, threads, calls)
            except BaseException as error:
                print(repr(error), file=sys.stderr)
                os._exit(1)
            os._exit(0)
        children.append(child)
    ends = [os.waitpid(child, 0)[1] for child in children]
    with app.app_context():
        assert owl.call("double", os.getpid(), 2) == 4
        assert owl.connection.stats.reconnects == 0
    print(*children)
    sys.exit(max(ends))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
