"""The queues in stores that a connection gets, at either end; loaded where there are any."""

from __future__ import annotations

from .core.durable_queue import StoredQueues
from .core.queue_lane import LANE
from .runtime.at_exit import EXIT_REGISTRY
from .runtime.draining import Drainer
from .runtime.slow_tasks import SLOW_TASKS
from .stores.queue import Queue


def stored_queues(inbox: Queue | None, outbox: Queue | None, owner: str = "") -> StoredQueues | None:
    """Return the queues of a connection, ``None`` where there are none; ``owner`` is that of the peer's streams."""
    if inbox is None and outbox is None:
        return None
    EXIT_REGISTRY.close_first()
    SLOW_TASKS.leave_to_workers(LANE)  # the poller waits for no disk
    return StoredQueues(inbox, outbox, owner, make_worker=Drainer)
