"""Readers of what a server sends: its answer to the upgrade, and its frames."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fuzz.oracle import ENDED, Event, read_frames
from fuzz.target import Target, pure
from fuzz.texts import recorded_texts
from owlsocket_sync.errors import AuthError, ResilientError, SocketConnectionError
from owlsocket_sync.transport.client_handshake import ClientHandshake
from owlsocket_sync.transport.framing import ClientFraming
from owlsocket_sync.transport.stream import DuplexStream
from owlsocket_sync.urls import parse
from support.helpers import scaled
from support.sockets import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawPeer, close_frame, frame, granted

LIMIT = 4096
SENT_AT_MOST = 100_000
TARGET = parse("ws://localhost/ws?token=hunter2hunter2")


@contextmanager
def ends(limit: int = LIMIT) -> Iterator[tuple[Any, socket.socket]]:
    """A framing with a read deadline, and the socket at its other end."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(scaled(5))
    stream = DuplexStream(ours)
    stream.read_deadline = time.monotonic() + scaled(5)
    try:
        yield ClientFraming(stream, limit), theirs
    finally:
        stream.close()
        theirs.close()


def drain(framing: Any) -> tuple[list[Event], int]:
    """All events of a framing, and how it ends: by a close frame or the end of the stream, or by a code of its own."""
    events: list[Event] = []
    while True:
        try:
            incoming = framing.read()
        except EOFError:
            return events, ENDED
        except Exception as error:
            if type(error).__name__ != "FramingError":
                raise
            assert len(str(error)) < 500
            return events, int(error.code)  # type: ignore[attr-defined]
        events.append(_event(incoming))
        if events[-1][0] == "close":
            return events, ENDED


def _event(incoming: Any) -> Event:
    if isinstance(incoming, str):
        return "text", incoming
    if isinstance(incoming, bytes):
        return "binary", incoming
    kind = type(incoming).__name__.lower()
    if kind == "close":
        return kind, (incoming.code, incoming.reason)
    return kind, incoming.payload


def read_as_client(data: bytes) -> None:
    """Frames of a server: what RFC 6455 makes of them, or the close code of a breach; never anything else."""
    data = data[:SENT_AT_MOST]
    with ends() as (framing, theirs):
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        events, code = drain(framing)
    verdict = read_frames(data, LIMIT)
    assert verdict.allows(events, code), f"{events} and {code}, where {verdict} holds"


ACCEPT = b"{accept}"


def read_upgrade(data: bytes) -> None:
    """A server's answer to the upgrade: granted, refused by an error of ours, or broken off."""
    data = data[:SENT_AT_MOST]
    with ends() as (framing, theirs):
        peer = RawPeer(theirs)
        server = threading.Thread(target=_answer, args=(peer, data))
        server.start()
        try:
            ClientHandshake(framing).upgrade(TARGET, {}, time.monotonic() + scaled(5))
        except (SocketConnectionError, AuthError, ResilientError) as error:
            assert "hunter2hunter2" not in str(error) + repr(error)
            assert len(str(error)) < 100_000
        except TimeoutError:
            raise AssertionError("the stream had ended, and was waited for") from None
        except OSError as error:
            assert not isinstance(error, ConnectionResetError), "broken off from here"
        except EOFError:
            pass  # the stream ended within the answer
        else:
            framing.stream.read_deadline = math.inf
            drain(framing)
        finally:
            framing.stream.interrupt()
            server.join(scaled(5))


def _answer(peer: RawPeer, data: bytes) -> None:
    with contextlib.suppress(OSError, EOFError):
        request = peer.read_header()
        accept = granted(request).partition(b"Sec-WebSocket-Accept: ")[2].split(b"\r\n")[0]
        peer.send(data.replace(ACCEPT, accept))
        peer.sock.shutdown(socket.SHUT_WR)


# -- what to begin with ----------------------------------------------------------------------------------------------


def traffic(masked: bool = False) -> list[bytes]:
    """Sound frames of any kind, as one side or the other sends them."""

    def framed(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
        return frame(opcode, payload, fin=fin, masked=masked)

    texts = sorted({text for text in recorded_texts() if len(text) < 400})[::12]
    farewell = frame(CLOSE, close_frame(1001, "so long")[2:], masked=masked)
    return [
        *(framed(TEXT, text.encode()) for text in texts),
        framed(TEXT, "höhö, 😀".encode()) + framed(BINARY, b"\xff\0") + farewell,
        framed(TEXT, b"x" * 126) + framed(TEXT, b"y" * LIMIT) + framed(PING, b"z" * 125),
        framed(TEXT, b"a\xc3", fin=False)
        + framed(PING, b"p")
        + framed(CONTINUATION, b"\xa4", fin=False)
        + framed(CONTINUATION),
        framed(BINARY, b"a", fin=False) + framed(PONG, b"q") + framed(CONTINUATION, b"b") + framed(TEXT) + farewell,
        framed(CLOSE),
        framed(TEXT, b"x" * 3000, fin=False) + framed(CONTINUATION, b"y" * 1096),
    ]


HEAD = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
)
ANSWERS = (
    HEAD + b"\r\n",
    HEAD
    + b"Set-Cookie: a=b; Domain=owlsocket.invalid\r\nauth-token-refresh: t\r\n\r\n"
    + frame(TEXT, b"{}")
    + frame(CLOSE),
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 21\r\n\r\nAuthError|||auth:token",
    b"HTTP/1.1 302 Found\r\nLocation: ws://elsewhere.example/\r\n\r\n",
    b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab|||\r\n0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nlater",
)
FRAME_WORDS = (
    b"\x81\x00",
    b"\x01\x00",
    b"\x80\x00",
    b"\x00\x00",
    b"\x89\x00",
    b"\x8a\x7d",
    b"\x88\x02\x03\xe8",
    b"\x88\x01",
    b"\xc1\x01",
    b"\x09\x01",
    b"\x83\x00",
    b"\x8b\x00",
    b"\x81\x7e\x10\x01",
    b"\x81\x7f" + b"\xff" * 8,
    b"\x81\x7f\0\0\x01\0\0\0\0\0",
    b"\x81\x80\0\0\0\0",
    b"\x88\x04\x03\xe8\xff\xff",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xc0\x80",
    b"\x89\x7e\x00\x7e",
    b"\x88\x82\0\0\0\0\x03\xe8",
)
HEADER_WORDS = (
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b": ",
    b"HTTP/1.1 ",
    b"HTTP/1.0 ",
    b"101",
    b"200",
    b"-1",
    b"999999999999",
    b"Content-Length: ",
    b"Upgrade",
    b"websocket",
    b"{accept}",
    b"Transfer-Encoding: chunked",
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n",
    b"\0",
    b"\xff",
    b"Sec-WebSocket-Protocol: x\r\n",
    b"Set-Cookie: ",
    b"a" * 9000,
    b"X: y\r\n" * 200,
    b"|||",
    b"Content-Length: x\r\n",
)

TARGETS: tuple[Target, ...] = (
    pure("client-frames", read_as_client, traffic, FRAME_WORDS),
    pure("client-upgrade", read_upgrade, lambda: list(ANSWERS), HEADER_WORDS),
)
