"""The outbox and the inbox of one connection are two queues: in one, messages would come back to their sender."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..stores import Queue


def one_queue_error(inbox: Queue | None, outbox: Queue | None, inbox_setting: str, outbox_setting: str) -> str | None:
    """Return the error of two settings that are one queue, ``None`` where they are two, or one of them is none.

    Args:
        inbox: a queue.
        outbox: a queue.
        inbox_setting: where it is set.
        outbox_setting: where it is set.
    """
    if inbox is None or outbox is None or not inbox._is_one_with(outbox):
        return None
    return f"{outbox_setting} and {inbox_setting} are one queue, {inbox.name!r}, whose messages would come back to it"
