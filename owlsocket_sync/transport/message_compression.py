"""The part of a framing that deflates and inflates messages, where both ends agreed to it (RFC 7692).

Threads: as for the framing: parsing requires the read lock of the stream, any thread may encode. Messages are deflated
on the thread that sends them, before it takes a lock, and inflated on the thread that reads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from .fragments import Fragments
from .frames import RSV1, TEXT
from .masking import BytesLike
from .stream import MAX_DEFLATED_READ_SIZE, DuplexStream

if TYPE_CHECKING:
    from .deflate import Compression


class MessageCompression(ABC):
    """Compresses the messages of a framing, and counts their bytes.

    Args:
        stream: see below.
        fragments: of the message that is being received.

    Attributes:
        stream: has the frames.
        compression: of the link; ``None`` if none was asked for.
        allowed_rsv: the reserved bits that the first frame of a message may have (RFC 6455, section 5.2).
        count_wire: called with the size of the payload of each message that is received, and 0; set by the link.
        peeked_size: of the payload of the message that was last looked at, and not counted.
    """

    __slots__ = ("_fragments", "allowed_rsv", "compression", "count_wire", "peeked_size", "stream")

    def __init__(self, stream: DuplexStream, fragments: Fragments) -> None:
        self.stream, self._fragments = stream, fragments
        self.compression: Compression | None = None
        self.allowed_rsv = self.peeked_size = 0
        self.count_wire: Callable[[int, int], None]

    @abstractmethod
    def frame(self, opcode: int, payload: bytes) -> bytes:
        """Return an unfragmented frame."""

    def agree(self, compression: Compression) -> None:
        """Use a compression from the first message on."""
        self.compression = compression
        if compression.is_agreed:
            self.allowed_rsv, self.stream.max_read_size = RSV1, MAX_DEFLATED_READ_SIZE

    def inflate(self, payload: BytesLike) -> BytesLike:
        """Return the message of a deflated payload.

        Raises:
            FramingError: it is not valid, or larger than the limit.
        """
        assert self.compression is not None, "no peer may send a deflated message before both ends agreed"
        return self.compression.inflate(payload, self._fragments.message_size)

    def text_beginning(self, first: int, beginning: bytes) -> bytes:
        """Return the beginning of a message from that of its payload.

        Args:
            first: the first byte of its first frame.
            beginning: of the payload.
        """
        if first & RSV1 and self.compression is not None:
            return self.compression.inflate_beginning(beginning)
        return beginning

    def text_frame(self, message: bytes) -> tuple[bytes, int]:
        """Return the frame of a text message, and the size of its payload."""
        payload = None if self.compression is None else self.compression.deflate(message)
        if payload is None:
            return self.frame(TEXT, message), len(message)
        return self.frame(TEXT | RSV1, payload), len(payload)
