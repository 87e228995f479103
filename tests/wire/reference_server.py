"""The handlers of the server with which the scenarios were recorded, on a connection of ours."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from owlsocket_sync import (
    Connection,
    EventMessage,
    ResilientError,
    SocketConnectionError,
    SocketMessageMalformed,
    SocketTimeout,
    SocketUnauthorized,
    SocketUnsupported,
)
from owlsocket_sync.server import Request
from support.handlers import drop_link

TYPED: dict[str, Callable[[], BaseException]] = {
    "timeout": lambda: SocketTimeout("call"),
    "unauthorized": lambda: SocketUnauthorized("x"),
    "unsupported": lambda: SocketUnsupported("y"),
    "malformed": lambda: SocketMessageMalformed("z"),
    "connection": lambda: SocketConnectionError("lost"),
    "syntax": lambda: SyntaxError("syntax boom"),
}
SOON = 0.05


class Error(Exception):
    """A plain error, called as JavaScript calls it."""


def reference_server(conn: Connection, request: Request) -> None:
    """Register what the recorded server answers."""
    conn.on_error(lambda error, context: None)
    for name, handler in _performers(conn).items():
        conn.perform(name, handler)
    conn.observe("client-event", lambda message: _echo_event(conn, message))
    conn.acknowledge(lambda id, payload: _stream(conn, id, payload))


def _performers(conn: Connection) -> dict[str, Callable[..., Any]]:
    return {
        "echo": lambda value=None: value,
        "add": lambda a, b: a + b,
        "args": lambda *values: list(values),
        "argc": lambda *values: {"n": len(values), "args": list(values)},
        "fail": _fail,
        "failTyped": _fail_typed,
        "slow": _slow,
        "none": lambda: None,
        "null": lambda: None,
        "nul": lambda: None,
        "notifyMe": lambda event, payload, count=1: [conn.notify(event, payload) for _ in range(count)] and count,
        "callMe": lambda method, *values: _outcome(lambda: conn.call(method, *values)),
        "requestMe": lambda payload, wait=100: _request(conn, payload, wait),
        "enqueueMe": lambda payload, id=None: conn.enqueue(payload, id) or True,
        "authMe": lambda stage, payload: _auth(conn, stage, payload),
        "queue": lambda: [list(message) for message in iter(conn.consume, None)],
        "queueLen": conn.enqueued,
        "consume": lambda pattern=None: _consume(conn, pattern),
        "stage": lambda: conn.stage,
        "closeMe": lambda code=1000, reason="": _soon(lambda: conn.close(code, reason)),
        "dropMe": lambda: _soon(partial(drop_link, conn)),
    }


def _fail(message: str) -> None:
    raise Error(message)


def _fail_typed(kind: str) -> None:
    raise TYPED[kind]()


def _slow(milliseconds: float) -> str:
    threading.Event().wait(milliseconds / 1000)
    return "done"


def _outcome(action: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"ok": action()}
    except ResilientError as error:
        return {"error": {"type": error.type, "message": error.message}}


def _auth(conn: Connection, stage: str, payload: Any) -> dict[str, Any]:
    outcome = _outcome(lambda: conn.auth(stage, payload, timeout=2))
    return {**outcome, "stage": conn.stage} if "ok" in outcome else outcome


def _request(conn: Connection, payload: Any, milliseconds: float) -> list[Any]:
    responses: list[Any] = []
    with conn.request(payload, lambda response: responses.append(response) or True):
        threading.Event().wait(milliseconds / 1000)
    return responses


def _consume(conn: Connection, pattern: Any) -> Any:
    taken = conn.consume(None if pattern is None else lambda payload: payload == pattern)
    return None if taken is None else list(taken)


def _stream(conn: Connection, id: Any, payload: Any) -> bool:
    if not isinstance(payload, dict) or payload.get("action") != "stream-data":
        return False
    for number in range(payload["count"]):
        conn.reply(id, {"data": number, "hasMore": number < payload["count"] - 1})
    return True


def _echo_event(conn: Connection, message: EventMessage) -> None:
    conn.notify("server-event", message)


def _soon(action: Callable[[], Any]) -> bool:
    threading.Timer(SOON, action).start()
    return True
