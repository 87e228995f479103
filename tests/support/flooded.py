"""A client in a process of its own that is sent more than it can handle.

Run as ``python -m support.flooded URL COUNT PAUSES SECONDS LIMITS HEARTBEAT``. Its handler looks at so many
events, and pauses now and then for so many seconds; after each pause it calls the peer and notifies it. What it saw
is written as a line of JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from owlsocket_sync import Connection, ConnectionState, EventMessage, Heartbeat, Limits, connect
from owlsocket_sync.states import StateChange
from support.loads import memory


class Flooded:
    """What the client saw."""

    def __init__(self, conn: Connection, count: int, pauses: int, pause: float) -> None:
        self._conn = conn
        self._count = count
        self._pauses = pauses
        self._pause = pause
        self.over = threading.Event()
        self.handled = 0
        self.misplaced = 0
        self.longest_call = 0.0
        self.failures: list[str] = []

    def handle(self, message: EventMessage) -> None:
        """Take one event."""
        number = message.payload[0]
        self.misplaced += number != self.handled
        self.handled += 1
        if number % (self._count // self._pauses) == 0:
            time.sleep(self._pause)
            began = time.monotonic()
            try:
                if self._conn.call("echo", number, timeout=30) != number:
                    self.failures.append(f"a wrong answer at {number}")
                self._conn.notify("noted", number)
            except Exception as error:
                self.failures.append(repr(error))
            self.longest_call = max(self.longest_call, time.monotonic() - began)
        if self.handled == self._count:
            self.over.set()

    def fail(self, change: StateChange) -> None:
        """Whatever the connection does but stay open is a failure."""
        if not self.over.is_set() and change.state is not ConnectionState.OPEN:
            self.failures.append(f"{change.state.value}: {change.reason}")
            self.over.set()


def main(url: str, count: int, pauses: int, pause: float, limits: Limits, heartbeat: Heartbeat) -> None:
    """Connect, be flooded, and tell."""
    with connect(url, limits=limits, heartbeat=heartbeat, workers=1) as conn:
        seen = Flooded(conn, count, pauses, pause)
        conn.on_state(seen.fail)
        conn.observe("flood", seen.handle)
        before = memory()
        conn.notify("go")
        whole = seen.over.wait(900) and seen.handled == count
        grown = memory("VmHWM") - before
        stats = conn.stats
    print(
        json.dumps(
            {
                "whole": whole,
                "handled": seen.handled,
                "misplaced": seen.misplaced,
                "longest_call": seen.longest_call,
                "failures": seen.failures,
                "grown": grown,
                "dropped": stats.dropped,
                "reconnects": stats.reconnects,
            }
        )
    )


if __name__ == "__main__":
    main(
        sys.argv[1],
        int(sys.argv[2]),
        int(sys.argv[3]),
        float(sys.argv[4]),
        Limits(**json.loads(sys.argv[5])),
        Heartbeat(*json.loads(sys.argv[6])),
    )
