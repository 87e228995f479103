"""The server of ``owlsocket demo``: the playground, for as long as whoever started it holds its stdin open."""

from __future__ import annotations

import argparse
import json
import signal
import sys

from ..server import serve
from .playground import playground


def main() -> None:
    """Serve, tell the URL on stdout, and end with stdin: even a parent that was killed leaves no server behind."""
    parser = argparse.ArgumentParser(prog="demo_server")
    parser.add_argument("--port", type=int, default=0)
    port: int = parser.parse_args().port
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group, and is the parent's business
    with serve(playground, port=port) as server:
        print(json.dumps({"url": server.url}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
