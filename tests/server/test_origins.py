"""Origins: which web pages may connect, and under which names a server on a loopback address answers."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from owlsocket_sync.server import serve
from owlsocket_sync.server.admission import HandshakeRejected
from owlsocket_sync.server.origins import check_origin
from owlsocket_sync.urls import is_loopback
from support.handlers import echo
from support.helpers import scaled
from support.sockets import PATIENCE, UPGRADE, RawPeer


def status(port: int, host: str, origin: str | None) -> int:
    """Return the status of the answer to an upgrade request."""
    lines = f"Host: {host}" + ("" if origin is None else f"\r\nOrigin: {origin}")
    peer = RawPeer(socket.create_connection(("127.0.0.1", port), scaled(PATIENCE)))
    with peer.sock:
        peer.send(UPGRADE.replace("Host: localhost", lines).encode())
        return int(peer.read_header().split()[1])


@pytest.mark.parametrize(
    ("host", "origin", "expected"),
    [
        ("localhost:{port}", None, 101),
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}", 101),
        ("LocalHost:{port}", "http://localhost:{port}", 101),
        ("localhost:{port}", "http://localhost:1", 403),
        ("localhost:{port}", "http://127.0.0.1:{port}", 403),
        ("localhost:{port}", "https://evil.example", 403),
        ("localhost:{port}", "null", 403),
        ("evil.example:{port}", "http://evil.example:{port}", 403),
        ("evil.example:{port}", None, 403),
    ],
)
def test_by_default_only_pages_of_the_server_itself_connect(host: str, origin: str | None, expected: int) -> None:
    """Under a loopback name; a client without an Origin, which is every client but a browser, is accepted."""
    with serve(echo) as server:
        origin = None if origin is None else origin.format(port=server.port)
        assert status(server.port, host.format(port=server.port), origin) == expected


@pytest.mark.parametrize("origins", ["*", ["*"], ["http://a.example", "*"]])
def test_all_origins_may_be_allowed(origins: Any) -> None:
    """By a star; then any name of the server will do."""
    with serve(echo, origins=origins) as server:
        assert status(server.port, "evil.example", "http://evil.example") == 101
        assert status(server.port, "localhost", "null") == 101


def test_listed_origins_are_allowed_under_any_name() -> None:
    """As behind a proxy on the same machine, which passes the Host header on."""
    with serve(echo, origins=["https://shop.example"]) as server:
        assert status(server.port, "api.shop.example", "https://shop.example") == 101
        assert status(server.port, "api.shop.example", "https://api.shop.example") == 403
        assert status(server.port, "api.shop.example", None) == 101


def test_a_server_on_every_address_answers_to_any_name() -> None:
    """Its names are not known here; the origin has to match them all the same."""
    with serve(echo, host="0.0.0.0") as server:
        assert status(server.port, "shop.example", "http://shop.example") == 101
        assert status(server.port, "shop.example", "http://evil.example") == 403


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("https://shop.example", "shop.example", True),
        ("https://shop.example", "shop.example:443", True),
        ("http://shop.example", "shop.example:80", True),
        ("https://shop.example:8443", "SHOP.example:8443", True),
        ("https://shop.example", "shop.example.", True),
        ("http://[::1]:80", "[::1]", True),
        ("https://shop.example", "shop.example:80", False),
        ("https://shop.example.evil.example", "shop.example", False),
        ("https://shop.example@evil.example", "shop.example", False),
        ("shop.example", "shop.example", False),
        ("null", "null", False),
        ("https://", "", False),
        ("http://a:x", "a:y", False),
        ("", "", False),
    ],
)
def test_an_origin_is_compared_by_host_and_port(origin: str, host: str, same: bool) -> None:
    """The scheme only says which port is meant: a proxy may have terminated TLS."""
    try:
        check_origin({"Origin": origin, "Host": host}, None, on_loopback=False)
        passed = True
    except HandshakeRejected:
        passed = False
    assert passed is same


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("app.localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evillocalhost", False),
        ("", False),
    ],
)
def test_loopback_names(host: str, loopback: bool) -> None:
    """Names that mean this machine wherever they are resolved, and no others."""
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("name", ["Host", "Origin"])
def test_two_headers_of_one_name_are_refused(name: str) -> None:
    """Whichever one was meant, a proxy may have looked at the other."""
    with serve(echo) as server:
        peer = RawPeer(socket.create_connection(("127.0.0.1", server.port), scaled(PATIENCE)))
        with peer.sock:
            peer.send(UPGRADE.replace("\r\n\r\n", f"\r\n{name}: a\r\n{name}: b\r\n\r\n").encode())
            assert peer.read_header().startswith("HTTP/1.1 400 ")
