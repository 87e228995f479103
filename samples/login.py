"""Log in with a key over HTTP, and talk to a guarded server; see ``auth_server.py``, which prints how to run this."""

from __future__ import annotations

import sys
from pathlib import Path

from owlsocket_sync import AuthError, connect
from owlsocket_sync.auth import KeyPair, Login


def main(login_url: str, socket_url: str, key_file: str) -> None:
    """Be refused without a token, and let in with one."""
    try:
        connect(socket_url)
    except AuthError as error:
        print("without a token:", error.status, error.message)

    key = KeyPair.parse(Path(key_file).read_text())
    with connect(socket_url, auth=Login(login_url, key)) as conn:
        print("the server knows us:", conn.call("whoAmI")["user"] == key.address)
        print("what we may:", conn.call("whoAmI")["scopes"])
        print("what we get:", conn.call("treasure"))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: login.py LOGIN_URL SOCKET_URL KEY_FILE (auth_server.py prints them)")
    main(*sys.argv[1:])
