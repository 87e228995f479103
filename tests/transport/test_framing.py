"""`ClientFraming.read`: messages and control frames, checked against RFC 6455 and limits."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable

import pytest

from owlsocket_sync.transport.frames import Close, FramingError, Ping, Pong
from support.framing_ends import LIMIT, Ends
from support.helpers import scaled
from support.sockets import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawPeer, close_frame, frame


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
    """Messages arrive whole and control frames at once, however the bytes are split."""
    framing, peer = ends
    peer.send(sent)
    assert _kinds_and_values(framing.read() for _ in read) == _kinds_and_values(read)
    cut = threading.Thread(target=_send_slowly, args=(peer, sent))
    cut.start()
    assert _kinds_and_values(framing.read() for _ in read) == _kinds_and_values(read)
    cut.join(scaled(5))


def _kinds_and_values(messages: Iterable[object]) -> list[tuple[type, object]]:
    """A ping and a pong are tuples, and equal if their payload is."""
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
def test_protocol_violations(ends: Ends, sent: bytes, code: int) -> None:
    """Each violation has its close code."""
    framing, peer = ends
    peer.send(sent)
    if not code:
        assert framing.read() == Close(1000, "")
        return
    with pytest.raises(FramingError) as caught:
        next(message for message in iter(framing.read, None) if message is None)
    assert caught.value.code == code


def test_an_oversize_frame_is_refused_before_its_payload_arrives(ends: Ends) -> None:
    """The announced length is enough: its payload is not waited for, and no memory is allocated."""
    framing, peer = ends
    peer.send(bytes([0x81, 126]) + (LIMIT + 1).to_bytes(2, "big"))
    began = time.monotonic()
    with pytest.raises(FramingError, match="1001 bytes"):
        framing.read()
    assert time.monotonic() - began < scaled(1)


@pytest.mark.slow
def test_fragments_without_end_are_bounded(ends: Ends) -> None:
    """Empty fragments add no bytes, and do not accumulate."""
    framing, peer = ends
    peer.send(frame(TEXT, b"", fin=False))
    sender = threading.Thread(target=lambda: _send_quietly(peer, frame(CONTINUATION, b"", fin=False) * 20_000))
    sender.start()
    framing.stream.read_deadline = time.monotonic() + 0.5
    with contextlib.suppress(TimeoutError, FramingError):
        framing.read()
    assert sum(map(len, framing._fragments.blocks)) < 10_000
    framing.stream.close()
    sender.join(scaled(5))


def _send_slowly(peer: RawPeer, data: bytes) -> None:
    for at in range(len(data)):
        peer.send(data[at : at + 1])


def _send_quietly(peer: RawPeer, data: bytes) -> None:
    with contextlib.suppress(OSError):
        peer.send(data)


def test_half_a_frame_is_kept_for_the_next_read(ends: Ends) -> None:
    """A timeout within a frame loses none of its bytes."""
    framing, peer = ends
    data = frame(TEXT, b"hello world")
    for cut in (1, 2, 5):
        peer.send(data[:cut])
        framing.stream.read_deadline = time.monotonic() + 0.02
        with pytest.raises(TimeoutError):
            framing.read()
        peer.send(data[cut:])
        framing.stream.read_deadline = time.monotonic() + scaled(5)
        assert framing.read() == "hello world"


def test_the_end_without_a_close_frame(ends: Ends) -> None:
    """The end of the stream raises EOFError, within a frame as well."""
    framing, peer = ends
    peer.send(b"\x81")
    peer.sock.close()
    with pytest.raises(EOFError):
        framing.read()


@pytest.mark.parametrize(("code", "reason", "body"), [(1000, "bye", b"\x03\xe8bye"), (1005, "", b"")])
def test_frames_that_are_written(ends: Ends, code: int, reason: str, body: bytes) -> None:
    """Frames are masked, and decode to what was encoded."""
    framing, peer = ends
    frames = [
        framing.frame(TEXT, b"t"),
        framing.ping_frame(b"p"),
        framing.pong_frame(b"q"),
        framing.close_frame(code, reason),
    ]
    framing.stream.write_deadline = time.monotonic() + scaled(5)
    framing.stream.send(b"".join(frames))
    assert [peer.read_frame() for _ in frames] == [(TEXT, b"t"), (PING, b"p"), (PONG, b"q"), (CLOSE, body)]
