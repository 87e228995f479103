"""A service that logs users in over HTTP, and a guarded socket beside it; serves until its stdin ends.

Makes a key for one user on the spot, and prints what to run next: ``python samples/login.py LOGIN_URL SOCKET_URL KEY``.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from owlsocket_sync import AuthenticationStage, Connection
from owlsocket_sync.auth import Authority, Guard, KeyPair, User, login_app
from owlsocket_sync.server import Request, serve


class Quiet(WSGIRequestHandler):
    """A web server that does not log."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def handler(conn: Connection, request: Request) -> None:
    """What the server does for those whom the guard let in."""
    print("came in:", request.auth.user_id, flush=True)

    @conn.perform("whoAmI")
    def who_am_i() -> dict[str, Any]:
        return {"user": conn.auth_info.user_id, "scopes": conn.auth_info.scopes}

    @conn.perform("treasure", stage=AuthenticationStage.AUTHENTICATED)
    def treasure() -> str:
        return "a chest of gold"


def save(key: KeyPair) -> Path:
    """The private key, in a file that only we can read."""
    path = Path(tempfile.mkdtemp()) / "user.key"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key.private)
    return path


def main() -> None:
    """Serve."""
    user, issuer = KeyPair.generate(), KeyPair.generate()
    authority = Authority(issuer, [User(user.public, scopes=["read"])], token_ttl=3600)
    guard = Guard(issuer.public)  # a socket server elsewhere needs nothing but the public key
    with (
        make_server("127.0.0.1", 0, login_app(authority), handler_class=Quiet) as http,
        serve(handler, authenticate=guard) as server,
    ):
        threading.Thread(target=http.serve_forever, daemon=True).start()
        login_url = f"http://127.0.0.1:{http.server_port}"
        print(f"python samples/login.py {login_url} {server.url} {save(user)}", flush=True)
        sys.stdin.read()
        http.shutdown()


if __name__ == "__main__":
    main()
