"""What everybody writes: websocket-client as it comes, a thread that receives, and a `Future` for each call."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import orjson
import websocket

from . import Address
from .bare import open_socket


class ReaderAndFutures:
    """Completes futures by the id of the answer; events go to ``on_event``."""

    def __init__(self, address: Address) -> None:
        self._socket = open_socket(address)
        self._ids = itertools.count()
        self._pending: dict[str, Future[Any]] = {}
        self.on_event: Callable[[Any], object] = lambda event: None
        threading.Thread(target=self._read, daemon=True).start()

    def submit(self, method: str, *payload: Any) -> Future[Any]:
        """Send, and promise the answer."""
        id = str(next(self._ids))
        future: Future[Any] = Future()
        self._pending[id] = future
        self._socket.send(orjson.dumps({"method": method, "payload": payload, "type": "call", "id": id}))
        return future

    def call(self, method: str, *payload: Any) -> Any:
        """Send, and wait for the answer."""
        return self.submit(method, *payload).result(60)

    def submit_all(self, count: int, payload: Any) -> Sequence[Future[Any]]:
        """So many calls, one write each."""
        return [self.submit("echo", payload) for _ in range(count)]

    def _read(self) -> None:
        while True:
            try:
                message = orjson.loads(self._socket.recv())
            except (OSError, websocket.WebSocketException):
                return
            if message["type"] == "event":
                self.on_event(message["payload"])
            else:
                self._pending.pop(message["id"]).set_result(message["payload"])
