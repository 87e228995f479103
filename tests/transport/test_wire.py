"""`ClientWire.read`: messages and control frames, held to RFC 6455 and to limits."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterable, Iterator

import pytest
from helpers import scaled
from sockets import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawPeer, close_frame, frame

from owlsocket_sync.transport.client_wire import ClientWire
from owlsocket_sync.transport.stream import DuplexStream
from owlsocket_sync.transport.wire import Close, Ping, Pong, WireError

LIMIT = 1000

Ends = tuple[ClientWire, RawPeer]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A wire, and the raw socket at its other end."""
    ours, theirs = socket.socketpair()
    wire = ClientWire(DuplexStream(ours), LIMIT)
    wire.stream.read_until = time.monotonic() + scaled(5)
    yield wire, RawPeer(theirs)
    wire.stream.close()
    theirs.close()


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (frame(TEXT, "höhö".encode()), ["höhö"]),
        (frame(TEXT), [""]),
        (frame(BINARY, b"\xff\x00"), [b"\xff\x00"]),
        (
            frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b", fin=False) + frame(CONTINUATION, b"c"),
            ["abc"],
        ),
        (frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\xa4"), ["ä"]),
        (frame(BINARY, b"\xc3", fin=False) + frame(CONTINUATION, b"\x28"), [b"\xc3\x28"]),
        (
            frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(PONG, b"q") + frame(CONTINUATION, b"b"),
            [Ping(b"p"), Pong(b"q"), "ab"],
        ),
        (frame(TEXT, b"x" * 126) + frame(TEXT, b"y" * LIMIT), ["x" * 126, "y" * LIMIT]),
        (close_frame(1001, "tschüß"), [Close(1001, "tschüß")]),
        (close_frame(4999), [Close(4999, "")]),
        (frame(CLOSE), [Close(1005, "")]),
        (frame(PING, b"z" * 125), [Ping(b"z" * 125)]),
    ],
)
def test_what_is_read(ends: Ends, sent: bytes, read: list[object]) -> None:
    """Messages come whole and control frames at once, however the bytes are cut."""
    wire, peer = ends
    peer.send(sent)
    assert _kinds_and_values(wire.read() for _ in read) == _kinds_and_values(read)
    cut = threading.Thread(target=_send_slowly, args=(peer, sent))
    cut.start()
    assert _kinds_and_values(wire.read() for _ in read) == _kinds_and_values(read)
    cut.join(scaled(5))


def _kinds_and_values(messages: Iterable[object]) -> list[tuple[type, object]]:
    """A ping and a pong are tuples, and equal where they carry the same."""
    return [(type(message), message) for message in messages]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"x", masked=True), 1002),
        (frame(TEXT, b"x", rsv=4), 1002),
        (frame(TEXT, b"x", rsv=1), 1002),
        (frame(3, b"x"), 1002),
        (frame(11), 1002),
        (frame(CONTINUATION, b"x"), 1002),
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(PONG, b"x", fin=False), 1002),
        (frame(CLOSE, b"\x03\xe8", fin=False), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (close_frame(1005), 1002),
        (close_frame(1006), 1002),
        (close_frame(999), 1002),
        (close_frame(5000), 1002),
        (close_frame(1000)[:-2] + b"\x03\xe8\xff"[:2], 0),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xed\xa0\x80"), 1007),
        (frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"x"), 1007),
        (frame(TEXT, b"x" * (LIMIT + 1)), 1009),
        (bytes([0x81, 127]) + (2**62).to_bytes(8, "big"), 1009),
        (frame(TEXT, b"x" * LIMIT, fin=False) + frame(CONTINUATION, b"y"), 1009),
    ],
)
def test_what_breaks_the_protocol(ends: Ends, sent: bytes, code: int) -> None:
    """Each breach has its close code; the last bytes of a sound close frame have none."""
    wire, peer = ends
    peer.send(sent)
    if not code:
        assert wire.read() == Close(1000, "")
        return
    with pytest.raises(WireError) as caught:
        next(message for message in iter(wire.read, None) if message is None)
    assert caught.value.code == code


def test_an_oversize_frame_is_refused_before_its_bytes_come(ends: Ends) -> None:
    """The announced length is enough: nothing is waited for, and no room is made."""
    wire, peer = ends
    peer.send(bytes([0x81, 126]) + (LIMIT + 1).to_bytes(2, "big"))
    began = time.monotonic()
    with pytest.raises(WireError, match="1001 bytes"):
        wire.read()
    assert time.monotonic() - began < scaled(1)


def test_fragments_without_end_are_bounded(ends: Ends) -> None:
    """Empty fragments add up to nothing, and still do not pile up for ever."""
    wire, peer = ends
    peer.send(frame(TEXT, b"", fin=False))
    sender = threading.Thread(target=lambda: _send_quietly(peer, frame(CONTINUATION, b"", fin=False) * 20_000))
    sender.start()
    wire.stream.read_until = time.monotonic() + 0.5
    with contextlib.suppress(TimeoutError, WireError):
        wire.read()
    assert sum(map(len, wire._blocks)) < 10_000
    wire.stream.close()
    sender.join(scaled(5))


def _send_slowly(peer: RawPeer, data: bytes) -> None:
    for at in range(len(data)):
        peer.send(data[at : at + 1])


def _send_quietly(peer: RawPeer, data: bytes) -> None:
    with contextlib.suppress(OSError):
        peer.send(data)


def test_half_a_frame_is_kept_for_the_next_read(ends: Ends) -> None:
    """A deadline in the middle of a frame loses nothing of it."""
    wire, peer = ends
    data = frame(TEXT, b"hello world")
    for cut in (1, 2, 5):
        peer.send(data[:cut])
        wire.stream.read_until = time.monotonic() + 0.02
        with pytest.raises(TimeoutError):
            wire.read()
        peer.send(data[cut:])
        wire.stream.read_until = time.monotonic() + scaled(5)
        assert wire.read() == "hello world"


def test_the_end_without_a_close_frame(ends: Ends) -> None:
    """The end of the stream is an end, in the middle of a frame too."""
    wire, peer = ends
    peer.send(b"\x81")
    peer.sock.close()
    with pytest.raises(EOFError):
        wire.read()


@pytest.mark.parametrize(("code", "reason", "body"), [(1000, "bye", b"\x03\xe8bye"), (1005, "", b"")])
def test_frames_that_are_written(ends: Ends, code: int, reason: str, body: bytes) -> None:
    """What is written is masked, and reads as what it was."""
    wire, peer = ends
    frames = [
        wire.frame(TEXT, b"t"),
        wire.ping_frame(b"p"),
        wire.pong_frame(b"q"),
        wire.close_frame_of(code, reason),
    ]
    wire.stream.write_until = time.monotonic() + scaled(5)
    wire.stream.send(b"".join(frames))
    assert [peer.read_frame() for _ in frames] == [(TEXT, b"t"), (PING, b"p"), (PONG, b"q"), (CLOSE, body)]
