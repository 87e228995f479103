"""The exit of a process whose connection has an outbox and is still open."""

from __future__ import annotations

import sys
from pathlib import Path

from owlsocket_sync.server import serve
from owlsocket_sync.stores import SqliteStore
from support.child_processes import Child, environment
from support.helpers import eventually

EXIT = """
import atexit, sys, time
from owlsocket_sync import connect
import owlsocket_sync.client, owlsocket_sync.runtime.at_exit
atexit.register(time.sleep, 0.3)  # what uses a store that is closed has time to complain
from owlsocket_sync.stores import SqliteStore
store = SqliteStore(sys.argv[2])
conn = connect(sys.argv[1], outbox=store.queue("to-server"))
conn.on_error(lambda error, context: print(error, flush=True))
conn.enqueue("last")
conn.flush(20)
"""


def test_a_connection_is_closed_before_its_store_is(tmp_path: Path) -> None:
    """Whichever was loaded first: nothing works on a closed store, and nothing is said."""
    with (
        SqliteStore(tmp_path / "server.db") as store,
        serve(lambda conn, request: None, inbox=store.queue("inbox")) as server,
    ):
        command = [sys.executable, "-c", EXIT, server.url, str(tmp_path / "queue.db")]
        with Child(command, environment()) as child:
            done = child.finish()
        assert (done.code, done.out, done.complaints) == (0, "", "")
        eventually(lambda: not server.connections)
