"""The queues in stores that a connection gets, at either end; loaded where there are any."""

from __future__ import annotations

from .core.durable_queue import StoredQueues
from .core.queue_lane import LANE
from .runtime.at_exit import EXIT_REGISTRY
from .runtime.draining import Drainer
from .runtime.slow_tasks import SLOW_TASKS
from .stores.queue import Queue


def stored_queues(inbox: Queue | None, outbox: Queue | None, owner: str = "") -> StoredQueues | None:
    """Return the queues of a connection, ``None`` where there are none.

    Args:
        inbox: of the connection.
        outbox: of the connection.
        owner: of the streams of the peer.

    Raises:
        ValueError: they are one queue.
    """
    if inbox is None and outbox is None:
        return None
    if inbox is not None and outbox is not None and inbox._is_one_with(outbox):
        raise ValueError(
            f"outbox and inbox are one queue, {inbox.name!r}, whose messages would come back to it: use two queues"
        )
    EXIT_REGISTRY.close_first()
    SLOW_TASKS.leave_to_workers(LANE)  # the poller waits for no disk
    return StoredQueues(inbox, outbox, owner, make_worker=Drainer)
