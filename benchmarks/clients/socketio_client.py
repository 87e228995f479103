"""python-socketio: ``call`` over its WebSocket transport."""

from __future__ import annotations

from typing import Any

import socketio

from . import Address


class SocketIO:
    """Its client with the options that it has by default."""

    def __init__(self, address: Address) -> None:
        self._client = socketio.Client(reconnection=False)
        self._client.connect(f"http://127.0.0.1:{address.port}", transports=["websocket"])

    def call(self, method: str, *payload: Any) -> Any:
        """Emit, and wait for the acknowledgement."""
        return self._client.call(method, payload[0])
