"""A client's framing, and the raw socket at its other end."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from owlsocket_sync.transport.framing import ClientFraming
from owlsocket_sync.transport.stream import DuplexStream
from support.helpers import scaled
from support.sockets import RawPeer

LIMIT = 1000
"""The bytes of the longest message that the framing takes."""

Ends = tuple[ClientFraming, RawPeer]


@contextmanager
def framing_ends() -> Iterator[Ends]:
    """Both, until the end of the block."""
    ours, theirs = socket.socketpair()
    framing = ClientFraming(DuplexStream(ours), LIMIT)
    framing.stream.read_deadline = time.monotonic() + scaled(5)
    try:
        yield framing, RawPeer(theirs)
    finally:
        framing.stream.close()
        theirs.close()
