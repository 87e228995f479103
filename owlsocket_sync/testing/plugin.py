"""Fixtures for pytest: a server, a connection to it, and a proxy between the two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

# pytest imports this module in every run where the package is installed, used or not: nothing else of the package may
# be imported here, only inside the fixtures.
if TYPE_CHECKING:
    from ..connection import Connection
    from ..server import Request, Server
    from .proxy import FaultProxy


def _echo(conn: Connection, request: Request) -> None:
    conn.perform("echo", lambda value=None: value)


@pytest.fixture
def owlsocket_handler() -> Callable[[Connection, Request], object]:
    """The handler of `owlsocket_server`; override it. The default answers ``echo`` with its argument."""
    return _echo


@pytest.fixture
def owlsocket_server(owlsocket_handler: Callable[[Connection, Request], object]) -> Iterator[Server]:
    """A running server with `owlsocket_handler`; needs the extra ``server``."""
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
    """An open connection to `owlsocket_server`, through `fault_proxy` if the test uses that too.

    It reconnects within 50 ms of the first loss. At the end of the test all faults end before it closes.
    """
    from .. import Backoff, connect

    proxy: FaultProxy | None = None
    if "fault_proxy" in request.fixturenames:
        proxy = request.getfixturevalue("fault_proxy")
    with connect(owlsocket_server.url if proxy is None else proxy.url(), reconnect=Backoff(initial=0.05)) as conn:
        yield conn
        if proxy is not None:
            proxy.clear()  # under a black hole the close frame would wait for its timeout
