"""The floor: frames made by hand on a raw socket, without anything that a client needs besides; see `ByHand`."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import orjson
from websockets.speedups import apply_mask

from ..audience import connect
from . import Address
from .ours import check_count

READ_SIZE = 65_536
BATCH = 1000


class ByHand:
    """Masks in C, and reads blocks: the least that a client in Python does. It checks nothing, and cannot be shared."""

    def __init__(self, address: Address, batch: bool = False) -> None:
        self._socket = connect(address.port)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ids = itertools.count()
        self._batch = batch

    def call(self, method: str, *payload: Any) -> Any:
        """Send and receive."""
        self._socket.sendall(_frame(self._call(method, payload)))
        return next(self._answers())["payload"]

    def submit_all(self, count: int, payload: Any) -> Sequence[Future[Any]]:
        """Send all calls, one by one or as one block, then receive all answers; the futures are done."""
        self._send(count, lambda: self._call("echo", (payload,)))
        answers = self._answers()
        for _ in range(count):
            next(answers)
        return []

    def take_events(self, count: int, size: int) -> None:
        """Receive and decode."""
        self._socket.sendall(_frame(self._call("flood", (count, size))))
        messages = self._answers()
        while count:
            count -= next(messages)["type"] == "event"

    def notify_all(self, count: int, payload: Any) -> None:
        """Encode and send."""
        self._send(count, lambda: orjson.dumps({"event": "tick", "payload": payload, "type": "event"}))
        check_count(self.call("counted"), count)

    def _send(self, count: int, make: Callable[[], bytes]) -> None:
        size = BATCH if self._batch else 1
        for start in range(0, count, size):
            self._socket.sendall(b"".join([_frame(make()) for _ in range(min(size, count - start))]))

    def _call(self, method: str, payload: Sequence[Any]) -> bytes:
        return orjson.dumps({"method": method, "payload": payload, "type": "call", "id": str(next(self._ids))})

    def _answers(self) -> Iterator[Any]:
        """Yield messages; all that were sent have to be taken before the next call."""
        data = b""
        while True:
            data += self._socket.recv(READ_SIZE)
            place = 0
            while place + 4 <= len(data):
                size, head = data[place + 1], 2
                if size == 126:
                    size, head = (data[place + 2] << 8) | data[place + 3], 4
                end = place + head + size
                if end > len(data):
                    break
                yield orjson.loads(data[place + head : end])
                place = end
            data = data[place:]


def _frame(data: bytes) -> bytes:
    key = os.urandom(4)
    size = bytes((0x81, 0x80 | len(data))) if len(data) < 126 else b"\x81\xfe" + len(data).to_bytes(2, "big")
    return size + key + apply_mask(data, key)
