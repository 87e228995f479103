"""Messages out of frames, and frames of messages, as RFC 6455 has them on either side of a link.

How a frame is read is left to the side: servers send theirs bare, clients mask them, and each side has a library that
knows its own. What the sides share is here: fragments joined in linear time and within a limit, text checked by the
decoder of the interpreter, pings and close frames handed on rather than answered from within a read.

Threads: reading belongs to whoever holds the link's reading lock; what makes frames is pure.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from typing import NamedTuple

from .stream import DuplexStream
from .unread import Starved

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
CONTROL_BYTES = 125
BLOCK_BYTES = 262_144


class WireError(Exception):
    """The peer broke the protocol; ``code`` is the close code to answer with (RFC 6455, section 7.4.1)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Ping(NamedTuple):
    """A ping came, to be answered with this payload."""

    payload: bytes


class Pong(NamedTuple):
    """A pong came."""

    payload: bytes


class Close(NamedTuple):
    """A close frame came; 1005 when it names no code."""

    code: int
    reason: str


Incoming = str | bytes | Ping | Pong | Close


Frame = tuple[int, bool, bytes]
"""A frame as it was read, unmasked: its opcode, whether it is the last of its message, its payload."""


class Wire(ABC):
    """Messages in, frames out, on one stream.

    Args:
        stream: connected, after its upgrade.
        message_size: bytes of the largest message that is taken in.
    """

    def __init__(self, stream: DuplexStream, message_size: int) -> None:
        self.stream = stream
        self._message_size = message_size
        self._blocks: list[bytearray] = []
        self._size = 0
        self._fragments_opcode: int | None = None

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self) -> Incoming:
        """Wait for the next message, or control frame; by the reader, where nobody else reads.

        Raises:
            TimeoutError: nothing whole came until the stream's ``read_until``; what came is kept for the next time.
            WireError: the peer broke the protocol.
            EOFError: the stream ended.
            OSError: the connection broke.
        """
        while True:
            incoming = self.take()
            if incoming is not None:
                return incoming
            self.stream.fill()

    def take(self) -> Incoming | None:
        """The next message, or control frame, of what was captured; ``None`` while none is whole.

        Raises:
            WireError: the peer broke the protocol.
        """
        unread = self.stream.unread
        while True:
            block = unread.block
            block.position = block.done
            try:
                opcode, fin, data = self._parse_frame()
            except Starved:
                return None
            unread.commit()
            if opcode == PING:
                return Ping(data)
            if opcode == PONG:
                return Pong(data)
            if opcode == CLOSE:
                return _read_close(data)
            message = self._join(opcode, fin, data)
            if message is not None:
                return message

    def take_text(self) -> str | None:
        """The next message, if that is what comes next, as text and in one frame; ``None`` for anything else.

        It stays where it is until `Unread.commit`.

        Raises:
            Starved: the next frame is not whole.
        """
        if self._fragments_opcode is not None:
            return None
        block = self.stream.unread.block
        block.position = block.done
        try:
            opcode, last, data = self._parse_frame()
            return data.decode() if opcode == TEXT and last else None
        except (WireError, UnicodeDecodeError):
            return None

    @abstractmethod
    def _parse_frame(self) -> Frame:
        """The next frame, in which nothing but its place among others can be wrong.

        Raises:
            Starved: it is not whole.
            WireError: the peer broke the protocol.
        """

    def _join(self, opcode: int, fin: bool, data: bytes) -> str | bytes | None:
        """The message that this frame completes (RFC 6455, section 5.4)."""
        if opcode == TEXT and fin and self._fragments_opcode is None and len(data) <= self._message_size:
            return _text(data)
        if (opcode == CONTINUATION) is (self._fragments_opcode is None):
            raise WireError(1002, "a fragment out of order")
        if self._fragments_opcode is None:
            self._fragments_opcode = opcode
        self._size += len(data)
        if self._size > self._message_size:
            raise WireError(1009, f"a message of more than {self._message_size} bytes")
        if not fin:
            self._keep(data)
            return None
        opcode, self._fragments_opcode = self._fragments_opcode, None
        whole = b"".join([*self._blocks, data]) if self._blocks else data
        self._blocks, self._size = [], 0
        return whole if opcode == BINARY else _text(whole)

    def _room(self) -> int:
        """How many bytes may still come of the message at hand; what announces more is refused by its header."""
        return self._message_size - self._size

    def _keep(self, data: bytes) -> None:
        """Keep a fragment in a block of some size: as one piece, all would be copied again and again as it grows."""
        if not self._blocks or len(self._blocks[-1]) >= BLOCK_BYTES:
            self._blocks.append(bytearray())
        self._blocks[-1] += data

    # -- writing -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def frame(self, opcode: int, data: bytes) -> bytes:
        """A whole frame, as this side writes it."""

    def ping_frame(self, payload: bytes) -> bytes:
        """The frame of a ping."""
        return self.frame(PING, payload)

    def pong_frame(self, payload: bytes) -> bytes:
        """The frame of a pong."""
        return self.frame(PONG, payload)

    def close_frame_of(self, code: int, reason: str) -> bytes:
        """A close frame; 1005 stands for one without a code."""
        return self.frame(CLOSE, b"" if code == 1005 else struct.pack("!H", code) + reason.encode())


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise WireError(1007, f"text that is no UTF-8: {error.reason} at byte {error.start}") from error


def _read_close(data: bytes) -> Close:
    if not data:
        return Close(1005, "")
    return Close(struct.unpack("!H", data[:2])[0], _text(data[2:]))
