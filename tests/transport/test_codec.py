"""Our frames against those of websockets: what either encodes, the other parses; what it refuses, we refuse."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Iterator
from itertools import count, product
from types import FrameType
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ProtocolError
from websockets.frames import Close as TheirClose
from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode

from owlsocket_sync.transport.frames import Close, FramingError, FramingEvent, Ping, Pong
from owlsocket_sync.transport.framing import ClientFraming, Framing, NeedMoreData, RecvBuffer, ServerFraming
from owlsocket_sync.transport.stream import DuplexStream
from support.helpers import examples
from support.sockets import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, head

LIMIT = 1_000_000
ENDS = [ClientFraming, ServerFraming]
DATA, CONTROL = (TEXT, BINARY), (CLOSE, PING, PONG)
SIZES = (0, 1, 125, 126, 127, 65_535, 65_536, 65_540, 131_072, 200_003)
"""Around each place where the header grows, and of several pieces that are masked one by one."""

MakeFraming = Callable[[DuplexStream, int], Framing]


def framing_of(make: MakeFraming, *chunks: bytes, limit: int = LIMIT) -> Framing:
    """Return one end, which has received these chunks."""
    framing = make(cast(DuplexStream, None), limit)
    framing.recv_buffer.segment.pending.extend(filter(None, chunks))
    return framing


def drain(framing: Framing) -> Iterator[tuple[type, FramingEvent]]:
    """Yield all events that are complete, with their types: a ping and a pong are equal tuples."""
    while (event := framing.next_event()) is not None:
        yield type(event), event


def their_parse(data: bytes, masked: bool) -> tuple[TheirFrame, int]:
    """Return the frame that websockets parses, and how many bytes it left."""
    rest = [data]

    def read_exact(size: int) -> Generator[None, None, bytes]:
        if size > len(rest[0]):
            raise EOFError
        taken, rest[0] = rest[0][:size], rest[0][size:]
        return taken
        yield

    try:
        next(TheirFrame.parse(read_exact, mask=masked))
    except StopIteration as stop:
        parsed: TheirFrame = stop.value
        if parsed.opcode is Opcode.CLOSE:
            TheirClose.parse(parsed.data)
        return parsed, len(rest[0])
    raise AssertionError("the parser waits")


# -- ours encode, theirs parse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ENDS)
@given(opcode=st.sampled_from([*DATA, PING, PONG]), payload=st.binary(max_size=125), copies=st.sampled_from([0, 1, 5]))
@settings(max_examples=examples(60, 600))
def test_websockets_parses_what_we_encode(make: MakeFraming, opcode: int, payload: bytes, copies: int) -> None:
    """Opcode and payload arrive, the end of the message with them, and not one byte is left."""
    payload += b"" if opcode in CONTROL else b"\xffpayload" * 60 * copies
    framing = framing_of(make)
    parsed, left = their_parse(framing.frame(opcode, payload), make is ClientFraming)
    assert (parsed.opcode, bytes(parsed.data), parsed.fin, left) == (opcode, payload, True, 0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", ENDS)
def test_a_length_has_its_shortest_encoding(make: MakeFraming, size: int) -> None:
    """RFC 6455, section 5.2: both headers are the same, byte for byte."""
    is_client = make is ClientFraming
    payload = bytes(place % 251 for place in range(size))
    ours = framing_of(make).frame(BINARY, payload)
    theirs = TheirFrame(Opcode.BINARY, payload).serialize(mask=is_client)
    header_size = len(ours) - size - 4 * is_client
    assert ours[:header_size] == theirs[:header_size]
    assert len(ours) == len(theirs)
    assert type(ours) is bytes
    assert their_parse(ours, is_client)[0].data == payload


@pytest.mark.parametrize("make", ENDS)
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "höhö"), (4999, "x" * 123)])
def test_websockets_parses_our_close_frames(make: MakeFraming, code: int, reason: str) -> None:
    """Code and reason arrive."""
    parsed, _ = their_parse(framing_of(make).close_frame(code, reason), make is ClientFraming)
    assert TheirClose.parse(parsed.data) == TheirClose(code, reason)


@pytest.mark.parametrize("make", ENDS)
def test_no_control_frame_is_too_long(make: MakeFraming) -> None:
    """RFC 6455, section 5.5: it is refused here, and not by the peer, which would end the link."""
    framing = framing_of(make)
    assert len(framing.ping_frame(b"x" * 125)) == 127 + 4 * (make is ClientFraming)
    for encode in (framing.ping_frame, framing.pong_frame):
        with pytest.raises(ValueError, match="126 bytes"):
            encode(b"x" * 126)
    with pytest.raises(ValueError, match="126 bytes"):
        framing.close_frame(1000, "x" * 124)


# -- theirs encode, ours parse ---------------------------------------------------------------------------------------


@st.composite
def traffic(draw: st.DrawFn) -> tuple[list[tuple[int, bytes, bool]], list[tuple[type, FramingEvent]]]:
    """Draw frames of one side, messages in fragments with control frames between them, and their events."""
    frames: list[tuple[int, bytes, bool]] = []
    events: list[tuple[type, FramingEvent]] = []

    def controls() -> None:
        for opcode in draw(st.lists(st.sampled_from([PING, PONG]), max_size=2)):
            payload = draw(st.binary(max_size=8))
            frames.append((opcode, payload, True))
            events.append((Ping, Ping(payload)) if opcode == PING else (Pong, Pong(payload)))

    for _ in range(draw(st.integers(1, 3))):
        message = draw(st.one_of(st.text(max_size=40), st.binary(max_size=130)))
        data = message.encode() if isinstance(message, str) else message
        cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
        parts = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        for number, part in enumerate(parts):
            controls()
            opcode = CONTINUATION if number else TEXT if isinstance(message, str) else BINARY
            frames.append((opcode, part, number == len(parts) - 1))
        events.append((type(message), message))
    if draw(st.booleans()):
        code, reason = draw(st.sampled_from([1000, 1011, 3000, 4999])), draw(st.text(max_size=9))
        frames.append((CLOSE, TheirClose(code, reason).serialize(), True))
        events.append((Close, Close(code, reason)))
    return frames, events


@pytest.mark.slow
@pytest.mark.parametrize("make", ENDS)
@given(case=traffic())
@settings(max_examples=examples(20, 300), deadline=None)
def test_we_parse_what_websockets_encodes_split_at_every_point(make: MakeFraming, case: Any) -> None:
    """The events are the same wherever the bytes are cut in two, byte by byte, and in one piece."""
    frames, events = case
    masked = make is ServerFraming
    data = b"".join(TheirFrame(Opcode(code), part, fin).serialize(mask=masked) for code, part, fin in frames)
    for cut in range(len(data) + 1):
        framing = framing_of(make, data[:cut])
        seen = [*drain(framing)]
        framing.recv_buffer.segment.pending.extend(filter(None, [data[cut:]]))
        seen += drain(framing)
        assert seen == events
        assert not framing.recv_buffer
    framing, seen = framing_of(make), []
    for byte in data:
        framing.recv_buffer.segment.pending.append(bytes([byte]))
        seen += drain(framing)
    assert seen == events


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", ENDS)
def test_we_parse_each_length_split_around_its_header(make: MakeFraming, size: int) -> None:
    """Text, binary and fragments of each form of length, with a message right behind."""
    masked = make is ServerFraming
    for opcode, fin in product(DATA, (True, False)):
        data = TheirFrame(Opcode(opcode), b"x" * size, fin).serialize(mask=masked)
        data += b"" if fin else TheirFrame(Opcode.CONT, b"y").serialize(mask=masked)
        data += TheirFrame(Opcode.TEXT, b"behind").serialize(mask=masked)
        message: str | bytes = "x" * size + "y" * (not fin)
        message = message if opcode == TEXT else message.encode()  # type: ignore[union-attr]
        for cut in (*range(16), size + 2, len(data) - 9, len(data)):
            framing = framing_of(make, data[:cut], data[cut:])
            assert [event for _, event in drain(framing)] == [message, "behind"]


# -- what one of them refuses ----------------------------------------------------------------------------------------


def parsed_by_us(make: MakeFraming, data: bytes) -> tuple[int, bytes] | int | None:
    """Return first byte and payload of a frame, or the close code of a violation, or ``None`` for an incomplete one."""
    framing = framing_of(make, data)
    try:
        first, payload = framing._parse_frame()
    except (NeedMoreData, FramingError) as error:
        segment = framing.recv_buffer.segment
        assert segment.position == segment.committed == 0
        return error.code if isinstance(error, FramingError) else None
    try:
        if first & 15 == CLOSE:
            assert isinstance(framing.next_event(), Close)
    except FramingError as error:
        return error.code
    return first, bytes(payload)


@pytest.mark.slow
@pytest.mark.parametrize("make", ENDS)
@given(
    first=st.integers(0, 255),
    second=st.integers(0, 255),
    extended=st.one_of(st.binary(max_size=12), st.integers(0, 70_000).map(lambda size: size.to_bytes(8, "big"))),
    size=st.sampled_from([0, 1, 130, 200, 70_000]),
)
@example(first=0x81, second=126, extended=b"\0\x7d", size=200)
@example(first=0x81, second=127, extended=(65_535).to_bytes(8, "big"), size=70_000)
@example(first=0x81, second=127, extended=b"\x80" + b"\0" * 7, size=200)
@settings(max_examples=examples(300, 3000))
def test_we_refuse_what_websockets_refuses(
    make: MakeFraming, first: int, second: int, extended: bytes, size: int
) -> None:
    """Any two bytes at the beginning, and any behind: we are stricter about lengths, and equal in all else."""
    data = bytes([first, second]) + extended + b"x" * size
    ours = parsed_by_us(make, data)
    length_size = {126: 2, 127: 8}.get(second & 127, 0)
    length = int.from_bytes(data[2 : 2 + length_size], "big")
    minimal = length_size == 0 or (126 if length_size == 2 else 65_536) <= length < 2**63
    try:
        parsed, _ = their_parse(data, make is ServerFraming)
    except (ProtocolError, UnicodeDecodeError):
        assert ours in (1002, 1007, 1009)
    except EOFError:
        # We refuse by the header what they refuse once it is whole.
        control = first & 8 and (not first & 128 or second & 127 > 125)
        assert ours is None or first & 0x70 or control or length > LIMIT or not minimal
    else:
        assert ours == ((first, bytes(parsed.data)) if minimal else 1002)


@pytest.mark.parametrize("make", ENDS)
def test_the_first_byte_decides_at_once(make: MakeFraming) -> None:
    """Reserved bits, reserved opcodes and fragmented control frames fail by two bytes (sections 5.2 and 5.5)."""
    mask = 0x80 if make is ServerFraming else 0
    for first in range(256):
        opcode = first & 15
        allowed = not first & 0x70 and (opcode in (CONTINUATION, *DATA) or (opcode in CONTROL and bool(first & 0x80)))
        assert parsed_by_us(make, bytes([first, mask | 125])) == (None if allowed else 1002)
        if opcode in CONTROL:
            assert parsed_by_us(make, bytes([first, mask | 126])) == 1002
        assert parsed_by_us(make, bytes([first, (mask ^ 0x80) | 1])) == 1002


@pytest.mark.parametrize("make", ENDS)
@pytest.mark.parametrize(
    ("size", "length_size", "code"),
    [
        (0, 2, 1002),
        (125, 2, 1002),
        (126, 2, None),
        (126, 8, 1002),
        (65_535, 8, 1002),
        (65_536, 8, None),
        (LIMIT + 1, 8, 1009),
        (2**63 - 1, 8, 1009),
        (2**63, 8, 1002),
        (2**64 - 1, 8, 1002),
    ],
)
def test_the_length_decides_at_once(make: MakeFraming, size: int, length_size: int, code: int | None) -> None:
    """An encoding that is not the shortest, the top bit, and the limit: refused before the payload (section 5.2)."""
    header = head(TEXT, size, masked=make is ServerFraming, length_size=length_size)
    assert parsed_by_us(make, header) == code
    assert parsed_by_us(make, header[:-1]) is None


class Extended(ClientFraming):
    """An end whose extension has the first reserved bit."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.allowed_rsv = 0x40


@pytest.mark.parametrize(
    ("opcode", "rsv", "taken"),
    [
        (TEXT, 4, True),
        (BINARY, 4, True),
        (TEXT, 0, True),
        (TEXT, 2, False),
        (TEXT, 6, False),
        (CONTINUATION, 4, False),
        (PING, 4, False),
        (CLOSE, 4, False),
    ],
)
def test_a_reserved_bit_of_an_extension(opcode: int, rsv: int, taken: bool) -> None:
    """It may be on the first frame of a message alone, and is in the first byte that is parsed (section 9)."""
    payload = b"\x03\xe8" if opcode == CLOSE else b"x"
    data = frame(opcode, payload, rsv=rsv)
    assert parsed_by_us(Extended, data) == ((data[0], payload) if taken else 1002)
    assert parsed_by_us(ClientFraming, data) == ((data[0], payload) if not rsv else 1002)
    sent = framing_of(ServerFraming).frame(opcode | rsv << 4, payload)
    assert sent == data


@pytest.mark.parametrize("make", ENDS)
def test_close_codes(make: MakeFraming) -> None:
    """The codes that may be sent, by section 7.4 and the registry, and no others; both libraries agreed on them."""
    for code in (*range(1017), 2999, 3000, 4999, 5000, 65_535):
        body = code.to_bytes(2, "big") + b"why"
        framing = framing_of(make, frame(CLOSE, body, masked=make is ServerFraming))
        try:
            TheirClose(code, "why").check()
        except ProtocolError:
            with pytest.raises(FramingError) as caught:
                framing.next_event()
            assert caught.value.code == 1002
        else:
            assert framing.next_event() == Close(code, "why")


# -- the buffer ------------------------------------------------------------------------------------------------------


def test_peeking_leaves_the_frame_where_it_is() -> None:
    """Until it is committed; what it does not return it leaves to `next_event`."""
    framing = framing_of(ClientFraming, frame(TEXT, b"one") + frame(PONG, b"two") + frame(BINARY, b"three"))
    assert [framing.peek() for _ in range(2)] == ["one", "one"]
    framing.recv_buffer.commit()
    assert framing.peek() == Pong(b"two")
    framing.recv_buffer.commit()
    assert framing.peek() is None
    assert framing.next_event() == b"three"
    with pytest.raises(NeedMoreData):
        framing.peek()


@pytest.mark.parametrize("sent", [frame(TEXT, b"\xff"), frame(3), frame(TEXT, b"x", rsv=4), frame(TEXT, b"x" * 200)])
def test_peeking_leaves_errors_to_the_reader(sent: bytes) -> None:
    """The frame is found again, with its error, where errors end the link."""
    framing = framing_of(ClientFraming, sent, limit=100)
    assert framing.peek() is None
    with pytest.raises(FramingError):
        framing.next_event()


class Chunk(bytes):
    """Bytes that count how often somebody asks for their size."""

    asked = 0

    def __len__(self) -> int:
        Chunk.asked += 1
        return super().__len__()


def test_a_large_frame_in_small_chunks_takes_linear_time() -> None:
    """Each chunk is counted once, and not again with every chunk that follows it."""
    chunks, size = 2000, 50
    buffer = RecvBuffer()
    Chunk.asked = 0
    for _ in range(chunks):
        buffer.segment.pending.append(Chunk(b"x" * size))
        with pytest.raises(NeedMoreData):
            buffer.join(chunks * size + 1)
    assert Chunk.asked <= chunks + 1
    buffer.join(chunks * size)
    assert buffer.segment.data == b"x" * chunks * size


def test_a_large_payload_is_not_copied_but_once() -> None:
    """Text is decoded out of the received bytes, and only what the caller keeps is made of them."""
    data = frame(TEXT, b"x" * 100_000)
    framing = framing_of(ClientFraming, data)
    _, payload = framing._parse_frame()
    assert isinstance(payload, memoryview)
    assert payload.obj is data
    assert type(framing_of(ClientFraming, frame(BINARY, b"x" * 100_000)).next_event()) is bytes


# -- interrupts ------------------------------------------------------------------------------------------------------


def struck(action: Callable[[], object], place: int, handler: Callable[[], object]) -> bool:
    """Run a function, and a signal handler at one of its calls, where they come; return whether it has so many."""
    left = place

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            handler()

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(before)
    return left < 0


class Struck:
    """An end that parses, and a signal handler that parses as well, and commits what it found."""

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self.found: list[object] = []
        self.handled: list[object] = []

    def parse(self) -> None:
        """Look at the next message."""
        with contextlib.suppress(NeedMoreData):
            self.found.append(self._framing.peek())

    def handle(self) -> None:
        """Take the next two messages."""
        with contextlib.suppress(NeedMoreData):
            for _ in range(2):
                self.handled.append(self._framing.peek())
                self._framing.recv_buffer.commit()


@pytest.mark.parametrize("joined", [False, True], ids=["in-chunks", "in-one"])
@pytest.mark.parametrize("make", ENDS)
def test_what_interrupts_the_parser_may_read_on(make: MakeFraming, joined: bool) -> None:
    """The parser goes on with bytes that a signal handler took meanwhile: it finds a whole message, or none."""
    texts = ["one", "two" * 50, "three", "four" * 40, "five"]
    frames = [TheirFrame(Opcode.TEXT, text.encode()).serialize(mask=make is ServerFraming) for text in texts]
    for place in count():
        framing = framing_of(make, *([b"".join(frames)] if joined else frames))
        end = Struck(framing)
        if not struck(end.parse, place, end.handle):
            assert place > 5
            break
        assert end.found in ([], ["one"], ["three"]), place
        assert end.handled == ["one", "two" * 50], place
        rest = [event for _, event in drain(framing)]
        assert [*end.handled, *rest] == texts, place
