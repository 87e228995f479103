"""A Socket.IO echo: the asynchronous server of `python-socketio`, over `uvicorn` with `uvloop` and `httptools`."""

from __future__ import annotations

import socket
from typing import Any

import socketio
import uvicorn

from .life import announce

LARGEST = 1 << 30


def _app() -> Any:
    server = socketio.AsyncServer(async_mode="asgi", transports=["websocket"], max_http_buffer_size=LARGEST)

    async def echo(session: str, payload: Any) -> Any:
        return payload

    server.on("echo", echo)
    return socketio.ASGIApp(server)


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0))
    announce(listening.getsockname()[1])
    settings = uvicorn.Config(_app(), loop="uvloop", http="httptools", log_level="error", ws_per_message_deflate=False)
    uvicorn.Server(settings).run([listening])
