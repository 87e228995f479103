"""The request with which a client connects, as handlers and authentication see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """The upgrade request of a client.

    Attributes:
        path: of the URL, without the query.
        query: the parameters of the URL; the last value where a name occurs twice.
        headers: of the request; names are case-insensitive.
        remote: the address and port of the client, as a trusted proxy reports them; the port is 0 if it does not.
        auth: the identity that ``authenticate`` returned; ``None`` for an anonymous client.
        peer: the address and port at the other end of the socket: those of the client, or of the nearest proxy.
    """

    path: str
    # Not in the repr: tokens travel in the query and in the headers, and a repr ends up in logs.
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    remote: tuple[str, int]
    auth: Any = None
    peer: tuple[str, int] = ("", 0)

    def __post_init__(self) -> None:
        if not self.peer[0]:
            object.__setattr__(self, "peer", self.remote)


def plain_address(text: str) -> str:
    """Return an address in its usual form; one of IPv4 also where a socket of IPv6 has it as ``::ffff:1.2.3.4``.

    Raises:
        ValueError: it is not an address.
    """
    address = ip_address(text)
    return str(getattr(address, "ipv4_mapped", None) or address)


def url_host(host: str) -> str:
    """Return an address as the host of a URL for clients on this machine."""
    # A wildcard address cannot be connected to on every system; the loopback address of its family can.
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1" if host == "0.0.0.0" else "[::1]"
    return f"[{host}]" if ":" in host else host
