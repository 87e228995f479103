"""What ``owlsocket serve`` answers: a little of everything, to try a client on."""

from __future__ import annotations

import logging
import time
from typing import Any

from .. import Connection, EventMessage
from ..server import Request

logger = logging.getLogger("owlsocket_sync.playground")

LONGEST_SLEEP = 60.0
MOST_RESPONSES = 10_000


def playground(conn: Connection, request: Request) -> None:
    """Register what one client may ask for."""
    logger.info("%s comes from %s:%s", conn.name, *request.remote)

    def fail(message: str = "as you wished") -> None:
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
    conn.perform("callMe", conn.call)
    conn.perform("notifyMe", notify_me)
    conn.perform("enqueueMe", enqueue_me)
    conn.perform("queue", queue)
    conn.observe("shout", lambda message: _answer_shout(conn, message))
    conn.acknowledge(lambda id, payload: _count(conn, id, payload))


def add(a: Any, b: Any) -> Any:
    """The sum."""
    return a + b


def slow(seconds: float) -> str:
    """Take one's time."""
    time.sleep(min(seconds, LONGEST_SLEEP))
    return f"slept {seconds:g} s"


def _answer_shout(conn: Connection, message: EventMessage) -> None:
    conn.notify("heard", {"shout": message.payload})


def _count(conn: Connection, id: Any, payload: Any) -> bool:
    """``{"count": n}`` is answered by n responses."""
    count = payload.get("count") if isinstance(payload, dict) else None
    if not isinstance(count, int):
        return False
    count = min(count, MOST_RESPONSES)
    for number in range(count):
        conn.reply(id, {"data": number, "hasMore": number < count - 1})
    return True
