"""Trusted proxies: whom a server believes about the address of a client, and about the name that it asked for."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.datastructures import Headers

from owlsocket_sync import Connection
from owlsocket_sync.server import Request, ServerOptions, serve
from owlsocket_sync.server.forwarded import MAX_HOPS, Hop, TrustedProxies, check_trusted_proxies
from support.handlers import echo
from support.helpers import Collector, scaled
from support.sockets import PATIENCE, UPGRADE, RawPeer, knock

TRUSTED = TrustedProxies(check_trusted_proxies(["10.0.0.0/8", "2001:db8:ffff::/48", "192.0.2.1"]) or ())
PROXY = "10.0.0.1"


def client_of(*lines: str, peer: str = PROXY) -> Hop | None:
    """Return the client of a request with these header lines."""
    return TRUSTED.client_of(peer, Headers([(name, value) for name, value in (line.split(": ", 1) for line in lines)]))


def address_of(*lines: str, peer: str = PROXY) -> str | None:
    """Return its address."""
    hop = client_of(*lines, peer=peer)
    return None if hop is None else hop.host


@pytest.mark.parametrize(
    ("lines", "host", "port"),
    [
        (["X-Forwarded-For: 203.0.113.9"], "203.0.113.9", 0),
        (["X-Forwarded-For: 203.0.113.9:4711"], "203.0.113.9", 4711),
        (["X-Forwarded-For: 2001:db8::9"], "2001:db8::9", 0),
        (["X-Forwarded-For: [2001:DB8:0::9]"], "2001:db8::9", 0),
        (["X-Forwarded-For: [2001:db8::9]:4711"], "2001:db8::9", 4711),
        (["X-Forwarded-For: ::ffff:203.0.113.9"], "203.0.113.9", 0),
        (["x-forwarded-for: 1.1.1.1, 203.0.113.9 ,\t10.9.9.9"], "203.0.113.9", 0),
        (["X-Forwarded-For: 1.1.1.1, 203.0.113.9", "X-Forwarded-For: 10.9.9.9, 192.0.2.1"], "203.0.113.9", 0),
        (["X-Forwarded-For: 203.0.113.9, 2001:db8:ffff::1, 10.1.1.1"], "203.0.113.9", 0),
        (["X-Forwarded-For: 10.0.0.7"], "10.0.0.7", 0),
        (["X-Forwarded-For: 10.0.0.8, 10.0.0.7"], "10.0.0.8", 0),
        (["Forwarded: for=203.0.113.9"], "203.0.113.9", 0),
        (['Forwarded: For="203.0.113.9:4711";proto=https;by=10.0.0.1'], "203.0.113.9", 4711),
        (['Forwarded: proto=http; host="shop.example"; for="[2001:db8::9]:4711";'], "2001:db8::9", 4711),
        (['Forwarded: for="203.0.113.9:_hidden"'], "203.0.113.9", 0),
        (["Forwarded: for=1.1.1.1, for=203.0.113.9;x=y, for=10.0.0.7"], "203.0.113.9", 0),
        (["Forwarded: for=203.0.113.9", "X-Forwarded-For: 203.0.113.9"], "203.0.113.9", 0),
        (["Forwarded: for=203.0.113.9, for=10.0.0.7", "X-Forwarded-For: 203.0.113.9"], "203.0.113.9", 0),
    ],
)
def test_the_headers_are_read_from_the_right_up_to_the_first_who_is_not_trusted(
    lines: list[str], host: str, port: int
) -> None:
    """If all are trusted, the leftmost is the client: a program in the same network."""
    hop = client_of(*lines)
    assert hop is not None
    assert (hop.host, hop.port) == (host, port)


@pytest.mark.parametrize(
    "invention",
    ["1.1.1.1", "garbage", "", '"', 'for="', "10.0.0.1", "%", "\xff", ",", ";;;", "x" * 100_000, ",".join("10" * 9)],
)
def test_what_the_client_invents_left_of_its_own_address_is_not_looked_at(invention: str) -> None:
    """However odd it is: the proxy has appended the address that it saw."""
    assert address_of(f"X-Forwarded-For: {invention}, 203.0.113.9") == "203.0.113.9"
    assert address_of(f"X-Forwarded-For: {invention}", "X-Forwarded-For: 203.0.113.9") == "203.0.113.9"
    assert address_of(f"Forwarded: {invention}, for=203.0.113.9") == "203.0.113.9"
    assert address_of(f"Forwarded: {invention}", 'Forwarded: for="203.0.113.9:1"') == "203.0.113.9"
    assert address_of("X-Forwarded-For: 203.0.113.9", f"X-Forwarded-Host: {invention}") == "203.0.113.9"


@pytest.mark.parametrize(
    "lines",
    [
        ["X-Forwarded-For: unknown"],
        ["X-Forwarded-For: "],
        ["X-Forwarded-For: 203.0.113.9,"],
        ["X-Forwarded-For: 203.0.113.9, localhost"],
        ["X-Forwarded-For: 203.0.113.9, , 10.0.0.7"],
        ["X-Forwarded-For: 203.0.113.256"],
        ["X-Forwarded-For: 203.0.113.09"],
        ["X-Forwarded-For: 203.0.113.9:65536"],
        ["X-Forwarded-For: 203.0.113.9:http"],
        ["X-Forwarded-For: 203.0.113.9 198.51.100.7"],
        ["X-Forwarded-For: 3405803785"],
        ["X-Forwarded-For: 203.0.113.9/32"],
        ["X-Forwarded-For: fe80::1%eth0"],
        ["X-Forwarded-For: [fe80::1%25eth0]"],
        ["X-Forwarded-For: [203.0.113.9"],
        ["X-Forwarded-For: \xb2.0.0.1"],
        ["X-Forwarded-For: 1.1.1.1, " + "x" * 5000],
        ["X-Forwarded-For: 203.0.113.9" + ", 10.0.0.7" * MAX_HOPS],
        ["Forwarded: for=unknown"],
        ["Forwarded: for=_hidden"],
        ["Forwarded: host=shop.example"],
        ["Forwarded: 203.0.113.9"],
        ["Forwarded: for=203.0.113.9;for=198.51.100.7"],
        ['Forwarded: for="203.0.113.9'],
        ["Forwarded: for=203.0.113.9 198.51.100.7"],
        ['Forwarded: for="203.0.113.9\\"'],
        ["Forwarded: for=203.0.113.9;" + "a=b;" * 5000],
        ["Forwarded: for=203.0.113.9", "X-Forwarded-For: 198.51.100.7"],
        ["Forwarded: for=unknown", "X-Forwarded-For: 203.0.113.9"],
        [],
    ],
)
def test_malformed_headers_and_contradictions_count_for_nothing(lines: list[str]) -> None:
    """The address of the socket is no lie; nor is it that of another client."""
    assert client_of(*lines) is None


@pytest.mark.parametrize("peer", ["203.0.113.9", "2001:db8::1", "11.0.0.1", "192.0.2.2", ""])
def test_whoever_is_not_trusted_is_not_believed(peer: str) -> None:
    """A client may send such headers itself."""
    assert client_of("X-Forwarded-For: 1.1.1.1", "Forwarded: for=1.1.1.1", peer=peer) is None


# As header lines have them.
texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40)


@given(st.lists(st.ip_addresses(), min_size=1, max_size=6), texts)
def test_no_client_can_take_the_address_of_another(hops: list[Any], invention: str) -> None:
    """Whatever it sends, the result is the last address that a trusted proxy has written."""
    hosts = [str(getattr(hop, "ipv4_mapped", None) or hop) for hop in hops]
    expected = next((host for host in reversed(hosts) if host not in TRUSTED), None)
    if expected is None:
        return
    assert address_of(f"X-Forwarded-For: {', '.join([invention, *hosts])}") == expected
    elements = ", ".join(f'for="[{host}]"' if ":" in host else f"for={host}" for host in hosts)
    assert address_of(f"Forwarded: {invention}, {elements}") == expected


@pytest.mark.parametrize(
    ("lines", "target"),
    [
        (["X-Forwarded-For: 203.0.113.9", "X-Forwarded-Host: shop.example"], "shop.example"),
        (["X-Forwarded-For: 203.0.113.9, 10.0.0.7", "X-Forwarded-Host: shop.example"], "shop.example"),
        (["X-Forwarded-For: 203.0.113.9, 10.0.0.7", "X-Forwarded-Host: shop.example, inner"], "shop.example"),
        (["X-Forwarded-For: 203.0.113.9", "X-Forwarded-Host: old.example, shop.example"], "shop.example"),
        (["X-Forwarded-Host: old.example, shop.example"], "shop.example"),
        (["Forwarded: for=203.0.113.9;host=shop.example, for=10.0.0.7;host=inner"], "shop.example"),
        (['Forwarded: for=203.0.113.9;host="shop.example:8443"', "X-Forwarded-For: 203.0.113.9"], "shop.example:8443"),
        (["Forwarded: for=203.0.113.9", "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Host: a"], "a"),
        (["X-Forwarded-For: 203.0.113.9"], None),
    ],
)
def test_the_name_that_the_client_asked_for(lines: list[str], target: str | None) -> None:
    """As the proxy that is nearest to it has written it."""
    hop = client_of(*lines)
    assert hop is not None
    assert hop.target == target


# -- on a server -----------------------------------------------------------------------------------------------------


def seen_by(trusted: list[Any] | None, headers: str, **options: Any) -> tuple[str, Request | None, Any]:
    """Return the status of an upgrade, the request as its handler saw it, and the address of the client's socket."""
    requests = Collector()

    def handler(conn: Connection, request: Request) -> None:
        requests(request)

    with serve(handler, trusted_proxies=trusted, **options) as server:
        peer, answer = knock(server.port, headers=headers)
        with peer.sock:
            own = peer.sock.getsockname()
            status = answer.split()[1]
            return status, requests.wait(1)[0] if status == "101" else None, own


def test_a_request_has_the_address_that_a_trusted_proxy_reports() -> None:
    """And that of the proxy beside it; without the option nothing is believed."""
    headers = "X-Forwarded-For: 1.1.1.1, 203.0.113.9:4711"
    status, request, own = seen_by(["127.0.0.1"], headers)
    assert status == "101"
    assert request is not None
    assert (request.remote, request.peer) == (("203.0.113.9", 4711), own)
    for trusted in (None, [], ["10.0.0.0/8"]):
        _, request, own = seen_by(trusted, headers)
        assert request is not None
        assert (request.remote, request.peer) == (own, own)


def test_authentication_sees_the_address_too() -> None:
    """It may depend on it."""
    seen = Collector()
    seen_by(["127.0.0.0/8"], "Forwarded: for=203.0.113.9", authenticate=lambda request: seen(request.remote) or "user")
    assert seen.items == [("203.0.113.9", 0)]


@pytest.mark.parametrize(
    ("headers", "trusted", "status"),
    [
        ("Origin: https://shop.example\r\nX-Forwarded-Host: shop.example", True, "101"),
        ("Origin: https://shop.example\r\nForwarded: for=203.0.113.9;host=shop.example", True, "101"),
        ("Origin: https://evil.example\r\nX-Forwarded-Host: shop.example", True, "403"),
        ("Origin: https://shop.example\r\nX-Forwarded-Host: shop.example", False, "403"),
        ("Origin: https://shop.example\r\nX-Forwarded-For: 203.0.113.9", True, "403"),
        ("Origin: http://localhost\r\nX-Forwarded-For: 203.0.113.9", True, "101"),
        ("Origin: https://shop.example\r\nX-Forwarded-Host: [", True, "403"),
    ],
)
def test_a_page_of_the_public_name_may_connect(headers: str, trusted: bool, status: str) -> None:
    """Where the proxy asks under another name: the origin is compared with the name that it forwards."""
    assert seen_by(["127.0.0.1"] if trusted else None, headers)[0] == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [("X-Forwarded-For: 203.0.113.9", "101"), ("X-Forwarded-For: garbage", "403"), ("X-Other: 1", "403")],
)
def test_behind_a_proxy_on_this_machine_the_public_name_is_accepted(headers: str, status: str) -> None:
    """But not from a page whose name was made to resolve to 127.0.0.1: no page can send these headers."""
    with serve(echo, trusted_proxies=["127.0.0.1"]) as server:
        host = f"evil.example:{server.port}"
        peer = RawPeer(socket.create_connection(("127.0.0.1", server.port), scaled(PATIENCE)))
        with peer.sock:
            peer.send(
                UPGRADE.replace("Host: localhost", f"Host: {host}\r\nOrigin: http://{host}\r\n{headers}").encode()
            )
            assert peer.read_header().split()[1] == status


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("10.0.0.1", "trusted_proxies must be a list of addresses and networks such as '10.0.0.0/8', not str"),
        (5, "trusted_proxies must be a list"),
        ([5], "trusted_proxies must contain addresses and networks, not 5"),
        ([b"\n\0\0\1"], "trusted_proxies must contain addresses"),
        (["*"], "trusted_proxies contains '\\*'"),
        (["unix:"], "trusted_proxies contains 'unix:'"),
        (["localhost"], "trusted_proxies contains 'localhost'"),
        (["10.0.0.1/8"], "trusted_proxies contains '10.0.0.1/8': 10.0.0.1/8 has host bits set"),
    ],
)
def test_what_is_not_an_address_or_a_network_is_refused(value: Any, message: str) -> None:
    """By name, where the server is made."""
    with pytest.raises(ValueError, match=message):
        ServerOptions(trusted_proxies=value)


def test_addresses_and_networks_are_taken_as_texts_and_as_values() -> None:
    """Options that mean the same are equal."""
    texts = ServerOptions(trusted_proxies=["10.0.0.1", "10.1.0.0/16"])
    values = ServerOptions(trusted_proxies=(IPv4Address("10.0.0.1"), IPv4Network("10.1.0.0/16")))
    assert texts == values
    assert texts.trusted_proxies == (ip_network("10.0.0.1/32"), ip_network("10.1.0.0/16"))
