"""The server of all WebSocket clients: `picows` on `uvloop`, which is faster than any of the clients.

It answers the calls ``echo`` (its argument), ``flood`` (events as fast as the client reads), ``later`` (one event after
a delay, with the time of its send), ``counted`` (the number of events received), ``sink`` (the size of its message),
``make`` (a text of this size) and ``never`` (no answer).
"""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any

import orjson
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from .lifetime import announce

LARGEST = 1 << 30
BLOCK = 65_536
EVENT = b'{"event":'
SINK = b'{"method":"sink"'
ID = re.compile(rb'"id":"([^"]+)"')
TAIL = 200
"""Bytes at the end of a call, in which its id is."""


class Echo(WSListener):
    """One client."""

    def __init__(self) -> None:
        self._counted = 0
        self._answers: list[bytes] = []
        self._writable = asyncio.Event()
        self._writable.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._methods: dict[str, Callable[..., Any]] = {
            "echo": lambda transport, call: self._answer(call, _echo_payload(call["payload"])),
            "flood": lambda transport, call: self._start(self._flood(transport, call)),
            "later": lambda transport, call: self._later(transport, call),
            "counted": lambda transport, call: self._answer(call, self._take_count()),
            "make": lambda transport, call: self._answer(call, "x" * call["payload"][0]),
            "never": lambda transport, call: None,
        }

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer a call, count an event."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(1000)
            transport.disconnect()
            return
        data = frame.get_payload_as_bytes()
        # Not parsed: decoding each event would make the server the bottleneck.
        if data.startswith(EVENT):
            self._counted += 1
        elif data.startswith(SINK):
            # Only the size: decoding megabytes would make the server the bottleneck.
            found = ID.search(data, len(data) - TAIL)
            assert found is not None
            self._answer({"id": found[1].decode()}, len(data))
        else:
            call = orjson.loads(data)
            self._methods[call["method"]](transport, call)
        # One write for all calls of one read, as a good server does; single calls are answered at once all the same.
        if self._answers and frame.last_in_buffer:
            self._flush(transport)

    def pause_writing(self) -> None:
        """Note that the write buffer is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Note that the write buffer has space again."""
        self._writable.set()

    def _answer(self, call: dict[str, Any], payload: Any) -> None:
        self._answers.append(orjson.dumps({"id": call["id"], "type": "result", "payload": payload}))

    def _flush(self, transport: WSTransport) -> None:
        """Send the answers to calls that arrived together in one write."""
        answers, self._answers = self._answers, []
        if len(answers) == 1:
            transport.send(WSMsgType.TEXT, answers[0])
        else:
            transport.underlying_transport.write(b"".join(map(_frame, answers)))

    def _take_count(self) -> int:
        counted, self._counted = self._counted, 0
        return counted

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _flood(self, transport: WSTransport, call: dict[str, Any]) -> None:
        """Answer, then send events of the requested number and size in blocks, as fast as the client reads."""
        count, size = call["payload"]
        self._answer(call, None)
        self._flush(transport)
        frame = _frame(orjson.dumps({"event": "tick", "payload": "x" * size, "type": "event"}))
        frames = max(1, BLOCK // len(frame))
        block = frame * frames
        while count > 0:
            await self._writable.wait()
            transport.underlying_transport.write(block if count >= frames else frame * count)
            count -= frames
            # Lets the loop handle the close frame of a client that ends early.
            await asyncio.sleep(0)

    def _later(self, transport: WSTransport, call: dict[str, Any]) -> None:
        self._answer(call, None)
        asyncio.get_running_loop().call_later(call["payload"][0], self._tick, transport)

    def _tick(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, orjson.dumps({"event": "tick", "payload": time.perf_counter(), "type": "event"}))


def _echo_payload(payload: list[Any]) -> Any:
    return payload[0] if payload else payload


def _frame(data: bytes) -> bytes:
    """Return an unmasked text frame (RFC 6455, section 5.2)."""
    if len(data) < 126:
        return bytes([0x81, len(data)]) + data
    if len(data) < 65_536:
        return b"\x81\x7e" + len(data).to_bytes(2, "big") + data
    return b"\x81\x7f" + len(data).to_bytes(8, "big") + data


async def _serve(certificate: str | None) -> None:
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    server = await ws_create_server(
        lambda request: Echo(), "127.0.0.1", 0, ssl=context, max_frame_size=LARGEST, backlog=4096
    )
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1] if len(sys.argv) > 1 else None))
