"""Reading a `DuplexStream` by size, as a handshake does: what is received beyond it is kept for the next read."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from owlsocket_sync.transport.framing import RecvBuffer
from owlsocket_sync.transport.stream import DuplexStream

_buffers: WeakKeyDictionary[DuplexStream, RecvBuffer] = WeakKeyDictionary()


def buffer_of(stream: DuplexStream) -> RecvBuffer:
    """What `recv` has received of a stream and not returned."""
    return _buffers.setdefault(stream, RecvBuffer())


def recv(stream: DuplexStream, size: int) -> bytes:
    """Return up to ``size`` bytes, ``b""`` at the end of the stream; raises what `DuplexStream.fill` raises."""
    recv_buffer = buffer_of(stream)
    if not recv_buffer:
        try:
            stream.fill(recv_buffer.segment.pending)
        except EOFError:
            return b""
    chunk = recv_buffer.read(size)
    recv_buffer.commit()
    return chunk
