"""A client and an embedded server with a proxy between them that makes the network misbehave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from owlsocket_sync import Backoff, Connection, Heartbeat, connect
from owlsocket_sync.server import Request, Server, serve
from owlsocket_sync.testing import FaultProxy
from support.handlers import echo
from support.sockets import client_context, server_context

SOON = Backoff(initial=0.02, factor=1.0, cap=0.02, jitter="none", healthy_after=0.0)
LATE = Backoff(initial=60.0, cap=60.0, jitter="none")


class Path(NamedTuple):
    """A client, the proxy that it goes through, and the server behind that."""

    conn: Connection
    proxy: FaultProxy
    server: Server


@contextmanager
def path(
    handler: Callable[[Connection, Request], object] = echo,
    *,
    secure: bool = False,
    reconnect: Backoff | None = SOON,
    heartbeat: Heartbeat | None = None,
    **options: Any,
) -> Iterator[Path]:
    """A client that is connected through a proxy; plain, or with TLS from end to end."""
    context = server_context() if secure else None
    with (
        serve(handler, ssl_context=context, heartbeat=None) as server,
        FaultProxy("127.0.0.1", server.port, secure=secure) as proxy,
        connect(
            proxy.url(),
            ssl_context=client_context() if secure else None,
            reconnect=reconnect,
            heartbeat=heartbeat,
            **options,
        ) as conn,
    ):
        yield Path(conn, proxy, server)
