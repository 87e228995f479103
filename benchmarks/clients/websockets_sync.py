"""The threaded client of `websockets`: send, then receive, with `orjson`."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import orjson
from websockets.sync.client import connect

from . import Address
from .ours import check_count


class WebsocketsSync:
    """A `websockets` client that sends and receives bytes, so that text is not encoded and decoded twice."""

    def __init__(self, address: Address, largest: int | None = None, compression: str | None = None) -> None:
        context = None if address.authority is None else ssl.create_default_context(cafile=address.authority)
        # Without limits, as the other clients; a proxy of the environment would be a detour.
        self._socket = connect(address.url, ssl=context, compression=compression, max_size=None, proxy=None)
        self._ids = itertools.count()

    def call(self, method: str, *payload: Any) -> Any:
        """Send and receive."""
        id = str(next(self._ids))
        self._socket.send(orjson.dumps({"method": method, "payload": payload, "type": "call", "id": id}), text=True)
        answer = orjson.loads(self._socket.recv(decode=False))
        if answer["id"] != id:
            raise RuntimeError("the answer of another call")
        return answer["payload"]

    def close(self) -> None:
        """Close with the closing handshake."""
        self._socket.close()

    def submit_all(self, count: int, payload: Any) -> Sequence[Future[Any]]:
        """Send all calls, then receive all answers; the futures are done."""
        for number in range(count):
            call = {"method": "echo", "payload": (payload,), "type": "call", "id": str(number)}
            self._socket.send(orjson.dumps(call), text=True)
        for number in range(count):
            if orjson.loads(self._socket.recv(decode=False))["id"] != str(number):
                raise RuntimeError("the answer of another call")
        return []

    def take_events(self, count: int, size: int) -> None:
        """Receive and decode."""
        self.call("flood", count, size)
        while count:
            if orjson.loads(self._socket.recv(decode=False))["type"] == "event":
                count -= 1

    def notify_all(self, count: int, payload: Any) -> None:
        """Encode and send."""
        for _ in range(count):
            self._socket.send(orjson.dumps({"event": "tick", "payload": payload, "type": "event"}), text=True)
        check_count(self.call("counted"), count)
