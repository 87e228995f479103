"""The server of ``owlsocket demo``, in a process of its own; it ends when its stdin is closed."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from .. import AuthenticationStage, Connection
from ..auth import Authority, Guard, KeyPair, login_app
from ..server import Request, serve
from .demo_handlers import register_handlers


class QuietHandler(WSGIRequestHandler):
    """A request handler that logs nothing on stderr."""

    def log_message(self, format: str, *args: Any) -> None:
        """Discard the line."""


def handle(conn: Connection, request: Request) -> None:
    """Register the demo handlers, and a method for authenticated users."""
    register_handlers(conn, request)
    # A step of the demo is a call that fails: the caller prints its error.
    conn.on_error(lambda error, context: None)
    conn.perform("whoAmI", lambda: conn.auth_info.user_id, stage=AuthenticationStage.AUTHENTICATED)


def main() -> None:
    """Serve, print the URLs on stdout, and end when stdin is closed."""
    parser = argparse.ArgumentParser(prog="demo_server")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--login-port", type=int, default=0)
    parser.add_argument("--user", required=True, help="the public key that may log in")
    options = parser.parse_args()
    # Ctrl-C reaches the whole process group; the parent handles it, and closes our stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    authority = Authority(KeyPair.generate(), [options.user], token_ttl=60)
    with (
        make_server("127.0.0.1", options.login_port, login_app(authority), handler_class=QuietHandler) as service,
        serve(handle, port=options.port, authenticate=Guard(authority=authority)) as server,
    ):
        threading.Thread(target=service.serve_forever, daemon=True).start()
        login = f"http://127.0.0.1:{service.server_port}"
        print(json.dumps({"url": server.url, "login": login}), flush=True)
        # The system closes the pipe of a parent that was killed, too: no server outlives it.
        sys.stdin.read()
        service.shutdown()


if __name__ == "__main__":
    main()
