"""A plain TCP echo on `uvloop`: the lower bound for every protocol."""

from __future__ import annotations

import asyncio
from typing import cast

import uvloop

from .lifetime import announce


class Echo(asyncio.Protocol):
    """One client."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Send the data back."""
        self._transport.write(data)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
