"""A bare TCP socket: bytes out, the same bytes back."""

from __future__ import annotations

import socket
from typing import Any

from . import Address


class Tcp:
    """No frames, no JSON."""

    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection(("127.0.0.1", address.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._room = bytearray(65_536)

    def call(self, method: str, *payload: Any) -> Any:
        """Send, and receive as much."""
        data = payload[0].encode()
        self._socket.sendall(data)
        if len(data) > len(self._room):
            self._room = bytearray(len(data))
        view, got = memoryview(self._room), 0
        while got < len(data):
            got += self._socket.recv_into(view[got:])
        return bytes(view[:got]).decode()
