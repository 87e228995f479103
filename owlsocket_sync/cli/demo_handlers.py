"""The handlers of ``owlsocket serve``: a little of everything, to try a client on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from .. import Connection, EventMessage
from ..server import Request

logger = logging.getLogger("owlsocket_sync.demo")

# Anyone who reaches the port can call: one call must not hold a worker for hours, or fill the memory.
MAX_SLEEP = 60.0
MAX_RESPONSES = 10_000


def register_handlers(
    conn: Connection, request: Request, broadcast: Callable[[str, Any], object] | None = None
) -> None:
    """Register all handlers on the connection of one client; ``broadcast`` lets the others hear what it shouts."""
    logger.info("%s connected from %s:%s", conn.name, *request.remote)

    def fail(message: str = "this method always fails") -> None:
        raise RuntimeError(message)

    def notify_me(event: str, payload: Any = None) -> None:
        conn.notify(event, payload)

    def enqueue_me(payload: Any, id: str | None = None) -> None:
        conn.enqueue(payload, id)

    def queue() -> list[list[Any]]:
        return [list(message) for message in iter(conn.consume, None)]

    conn.perform("echo", lambda *values: values[0] if len(values) == 1 else list(values))
    conn.perform("add", add)
    conn.perform("time", time.time)
    conn.perform("slow", slow)
    conn.perform("fail", fail)
    # A call back inside of a handler: the answer needs another worker, and the pool provides one.
    conn.perform("callMe", conn.call)
    conn.perform("notifyMe", notify_me)
    conn.perform("enqueueMe", enqueue_me)
    conn.perform("queue", queue)
    conn.observe("shout", lambda message: _answer_shout(broadcast or conn.notify, message))
    conn.acknowledge(lambda id, payload: _reply_count(conn, id, payload))


def add(a: Any, b: Any) -> Any:
    """Return the sum."""
    return a + b


def slow(seconds: float) -> str:
    """Sleep before answering."""
    time.sleep(min(seconds, MAX_SLEEP))
    return f"slept {seconds:g} s"


def _answer_shout(notify: Callable[[str, Any], object], message: EventMessage) -> None:
    notify("heard", {"shout": message.payload})


def _reply_count(conn: Connection, id: Any, payload: Any) -> bool:
    """Answer the request ``{"count": N}`` with N responses; return whether the request was one."""
    count = payload.get("count") if isinstance(payload, dict) else None
    if not isinstance(count, int):
        return False
    count = min(count, MAX_RESPONSES)
    for number in range(count):
        conn.reply(id, {"data": number, "hasMore": number < count - 1})
    return True
