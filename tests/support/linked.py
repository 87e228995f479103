"""A link that the poller reads, with a raw socket at its other end."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Callable
from typing import cast

import pytest

from owlsocket_sync import fork
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.options import Heartbeat
from owlsocket_sync.protocol.carrier import CarrierEvents
from owlsocket_sync.runtime import poller, poller_turn
from owlsocket_sync.runtime.link import Link
from owlsocket_sync.states import CloseInfo
from owlsocket_sync.transport.framing import ClientFraming
from owlsocket_sync.transport.selector import AnySelector
from owlsocket_sync.transport.stream import DuplexStream
from support.helpers import Collector, scaled
from support.sockets import RawPeer

LIMIT = 1_000_000


def poll_with(make: Callable[[], AnySelector], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let links from now on have a poller of their own, on this kind of selector."""
    monkeypatch.setattr(poller_turn, "make_selector", make)
    monkeypatch.setattr(poller, "_pollers", fork.PerProcess(poller.Poller))


class Run:
    """A link that the poller reads, and the raw socket at its other end."""

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
        self.try_complete = answer
        self.has_room = self.room.is_set
        self.link = Link(
            ClientFraming(DuplexStream(ours), limit),
            1,
            cast(CarrierEvents, self),
            heartbeat,
        )
        self.released = threading.Event()
        self.link.attach(lambda info: None, self._on_end)

    def _on_end(self) -> bool:
        """Have the link released on another thread, as carriers do."""
        threading.Thread(target=self._release).start()
        return True

    def _release(self) -> None:
        self.link.release()
        self.released.set()
        self.endings(self.link.close_info)

    def receive(self, text: str | bytes, link: int) -> None:
        """Keep a message."""
        self.got(text)

    def count_wire(self, received: int, sent: int) -> None:
        """Take no notice: the framing has no compression."""

    def run_timers(self, now: float) -> float:
        """Keep the time; nothing is due."""
        self.ticks.append(now)
        return math.inf

    def ended(self) -> CloseInfo:
        """How the link ended, once it has."""
        ending: CloseInfo = self.endings.wait(1)[0]
        return ending

    def stop(self) -> None:
        """End everything."""
        self.link.abort(CloseInfo(1006, "the test is over"))
        assert self.released.wait(scaled(5))
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
