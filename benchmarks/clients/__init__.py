"""The contestants: the clients that are compared, and the server of each."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

OURS = "owlsocket_sync"
OURS_BATCH = "owlsocket_sync, batch()"
BARE = "websocket-client"
TUNED = "websocket-client, tuned"
READER = "reader thread + Future"
READER_TUNED = "reader thread + Future, tuned"
BY_HAND = "frames by hand"
BY_HAND_BATCH = "frames by hand, in blocks"
WEBSOCKETS = "websockets.sync"
SOCKETIO = "python-socketio"
RPYC = "rpyc"
GRPC = "grpc"
TCP = "raw TCP"
PICOWS = "picows"
ASYNCIO = "websockets.asyncio, uvloop"
NODE = "ws, Node"


@dataclass(frozen=True)
class Contestant:
    """One client, with its options.

    Attributes:
        server: the kind of its server, a key of `benchmarks.echo_servers.MODULES`.
        maker: ``module:class`` of the client, under `benchmarks.clients`.
        options: arguments of the class besides the address.
    """

    server: str
    maker: str
    options: tuple[tuple[str, Any], ...] = ()


CONTESTANTS: dict[str, Contestant] = {
    OURS: Contestant("websocket", "ours:Ours"),
    OURS_BATCH: Contestant("websocket", "ours:OursInBatches"),
    BARE: Contestant("websocket", "bare:Bare"),
    TUNED: Contestant("websocket", "bare:Bare", (("tuned", True),)),
    READER: Contestant("websocket", "reader:ReaderAndFutures"),
    READER_TUNED: Contestant("websocket", "reader:ReaderAndFutures", (("tuned", True),)),
    BY_HAND: Contestant("websocket", "by_hand:ByHand"),
    BY_HAND_BATCH: Contestant("websocket", "by_hand:ByHand", (("batch", True),)),
    PICOWS: Contestant("websocket", "picows_client:Picows"),
    WEBSOCKETS: Contestant("websocket", "websockets_sync:WebsocketsSync"),
    SOCKETIO: Contestant("socketio", "socketio_client:SocketIO"),
    RPYC: Contestant("rpyc", "rpyc_client:Rpyc"),
    GRPC: Contestant("grpc", "grpc_client:Grpc"),
    TCP: Contestant("tcp", "tcp:Tcp"),
}


@dataclass(frozen=True)
class Address:
    """The address of a server.

    Attributes:
        port: its port on 127.0.0.1.
        authority: the path of the certificate to trust; ``None`` without TLS.
    """

    port: int
    authority: str | None = None

    @property
    def url(self) -> str:
        """Return the address as a URL."""
        return f"{'ws' if self.authority is None else 'wss'}://127.0.0.1:{self.port}/"


def connect(name: str, address: Address, **options: Any) -> Any:
    """Connect a contestant and return it."""
    # Imported here: a process loads only the libraries of its own contestant, which memory and imports depend on.
    contestant = CONTESTANTS[name]
    module, _, maker = contestant.maker.partition(":")
    return getattr(import_module(f"{__name__}.{module}"), maker)(address, **dict(contestant.options), **options)
