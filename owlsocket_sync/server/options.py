"""`ServerOptions`: what can be set for a server, as one frozen value that is checked when it is made."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ..connection import Connection
from ..contracts.contract import Contract, check_describe
from ..deadline import check_timeout
from ..handshake_fields import check_subprotocols
from ..hub import Hub
from ..options import (
    MIB,
    Deflate,
    Heartbeat,
    Limits,
    check_callable,
    check_compression,
    check_count,
    check_queue,
    check_size,
    check_type,
    check_workers,
)
from ..protocol.messages import CALL_TIMEOUT
from ..protocol.subscriptions import HandlerContext
from ..values import FieldwiseEq
from .admission import Authenticate, check_authenticate
from .forwarded import Network, TrustedProxies, TrustedProxy, check_trusted_proxies
from .health import check_health
from .origins import check_origins
from .request import Request

if TYPE_CHECKING:
    from ..stores.queue import Queue

Handler = Callable[[Connection, Request], object]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ServerOptions(FieldwiseEq):
    """The options of a server; `owlsocket_sync.server.serve` takes the same by name.

    Attributes:
        ssl_context: with a certificate, for ``wss://``; ``None`` for ``ws://``.
        authenticate: an `owlsocket_sync.auth.Guard`, or a callable ``(request) -> identity`` that raises to reject a
            client, or returns ``None`` or ``False``; ``ANONYMOUS`` admits it without an identity. ``None`` as the
            option accepts every client.
        origins: the origins of web pages that may connect, ``"*"`` for all. ``None`` for the origin of the server
            itself, as the ``Host`` header names it; a server on a loopback address then accepts loopback names only.
            Clients without an ``Origin`` header, which is every client but a browser, always may.
        limits: the bounds of queues and message sizes, for each client.
        total_bytes: the memory of the messages of all clients that were not yet handled or consumed. Above it, nothing
            more is read from a client that holds its part of it, and what it queues is dropped and reported.
        heartbeat: when a silent client is pinged; ``None`` for never.
        workers: the number of handlers that run at once for each client.
        timeout: seconds for the TLS and WebSocket handshakes of a client together.
        call_timeout: seconds that a call to a client waits for its result when the call sets no timeout.
        expose_tracebacks: send tracebacks of handlers to clients.
        handler_context: returns the context manager inside which each message handler runs, such as
            ``app.app_context`` of Flask; ``None`` for none.
        name: of the server, in logs and in the names of its threads; ``None`` generates one.
        compression: ``"deflate"`` or a `Deflate` compresses messages for clients that offer it; ``None`` for none.
        inbox: a queue of a store, in which messages of all clients are kept until they are acknowledged; ``None`` for
            the memory of each connection.
        outbox: called with the request of each client; returns the queue from which messages are sent to it until it
            has acknowledged them, or ``None`` to send at once.
        hub: the server is one of the servers of this hub; ``None`` for a `owlsocket_sync.hub.MemoryHub` of its own.
        subprotocols: the subprotocols of the server, the preferred one first: the first that a client offers is
            selected, and a client that offers others only is rejected. ``None`` takes the first of any client.
        health: the path, such as ``"/health"``, at which plain HTTP requests are answered with the status of the server
            as one line of JSON; ``None`` for none.
        trusted_proxies: the addresses and networks, such as ``"10.0.0.0/8"``, of the proxies of which the server
            believes the headers ``Forwarded``, ``X-Forwarded-For`` and ``X-Forwarded-Host``; ``None`` for none.
        proxy_protocol: each connection has to begin with a header of the PROXY protocol, version 1 or 2; from
            ``trusted_proxies``, if these are named, and otherwise from any address.
        handshakes: the number of clients that connected and did not finish their handshakes, and half of it those of
            one address. Above it, the one that is waited for longest is closed.
        describe: answer clients that ask for the methods, events and types of the server; a
            `owlsocket_sync.contracts.Contract` tells the events that it sends.

    Raises:
        ValueError: a value is not valid; the message names the option.
    """

    ssl_context: ssl.SSLContext | None = None
    authenticate: Authenticate | None = None
    origins: Sequence[str] | None = None
    limits: Limits = Limits()
    total_bytes: int = 1024 * MIB
    heartbeat: Heartbeat | None = Heartbeat()
    workers: int = 4
    timeout: float = 10.0
    call_timeout: float = CALL_TIMEOUT
    expose_tracebacks: bool = False
    handler_context: HandlerContext | None = None
    name: str | None = None
    compression: Deflate | str | None = None
    inbox: Queue | None = None
    outbox: Callable[[Request], Queue | None] | None = None
    hub: Hub | None = None
    subprotocols: Sequence[str] | None = None
    health: str | None = None
    trusted_proxies: Sequence[TrustedProxy] | None = None
    proxy_protocol: bool = False
    handshakes: int = 256
    describe: bool | Contract = False

    def __post_init__(self) -> None:
        check_workers(self.workers)
        check_size("total_bytes", self.total_bytes)
        check_count("handshakes", self.handshakes)
        check_type("ssl_context", self.ssl_context, ssl.SSLContext, optional=True)
        check_type("limits", self.limits, Limits)
        check_type("heartbeat", self.heartbeat, Heartbeat, optional=True)
        check_type("expose_tracebacks", self.expose_tracebacks, bool)
        check_type("proxy_protocol", self.proxy_protocol, bool)
        check_type("name", self.name, str, optional=True)
        check_type("hub", self.hub, Hub, optional=True)
        check_callable("handler_context", self.handler_context, "")
        check_queue("inbox", self.inbox)
        check_callable("outbox", self.outbox, "request")
        check_authenticate(self.authenticate)
        check_health(self.health)
        check_describe(self.describe)
        # A frozen dataclass has no other way to store a normalized value.
        object.__setattr__(self, "timeout", check_timeout(self.timeout, default=ServerOptions.timeout))
        object.__setattr__(self, "call_timeout", check_timeout(self.call_timeout, "call_timeout", CALL_TIMEOUT))
        object.__setattr__(self, "subprotocols", check_subprotocols(self.subprotocols))
        object.__setattr__(self, "origins", check_origins(self.origins))
        object.__setattr__(self, "trusted_proxies", check_trusted_proxies(self.trusted_proxies))
        object.__setattr__(self, "compression", check_compression(self.compression))

    @property
    def proxies(self) -> TrustedProxies | None:
        """Return the proxies that are trusted; ``None`` where the option names none."""
        # Checked above, which replaces texts and addresses.
        networks = cast("Sequence[Network] | None", self.trusted_proxies)
        return None if networks is None else TrustedProxies(networks)

    @property
    def contract(self) -> Contract | None:
        """Return the contract of a server that describes itself."""
        return check_describe(self.describe)

    @property
    def deflate(self) -> Deflate | None:
        """Return the compression that clients may agree to."""
        # Checked above, which replaces a name.
        return self.compression if isinstance(self.compression, Deflate) else None


def check_port(port: object) -> None:
    """Raise `ValueError` unless a server can listen on the port; 0 stands for a free one."""
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise ValueError(f"port must be a whole number from 0 to 65535, not {port!r}")


def check_handler(handler: object, parameters: str | None = "conn, request") -> None:
    """Raise `ValueError` unless the handler of a server is a plain function, or another callable."""
    check_callable("handler", handler, parameters)
    if handler is None:
        raise ValueError("handler must be callable, not NoneType")
