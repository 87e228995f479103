"""The server of ``owlsocket demo``: the playground, for as long as whoever started it holds its stdin open."""

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
from .playground import playground


class Quiet(WSGIRequestHandler):
    """Says nothing on stderr."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def welcome(conn: Connection, request: Request) -> None:
    """The playground, and a method for those who have logged in."""
    playground(conn, request)
    conn.perform("whoAmI", lambda: conn.auth_info.user_id, stage=AuthenticationStage.AUTHENTICATED)


def main() -> None:
    """Serve, tell the URLs on stdout, and end with stdin: even a parent that was killed leaves no server behind."""
    parser = argparse.ArgumentParser(prog="demo_server")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--login-port", type=int, default=0)
    parser.add_argument("--user", required=True, help="the public key of who may log in")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group, and is the parent's business
    authority = Authority(KeyPair.generate(), [options.user], token_ttl=60)
    with (
        make_server("127.0.0.1", options.login_port, login_app(authority), handler_class=Quiet) as service,
        serve(welcome, port=options.port, authenticate=Guard(authority=authority)) as server,
    ):
        threading.Thread(target=service.serve_forever, daemon=True).start()
        login = f"http://127.0.0.1:{service.server_port}"
        print(json.dumps({"url": server.url, "login": login}), flush=True)
        sys.stdin.read()
        service.shutdown()


if __name__ == "__main__":
    main()
