"""The handlers of the server with which the longer recordings were made, on a connection of ours."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from owlsocket_sync import Connection, EventMessage, MessageType, ResilientError, SocketError, errors
from owlsocket_sync.server import Request
from wire.reference_server import TYPED, Error


def longer_server(conn: Connection, request: Request) -> None:
    """Register what that server answers."""
    conn.on_error(lambda error, context: None)
    responses: list[Any] = []
    conn.observe_response(lambda payload: responses.append(payload))
    for name, handler in _performers(conn, responses).items():
        conn.perform(name, handler)
    conn.observe("client-event", lambda message: conn.notify("server-event", message.payload))
    conn.observe("bad-event", lambda message: 1 / 0)
    for acknowledger in (_acknowledge_first, _acknowledge_second, _acknowledge_third):
        conn.acknowledge(_bound(acknowledger, conn))


def _bound(acknowledger: Callable[..., bool], conn: Connection) -> Callable[[Any, Any], bool]:
    return lambda id, payload: acknowledger(conn, id, payload)


def _performers(conn: Connection, responses: list[Any]) -> dict[str, Callable[..., Any]]:
    return {
        "echo": lambda value=None: value,
        "add": lambda a, b: a + b,
        "argc": lambda *values: {"n": len(values), "args": list(values)},
        "fail": _fail,
        "failTyped": _fail_typed,
        "slow": _slow,
        "none": lambda: None,
        "nul": lambda: None,
        "notifyMe": lambda event, payload: conn.notify(event, payload) or True,
        "callMe": lambda method, *values: _call(conn, method, *values),
        "requestMe": lambda *values: _request(conn, responses, *values),
        "enqueueMe": lambda payload, id=None: conn.enqueue(payload, id) or True,
        "sendRaw": lambda text: conn.send(text) or True,
        "system": lambda event, payload: conn.send(EventMessage(MessageType.SYSTEM, payload, event=event)) or True,
        "queueLen": conn.enqueued,
        "consume": lambda pattern=None: _consume(conn, pattern),
        "stage": lambda: conn.stage,
        "closeMe": lambda code=1000, reason="": threading.Timer(0.02, conn.close, (code, reason)).start() or True,
        "pingMe": lambda: bool(conn.ping(2)) or True,
    }


def _fail(message: str) -> None:
    raise Error(message)


def _fail_typed(kind: str) -> None:
    cls = getattr(errors, kind, None)
    if cls is not None and issubclass(cls, ResilientError):
        raise cls("boom")
    if kind in TYPED:
        raise TYPED[kind]()
    raise Error(kind)


def _slow(milliseconds: float) -> str:
    threading.Event().wait(milliseconds / 1000)
    return f"slept {milliseconds}"


def _call(conn: Connection, method: str, *values: Any) -> Any:
    try:
        return {"ok": True, "result": conn.call(method, *values)}
    except SocketError as error:
        return {"ok": False, "error": {"type": error.type, "message": error.message}}
    except ResilientError as error:
        return {"ok": False, "error": {"type": error.type, "message": error.message}}


def _request(conn: Connection, responses: list[Any], payload: Any, milliseconds: float = 100, more: Any = True) -> Any:
    mine: list[Any] = []
    responses.clear()
    with conn.request(payload, lambda response: mine.append(response) or more):
        threading.Event().wait(milliseconds / 1000)
    return {"viaObserver": mine, "viaGlobal": list(responses)}


def _consume(conn: Connection, pattern: Any) -> Any:
    taken = conn.consume(None if pattern is None else lambda payload: payload == pattern)
    return None if taken is None else list(taken)


def _acknowledge_first(conn: Connection, id: Any, payload: Any) -> bool:
    action = payload.get("action") if isinstance(payload, dict) else None
    if action == "throw":
        raise Error("ack boom")
    if action != "stream-data":
        return False
    for number in range(payload["count"]):
        threading.Event().wait(payload.get("delay", 0) / 1000)
        conn.reply(id, {"data": number, "hasMore": number < payload["count"] - 1})
    return True


def _acknowledge_second(conn: Connection, id: Any, payload: Any) -> bool:
    if not isinstance(payload, dict) or payload.get("action") != "chain":
        return False
    conn.reply(id, {"by": "ack#2"})
    return True


def _acknowledge_third(conn: Connection, id: Any, payload: Any) -> bool:
    if not isinstance(payload, dict) or payload.get("action") != "other":
        return False
    conn.reply(id, {"by": "ack#3", "echo": payload})
    return True
