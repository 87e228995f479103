"""What `websocket.WebSocket` takes for a socket while it shakes hands: a stream, read within a budget of bytes.

Threads: it belongs to the thread that connects.
"""

from __future__ import annotations

import socket
import time

from .stream import DuplexStream


class BudgetExceeded(ConnectionError):
    """The peer sent more than it may in a handshake."""


class HandshakeSocket:
    """A stream as websocket-client wants it.

    Args:
        stream: what is read and written, until its own deadlines.
        budget: how many bytes may be read.

    Attributes:
        seen: what was read.
    """

    def __init__(self, stream: DuplexStream, budget: int) -> None:
        self._stream = stream
        self.budget = budget
        self.seen = bytearray()
        self._closed = False  # websocket-client looks at this name before it closes

    def recv(self, size: int) -> bytes:
        """Up to ``size`` bytes, ``b""`` at the end.

        Raises:
            BudgetExceeded: the budget is used up.
            OSError: what `DuplexStream.recv` raises.
        """
        if size and not self.budget:
            raise BudgetExceeded("the peer's answer to the handshake is too large")
        if time.monotonic() >= self._stream.read_until:
            raise TimeoutError("the handshake took too long")  # what is here is read by the byte: that takes time
        chunk = self._stream.recv(min(size, self.budget))
        self.budget -= len(chunk)
        self.seen += chunk
        return chunk

    def send(self, data: bytes) -> int:
        """Send all of it; raises what `DuplexStream.send` raises."""
        return self._stream.send(data)

    def fileno(self) -> int:
        """The descriptor."""
        return self._stream.fileno()

    def gettimeout(self) -> float:
        """Zero: the stream waits by itself, until its own deadlines."""
        return 0.0

    def settimeout(self, timeout: float | None) -> None:
        """Nothing: deadlines are attributes of the stream."""

    def shutdown(self, how: int = socket.SHUT_RDWR) -> None:
        """End both directions."""
        self._stream.interrupt()

    def close(self) -> None:
        """Close the descriptor."""
        self._closed = True
        self._stream.close()
