"""The queues of one client: which outbox belongs to it is said by the server, from who authenticated, never by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..callables import refuse_awaitable
from ..options import check_queue
from ..runtime.draining import Drainer
from ..runtime.slow_tasks import SLOW_TASKS
from .options import ServerOptions
from .request import Request

if TYPE_CHECKING:
    from ..core.durable_queue import StoredQueues


def stored_queues(options: ServerOptions, request: Request) -> StoredQueues | None:
    """Return the queues of a client that are in stores; ``None`` where there are none.

    Raises:
        ValueError: ``outbox`` returned something else than a queue.
    """
    if options.inbox is None and options.outbox is None:
        return None
    from ..core.durable_queue import StoredQueues  # where nothing is stored, it is not loaded
    from ..core.queue_lane import LANE

    SLOW_TASKS.leave_to_workers(LANE)  # the poller waits for no disk
    outbox = None
    if options.outbox is not None:
        outbox = options.outbox(request)
        refuse_awaitable(outbox, "outbox")
        check_queue("outbox", outbox)
    if options.inbox is None and outbox is None:
        return None
    return StoredQueues(options.inbox, outbox, owner_of(request.auth), make_worker=Drainer)


def owner_of(identity: Any) -> str:
    """Return the name of an identity, under which the positions of its streams are kept."""
    if isinstance(identity, str):
        return identity
    for name in ("user_id", "id", "entity_id"):
        value = getattr(identity, name, None)
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            return str(value)
    return ""
