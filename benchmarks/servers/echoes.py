"""Echo servers that are measured themselves: ``python -m benchmarks.servers.echoes NAME [SECONDS] [COMPRESSION]``.

Each answers the call ``echo`` with its argument, after sleeping for so many seconds.
"""

from __future__ import annotations

import logging
import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import orjson

from .lifetime import announce

logging.disable(logging.CRITICAL)  # of clients that leave without a closing handshake


def _answer(data: bytes | str, seconds: float) -> bytes:
    call = orjson.loads(data)
    if seconds:
        time.sleep(seconds)
    return orjson.dumps({"id": call["id"], "type": "result", "payload": call["payload"][0]})


def _serve_ours(seconds: float, compression: str | None) -> None:
    from owlsocket_sync import Connection
    from owlsocket_sync.server import serve

    def echo(value: Any) -> Any:
        if seconds:
            time.sleep(seconds)
        return value

    def handle(connection: Connection, request: object) -> None:
        connection.perform("echo", echo)

    server = serve(handle, heartbeat=None, compression=compression)
    announce(server.port)
    server.wait()


def _serve_websockets(seconds: float, compression: str | None) -> None:
    from websockets.sync.server import ServerConnection, serve

    def handle(client: ServerConnection) -> None:
        for data in client:
            client.send(_answer(data, seconds), text=True)

    server = serve(handle, "127.0.0.1", 0, compression=compression, ping_interval=None)
    server.socket.listen(4096)
    announce(server.socket.getsockname()[1])
    server.serve_forever()


def _serve_asyncio(seconds: float, compression: str | None) -> None:
    import uvloop
    from websockets.asyncio.server import ServerConnection, serve

    async def handle(client: ServerConnection) -> None:
        async for data in client:
            await client.send(_answer(data, seconds), text=True)

    async def main() -> None:
        options: dict[str, Any] = {"compression": compression, "ping_interval": None, "backlog": 4096}
        async with serve(handle, "127.0.0.1", 0, **options) as server:
            announce(server.sockets[0].getsockname()[1])
            await server.serve_forever()

    uvloop.run(main())


def _serve_picows(seconds: float, compression: str | None) -> None:
    import uvloop
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

    class Client(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type == WSMsgType.TEXT:
                transport.send(WSMsgType.TEXT, _answer(frame.get_payload_as_bytes(), seconds))
            else:
                transport.disconnect()

    async def main() -> None:
        server = await ws_create_server(lambda request: Client(), "127.0.0.1", 0, backlog=4096, enable_auto_ping=False)
        announce(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


SERVERS: dict[str, Callable[[float, str | None], None]] = {
    "ours": _serve_ours,
    "websockets": _serve_websockets,
    "asyncio": _serve_asyncio,
    "picows": _serve_picows,
}


def main() -> None:
    """Serve until stdin ends."""
    name, seconds, compression, descriptors = (*sys.argv[1:], *("", "", "", "")[len(sys.argv) - 1 :])[:4]
    if descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(descriptors), int(descriptors)))
    threading.stack_size(0)
    SERVERS[name](float(seconds or 0), compression or None)


if __name__ == "__main__":
    main()
