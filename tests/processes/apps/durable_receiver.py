"""A process with an inbox: a server whose messages another thread works on, one line of a log for each.

Arguments: the store, the port, the log.
"""

from __future__ import annotations

import sys

from owlsocket_sync.server import serve
from owlsocket_sync.stores import SqliteStore

path, port, log = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with SqliteStore(path) as store, open(log, "a", buffering=1) as lines:
    inbox = store.queue("in")

    def report(error: object, context: object) -> None:
        """Say what went wrong."""
        print(f"error {error!r} {context!r}", file=sys.stderr, flush=True)

    with serve(lambda connection, request: connection.on_error(report), port=port, inbox=inbox):
        print("up", flush=True)
        for message in inbox.messages(max_attempts=None):
            lines.write(f"{message.payload['n']} {message.attempts}\n")
