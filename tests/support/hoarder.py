"""A server in a process of its own that keeps what its client sends, in one place, and never handles it.

Run as ``python -m support.hoarder PLACE LIMITS``, a name of `PLACES` and the fields of `Limits` as JSON. It prints its
URL. For each line on stdin it prints a line of JSON: the memory that it has taken since it began, and its counters. A
line that is a number makes it broadcast so many events first.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from typing import Any

from owlsocket_sync import Connection, Limits
from owlsocket_sync.server import Request, serve
from support.loads import memory

KEPT: list[Any] = []
PIECE = "x" * 1_000_000


def forever(*arguments: object) -> None:
    """Handle something, and never come to an end."""
    threading.Event().wait()


def _stream(conn: Connection) -> None:
    threading.Thread(target=lambda: KEPT.append(conn.stream("more", timeout=600)), daemon=True).start()


PLACES: dict[str, Callable[[Connection], object]] = {
    "inbox": lambda conn: None,
    "observer": lambda conn: conn.observe("kept", forever),
    "iterator": lambda conn: KEPT.append(conn.events("kept")),
    "listener": lambda conn: conn.listen(forever),
    "performer": lambda conn: conn.perform("keep", forever),
    "acknowledger": lambda conn: conn.acknowledge(forever),
    "stream": _stream,
    "reports": lambda conn: conn.on_error(forever),
    "replies": lambda conn: conn.perform("large", lambda: PIECE),
    "outbound": lambda conn: None,
}


def main(place: str, limits: Limits) -> None:
    """Serve, and tell."""

    def handler(conn: Connection, request: Request) -> None:
        PLACES[place](conn)

    with serve(handler, limits=limits, workers=4) as server:
        before = memory()
        print(server.url, flush=True)
        for line in sys.stdin:
            for _ in range(int(line.strip() or 0)):
                server.broadcast("large", PIECE)
            stats = [conn.stats for conn in server.connections]
            received, dropped = sum(entry.messages_in for entry in stats), sum(entry.dropped for entry in stats)
            print(json.dumps({"grown": memory("VmHWM") - before, "received": received, "dropped": dropped}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Limits(**json.loads(sys.argv[2])))
