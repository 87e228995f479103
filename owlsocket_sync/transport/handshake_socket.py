"""The socket that `websocket.WebSocket` uses during the handshake: a stream with a limit on received bytes.

Threads: belongs to the thread that connects.
"""

from __future__ import annotations

import contextlib
import re
import socket

from ..clock import monotonic
from .framing import Framing
from .refusal import is_whole

REFUSAL_PATIENCE = 1.0
"""Seconds for the rest of a refusal: some have no length, and their server may keep the connection open."""

_EMPTY_LINE = re.compile(rb"\n\r?\n")
_HEADER = rb"(?im)^%s:(.*)$"
_INTERIM = rb"HTTP/1\.\d 1(?!01)\d\d\b"


class BudgetExceeded(ConnectionError):
    """The peer sent more bytes than a handshake may have."""


class HandshakeSocket:
    """A stream with the socket methods that websocket-client calls.

    Args:
        framing: its stream is read and written, under the stream's own deadlines, and what is received goes through its
            buffer, where it keeps what follows the response.
        budget: how many bytes may be received.

    Attributes:
        received: the bytes of the response, as they were received.
    """

    def __init__(self, framing: Framing, budget: int) -> None:
        self._stream = framing.stream
        self._recv_buffer = framing.recv_buffer
        self.budget = budget
        self.received = bytearray()
        self._head: bytearray | None = None
        # websocket-client reads this attribute of sockets before it closes them.
        self._closed = False

    def recv(self, size: int) -> bytes:
        """Return up to ``size`` bytes of the response, ``b""`` at the end of the stream; of its head, lines.

        The head of the response comes in a form that websocket-client can read: as UTF-8, without interim responses.

        Raises:
            BudgetExceeded: the budget is used up.
            OSError: raised by `DuplexStream.fill`.
        """
        if size and self._head is None:
            self._head = self._read_head()
        if not self._head:
            return self._recv(size)
        if size == 1:
            # websocket-client asks for one byte after the other up to a line feed, and joins them: 130 calls for a
            # usual head. A line in two pieces, the second of which is its line feed, is read like that, too.
            end = self._head.find(b"\n")
            size = max(1, end) if end >= 0 else len(self._head)
        chunk = bytes(self._head[:size])
        del self._head[:size]
        return chunk

    def _read_head(self) -> bytearray:
        """Read the head of the response, or what there is of it at the end of the stream."""
        head = self._read_to_empty_line()
        # 100 and 103 may come before any response (RFC 9110, section 15.2): they are not the response.
        while re.match(_INTERIM, head) and _EMPTY_LINE.search(head):
            self.received.clear()
            head = self._read_to_empty_line()
        # Values of headers are Latin-1, or bytes without a meaning (RFC 9110, section 5.5); websocket-client reads
        # UTF-8 alone.
        return head if head.isascii() else bytearray(head.decode("latin-1").encode())

    def _read_to_empty_line(self) -> bytearray:
        """Read up to the next empty line, or the end of the stream."""
        head = bytearray()
        while chunk := self._peek(self.budget):
            begun = len(head)
            head += chunk
            found = _EMPTY_LINE.search(head, max(0, begun - 2))
            if found:
                # What follows the head may be frames, which stay in the buffer of the framing.
                del head[found.end() :]
            self._recv(len(head) - begun)
            if found:
                break
        return head

    def _recv(self, size: int) -> bytes:
        if not size:
            return b""
        chunk = self._peek(size)
        self._recv_buffer.commit()
        self.budget -= len(chunk)
        self.received += chunk
        return chunk

    def _peek(self, size: int) -> bytes:
        """Return up to ``size`` bytes that stay in the buffer; wait for the first one."""
        if not self.budget:
            raise BudgetExceeded("the response to the handshake is too large")
        # Buffered bytes are read without a wait: check the deadline.
        if monotonic() >= self._stream.read_deadline:
            raise TimeoutError("the handshake timed out")
        if not self._recv_buffer:
            try:
                self._stream.fill(self._recv_buffer.segment.pending)
            except EOFError:
                return b""
        return self._recv_buffer.read(min(size, self.budget))

    def response_header(self, name: str) -> str:
        """Return the values of a header of the response, joined by commas (RFC 9110, section 5.3)."""
        # websocket-client keeps the last value alone.
        values = re.findall(_HEADER % name.encode(), self.response_head())
        return b", ".join(value.strip(b" \t\r") for value in values).decode("latin-1")

    def response_head(self) -> bytes:
        """Return the response up to its empty line, as it was received."""
        return bytes(_EMPTY_LINE.split(self.received, maxsplit=1)[0])

    def _read_refusal(self) -> None:
        """Read the rest of a response that refuses the upgrade, for a moment and up to the limits of the handshake."""
        # websocket-client leaves a body without a length unread. Whatever ends it, the status is known already.
        self._stream.read_deadline = min(self._stream.read_deadline, monotonic() + REFUSAL_PATIENCE)
        with contextlib.suppress(OSError):
            while not is_whole(self.received) and self._recv(self.budget):
                pass

    def send(self, data: bytes) -> int:
        """Send all of the request, with headers in Latin-1; raises what `DuplexStream.send` raises."""
        # As servers read them (RFC 9110, section 5.5), and as they were checked; websocket-client writes UTF-8.
        self._stream.send(data if data.isascii() else data.decode().encode("latin-1"))
        return len(data)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._stream.fileno()

    def gettimeout(self) -> float:
        """Return 0: the stream waits by itself, up to its own deadlines."""
        return 0.0

    def settimeout(self, timeout: float | None) -> None:
        """Do nothing: the deadlines are attributes of the stream."""

    def shutdown(self, how: int = socket.SHUT_RDWR) -> None:
        """Shut down both directions."""
        self._stream.interrupt()

    def close(self) -> None:
        """Close the descriptor, once the rest of a refusal has been read: websocket-client closes before it raises."""
        if not self._closed:
            self._read_refusal()
        self._closed = True
        self._stream.close()
