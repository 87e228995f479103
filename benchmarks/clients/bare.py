"""Plain websocket-client: send, then receive, on one thread, with `orjson`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import orjson
import websocket

from . import Address
from .ours import check_count

TUNED_OPTIONS = {"skip_utf8_validation": True, "enable_multithread": False}


def open_socket(address: Address, **options: Any) -> websocket.WebSocket:
    """Return a connected `websocket.WebSocket`."""
    if address.authority is not None:
        options["sslopt"] = {"ca_certs": address.authority}
    return websocket.create_connection(address.url, **options)


class Bare:
    """websocket-client with its defaults, or ``tuned``: without UTF-8 validation and without its locks."""

    def __init__(self, address: Address, tuned: bool = False) -> None:
        self._socket = open_socket(address, **(TUNED_OPTIONS if tuned else {}))
        self._ids = itertools.count()

    def call(self, method: str, *payload: Any) -> Any:
        """Send and receive."""
        id = str(next(self._ids))
        self._socket.send(orjson.dumps({"method": method, "payload": payload, "type": "call", "id": id}))
        answer = orjson.loads(self._socket.recv())
        # Other clients find the call by its id, which costs a lookup; this check stands for it.
        if answer["id"] != id:
            raise RuntimeError("the answer of another call")
        return answer["payload"]

    def close(self) -> None:
        """Close with the closing handshake."""
        self._socket.close()

    def submit_all(self, count: int, payload: Any) -> Sequence[Future[Any]]:
        """Send all calls, then receive all answers, which must arrive in order; the futures are done."""
        for number in range(count):
            self._socket.send(
                orjson.dumps({"method": "echo", "payload": (payload,), "type": "call", "id": str(number)})
            )
        futures: list[Future[Any]] = []
        for number in range(count):
            answer = orjson.loads(self._socket.recv())
            if answer["id"] != str(number):
                raise RuntimeError("the answer of another call")
        return futures

    def take_events(self, count: int, size: int) -> None:
        """Receive and decode."""
        self.call("flood", count, size)
        while count:
            if orjson.loads(self._socket.recv())["type"] == "event":
                count -= 1

    def notify_all(self, count: int, payload: Any) -> None:
        """Encode and send."""
        for _ in range(count):
            self._socket.send(orjson.dumps({"event": "tick", "payload": payload, "type": "event"}))
        check_count(self.call("counted"), count)
