"""Where the time of one call goes, from the caller's line and back to it.

Sockets are made to note when bytes leave and when they come, which parts each call into: before sending, sending,
waiting for the answer, and what follows. What is done before and after is parted further by running the functions that
do it over and over, alone; the rest is what joins them: tables, futures, locks, the way from thread to thread.
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
from owlsocket_sync.transport.client_wire import ClientWire
from owlsocket_sync.transport.stream import DuplexStream
from owlsocket_sync.transport.wire import TEXT

from ..arena import Arena
from ..child import Figures, Turn
from ..clients import BARE, OURS, READER, TUNED, Address, connect
from ..result import Result
from ..scale import Scale
from .entry import compete
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
BLOCK = 50  # as many as fit between two sockets
RECEIVING = ("recv", "recv_into", "recvmsg")


class Notes:
    """When bytes last began and ceased to leave, and when they first came since."""

    def __init__(self) -> None:
        self.sending = self.sent = self.came = 0.0

    def watch(self) -> None:
        """Have every socket of this process take notes."""
        for name in SENDING:
            setattr(socket.socket, name, self._noting_sent(getattr(socket.socket, name)))
        for name in RECEIVING:
            setattr(socket.socket, name, self._noting_came(getattr(socket.socket, name)))

    def _noting_sent(self, send: Callable[..., Any]) -> Callable[..., Any]:
        def noted(sock: socket.socket, *arguments: Any) -> Any:
            if sock.family != socket.AF_INET:  # what wakes a thread up
                return send(sock, *arguments)
            self.sending = time.perf_counter()
            self.came = 0.0
            taken = send(sock, *arguments)
            self.sent = time.perf_counter()
            return taken

        return noted

    def _noting_came(self, receive: Callable[..., Any]) -> Callable[..., Any]:
        def noted(sock: socket.socket, *arguments: Any) -> Any:
            data = receive(sock, *arguments)
            self.came = self.came or time.perf_counter()
            return data

        return noted


def measure(arena: Arena, scale: Scale) -> Result:
    """Ours, beside the bare calls and what everybody writes."""
    names = (BARE, TUNED, OURS, READER)
    title = "Where the time of one call goes"
    return compete(arena, names, "path:prepare", scale.rounds, title, COLUMNS, calls=scale.calls)


def prepare(name: str, where: dict[str, Any], calls: int) -> Turn:
    """Connect, with notes being taken."""
    notes = Notes()
    notes.watch()
    client = connect(name, Address(**where))
    _part(client.call, notes, WARM_UP)
    pieces = _our_pieces if name == OURS else _bare_pieces

    def turn() -> Figures:
        parts, alone = _part(client.call, notes, calls), pieces(calls)
        before = parts.pop("until sent") - alone["encode"] - alone["frame"]
        after = parts.pop("since it came") - alone["read"] - alone["decode"]
        return {**parts, **alone, "before": before, "after": after}

    return turn


def _part(call: Callable[..., Any], notes: Notes, calls: int) -> Figures:
    """The median length of each part of a call."""
    clock = time.perf_counter
    lines = []
    for _ in range(calls):
        start = clock()
        call("echo", PAYLOAD)
        end = clock()
        came = max(notes.came, notes.sent)
        lines.append((notes.sending - start, notes.sent - notes.sending, came - notes.sent, end - came, end - start))
    keys = ("until sent", "send", "wait", "since it came", "whole")
    return {key: median(column) * 1e6 for key, column in zip(keys, zip(*lines, strict=True), strict=True)}


def _our_pieces(times: int) -> Figures:
    """What ours does to the bytes of a call and its answer, each on its own."""
    ours, theirs = socket.socketpair()
    wire = ClientWire(DuplexStream(ours), MIB)
    message = CallMessage(payload=[PAYLOAD], id="0123456789ab-1f", method="echo", timeout=60.0, dt=time.time())
    call, answer = codec.encode(message), ANSWER.decode()
    frame = bytes([0x81, len(ANSWER)]) + ANSWER
    reading = 0.0
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
    """What websocket-client and `orjson` do to the bytes of a call and its answer; reading counts as the rest."""
    message = {"method": "echo", "payload": (PAYLOAD,), "type": "call", "id": "12345"}
    call = orjson.dumps(message)
    return {
        "encode": _each(lambda: orjson.dumps(message), times),
        "frame": _each(lambda: ABNF.create_frame(call, ABNF.OPCODE_TEXT).format(), times),
        "read": 0.0,
        "decode": _each(lambda: orjson.loads(ANSWER.decode()), times),
    }


def _each(piece: Callable[[], object], times: int) -> float:
    """What one costs, in µs."""
    start = time.perf_counter()
    for _ in range(times):
        piece()
    return (time.perf_counter() - start) / times * 1e6
