"""The time of one call, broken down into its parts.

The methods of sockets are wrapped to note when bytes are sent and received, which divides each call into: before
sending, sending, waiting for the answer, and after. The times before and after are divided further by timing encode,
frame, read and decode alone; the rest is tables, futures, locks, and the switch between threads.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import orjson
from websocket import ABNF

from owlsocket_sync.options import MIB
from owlsocket_sync.protocol import codec
from owlsocket_sync.protocol.messages import CallMessage
from owlsocket_sync.transport.frames import TEXT
from owlsocket_sync.transport.framing import ClientFraming
from owlsocket_sync.transport.stream import DuplexStream

from ..child import Figures, Turn
from ..clients import BARE, OURS, READER, TUNED, Address, connect
from ..echo_servers import EchoServers
from ..result import Result
from ..scale import Scale
from .compare import compare
from .latency import PAYLOAD, WARM_UP

COLUMNS = {
    "encode": "encode, µs",
    "frame": "frame, µs",
    "before": "the rest before sending, µs",
    "send": "send, µs",
    "wait": "wait for the answer, µs",
    "read": "read the frame, µs",
    "decode": "decode, µs",
    "after": "the rest after it came, µs",
    "whole": "whole, µs",
}
ANSWER = orjson.dumps({"id": "0123456789ab-1f", "type": "result", "payload": PAYLOAD})
SENDING = ("send", "sendall", "sendmsg")
BLOCK = 50  # as many frames as fit into the buffers of a socket pair
RECEIVING = ("recv", "recv_into", "recvmsg")


class SocketTimes:
    """The times of the last send and of the first receive after it.

    Attributes:
        sending: when the last send began.
        sent: when the last send ended.
        received: when the first bytes after it were received; 0 until then.
    """

    def __init__(self) -> None:
        self.sending = self.sent = self.received = 0.0

    def install(self) -> None:
        """Wrap the methods of all sockets of this process."""
        # On the class, so that sockets inside of libraries are covered; the overhead is the same for all contestants.
        for name in SENDING:
            setattr(socket.socket, name, self._wrap_send(getattr(socket.socket, name)))
        for name in RECEIVING:
            setattr(socket.socket, name, self._wrap_receive(getattr(socket.socket, name)))

    def _wrap_send(self, send: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(sock: socket.socket, *arguments: Any) -> Any:
            if sock.family != socket.AF_INET:  # the socket pair that wakes a thread
                return send(sock, *arguments)
            self.sending = time.perf_counter()
            self.received = 0.0
            count = send(sock, *arguments)
            self.sent = time.perf_counter()
            return count

        return wrapper

    def _wrap_receive(self, receive: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(sock: socket.socket, *arguments: Any) -> Any:
            data = receive(sock, *arguments)
            self.received = self.received or time.perf_counter()
            return data

        return wrapper


def measure(servers: EchoServers, scale: Scale) -> Result:
    """Measure ours, plain websocket-client, and the usual pattern around it."""
    names = (BARE, TUNED, OURS, READER)
    title = "Where the time of one call goes"
    return compare(servers, names, "path:prepare", scale.rounds, title, COLUMNS, calls=scale.calls)


def prepare(name: str, where: dict[str, Any], calls: int) -> Turn:
    """Connect, with wrapped sockets."""
    times = SocketTimes()
    times.install()
    client = connect(name, Address(**where))
    _time_parts(client.call, times, WARM_UP)
    pieces = _our_pieces if name == OURS else _bare_pieces

    def turn() -> Figures:
        parts, alone = _time_parts(client.call, times, calls), pieces(calls)
        before = parts.pop("until sent") - alone["encode"] - alone["frame"]
        after = parts.pop("since received") - alone["read"] - alone["decode"]
        return {**parts, **alone, "before": before, "after": after}

    return turn


def _time_parts(call: Callable[..., Any], times: SocketTimes, calls: int) -> Figures:
    """Return the median time of each part of a call."""
    clock = time.perf_counter
    rows = []
    for _ in range(calls):
        start = clock()
        call("echo", PAYLOAD)
        end = clock()
        # A thread may receive the answer before the caller returns from send, under the GIL.
        received = max(times.received, times.sent)
        parts = times.sending - start, times.sent - times.sending, received - times.sent, end - received, end - start
        rows.append(parts)
    keys = ("until sent", "send", "wait", "since received", "whole")
    return {key: median(column) * 1e6 for key, column in zip(keys, zip(*rows, strict=True), strict=True)}


def _our_pieces(times: int) -> Figures:
    """Time encode, frame, read and decode of ours, each alone."""
    ours, theirs = socket.socketpair()
    wire = ClientFraming(DuplexStream(ours), MIB)
    message = CallMessage(payload=[PAYLOAD], id="0123456789ab-1f", method="echo", timeout=60.0, dt=time.time())
    call, answer = codec.encode(message), ANSWER.decode()
    frame = bytes([0x81, len(ANSWER)]) + ANSWER
    reading = 0.0
    # In blocks that fit into the buffers, so that a read never waits for bytes.
    for _ in range(times // BLOCK):
        theirs.sendall(frame * BLOCK)
        reading += _each(wire.read, BLOCK) / (times // BLOCK)

    figures = {
        "encode": _each(lambda: codec.encode(message), times),
        "frame": _each(lambda: wire.frame(TEXT, call), times),
        "read": reading,
        "decode": _each(lambda: codec.decode(answer), times),
    }
    ours.close()
    theirs.close()
    return figures


def _bare_pieces(times: int) -> Figures:
    """Time encode, frame and decode of websocket-client with `orjson`; reading is part of the rest."""
    message = {"method": "echo", "payload": (PAYLOAD,), "type": "call", "id": "12345"}
    call = orjson.dumps(message)
    return {
        "encode": _each(lambda: orjson.dumps(message), times),
        "frame": _each(lambda: ABNF.create_frame(call, ABNF.OPCODE_TEXT).format(), times),
        "read": 0.0,
        "decode": _each(lambda: orjson.loads(ANSWER.decode()), times),
    }


def _each(piece: Callable[[], object], times: int) -> float:
    """Return the time per call of a function, in µs."""
    start = time.perf_counter()
    for _ in range(times):
        piece()
    return (time.perf_counter() - start) / times * 1e6
