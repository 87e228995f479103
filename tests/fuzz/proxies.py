"""What proxies say about clients: headers of the PROXY protocol, and those of a request."""

from __future__ import annotations

from ipaddress import ip_address

from fuzz.target import Target, pure
from owlsocket_sync.server.forwarded import TrustedProxies, check_trusted_proxies
from owlsocket_sync.server.proxy_header import MAX_LINE, V1_START, V2_START, read_proxy_header
from support.proxy_headers import ADDRESSES_4, ADDRESSES_6, v1, v2

TRUSTED = check_trusted_proxies(["10.0.0.0/8", "::1"])
PEER = "10.0.0.1"


def read_header(data: bytes) -> None:
    """An address, none, or a plain `OSError`; and not a byte more was read than the header has."""
    left = data

    def receive(size: int) -> bytes:
        nonlocal left
        assert 0 < size < 70_000
        taken, left = left[:size], left[size:]
        return taken

    try:
        client = read_proxy_header(receive)
    except OSError as error:
        assert len(str(error)) < 200
        return
    header = data[: len(data) - len(left)]
    if header.startswith(V1_START):
        assert len(header) <= MAX_LINE
        assert header.count(b"\n") == 1
        assert header.endswith(b"\r\n")
    else:
        assert header.startswith(V2_START)
        assert len(header) == 16 + int.from_bytes(header[14:16], "big")
    if client is not None:
        _check(*client)


def _check(host: str, port: int) -> None:
    assert str(ip_address(host)) == host
    assert host.isascii()
    assert 0 <= port <= 65535


class Lines:
    """Header lines, each of which began with its name."""

    def __init__(self, text: str) -> None:
        self._pairs = [line.partition(":")[::2] for line in text.split("\n")]

    def get_all(self, name: str) -> list[str]:
        """Return the values of the lines with a name."""
        return [value for key, value in self._pairs if key.lower() == name.lower()]


def read_forwarded(data: bytes) -> None:
    """An address, or nothing: whatever the lines say, nothing is raised, and who is not trusted is not listened to."""
    lines = Lines(data.decode("latin-1"))
    proxies = TrustedProxies(TRUSTED or ())
    assert proxies.client_of("192.0.2.1", lines) is None
    hop = proxies.client_of(PEER, lines)
    if hop is not None:
        _check(hop.host, hop.port)
        # No address of which the headers do not speak, but that of the proxy itself.
        assert hop.host == PEER or lines.get_all("Forwarded") or lines.get_all("X-Forwarded-For")


def _headers() -> list[bytes]:
    lines = [v1(*ADDRESSES_4), v1(*ADDRESSES_6), b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff 1 2\r\n"]
    blocks = [v2(*ADDRESSES_4), v2(*ADDRESSES_6), v2(*ADDRESSES_4, extensions=b"\x04\0\x05abcde"), v2(command=0)]
    return [*(header + b"GET / HTTP/1.1\r\n" for header in (*lines, *blocks)), v2(family=0x31, block=b"/" * 216)]


FORWARDED = [
    b"X-Forwarded-For: 203.0.113.9",
    b"X-Forwarded-For: 1.2.3.4, 203.0.113.9:4711, 10.1.2.3\nX-Forwarded-Host: shop.example, inner:8080",
    b"X-Forwarded-For: 1.2.3.4\nX-Forwarded-For: [2001:db8::1]:80, ::1",
    b'Forwarded: for="[2001:db8::1]:4711";host=shop.example;proto=https, for=10.0.0.2',
    b"Forwarded: for=unknown, for=_hidden;by=203.0.113.43",
    b'Forwarded: for="_gazonk"\nX-Forwarded-For: 203.0.113.9',
    b'Forwarded: for=203.0.113.9;host="a,b;c"\nX-Forwarded-For: 203.0.113.9',
]

TARGETS: tuple[Target, ...] = (
    pure(
        "proxy-header",
        read_header,
        _headers,
        (V1_START, V2_START, b"TCP4 ", b"TCP6 ", b"\r\n", b"\x21\x11", b"\0\x0c"),
    ),
    pure(
        "forwarded",
        read_forwarded,
        lambda: FORWARDED,
        (b"Forwarded: ", b"X-Forwarded-For: ", b"for=", b'"', b",", b";", b"10.0.0.2", b"::1", b"%", b"[", b"host="),
    ),
)
