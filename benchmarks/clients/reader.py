"""The usual pattern around websocket-client: a thread that receives, and a `Future` for each call."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import orjson
import websocket

from . import Address
from .bare import TUNED_OPTIONS, open_socket


class ReaderAndFutures:
    """Completes the future of an answer by its id, and passes events to ``on_event``.

    ``tuned`` is for one calling thread: without UTF-8 validation and without the locks of the library.
    """

    def __init__(self, address: Address, tuned: bool = False) -> None:
        self._socket = open_socket(address, **(TUNED_OPTIONS if tuned else {}))
        self._ids = itertools.count()
        self._pending: dict[str, Future[Any]] = {}
        self.on_event: Callable[[Any], object] = lambda event: None
        threading.Thread(target=self._read, daemon=True).start()

    def submit(self, method: str, *payload: Any) -> Future[Any]:
        """Send a call, and return the future of its answer."""
        id = str(next(self._ids))
        future: Future[Any] = Future()
        # Before sending: the answer may arrive before send returns.
        self._pending[id] = future
        self._socket.send(orjson.dumps({"method": method, "payload": payload, "type": "call", "id": id}))
        return future

    def call(self, method: str, *payload: Any) -> Any:
        """Send a call, and wait for its answer."""
        return self.submit(method, *payload).result(60)

    def submit_all(self, count: int, payload: Any) -> Sequence[Future[Any]]:
        """Submit the calls one by one."""
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
