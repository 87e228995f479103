"""What tests of a hub in Redis need: nodes that keep what they get, and processes that are nodes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from owlsocket_sync import SocketConnectionError
from owlsocket_sync.hub import Gap, PresenceChange, RedisHub
from support.child_processes import Child, environment
from support.helpers import scaled
from support.redis_servers import RedisServer
from support.seats import FakeServer, client_of

HEARTBEAT = scaled(0.3)
KEYS = "{owlsocket:hub}:"

NODE = """
import sys, threading, time
from owlsocket_sync.hub import Member, RedisHub
hub = RedisHub(sys.argv[1], heartbeat=float(sys.argv[2]), maxlen=int(sys.argv[4]))
hub.on_gap(lambda gap: print("gap", gap.missed, flush=True))
bus = hub.listen()
bus.add_server("s@" + hub.node)
for number in range(int(sys.argv[3])):
    bus.join(f"room {number % 10}", Member(f"{hub.node}-{number}", None, "s@" + hub.node, number))
print(hub.node, flush=True)
time.sleep(600)
"""


def node_process(server: RedisServer, members: int, maxlen: int = 10_000) -> Child:
    """A process that is a node with so many members, in ten rooms; its first line is the id of the node."""
    return Child([sys.executable, "-c", NODE, server.url, str(HEARTBEAT), str(members), str(maxlen)], environment())


class Watcher:
    """A server of a hub with one client in a room, which keeps everything that it gets.

    Attributes:
        got: the payloads of the events, in order.
        gaps: what was missed.
        changes: of presence.
    """

    def __init__(self, hub: RedisHub, room: str = "owls") -> None:
        self.hub = hub
        self.gaps: list[Gap] = []
        self.changes: list[PresenceChange] = []
        hub.on_gap(self.gaps.append)
        hub.on_presence(self.changes.append)
        self.server = FakeServer(hub)
        self.seat = self.server.connect()
        self.seat.join(room, None)
        self.got = client_of(self.seat).got

    def leaves(self) -> list[tuple[str, str]]:
        """The leaves that were told: rooms and ids."""
        return [(change.room, change.member.id) for change in self.changes if change.kind == "leave"]


class Publisher:
    """Publishes numbers in a row, until it is stopped; a context manager.

    Attributes:
        published: those that were published without an error.
        times: when.
    """

    def __init__(self, hub: RedisHub, pause: float = 0.01) -> None:
        self._hub, self._pause = hub, pause
        self.published: list[int] = []
        self.times: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(self._pause):
            try:
                self._hub.publish("n", number, room="owls")
            except SocketConnectionError:
                pass  # it may have been published, or not
            else:
                self.published.append(number)
                self.times.append(time.monotonic())
            number += 1

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join(30)


def seconds_until(condition: Callable[[], object], limit: float) -> float:
    """Wait until a condition holds, and return for how long; the limit is far above what is allowed."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit
        time.sleep(0.002)
    return time.monotonic() - began
