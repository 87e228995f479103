"""The header of the PROXY protocol: byte by byte, and on a server that asks for it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owlsocket_sync import Connection
from owlsocket_sync.server import Request, ServerOptions, serve
from owlsocket_sync.server.proxy_header import ProxyHeaderError, read_proxy_header
from support.helpers import Collector, scaled
from support.proxy_headers import ADDRESSES_4, ADDRESSES_6, SIGNATURE, v1, v2
from support.sockets import PATIENCE, UPGRADE, RawPeer, client_context, server_context

CLIENT = ("203.0.113.9", 4711)


class Stream:
    """Bytes that arrive in pieces of one size."""

    def __init__(self, data: bytes, size: int) -> None:
        self.left = data
        self._size = size

    def receive(self, size: int) -> bytes:
        """Return the next bytes."""
        size = min(size, self._size)
        taken, self.left = self.left[:size], self.left[size:]
        return taken


@pytest.mark.parametrize("size", [1, 5, 100_000], ids=["bytewise", "pieces", "at once"])
@pytest.mark.parametrize(
    ("header", "client"),
    [
        (v1(*ADDRESSES_4), CLIENT),
        (v1(*ADDRESSES_6), ("2001:db8::9", 4711)),
        (v1("::ffff:203.0.113.9", "::1", 4711, 0), CLIENT),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
        (v2(*ADDRESSES_4), CLIENT),
        (v2(*ADDRESSES_6), ("2001:db8::9", 4711)),
        (v2("::ffff:203.0.113.9", "::1"), CLIENT),
        (v2(*ADDRESSES_4, extensions=b"\x03\x00\x04\xa9\xb8\x7e\x8f\x04\x00\x00"), CLIENT),
        (v2(*ADDRESSES_4, extensions=b"\x04" + (60_000).to_bytes(2, "big") + b"x" * 60_000), CLIENT),
        (v2(command=0), None),
        (v2(command=0, family=0xFF, block=b"anything"), None),
        (v2(family=0, block=b""), None),
        (v2(family=0, block=b"x" * 300), None),
        (v2(family=0x12), None),
        (v2(family=0x31, block=b"/" * 216), None),
    ],
)
def test_a_valid_header_is_read_and_not_a_byte_more(header: bytes, client: tuple[str, int] | None, size: int) -> None:
    """What follows may be the first byte of TLS."""
    stream = Stream(header + b"\x16\x03\x01", size)
    assert read_proxy_header(stream.receive) == client
    assert stream.left == b"\x16\x03\x01"


@pytest.mark.parametrize(
    "header",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16",
        b"PROXY  TCP4 203.0.113.9 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2 \r\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 01 2\r\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 1 65536\r\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 -1 2\r\n",
        b"PROXY TCP4 203.0.113.09 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 2001:db8::9 192.0.2.1 1 2\r\n",
        b"PROXY TCP6 203.0.113.9 2001:db8::9 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 2001:db8::9 1 2\r\n",
        b"PROXY TCP4 203.0.113.9\r\n",
        b"PROXY UDP4 203.0.113.9 192.0.2.1 1 2\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY \xff\xff\xff\xff\xff\xff\r\n",
        b"proxy UNKNOWN\r\n",
        b"PROXY UNKNOWN " + b"x" * 200 + b"\r\n",
        SIGNATURE[:-1] + b"x",
        SIGNATURE + b"\x11\x11\x00\x0c" + b"x" * 12,
        v2(command=2),
        v2(family=0x13),
        v2(family=0x11, block=b"x" * 11),
        v2(family=0x21, block=b"x" * 35),
    ],
)
def test_any_other_begin_of_a_connection_is_refused(header: bytes) -> None:
    """A receiver must not guess whether there is a header."""
    with pytest.raises(ProxyHeaderError):
        read_proxy_header(Stream(header + b"\r\n" * 200, 100).receive)


@pytest.mark.parametrize("header", [v1(*ADDRESSES_4), v2(*ADDRESSES_4, extensions=b"x" * 9), b"PROXY UNKNOWN\r\n"])
def test_a_header_that_is_cut_off_is_no_header(header: bytes) -> None:
    """At any byte; it is reported as an end of the connection, and not as a malformed header."""
    for size in range(len(header)):
        with pytest.raises(ConnectionAbortedError):
            read_proxy_header(Stream(header[:size], 7).receive)


ports = st.integers(0, 65535)
addresses = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
)


@given(addresses, ports, ports, st.binary(max_size=300), st.sampled_from([v1, v2]), st.integers(1, 400))
def test_every_address_is_read_as_it_was_written(
    pair: tuple[IPv4Address | IPv6Address, ...], source: int, target: int, rest: bytes, write: Any, size: int
) -> None:
    """By either version, whatever follows."""
    stream = Stream(write(str(pair[0]), str(pair[1]), source, target) + rest, size)
    client = read_proxy_header(stream.receive)
    assert client is not None
    expected = getattr(pair[0], "ipv4_mapped", None) or pair[0]
    assert (ip_address(client[0]), client[1]) == (expected, source)
    assert stream.left == rest


# -- on a server -----------------------------------------------------------------------------------------------------


@contextmanager
def served(**options: Any) -> Iterator[tuple[int, Collector]]:
    """Run a server that asks for the header; its port, and the requests of its clients."""
    requests = Collector()

    def handler(conn: Connection, request: Request) -> None:
        requests(request)

    with serve(handler, proxy_protocol=True, **options) as server:
        yield server.port, requests


def connected(port: int) -> RawPeer:
    """Connect to a port."""
    return RawPeer(socket.create_connection(("127.0.0.1", port), scaled(PATIENCE)))


@pytest.mark.parametrize(
    ("header", "client"), [(v1(*ADDRESSES_4), CLIENT), (v2(*ADDRESSES_6), ("2001:db8::9", 4711)), (v2(command=0), None)]
)
def test_the_request_has_the_address_of_the_client(header: bytes, client: tuple[str, int] | None) -> None:
    """That of the proxy is `Request.peer`; and that is `Request.remote` where the proxy connects for itself."""
    with served() as (port, requests):
        peer = connected(port)
        with peer.sock:
            peer.send(header + UPGRADE.encode())
            assert peer.read_header().startswith("HTTP/1.1 101 ")
            (request,) = requests.wait(1)
            own = peer.sock.getsockname()
    assert request.peer == own
    assert request.remote == (client or own)


@pytest.mark.parametrize("header", [v1(*ADDRESSES_4), v2(*ADDRESSES_4, extensions=b"\x04\0\x01x")])
def test_the_header_comes_before_tls(header: bytes) -> None:
    """In the clear, as haproxy sends it."""
    with served(ssl_context=server_context()) as (port, requests):
        plain = connected(port)
        plain.send(header)
        with client_context().wrap_socket(plain.sock, server_hostname="localhost") as sock:
            peer = RawPeer(sock)
            peer.send(UPGRADE.encode())
            assert peer.read_header().startswith("HTTP/1.1 101 ")
            assert requests.wait(1)[0].remote == CLIENT


def test_a_proxy_that_resets_the_connection_after_the_header_leaves_nothing_open() -> None:
    """As haproxy ends some checks, right where TLS would begin."""
    with served(ssl_context=server_context()) as (port, _):
        for _ in range(20):
            peer = connected(port)
            peer.send(v2(*ADDRESSES_4))
            peer.reset()


def test_a_connection_without_the_header_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Without a response, which would be one to a protocol that is not spoken here; one line says why."""
    with served() as (port, requests), caplog.at_level(logging.WARNING, "owlsocket_sync"):
        for _ in range(3):
            peer = connected(port)
            with peer.sock:
                peer.send(UPGRADE.encode())
                assert peer.at_end()
        assert requests.items == []
    # Each second one, at most.
    line = "a connection from 127.0.0.1 was refused: no header of the PROXY protocol (option proxy_protocol)"
    assert all(line in record.getMessage() for record in caplog.records)
    assert caplog.records


def test_a_proxy_that_only_connects_is_no_reason_for_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """As checks by TCP do all day."""
    with served() as (port, _), caplog.at_level(logging.INFO, "owlsocket_sync"):
        for start in (b"", b"PROXY TCP4"):
            peer = connected(port)
            with peer.sock:
                peer.send(start)
                peer.sock.shutdown(socket.SHUT_WR)
                assert peer.at_end()
    assert caplog.records == []


def test_a_header_that_does_not_end_is_bounded_in_time() -> None:
    """By the timeout of the handshakes, together with them."""
    with served(timeout=0.05) as (port, _):
        for start in (b"", b"PROXY TCP4 ", SIGNATURE + b"\x21\x11\xff\xff"):
            peer = connected(port)
            with peer.sock:
                peer.send(start)
                assert peer.at_end()


def test_only_trusted_proxies_may_send_it() -> None:
    """Where some are named; anyone else is refused, header or not."""
    with served(trusted_proxies=["10.0.0.0/8"]) as (port, requests):
        peer = connected(port)
        with peer.sock:
            peer.send(v1(*ADDRESSES_4) + UPGRADE.encode())
            assert peer.at_end()
        assert requests.items == []
    with served(trusted_proxies=["127.0.0.0/8"]) as (port, requests):
        peer = connected(port)
        with peer.sock:
            peer.send(v1(*ADDRESSES_4) + UPGRADE.encode())
            assert peer.read_header().startswith("HTTP/1.1 101 ")
            assert requests.wait(1)[0].remote == CLIENT


def test_behind_it_another_proxy_may_be_trusted() -> None:
    """One that speaks HTTP, before the one that speaks TCP; one that is not trusted is the client."""
    lines = UPGRADE.replace("\r\n\r\n", "\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n").encode()
    for trusted, remote in ((["127.0.0.1", "203.0.113.9"], "198.51.100.7"), (["127.0.0.1"], "203.0.113.9")):
        with served(trusted_proxies=trusted) as (port, requests):
            peer = connected(port)
            with peer.sock:
                peer.send(v2(*ADDRESSES_4) + lines)
                assert peer.read_header().startswith("HTTP/1.1 101 ")
                assert requests.wait(1)[0].remote[0] == remote


def test_health_checks_need_the_header_too() -> None:
    """Else the port would be one at which a header may be left out."""
    with served(health="/health") as (port, _):
        for header, answered in ((v2(command=0), True), (b"PROXY UNKNOWN\r\n", True), (b"", False)):
            peer = connected(port)
            with peer.sock:
                peer.send(header + b"GET /health HTTP/1.0\r\n\r\n")
                if answered:
                    assert peer.read_header().startswith("HTTP/1.1 200 ")
                else:
                    assert peer.at_end()


def test_a_server_that_closes_does_not_wait_for_a_header() -> None:
    """It waits in slices, as for all that a client sends."""
    with served(timeout=scaled(60)) as (port, _):
        peer = connected(port)
        peer.send(b"PROXY ")
    with peer.sock:
        assert peer.at_end()


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_an_option_that_is_no_bool_is_refused(value: Any) -> None:
    """By name."""
    with pytest.raises(ValueError, match="proxy_protocol must be bool"):
        ServerOptions(proxy_protocol=value)
