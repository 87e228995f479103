"""The fragments of a message (RFC 6455, section 5.4), joined in linear time and within a limit.

Threads: as for parsing, the read lock of the stream.
"""

from __future__ import annotations

from .frames import CONTINUATION, FIN, KEPT_BEGINNING, OPCODE, PROTOCOL_ERROR, FramingError
from .masking import BytesLike

FRAGMENT_BLOCK_SIZE = 262_144


class Fragments:
    """The fragments of the message that is being received.

    Args:
        message_size: the size of the largest accepted message in bytes.

    Attributes:
        message_size: as above.
        first: the first byte of its first frame, with the opcode of the message; ``None`` between two messages.
        bytes_left: how many bytes its next frame may have.
        blocks: the payloads so far.
    """

    __slots__ = ("blocks", "bytes_left", "first", "message_size")

    def __init__(self, message_size: int) -> None:
        self.message_size = self.bytes_left = message_size
        self.first: int | None = None
        self.blocks: list[bytearray] = []

    @property
    def beginning(self) -> bytes:
        """Return up to `KEPT_BEGINNING` bytes of the payload."""
        return bytes(self.blocks[0][:KEPT_BEGINNING]) if self.blocks else b""

    def join(self, first: int, payload: BytesLike) -> tuple[int, BytesLike] | None:
        """Append a frame, and return its message if that is complete, with the first byte of its first frame.

        Raises:
            FramingError: a frame of this opcode may not come here.
        """
        if (first & OPCODE == CONTINUATION) is (self.first is None):
            raise FramingError(PROTOCOL_ERROR, "fragment out of order")
        if self.first is None:
            self.first = first
        self.bytes_left -= len(payload)
        if not first & FIN:
            self._append(payload)
            return None
        first, self.first = self.first, None
        whole = b"".join([*self.blocks, payload]) if self.blocks else payload
        self.blocks, self.bytes_left = [], self.message_size
        return first, whole

    def _append(self, payload: BytesLike) -> None:
        # Blocks of limited size: a single growing bytearray is copied each time it is reallocated, and an object per
        # fragment would let a flood of empty fragments grow the list without limit.
        if not self.blocks or len(self.blocks[-1]) >= FRAGMENT_BLOCK_SIZE:
            self.blocks.append(bytearray())
        self.blocks[-1] += payload
