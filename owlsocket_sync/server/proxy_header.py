"""The header of the PROXY protocol, versions 1 and 2, with which a TCP proxy names the client that it connects for.

It comes before everything else, TLS included. Not a byte is read past it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from .request import plain_address

V1_START = b"PROXY "
V2_START = b"\r\n\r\n\0\r\nQUIT\n"
MAX_LINE = 107
SKIPPED_AT_ONCE = 4096

_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")
_LINE = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})\r\n")
# The families of version 2: which addresses the header has, and how many bytes.
_TCP4, _TCP6 = 0x11, 0x21
_SIZES = {0x00: 0, _TCP4: 12, 0x12: 12, _TCP6: 36, 0x22: 36, 0x31: 216, 0x32: 216}

Receive = Callable[[int], bytes]
"""Waits for bytes, and returns so many at most; an empty text at the end of the stream."""


class ProxyHeaderError(ConnectionError):
    """A connection does not begin with a valid header of the PROXY protocol, from a proxy that may send it."""


def read_proxy_header(receive: Receive) -> tuple[str, int] | None:
    """Read the header, and return the address and port of the client.

    Args:
        receive: returns the bytes of the stream.

    Returns:
        ``None`` if the proxy connects for itself, as for a health check, or does not know its client.

    Raises:
        ProxyHeaderError: there is no valid header.
        OSError: the stream ended within the header, or ``receive`` raised it.
    """
    start = b""
    # At the first byte that is different: a client that expects a greeting would wait until the deadline otherwise.
    while len(start) < len(V2_START):
        start += _receive(receive, len(V2_START) - len(start))
        if not (V2_START.startswith(start) or V1_START.startswith(start[: len(V1_START)])):
            raise ProxyHeaderError("no header of the PROXY protocol")
    return _read_addresses(receive) if start == V2_START else _read_line(start, receive)


def _read_line(start: bytes, receive: Receive) -> tuple[str, int] | None:
    """Read version 1, a line of text that began with these bytes."""
    line = bytearray(start)
    while not line.endswith(b"\n"):
        if len(line) >= MAX_LINE:
            raise ProxyHeaderError("the line of the PROXY protocol has no end")
        line += _receive(receive, 1)  # the next byte may be the first of TLS
    if _UNKNOWN.fullmatch(line):
        return None
    parts = _LINE.fullmatch(line)
    if parts is None:
        raise ProxyHeaderError("the line of the PROXY protocol is malformed")
    address: type[IPv4Address] | type[IPv6Address] = IPv4Address if parts[1] == b"4" else IPv6Address
    try:
        source, _ = (address(part.decode()) for part in parts.group(2, 3))
    except ValueError:
        raise ProxyHeaderError("the line of the PROXY protocol has no valid addresses") from None
    ports = [int(port) for port in parts.group(4, 5)]
    if max(ports) > 65535:
        raise ProxyHeaderError("the line of the PROXY protocol has no valid ports")
    return plain_address(str(source)), ports[0]


def _read_addresses(receive: Receive) -> tuple[str, int] | None:
    """Read the rest of version 2, which is binary."""
    version_and_command, family, *length = _read(receive, 4)
    size = int.from_bytes(bytes(length), "big")
    if version_and_command not in (0x20, 0x21):
        raise ProxyHeaderError("an unknown version or command of the PROXY protocol")
    is_local = version_and_command == 0x20
    needed = 0 if is_local else _SIZES.get(family, size + 1)
    if needed > size:
        raise ProxyHeaderError("an unknown family of the PROXY protocol, or too few bytes for its addresses")
    addresses = _read(receive, needed)
    # What follows the addresses are extensions (TLV), and all of it where the proxy connects for itself.
    left = size - needed
    while left:
        left -= len(_receive(receive, min(left, SKIPPED_AT_ONCE)))
    if is_local or family not in (_TCP4, _TCP6):
        return None
    half = 4 if family == _TCP4 else 16
    return plain_address(str(ip_address(addresses[:half]))), int.from_bytes(addresses[2 * half : 2 * half + 2], "big")


def _read(receive: Receive, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += _receive(receive, size - len(data))
    return data


def _receive(receive: Receive, size: int) -> bytes:
    data = receive(size)
    if not data:
        raise ConnectionAbortedError("the connection ended within the header of the PROXY protocol")
    return data
