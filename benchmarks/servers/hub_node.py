"""One of the servers of a hub over Redis: ``python -m benchmarks.servers.hub_node NAME REDIS_PORT``.

Each client is put into one room. Ours, or `python-socketio` with its `RedisManager` on threads.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from .lifetime import announce

ROOM = "room"


def _serve_ours(redis: str) -> None:
    """Start `owlsocket_sync.server`, without pings: the raw clients answer none."""
    from owlsocket_sync.hub import RedisHub
    from owlsocket_sync.server import Request, serve

    def handle(conn: Any, request: Request) -> None:
        conn.join(ROOM)
        conn.perform("id", lambda: conn.id)

    with serve(handle, hub=RedisHub(redis), heartbeat=None) as server:
        announce(server.port)
        server.wait()


def _serve_socketio(redis: str) -> None:
    """Start the threaded server of `python-socketio`, with pings that are farther apart than a run is long."""
    import socketio
    from werkzeug.serving import make_server

    manager = socketio.RedisManager(redis, redis_options={"socket_timeout": None})
    server = socketio.Server(async_mode="threading", client_manager=manager, ping_interval=600)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    def connected(session: str, environ: Any) -> None:
        server.enter_room(session, ROOM)

    server.on("connect", connected)
    http = make_server("127.0.0.1", 0, socketio.WSGIApp(server), threaded=True)
    announce(http.server_port)
    http.serve_forever()


if __name__ == "__main__":
    {"ours": _serve_ours, "socketio": _serve_socketio}[sys.argv[1]](f"redis://127.0.0.1:{sys.argv[2]}/0")
