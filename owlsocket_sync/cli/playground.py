"""What ``owlsocket serve`` answers: a little of everything, to try a client on."""

from __future__ import annotations

import time
from typing import Any

from .. import Connection, EventMessage
from ..server import Request


def playground(conn: Connection, request: Request) -> None:
    """Register what one client may ask for."""
    conn.perform("echo", lambda *values: values[0] if len(values) == 1 else list(values))
    conn.perform("add", lambda a, b: a + b)
    conn.perform("time", time.time)
    conn.perform("slow", _slow)
    conn.perform("fail", _fail)
    conn.perform("callMe", conn.call)
    conn.perform("notifyMe", lambda event, payload=None: conn.notify(event, payload))
    conn.perform("enqueueMe", lambda payload, id=None: conn.enqueue(payload, id))
    conn.perform("queue", lambda: [list(message) for message in iter(conn.consume, None)])
    conn.observe("shout", lambda message: _answer_shout(conn, message))
    conn.acknowledge(lambda id, payload: _count(conn, id, payload))


def _slow(seconds: float) -> str:
    time.sleep(min(seconds, 60.0))
    return f"slept {seconds:g} s"


def _fail(message: str = "as you wished") -> None:
    raise RuntimeError(message)


def _answer_shout(conn: Connection, message: EventMessage) -> None:
    conn.notify("heard", {"shout": message.payload})


def _count(conn: Connection, id: Any, payload: Any) -> bool:
    """``{"count": n}`` is answered by n responses."""
    if not isinstance(payload, dict) or not isinstance(payload.get("count"), int):
        return False
    count = min(payload["count"], 10_000)
    for number in range(count):
        conn.reply(id, {"data": number, "hasMore": number < count - 1})
    return True
