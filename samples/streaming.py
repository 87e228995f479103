"""One request with many responses: with an iterator, and with an observer."""

from __future__ import annotations

import threading
from typing import Any

from owlsocket_sync import Connection, connect
from owlsocket_sync.server import Request, serve

CHUNKS = ["twit", "twoo", "hoot"]


def handler(conn: Connection, request: Request) -> None:
    """Reply to ``{"action": "stream-data"}`` chunk by chunk."""

    def stream(id: str, payload: Any) -> bool:
        if payload.get("action") != "stream-data":
            return False  # leave the request to another handler
        for index, chunk in enumerate(CHUNKS):
            conn.reply(id, {"data": chunk, "hasMore": index < len(CHUNKS) - 1})
        return True

    conn.acknowledge(stream)


def main() -> None:
    """Send the request twice."""
    with serve(handler) as server, connect(server.url) as conn:
        # The protocol does not mark the last response; the payload of this server does.
        for response in conn.stream({"action": "stream-data"}, timeout=5):
            print("chunk:", response["data"])
            if not response["hasMore"]:
                break

        done = threading.Event()

        def observer(response: Any) -> bool:
            print("observed:", response["data"])
            if not response["hasMore"]:
                done.set()
            return bool(response["hasMore"])  # true: keep receiving

        conn.request({"action": "stream-data"}, observer)
        done.wait(5)


if __name__ == "__main__":
    main()
