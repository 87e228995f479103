"""An HTTP login service and a server with a guard; both serve until stdin ends.

The program makes a key for one user and prints the next command: ``python samples/login.py LOGIN_URL SOCKET_URL KEY``.
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


class QuietRequestHandler(WSGIRequestHandler):
    """A request handler that does not log."""

    def log_message(self, format: str, *args: Any) -> None:
        """Discard the log line."""


def handler(conn: Connection, request: Request) -> None:
    """Register methods for a client that the guard accepted."""
    print("connected:", request.auth.user_id, flush=True)

    @conn.perform("whoAmI")
    def who_am_i() -> dict[str, Any]:
        return {"user": conn.auth_info.user_id, "scopes": conn.auth_info.scopes}

    @conn.perform("treasure", stage=AuthenticationStage.AUTHENTICATED)
    def treasure() -> str:
        return "a chest of gold"


def save(key: KeyPair) -> Path:
    """Write the private key to a file that only its owner can read."""
    path = Path(tempfile.mkdtemp()) / "user.key"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key.private)
    return path


def main() -> None:
    """Start the login service and the server."""
    user, issuer = KeyPair.generate(), KeyPair.generate()
    authority = Authority(issuer, [User(user.public, scopes=["read"])], token_ttl=3600)
    guard = Guard(issuer.public)  # a guard needs only the public key
    with (
        make_server("127.0.0.1", 0, login_app(authority), handler_class=QuietRequestHandler) as http,
        serve(handler, authenticate=guard) as server,
    ):
        threading.Thread(target=http.serve_forever, daemon=True).start()
        login_url = f"http://127.0.0.1:{http.server_port}"
        print(f"python samples/login.py {login_url} {server.url} {save(user)}", flush=True)
        sys.stdin.read()
        http.shutdown()


if __name__ == "__main__":
    main()
