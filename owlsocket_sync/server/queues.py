"""The queues of one client: which outbox belongs to it is said by the server, from who authenticated, never by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..callables import refuse_awaitable
from ..options import check_queue
from .options import ServerOptions
from .request import Request

if TYPE_CHECKING:
    from ..core.durable_queue import StoredQueues


def queues_of(options: ServerOptions, request: Request) -> StoredQueues | None:
    """Return the queues of a client that are in stores; ``None`` where there are none.

    Raises:
        ValueError: ``outbox`` returned something else than a queue, or the inbox.
    """
    if options.inbox is None and options.outbox is None:
        return None
    from ..queue_setup import stored_queues  # where nothing is stored, it is not loaded

    outbox = None
    if options.outbox is not None:
        outbox = options.outbox(request)
        refuse_awaitable(outbox, "outbox")
        check_queue("outbox", outbox)
    return stored_queues(options.inbox, outbox, owner_of(request.auth))


def owner_of(identity: Any) -> str:
    """Return the name of an identity, under which the positions of its streams are kept."""
    if isinstance(identity, str):
        return identity
    for name in ("user_id", "id", "entity_id"):
        value = getattr(identity, name, None)
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            return str(value)
    return ""
