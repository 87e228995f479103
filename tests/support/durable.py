"""Two connections in memory with queues in stores: the whole of acknowledged delivery in one thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from owlsocket_sync.connection import Connection
from owlsocket_sync.core.core import Core, CoreOptions
from owlsocket_sync.core.durable_queue import StoredQueues
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.inherited import closed_core
from owlsocket_sync.options import Limits
from owlsocket_sync.protocol.settings import Settings
from owlsocket_sync.stores import Queue
from owlsocket_sync.testing.memory import InlineWorkers, SharedLink
from support.pair import RecordingCarrier


@dataclass
class DurableEnd:
    """One end, and what it reported."""

    connection: Connection
    core: Core
    carrier: RecordingCarrier
    errors: list[Exception] = field(default_factory=list)
    heard: list[Any] = field(default_factory=list)


class DurablePair:
    """A client and a server in memory, with queues in stores; their link can be lost and restored.

    Args:
        client: the queues of the client: inbox and outbox.
        server: the queues of the server.
        limits: of both.
    """

    def __init__(
        self,
        client: tuple[Queue | None, Queue | None],
        server: tuple[Queue | None, Queue | None],
        limits: Limits = Limits(),
    ) -> None:
        link = SharedLink()
        carriers = RecordingCarrier(link), RecordingCarrier(link)
        carriers[0].other, carriers[1].other = carriers[1], carriers[0]
        self.client = _make_end(carriers[0], "client", client, limits, accepted=False)
        self.server = _make_end(carriers[1], "server", server, limits, accepted=True)
        self.open()

    def open(self) -> None:
        """Do what a carrier does when its first link opens."""
        for end in (self.client, self.server):
            if end.core.durable is not None:
                end.core.durable.exchange.link_opened(end.carrier.links)

    def cut(self) -> None:
        """Lose the link."""
        self.client.carrier.lose()

    def restore(self) -> None:
        """Open another link."""
        self.client.carrier.restore()

    def close(self) -> None:
        """Close both ends."""
        self.client.connection.close()


def _make_end(
    carrier: RecordingCarrier,
    name: str,
    queues: tuple[Queue | None, Queue | None],
    limits: Limits,
    *,
    accepted: bool,
) -> DurableEnd:
    stored = None if queues == (None, None) else StoredQueues(*queues)
    options = CoreOptions(name, limits, accepted=accepted, queues=stored)
    core = Core(carrier, InlineWorkers(), options, Settings(5.0))
    carrier.start(core)
    end = DurableEnd(Connection(core, closed_core), core, carrier)
    end.connection.on_error(lambda error, _: end.errors.append(error))
    end.connection.listen(end.heard.append)
    return end


def tick(end: DurableEnd) -> None:
    """Let what is due happen, as the poller does."""
    if end.core.durable is not None and end.core.durable.lane is not None:
        end.core.durable.lane.wake()


def received(queue: Queue, wait: float = 0.0) -> list[Any]:
    """Take everything out of a queue, in its order."""
    payloads = []
    while (delivery := queue.get(wait)) is not None:
        payloads.append(delivery.payload)
        delivery.ack()
    return payloads


__all__ = ["Deadline", "DurableEnd", "DurablePair", "received", "tick"]
