"""Log in with a key over HTTP, and call a server with a guard; ``auth_server.py`` prints the command to run."""

from __future__ import annotations

import sys
from pathlib import Path

from owlsocket_sync import AuthError, connect
from owlsocket_sync.auth import KeyPair, Login


def main(login_url: str, socket_url: str, key_file: str) -> None:
    """Connect without a token, which is refused, and then with a login."""
    try:
        connect(socket_url)
    except AuthError as error:
        print("without a token:", error.status, error)

    key = KeyPair.parse(Path(key_file).read_text())
    with connect(socket_url, auth=Login(login_url, key)) as conn:
        print("the server knows the user:", conn.call("whoAmI")["user"] == key.address)
        print("scopes:", conn.call("whoAmI")["scopes"])
        print("treasure:", conn.call("treasure"))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: login.py LOGIN_URL SOCKET_URL KEY_FILE (auth_server.py prints them)")
    main(*sys.argv[1:])
