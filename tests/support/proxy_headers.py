"""Headers of the PROXY protocol, as a proxy writes them."""

from __future__ import annotations

import struct
from ipaddress import ip_address

SIGNATURE = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
ADDRESSES_4 = ("203.0.113.9", "192.0.2.1", 4711, 443)
ADDRESSES_6 = ("2001:db8::9", "2001:db8::1", 4711, 443)


def v1(source: str, target: str, source_port: int, target_port: int) -> bytes:
    """A line of version 1."""
    return f"PROXY TCP{ip_address(source).version} {source} {target} {source_port} {target_port}\r\n".encode()


def v2(
    source: str = "203.0.113.9",
    target: str = "192.0.2.1",
    source_port: int = 4711,
    target_port: int = 443,
    *,
    command: int = 1,
    family: int | None = None,
    block: bytes | None = None,
    extensions: bytes = b"",
) -> bytes:
    """A header of version 2; a family, and a block of addresses, of one's own where they are named."""
    if family is None:
        family = 0x11 if ip_address(source).version == 4 else 0x21
    if block is None:
        block = ip_address(source).packed + ip_address(target).packed + struct.pack("!HH", source_port, target_port)
    block += extensions
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(block)) + block
