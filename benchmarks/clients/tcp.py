"""A plain TCP socket: send bytes, receive the same bytes."""

from __future__ import annotations

import socket
from typing import Any

from . import Address


class Tcp:
    """A TCP client without frames and without JSON."""

    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection(("127.0.0.1", address.port))
        # As every other client: with Nagle's algorithm, a call would wait for the delayed ACK.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(65_536)

    def call(self, method: str, *payload: Any) -> Any:
        """Send the text, and receive as many bytes."""
        data = payload[0].encode()
        self._socket.sendall(data)
        if len(data) > len(self._buffer):
            self._buffer = bytearray(len(data))
        view, got = memoryview(self._buffer), 0
        while got < len(data):
            got += self._socket.recv_into(view[got:])
        return bytes(view[:got]).decode()
