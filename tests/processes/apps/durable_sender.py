"""A process with an outbox: it enqueues numbers, and goes on after the last that is stored when it is started again.

Arguments: the store, the URL, the number of messages.
"""

from __future__ import annotations

import sys

from owlsocket_sync import Backoff, SocketError, connect
from owlsocket_sync.stores import Outgoing, SqliteStore

path, url, total = sys.argv[1], sys.argv[2], int(sys.argv[3])
with SqliteStore(path) as store:
    outbox = store.queue("out")
    stored: Outgoing = outbox.stored  # type: ignore[assignment]
    with connect(url, outbox=outbox, reconnect=Backoff(initial=0.02, cap=0.1), wait=False) as connection:
        print("up", flush=True)
        # The number of a message is its place in the stream, so nothing is put twice.
        while (number := stored.bounds().next) <= total:
            connection.enqueue({"n": number}, id=f"m-{number}")
        while True:
            try:
                connection.flush(timeout=60)
                break
            except SocketError as error:
                print(f"waiting: {error}", file=sys.stderr)
        print("done", flush=True)
