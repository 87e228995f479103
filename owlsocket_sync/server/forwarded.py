"""The address of a client behind proxies, as those that are trusted report it.

Each proxy appends the address from which it was asked. So the headers are read from the right, as far as the addresses
belong to trusted proxies: what is left of the first other address may be the invention of that client.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import islice
from typing import NamedTuple, Protocol

from .request import plain_address

Network = IPv4Network | IPv6Network
TrustedProxy = str | IPv4Address | IPv6Address | IPv4Network | IPv6Network

MAX_HOPS = 32
MAX_ELEMENT = 1024

# RFC 7239, section 4; addresses of IPv6 without quotes are accepted, as some proxies write them.
_PAIR = re.compile(r"\s*([\w!#$%&'*+.^`|~-]+)=(?:\"([^\"\\]*)\"|([^\s\",;]*))\s*(?:;|\Z)", re.ASCII)
# An address with a port, or in brackets; the port may be hidden (section 6.3).
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:([0-9]{1,5})|_[\w.-]+))?", re.ASCII)


class HeaderLines(Protocol):
    """The header of a request."""

    def get_all(self, name: str) -> Sequence[str]:
        """Return the values of all lines with a name."""
        ...


class Hop(NamedTuple):
    """One step of a request: the client or the proxy that asked, and the name that it asked for.

    Attributes:
        host: the address that asked.
        port: its port, 0 if that is not known.
        target: the ``Host`` for which it asked, ``None`` if that is not known.
    """

    host: str
    port: int
    target: str | None = None


def check_trusted_proxies(proxies: object) -> tuple[Network, ...] | None:
    """Return the option ``trusted_proxies`` as networks.

    Raises:
        ValueError: it is neither ``None`` nor a list of addresses and networks.
    """
    if proxies is None:
        return None
    if isinstance(proxies, (str, bytes)) or not isinstance(proxies, Iterable):
        kind = type(proxies).__name__
        raise ValueError(f"trusted_proxies must be a list of addresses and networks such as '10.0.0.0/8', not {kind}")
    return tuple(map(_network, proxies))


def _network(proxy: object) -> Network:
    # ip_network takes numbers and bytes as well, which are mistakes here.
    if not isinstance(proxy, (str, IPv4Address, IPv6Address, IPv4Network, IPv6Network)):
        raise ValueError(f"trusted_proxies must contain addresses and networks, not {proxy!r}")
    try:
        return ip_network(proxy)
    except ValueError as error:
        raise ValueError(f"trusted_proxies contains {str(proxy)!r}: {error}") from None


class TrustedProxies:
    """The proxies of which a server believes what they report about clients.

    Args:
        networks: their addresses.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks

    def __contains__(self, host: str) -> bool:
        """Return whether an address is that of a trusted proxy."""
        try:
            address = ip_address(plain_address(host))
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def client_of(self, host: str, headers: HeaderLines) -> Hop | None:
        """Return the client of a request that was received from an address, as the headers of the request report it.

        ``None``, and so the address itself, if it is not trusted, if there are no such headers, or if they are
        malformed or contradict each other: a proxy that knows one of them passes on the other as its client wrote it.
        """
        if host not in self:
            return None
        try:
            hops = self._client(_forwarded(headers)), self._client(_x_forwarded(headers))
            found = [hop for hop in hops if hop is not None]
            if not found:
                target = next(_names(headers), None)
                return None if target is None else Hop(host, 0, target)
        except ValueError:
            return None
        if len({hop.host for hop in found}) > 1:
            return None
        return found[0]._replace(target=next((hop.target for hop in found if hop.target), None))

    def _client(self, hops: Iterator[Hop]) -> Hop | None:
        """Return the first hop that is not a trusted proxy, or else the last; ``None`` without any."""
        hop = None
        for hop in islice(hops, MAX_HOPS):
            if hop.host not in self:
                return hop
        if next(hops, None) is not None:
            raise ValueError("more proxies than requests pass through")
        return hop


def _values(headers: HeaderLines, name: str) -> Iterator[str]:
    """Yield the values of a header from the right, of all its lines, without a look at those that are not asked for."""
    text = ",".join(headers.get_all(name))
    at = end = len(text)
    quotes = 0
    while end > 0:
        comma = text.rfind(",", 0, at)
        quotes += text.count('"', comma + 1, at)
        at = max(comma, 0)
        # Before the look at the quotes: of hostile text between two quotes no more is looked at, either.
        if end - comma > MAX_ELEMENT:
            raise ValueError("longer than any address is")
        if comma < 0 or quotes % 2 == 0:  # else it is a comma between quotes, which belongs to a value
            yield text[comma + 1 : end].strip()
            end, quotes = at, 0
        if comma < 0:
            return


def _forwarded(headers: HeaderLines) -> Iterator[Hop]:
    """Yield the hops of the header ``Forwarded`` (RFC 7239), the last first."""
    for element in _values(headers, "Forwarded"):
        pairs: dict[str, str] = {}
        at = 0
        while at < len(element):
            pair = _PAIR.match(element, at)
            if pair is None or pair[1].lower() in pairs:
                raise ValueError("not an element of Forwarded")
            pairs[pair[1].lower()] = pair[2] or pair[3] or ""
            at = pair.end()
        yield _hop(pairs.get("for", ""), pairs.get("host"))


def _x_forwarded(headers: HeaderLines) -> Iterator[Hop]:
    """Yield the hops of the header ``X-Forwarded-For``, the last first, with the names of ``X-Forwarded-Host``."""
    # Not each proxy adds a name: the leftmost is that for which the client asked. No page in a browser, against which
    # names are checked, can send a header of this name.
    names = _names(headers)
    target: str | None = None
    for value in _values(headers, "X-Forwarded-For"):
        target = next(names, target)
        yield _hop(value, target)


def _names(headers: HeaderLines) -> Iterator[str]:
    """Yield the names that were asked for, the last first."""
    # A proxy that adds none passes on what its client wrote: that must not hide the address.
    with suppress(ValueError):
        yield from _values(headers, "X-Forwarded-Host")


def _hop(node: str, target: str | None) -> Hop:
    parts = _NODE.fullmatch(node)
    host, port = (node, 0) if parts is None else (parts[1] or parts[2], int(parts[3] or 0))
    # A zone names an interface of another machine, and is text that a client may choose.
    if port > 65535 or "%" in host:
        raise ValueError("not an address with a port")
    return Hop(plain_address(host), port, target)
