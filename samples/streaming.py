"""One request, many responses: as an iteration, and by an observer."""

from __future__ import annotations

import threading
from typing import Any

from owlsocket_sync import Connection, connect
from owlsocket_sync.server import Request, serve

CHUNKS = ["twit", "twoo", "hoot"]


def handler(conn: Connection, request: Request) -> None:
    """Answer requests for ``{"action": "stream-data"}`` chunk by chunk."""

    def stream(id: str, payload: Any) -> bool:
        if payload.get("action") != "stream-data":
            return False  # somebody else's
        for index, chunk in enumerate(CHUNKS):
            conn.reply(id, {"data": chunk, "hasMore": index < len(CHUNKS) - 1})
        return True

    conn.acknowledge(stream)


def main() -> None:
    """Ask twice."""
    with serve(handler) as server, connect(server.url) as conn:
        # The protocol has no last response: whoever asks knows when there were enough.
        for response in conn.stream({"action": "stream-data"}, timeout=5):
            print("chunk:", response["data"])
            if not response["hasMore"]:
                break

        done = threading.Event()

        def observer(response: Any) -> bool:
            print("observed:", response["data"])
            if not response["hasMore"]:
                done.set()
            return bool(response["hasMore"])  # true to go on

        conn.request({"action": "stream-data"}, observer)
        done.wait(5)


if __name__ == "__main__":
    main()
