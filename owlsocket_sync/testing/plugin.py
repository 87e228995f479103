"""Fixtures for pytest: a server, a connection to it, and a proxy between the two.

Every run of pytest where this package is installed imports this module, so it imports nothing else of the package;
what is dear is imported by the fixtures that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..connection import Connection
    from ..server import Request, Server
    from .proxy import FaultProxy


def _echo(conn: Connection, request: Request) -> None:
    conn.perform("echo", lambda value=None: value)


@pytest.fixture
def owlsocket_handler() -> Callable[[Connection, Request], object]:
    """What `owlsocket_server` calls for each client; override it. This one answers ``echo`` with what came."""
    return _echo


@pytest.fixture
def owlsocket_server(owlsocket_handler: Callable[[Connection, Request], object]) -> Iterator[Server]:
    """A running server whose clients are served by `owlsocket_handler`; needs the extra ``server``."""
    from ..server import serve

    with serve(owlsocket_handler) as server:
        yield server


@pytest.fixture
def fault_proxy(owlsocket_server: Server) -> Iterator[FaultProxy]:
    """A `FaultProxy` in front of `owlsocket_server`."""
    from .proxy import FaultProxy

    with FaultProxy("127.0.0.1", owlsocket_server.port, secure=owlsocket_server.secure) as proxy:
        yield proxy


@pytest.fixture
def owlsocket_connection(request: pytest.FixtureRequest, owlsocket_server: Server) -> Iterator[Connection]:
    """An open connection to `owlsocket_server`; through `fault_proxy` where the test uses that too.

    It reconnects within 50 ms of the first loss, and at the end of the test says goodbye with all faults ended.
    """
    from .. import Backoff, connect

    proxy: FaultProxy | None = None
    if "fault_proxy" in request.fixturenames:
        proxy = request.getfixturevalue("fault_proxy")
    with connect(owlsocket_server.url if proxy is None else proxy.url(), reconnect=Backoff(initial=0.05)) as conn:
        yield conn
        if proxy is not None:
            proxy.clear()
