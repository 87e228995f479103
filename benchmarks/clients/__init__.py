"""The contestants: who they are, which server they speak to, and what they can do."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

OURS = "owlsocket_sync"
OURS_BATCH = "owlsocket_sync, batch()"
BARE = "websocket-client"
TUNED = "websocket-client, tuned"
READER = "reader thread + Future"
WEBSOCKETS = "websockets.sync"
SOCKETIO = "python-socketio"
RPYC = "rpyc"
GRPC = "grpc"
TCP = "raw TCP"


@dataclass(frozen=True)
class Contestant:
    """One way to talk to a server.

    Attributes:
        server: the kind of server it speaks to.
        maker: ``module:function`` that connects it, under `benchmarks.clients`.
        options: what the maker takes besides the address.
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
    WEBSOCKETS: Contestant("websocket", "websockets_sync:WebsocketsSync"),
    SOCKETIO: Contestant("socketio", "socketio_client:SocketIO"),
    RPYC: Contestant("rpyc", "rpyc_client:Rpyc"),
    GRPC: Contestant("grpc", "grpc_client:Grpc"),
    TCP: Contestant("tcp", "tcp:Tcp"),
}


@dataclass(frozen=True)
class Address:
    """Where a server is; ``authority`` is the certificate to trust, for TLS."""

    port: int
    authority: str | None = None

    @property
    def url(self) -> str:
        """As a URL."""
        return f"{'ws' if self.authority is None else 'wss'}://127.0.0.1:{self.port}/"


class Caller(Protocol):
    """Calls and waits."""

    def call(self, method: str, *payload: Any) -> Any:
        """The answer."""


class Submitter(Protocol):
    """Has many calls in flight."""

    def submit_all(self, count: int, payload: Any) -> Sequence[Future[Any]]:
        """So many calls of ``echo``, sent."""


class Listener(Protocol):
    """Takes events in."""

    def take_events(self, count: int, size: int) -> None:
        """Ask the server for so many events, and return when the last was handled."""


class Notifier(Protocol):
    """Sends events."""

    def notify_all(self, count: int, payload: Any) -> None:
        """Send so many events, and return when the server has counted them."""


def connect(name: str, address: Address, **options: Any) -> Any:
    """A connected contestant."""
    contestant = CONTESTANTS[name]
    module, _, maker = contestant.maker.partition(":")
    return getattr(import_module(f"{__name__}.{module}"), maker)(address, **dict(contestant.options), **options)
