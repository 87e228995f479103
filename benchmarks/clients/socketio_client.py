"""python-socketio: ``call`` over the WebSocket transport."""

from __future__ import annotations

from typing import Any

import socketio

from . import Address


class SocketIO:
    """A Socket.IO client with the default options, without reconnection."""

    def __init__(self, address: Address) -> None:
        self._client = socketio.Client(reconnection=False)
        # Its default would begin with HTTP long polling and upgrade later, in the middle of the measure.
        self._client.connect(f"http://127.0.0.1:{address.port}", transports=["websocket"])

    def call(self, method: str, *payload: Any) -> Any:
        """Emit an event, and wait for its acknowledgement."""
        return self._client.call(method, payload[0])
