"""A link that is read on a thread of its own, with a raw socket at its other end."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Callable

from helpers import Collector, scaled
from sockets import RawPeer

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.options import Heartbeat
from owlsocket_sync.runtime.link import Link
from owlsocket_sync.stages import Ending
from owlsocket_sync.transport.client_wire import ClientWire
from owlsocket_sync.transport.stream import DuplexStream

LIMIT = 1_000_000


class Run:
    """A link that is read on a thread of its own, and the raw socket at its other end."""

    def __init__(
        self,
        heartbeat: Heartbeat | None = None,
        buffers: int | None = None,
        limit: int = LIMIT,
        answer: Callable[[str], bool | None] = lambda text: None,
    ) -> None:
        ours, theirs = tcp_pair(buffers)
        self.peer = RawPeer(theirs)
        self.got = Collector()
        self.endings = Collector()
        self.room = threading.Event()
        self.room.set()
        self.ticks: list[float] = []
        self.link = Link(
            ClientWire(DuplexStream(ours), limit),
            deliver=self.got,
            answer=answer,
            has_room=self.room.is_set,
            tick=self._tick,
            heartbeat=heartbeat,
        )
        self.reader = threading.Thread(target=lambda: self.endings(self.link.pump()))
        self.reader.start()

    def _tick(self, now: float) -> float:
        self.ticks.append(now)
        return math.inf

    def ended(self) -> Ending:
        """How the link ended, once it has."""
        ending: Ending = self.endings.wait(1)[0]
        return ending

    def stop(self) -> None:
        """End everything."""
        self.link.die(Ending(1006, "the test is over"))
        self.reader.join(scaled(5))
        assert not self.reader.is_alive()
        self.peer.sock.close()


def tcp_pair(buffers: int | None = None) -> tuple[socket.socket, socket.socket]:
    """Two ends of one TCP connection, with small buffers where they are asked for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if buffers is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        ours = socket.create_connection(listener.getsockname())
        if buffers is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        return ours, listener.accept()[0]


def aside(action: Callable[[], object]) -> Collector:
    """Do it on another thread; what comes of it, returned or raised, is collected."""
    outcome = Collector()

    def run() -> None:
        try:
            outcome(action())
        except Exception as error:
            outcome(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome


def within(seconds: float = 5.0) -> Deadline:
    """A deadline, on this machine."""
    return Deadline(scaled(seconds))
