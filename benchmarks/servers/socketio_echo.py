"""A Socket.IO echo: the asynchronous server of `python-socketio`, over `aiohttp` on `uvloop`."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import socketio
import uvloop
from aiohttp import web

from .lifetime import announce


async def _serve() -> None:
    server = socketio.AsyncServer(async_mode="aiohttp", transports=["websocket"])

    async def echo(session: str, payload: Any) -> Any:
        return payload

    server.on("echo", echo)
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening).start()
    announce(listening.getsockname()[1])
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve())
