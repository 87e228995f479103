"""A client that works without a pause for a long time, and tells each second how it is; a process of its own."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from itertools import count

from owlsocket_sync import Backoff, Connection, EventMessage, Heartbeat, SocketError, connect

CALLERS = 4


class Work:
    """Calls, notifications and events at a steady rate, each accounted for.

    Args:
        conn: what it works with.
        rate: messages in a second; half of them calls, a quarter each notifications, and events of the peer.
    """

    def __init__(self, conn: Connection, rate: int) -> None:
        self._conn = conn
        self._rate = rate
        self._over = threading.Event()
        self._tally = threading.Lock()
        self._numbers = count(1)
        self.counts = dict.fromkeys(
            ("called", "confirmed", "failed", "wrong", "notified", "refused", "events", "disordered"), 0
        )
        self.slowest = 0.0
        self._last_event = 0
        conn.observe("tick", self._take_event)
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        self._threads.append(threading.Thread(target=self._notify))
        for thread in self._threads:
            thread.start()

    def _count(self, name: str) -> None:
        with self._tally:
            self.counts[name] += 1

    def _call(self) -> None:
        while not self._over.wait(2 * CALLERS / self._rate):
            with self._tally:
                number = next(self._numbers)
            self._count("called")
            began = time.monotonic()
            try:
                answer = self._conn.call("put", number, timeout=60, retry=True)
            except SocketError as error:
                self._count("failed")
                print(f"call {number}: {error}", file=sys.stderr)
                continue
            self._count("confirmed" if answer == [number, str(number) * 20] else "wrong")
            self.slowest = max(self.slowest, time.monotonic() - began)

    def _notify(self) -> None:
        for number in count(1):
            if self._over.wait(4 / self._rate):
                return
            try:
                self._conn.notify("note", number)
            except SocketError:
                self._count("refused")
            else:
                self._count("notified")

    def _take_event(self, message: EventMessage) -> None:
        self._count("events")
        if message.payload <= self._last_event:
            self._count("disordered")
        self._last_event = message.payload

    def stop(self) -> None:
        """Finish what was begun."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def sample(self, began: float) -> dict[str, float]:
        """How it is now."""
        slowest, self.slowest = self.slowest, 0.0
        with open("/proc/self/statm", encoding="ascii") as statm:
            pages = int(statm.read().split()[1])
        return {
            "at": round(time.monotonic() - began, 1),
            "rss": pages * os.sysconf("SC_PAGE_SIZE"),
            "threads": sum(not thread.name.endswith("-worker") for thread in threading.enumerate()),
            "workers": sum(thread.name.endswith("-worker") for thread in threading.enumerate()),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "pending": self._conn.stats.pending,
            "reconnects": self._conn.stats.reconnects,
            "slowest": round(slowest, 3),
            **self.counts,
        }


def main(url: str, seconds: float, rate: int) -> None:
    """Work for so long; print a sample for each second, and one at the end."""
    began = time.monotonic()
    with connect(
        url, timeout=5, reconnect=Backoff(initial=0.05, cap=0.5, healthy_after=1.0), heartbeat=Heartbeat(0.5, 0.5)
    ) as conn:
        work = Work(conn, rate)
        tick = threading.Event()
        while time.monotonic() - began < seconds:
            tick.wait(1.0)
            print(json.dumps(work.sample(began)), flush=True)
        work.stop()
        print(json.dumps({"final": 1, **work.sample(began)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
