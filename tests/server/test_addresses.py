"""Where a server listens: one address, all of IPv4 and IPv6, or what a name stands for."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from owlsocket_sync import Connection, connect
from owlsocket_sync.server import Request, serve
from support.helpers import Collector, scaled

HAS_IPV6 = socket.has_dualstack_ipv6()
needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="this system has no IPv6")


def remote_of(url: str, requests: Collector) -> str:
    """Connect, and return the address that the server saw."""
    with connect(url, timeout=scaled(5)):
        return str(requests.wait(1)[-1].remote[0])


@pytest.fixture
def requests() -> Collector:
    """Return what keeps the requests of clients."""
    return Collector()


@pytest.fixture
def handler(requests: Collector) -> Any:
    """Return a handler that keeps requests."""

    def handle(conn: Connection, request: Request) -> None:
        requests(request)

    return handle


@needs_ipv6
@pytest.mark.parametrize("host", ["", "::"])
@pytest.mark.parametrize("client", ["127.0.0.1", "::1"])
def test_clients_of_both_families_connect(host: str, client: str, handler: Any, requests: Collector) -> None:
    """Through one port; an address of IPv4 is seen as such, and the URL leads to the server."""
    with serve(handler, host) as server:
        shown = f"[{client}]" if ":" in client else client
        assert remote_of(f"ws://{shown}:{server.port}", requests) == client
        assert requests.items[0].peer[0] == client
        assert server.url == f"ws://127.0.0.1:{server.port}"
        assert remote_of(server.url, requests)


@pytest.mark.parametrize("host", ["", "0.0.0.0"])
def test_a_system_without_ipv6_listens_on_ipv4(
    host: str, handler: Any, requests: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``""`` means all that there is."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with serve(handler, host) as server:
        assert server.url == f"ws://127.0.0.1:{server.port}"
        assert remote_of(server.url, requests) == "127.0.0.1"


@needs_ipv6
def test_where_a_socket_has_one_family_the_wildcard_of_ipv6_is_that_of_ipv6(
    handler: Any, requests: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the URL names a loopback address of it."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with serve(handler, "::") as server:
        assert server.url == f"ws://[::1]:{server.port}"
        assert remote_of(server.url, requests) == "::1"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), scaled(5))


@needs_ipv6
def test_a_name_of_ipv6_alone_can_be_listened_on(
    handler: Any, requests: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The family is that of the address for which the name stands, and no matter of its spelling."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        return resolve("::1" if host == "owl.example" else host, port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with serve(handler, "owl.example") as server:
        assert server.url == f"ws://[::1]:{server.port}"
        assert remote_of(server.url, requests) == "::1"


def test_a_name_of_both_families_is_listened_on_as_ipv4(
    handler: Any, requests: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``localhost`` ever was, in whichever order the resolver names them."""
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *arguments, **options: both)
        server = serve(handler, "localhost")
    with server:
        assert server.url == f"ws://127.0.0.1:{server.port}"
        assert remote_of(server.url, requests) == "127.0.0.1"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.250", "[::1]"])
def test_an_address_that_is_not_here_is_reported(host: str, handler: Any) -> None:
    """As an `OSError`, and nothing is left."""
    with pytest.raises(OSError):
        serve(handler, host)


def test_the_error_of_a_port_says_what_to_do(handler: Any) -> None:
    """Such as that of a cell of a notebook that runs again."""
    with serve(handler) as server:
        taken = rf"cannot listen on 127\.0\.0\.1:{server.port}: .*already in use \(another program .* port=0"
        with pytest.raises(OSError, match=taken) as caught:
            serve(handler, port=server.port)
    assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError, match=r"on 203\.0\.113\.250:0: .* \(this machine does not have that address; host=''"):
        serve(handler, "203.0.113.250")


@needs_ipv6
def test_a_port_that_is_taken_on_either_family_is_reported(handler: Any) -> None:
    """One server for all addresses takes it on both."""
    with serve(handler, "127.0.0.1") as server, pytest.raises(OSError, match=r"(?i)address already in use"):
        serve(handler, "", server.port)
