"""picows on uvloop: a client in Cython, whose loop runs while a call waits."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import orjson
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from . import Address
from .ours import check_count

LARGEST = 1 << 30


class _Listener(WSListener):  # type: ignore[misc]
    """Decodes each message, and completes a future with the last of those that are awaited."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        message = orjson.loads(frame.get_payload_as_bytes())
        self.left -= 1
        if not self.left:
            self.done.set_result(message)


class Picows:
    """Sends all, then runs the loop until the last answer is there."""

    def __init__(self, address: Address, largest: int | None = None) -> None:
        self._loop = uvloop.new_event_loop()
        connecting = ws_connect(_Listener, address.url, max_frame_size=LARGEST, enable_auto_ping=False)
        self._listener = self._loop.run_until_complete(connecting)[1]
        self._ids = itertools.count()

    def call(self, method: str, *payload: Any) -> Any:
        """Send and receive."""
        done = self._expect(1)
        self._send(self._call(method, payload))
        return self._loop.run_until_complete(done)["payload"]

    def submit_all(self, count: int, payload: Any) -> Sequence[Future[Any]]:
        """Send all calls, then receive all answers; the futures are done."""
        done = self._expect(count)
        for _ in range(count):
            self._send(self._call("echo", (payload,)))
        self._loop.run_until_complete(done)
        return []

    def take_events(self, count: int, size: int) -> None:
        """Receive and decode."""
        done = self._expect(count + 1)
        self._send(self._call("flood", (count, size)))
        self._loop.run_until_complete(done)

    def notify_all(self, count: int, payload: Any) -> None:
        """Encode and send."""
        for _ in range(count):
            self._send(orjson.dumps({"event": "tick", "payload": payload, "type": "event"}))
        check_count(self.call("counted"), count)

    def _expect(self, count: int) -> asyncio.Future[Any]:
        done: asyncio.Future[Any] = self._loop.create_future()
        self._listener.left, self._listener.done = count, done
        return done

    def _send(self, data: bytes) -> None:
        self._listener.transport.send(WSMsgType.TEXT, data)

    def _call(self, method: str, payload: Sequence[Any]) -> bytes:
        return orjson.dumps({"method": method, "payload": payload, "type": "call", "id": str(next(self._ids))})
