"""The parts of a connection's queues in stores, wired together; loaded only where a connection has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..deadline import Deadline
from ..protocol.carrier import Carrier
from ..protocol.queue import MessageQueue
from ..protocol.services import Services
from ..protocol.settings import Settings
from .durable_queue import DurableQueue, StoredQueues
from .queue_exchange import QueueExchange
from .queue_frames import QueueFrames
from .queue_lane import QueueLane
from .sender import Sender
from .stored_ends import InboxEnd, OutboxEnd

if TYPE_CHECKING:
    from .core import CoreOptions

CLOSE_TIMEOUT = 3.0


def make_durable(
    services: Services,
    queues: StoredQueues,
    memory: MessageQueue,
    carrier: Carrier,
    sender: Sender,
    settings: Settings,
    options: CoreOptions,
) -> DurableQueue:
    """Return the queue of a connection, and wire its exchange: to the workers, or to a thread."""

    def close(reason: str) -> None:
        # Later, on a worker: this thread may be the one of another connection.
        services.run("closing", carrier.close, 1000, reason, Deadline(CLOSE_TIMEOUT))

    size = options.limits.message_size
    frames = QueueFrames(
        options.name,
        sender,
        carrier,
        services,
        settings,
        close,
        message_size=size,
        sender_name=options.sender,
        stamps=options.stamps,
    )
    outbox = None if queues.outbox is None else OutboxEnd(queues.outbox)
    inbox = None if queues.inbox is None else InboxEnd(queues.inbox, queues.owner)
    exchange = QueueExchange(services, frames, outbox, inbox, asks=not options.accepted)
    durable = DurableQueue(services, queues, memory, exchange, size, lambda: carrier.last_failure)
    if outbox is not None and queues.make_worker is not None:
        exchange.wake = queues.make_worker(exchange, options.name).wake
    else:
        durable.lane = QueueLane(exchange, services.run, carrier.schedule_wakeup)
        exchange.wake = durable.lane.wake
    return durable
