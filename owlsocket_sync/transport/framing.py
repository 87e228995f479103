"""WebSocket framing (RFC 6455, sections 5 to 7): the frames of both ends, in and out.

This module keeps the received bytes, refuses a frame by its header before its payload is received, joins fragments in
linear time and within a limit, checks text for UTF-8, and returns control frames to the caller instead of answering
them within a read.

Threads: parsing requires the read lock of the stream. Any thread may encode.
"""

from __future__ import annotations

from typing import ClassVar, NoReturn

from .control_frames import ControlFrames
from .fragments import Fragments
from .frames import (
    BINARY,
    CLOSE,
    CONTROL,
    EXTENDED_LENGTH,
    FIN,
    HEADER,
    INVALID_DATA,
    LONG_FORM,
    LONG_HEADER,
    LONG_MARK,
    MASK,
    MESSAGE_TOO_BIG,
    MIN_LONG_LENGTH,
    OPCODE,
    PING,
    PONG,
    PROTOCOL_ERROR,
    RSV1,
    SHORT_FORM,
    SHORT_HEADER,
    TEXT,
    FramingError,
    FramingEvent,
    Ping,
    Pong,
    check_beginning,
    parse_close,
    payload_beginning,
)
from .masking import KEY_SIZE, BytesLike, append_masked, apply_mask, new_mask_keys
from .message_compression import MessageCompression
from .stream import DuplexStream

LARGE_PAYLOAD = 65_536
KEPT_SIZE = 4096
"""Bytes of received messages that an idle link may keep."""
WHOLE_TEXT, WHOLE_DEFLATED, WHOLE_PONG = FIN | TEXT, FIN | RSV1 | TEXT, FIN | PONG


class NeedMoreData(Exception):
    """Fewer bytes are buffered than the parser needs."""


class RecvBuffer:
    """Received bytes that can be parsed again until they are committed.

    Parsing begins at the last commit and sets a position; `commit` makes the progress permanent. Each change is one
    step of the interpreter, so that an interrupt (a signal in the main thread) finds the bytes before it or after it.

    Attributes:
        segment: the buffered bytes; the stream appends what it receives to ``segment.pending``.
    """

    __slots__ = ("segment",)

    def __init__(self, data: bytes = b"") -> None:
        self.segment = Segment(data)

    def __bool__(self) -> bool:
        segment = self.segment
        return bool(segment.pending) or segment.committed < len(segment.data)

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes from the last commit on; ``b""`` if the buffer is empty."""
        if self.segment.pending:
            self.join(0)
        segment = self.segment
        end = min(segment.committed + size, len(segment.data))
        segment.position = end
        return segment.data[segment.committed : end]

    def join(self, size: int) -> None:
        """Join all buffered bytes into one segment, without those that are committed.

        What interrupts this thread may publish another segment, or commit more, which stays as it is.

        Raises:
            NeedMoreData: they are fewer than ``size``; nothing has changed.
        """
        segment = self.segment
        data, committed, pending = segment.data, segment.committed, segment.pending[:]
        whole = pending[0] if len(pending) == 1 and committed == len(data) else b""
        if len(whole) < size or not whole:
            # Each chunk is counted once: a peer that sends byte by byte must not make the counting quadratic.
            counted, pending_size = segment.counted
            pending_size += sum(map(len, pending[counted:]))
            segment.counted = len(pending), pending_size
            if len(data) - committed + pending_size < size:
                raise NeedMoreData
            whole = b"".join([data[committed:], *pending])
        joined = Segment(whole)
        segment.joined = len(pending)
        # Complete before it is published: an interrupt before this line loses nothing, and repeats nothing.
        if self.segment is segment and segment.committed == committed:
            self.segment = joined

    def commit(self) -> None:
        """Discard the bytes before the position."""
        segment = self.segment
        segment.committed = segment.position

    def give_back(self) -> None:
        """Keep the memory of the last messages no longer, unless there are more."""
        empty, segment = Segment(b""), self.segment
        size = len(segment.data)
        # No call in between, and so no interrupt, which may receive more.
        if segment.committed == size and not segment.pending and self.segment is segment:
            self.segment = empty


class Segment:
    """Contiguous bytes, two offsets, and the chunks received since.

    Attributes:
        counted: how many of the chunks have been counted, and their bytes.
        joined: how many of the chunks are in the next segment as well.
    """

    __slots__ = ("committed", "counted", "data", "joined", "pending", "position")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pending: list[bytes] = []
        self.counted = 0, 0
        self.joined = self.committed = self.position = 0


class Framing(MessageCompression, ControlFrames):
    """Parses messages from a stream, and encodes frames.

    Args:
        stream: connected, after its upgrade.
        message_size: the size of the largest accepted message in bytes.
        received: bytes that arrived after the upgrade.

    Attributes:
        recv_buffer: the bytes that were received and not parsed yet.
    """

    __slots__ = ("_mask_keys", "recv_buffer")

    peer_mask: ClassVar[int]
    """`MASK` if the peer masks its frames, as clients do (section 5.3); 0 if it must not."""

    def __init__(self, stream: DuplexStream, message_size: int, received: bytes = b"") -> None:
        super().__init__(stream, Fragments(message_size))
        self.recv_buffer = RecvBuffer(received)
        # Of this link alone: a forked child, whose links are its own, uses no key of its parent.
        self._mask_keys: list[bytes] = []

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self) -> FramingEvent:
        """Wait for the next message or control frame; by the reader, if no other thread reads.

        Raises:
            TimeoutError: none was complete before the stream's ``read_deadline``; a part of one stays buffered.
            FramingError: the peer violated the protocol.
            EOFError: the peer closed the stream.
            OSError: the connection broke.
        """
        while True:
            event = self.next_event()
            if event is not None:
                return event
            self.stream.fill(self.recv_buffer.segment.pending)

    def next_event(self) -> FramingEvent | None:
        """Return the next message or control frame from the buffer, ``None`` if none is complete.

        Raises:
            FramingError: the peer violated the protocol.
        """
        while True:
            try:
                first, payload = self._parse_frame()
            except NeedMoreData:
                return None
            segment = self.recv_buffer.segment
            segment.committed = segment.position
            if first == WHOLE_TEXT and self._fragments.first is None:
                if self.compression is not None:
                    self.count_wire(len(payload), 0)
                return _decode_text(payload) if len(payload) < LARGE_PAYLOAD else self._decode_large(payload)
            # Control frames may come between the fragments of a message (section 5.4).
            opcode = first & OPCODE
            if opcode == PING:
                return Ping(bytes(payload))
            if opcode == PONG:
                return Pong(bytes(payload))
            if opcode == CLOSE:
                return parse_close(bytes(payload))
            message = self._fragments.join(first, payload)
            if message is not None:
                first, payload = message
                if self.compression is not None:
                    self.count_wire(len(payload), 0)
                if first & RSV1:
                    payload = self.inflate(payload)
                return bytes(payload) if first & OPCODE == BINARY else _decode_text(payload)

    def _decode_large(self, payload: BytesLike) -> str:
        """Return the text of a large message, and keep nothing else of it: to decode it takes as much again."""
        self.recv_buffer.give_back()
        with memoryview(payload) as view:
            return _decode_text(view)

    def peek(self) -> str | BytesLike | Pong | None:
        """Return the next message if it is text in a single frame, or a pong; ``None`` for everything else.

        A large text is returned as it was received, and may turn out not to be UTF-8. The frame stays in the buffer
        until `RecvBuffer.commit`; errors are left to `next_event`.

        Raises:
            NeedMoreData: the next frame is not complete.
        """
        if self._fragments.first is not None:
            return None
        try:
            first, payload = self._parse_frame()
            if first in (WHOLE_TEXT, WHOLE_DEFLATED):
                self.peeked_size = size = len(payload)
                if first & RSV1:
                    payload = self.inflate(payload)
                    size = len(payload)
                return str(payload, "utf-8") if size < LARGE_PAYLOAD else payload
            return Pong(bytes(payload)) if first == WHOLE_PONG else None
        except (FramingError, UnicodeDecodeError):
            return None

    def _parse_frame(self) -> tuple[int, BytesLike]:
        """Return the first byte and the payload of the next frame, checked but for its place in a message.

        The last step moves the position behind the frame: one that is incomplete or refused moves nothing.

        Raises:
            NeedMoreData: the frame is not complete.
            FramingError: the peer violated the protocol.
        """
        buffer, peer_mask = self.recv_buffer, self.peer_mask
        while True:
            # One look for each attempt: what interrupts this thread may parse, and commit, the same bytes meanwhile.
            segment = buffer.segment
            data, start = segment.data, segment.committed
            end = start + HEADER.size
            if end > len(data):
                buffer.join(HEADER.size)
                continue
            # Without the bit of the mask, as it has to be: a wrong one leaves a value that no length has.
            first, size = data[start], data[start + 1] ^ peer_mask
            if first != WHOLE_TEXT or size & MASK:
                check_beginning(first, size, peer_mask, self.allowed_rsv)
            if size >= EXTENDED_LENGTH:
                length, least = SHORT_FORM if size == EXTENDED_LENGTH else LONG_FORM
                end += length.size
                if end > len(data):
                    buffer.join(end - start)
                    continue
                (size,) = length.unpack_from(data, end - length.size)
                # The shortest encoding is the only one, and the top bit of a long length is 0 (section 5.2).
                if not least <= size < 1 << 63:
                    raise FramingError(PROTOCOL_ERROR, f"length {size} is not encoded in {length.size} bytes")
            # Before the payload is received, and memory is taken for it.
            if size > self._fragments.bytes_left and not first & CONTROL:
                self._refuse_size(size)
            begin = end + KEY_SIZE if peer_mask else end
            end = begin + size
            if end > len(data):
                buffer.join(end - start)
                continue
            payload: BytesLike = data[begin:end] if size < LARGE_PAYLOAD else memoryview(data)[begin:end]
            if peer_mask:
                payload = apply_mask(payload, data[begin - KEY_SIZE : begin])
            segment.position = end
            return first, payload

    def _refuse_size(self, size: int) -> NoReturn:
        """Refuse a frame that makes its message too large."""
        segment = self.recv_buffer.segment
        received = b"".join([segment.data[segment.committed :], *segment.pending])
        first = received[0] if self._fragments.first is None else self._fragments.first
        beginning = self.text_beginning(first, self._fragments.beginning or payload_beginning(received))
        reason = f"frame of {size} bytes exceeds the limit of {self._fragments.bytes_left}"
        raise FramingError(MESSAGE_TOO_BIG, reason, beginning)

    # -- encoding ----------------------------------------------------------------------------------------------------

    def frame(self, opcode: int, payload: bytes) -> bytes:
        """Return an unfragmented frame.

        Args:
            opcode: with the reserved bits that an extension sets (section 5.2).
            payload: of any size; for control frames, see `ping_frame`, `pong_frame` and `close_frame`.
        """
        size, peer_mask = len(payload), self.peer_mask
        first, mask = FIN | opcode, MASK ^ peer_mask
        if size < EXTENDED_LENGTH:
            header = HEADER.pack(first, mask | size)
        elif size < MIN_LONG_LENGTH:
            header = SHORT_HEADER.pack(first, mask | EXTENDED_LENGTH, size)
        else:
            header = LONG_HEADER.pack(first, mask | LONG_MARK, size)
        if peer_mask:
            return header + payload
        try:
            key = self._mask_keys.pop()
        except IndexError:
            key, *rest = new_mask_keys()
            self._mask_keys.extend(rest)
        header += key
        return header + apply_mask(payload, key) if size < LARGE_PAYLOAD else append_masked(header, payload, key)


class ClientFraming(Framing):
    """Unmasked frames in, masked frames out (section 5.3), on a stream to a server."""

    __slots__ = ()
    peer_mask = 0


class ServerFraming(Framing):
    """Masked frames in, unmasked frames out (section 5.3), on a stream to a client."""

    __slots__ = ()
    peer_mask = MASK


def _decode_text(payload: BytesLike) -> str:
    # A text message that is not UTF-8 must fail the connection (section 8.1).
    try:
        return str(payload, "utf-8")
    except UnicodeDecodeError as error:
        raise FramingError(INVALID_DATA, f"text is not valid UTF-8: {error.reason} at byte {error.start}") from error
