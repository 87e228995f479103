"""Readers of compressed messages: the payloads, the frames that hold them, and what both ends say of them."""

from __future__ import annotations

import contextlib
import re
import socket
import zlib

from fuzz.oracle import ENDED
from fuzz.target import Target, pure
from fuzz.wires import FRAME_WORDS, HEADER_WORDS, drain, ends
from owlsocket_sync import Deflate
from owlsocket_sync.transport.deflate import Compression, accept_offer, inflate, offer, read_answer
from owlsocket_sync.transport.frames import FramingError
from support.deflating import RSV1, deflate, deflated, deflated_frame, json_rows
from support.sockets import CONTINUATION, PING, TEXT, frame

LIMIT = 20_000
AGREED = Compression(3, 15, 0, is_agreed=True)
OFFERED = re.compile(r"permessage-deflate; server_no_context_takeover; client_no_context_takeover\S*( \S+)?")


def read_payload(data: bytes) -> None:
    """A payload: what zlib makes of it, or a code; the same each time, and no more than the limit."""
    outcomes = []
    for payload in (data, memoryview(data)):
        try:
            outcomes.append(inflate(payload, LIMIT))
        except FramingError as error:
            assert error.code in (1007, 1009)
            assert len(error.beginning) <= 1024
            outcomes.append(error.reason.encode())
            continue
        assert len(outcomes[-1]) <= LIMIT
        assert outcomes[-1] == _by_zlib(data)
    assert outcomes[0] == outcomes[1]


def _by_zlib(payload: bytes) -> bytes:
    """What zlib alone makes of a payload, final blocks or not; more slowly."""
    message = b""
    rest = payload + b"\0\0\xff\xff"
    while rest not in (b"", b"\0\0\xff\xff"):
        inflater = zlib.decompressobj(-15, message[-32_768:])
        message += inflater.decompress(rest)
        rest = inflater.unused_data
    return message


def read_deflated_frames(data: bytes) -> None:
    """Frames of a server that agreed: messages, or a code that is due to a breach; never anything else."""
    with ends() as (framing, theirs):
        framing.agree(AGREED)
        counted: list[int] = []
        framing.count_wire = lambda received, sent: counted.append(received)
        theirs.sendall(data[:100_000])
        theirs.shutdown(socket.SHUT_WR)
        events, code = drain(framing)
    assert code in (ENDED, 1002, 1007, 1009)
    assert len(counted) >= sum(kind in ("text", "binary") for kind, _ in events)


def read_negotiation(data: bytes) -> None:
    """A header of either end: an answer that the other end understands, or none; an agreement, or a `ValueError`."""
    header = data.decode("latin-1")
    accepted = accept_offer(header, Deflate())
    if accepted is not None:
        assert OFFERED.fullmatch(accepted[0])
        assert read_answer(accepted[0], Deflate()).is_agreed
    with contextlib.suppress(ValueError):
        read_answer(header, Deflate())


def _payloads() -> list[bytes]:
    rows = json_rows(3000)
    final = deflate(rows, flush=zlib.Z_FINISH)
    levels = [deflate(rows, level, bits)[:-4] for level, bits in ((0, 15), (1, 9), (9, 15))]
    return [*levels, final, final + b"\0", final + deflated(rows), deflated(bytes(LIMIT)), deflated(b""), b""]


def _frames() -> list[bytes]:
    rows = deflated(json_rows(3000))
    fragments = frame(TEXT, rows[:100], fin=False, rsv=RSV1) + frame(PING, b"p") + frame(CONTINUATION, rows[100:])
    return [deflated_frame("höhö"), fragments, frame(TEXT, b"{}") + deflated_frame("x" * 4000) + fragments]


def _headers() -> list[bytes]:
    answers = [offer(Deflate()), offer(Deflate(window_bits=9)), "permessage-deflate"]
    answers += ["permessage-deflate; server_no_context_takeover; server_max_window_bits=12, foo; bar"]
    return [answer.encode() for answer in answers]


BLOCK_WORDS = (b"\x03\x00", b"\x00\x00\xff\xff", b"\x01\x00\x00\xff\xff", b"\x00", b"\x05", b"\xed\xc1", b"\xff" * 8)
NAMES = b'permessage-deflate client_no_context_takeover server_max_window_bits client_max_window_bits 8 15 16 = ; , "'

TARGETS: tuple[Target, ...] = (
    pure("deflated-payload", read_payload, _payloads, BLOCK_WORDS),
    pure("deflated-frames", read_deflated_frames, _frames, (*FRAME_WORDS, *BLOCK_WORDS, b"\xc1\x05", b"\x41\x05")),
    pure("extensions", read_negotiation, _headers, (*HEADER_WORDS[:4], *NAMES.split())),
)
