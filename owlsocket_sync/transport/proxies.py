"""Addresses of proxies: from a URL, or from the environment as `requests` reads it.

Threads: any; values are immutable.
"""

from __future__ import annotations

import base64
import contextlib
from typing import NamedTuple
from urllib.parse import unquote

from ..urls import Target, decode_zone, split_proxy
from ..values import Secret

SOCKS_SCHEMES = ("socks5", "socks5h", "socks4", "socks4a")
SCHEMES = ("http", *SOCKS_SCHEMES)
MAX_SOCKS_NAME = 255
"""Bytes of a user or a password (RFC 1929, section 2)."""

_DEFAULT_PORTS = {"http": 80}
_SOCKS_PORT = 1080


class ProxyAddress(NamedTuple):
    """A proxy, and who uses it.

    Attributes:
        host: name or address.
        port: of the host.
        authorization: the value of the header ``Proxy-Authorization``, for an HTTP proxy.
        scheme: ``http``, or one of `SOCKS_SCHEMES`.
        login: user and password, for a SOCKS proxy.
    """

    host: str
    port: int
    authorization: str | None = None
    scheme: str = "http"
    login: tuple[str, str] | None = None

    @property
    def is_socks(self) -> bool:
        """Return whether it speaks SOCKS, and not HTTP."""
        return self.scheme in SOCKS_SCHEMES

    @property
    def has_login(self) -> bool:
        """Return whether its URL has a user."""
        return self.authorization is not None or self.login is not None

    def __repr__(self) -> str:
        return f"ProxyAddress({self.host!r}, {self.port}, scheme={self.scheme!r})"


def parse_proxy(proxy: str, option: str = "proxy") -> ProxyAddress:
    """Parse a URL ``http://[user:password@]host:port``, or one of SOCKS; ``option`` names it in the error.

    Raises:
        ValueError: it is not such a URL; the message does not contain the password.
    """
    parts = split_proxy(proxy, option, SCHEMES)
    host, port = decode_zone(parts.hostname or ""), parts.port or _DEFAULT_PORTS.get(parts.scheme, _SOCKS_PORT)
    if parts.username is None:
        return ProxyAddress(host, port, scheme=parts.scheme)
    user, password = unquote(parts.username), unquote(parts.password or "")
    if parts.scheme != "http":
        _check_socks_login(parts.scheme, user, password, option)
        return ProxyAddress(host, port, scheme=parts.scheme, login=(user, Secret(password)))
    try:
        authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    except UnicodeEncodeError:
        raise ValueError(f"the user or password of {option} cannot be encoded as UTF-8") from None
    return ProxyAddress(host, port, authorization)


def _check_socks_login(scheme: str, user: str, password: str, option: str) -> None:
    if scheme.startswith("socks4") and password:
        raise ValueError(f"{option}: SOCKS4 has no passwords, use a {scheme}:// URL with a user alone, or socks5://")
    if scheme.startswith("socks5") and not (user and password):
        raise ValueError(f"{option}: a {scheme}:// URL must have both user and password, or neither")
    if not (user + password).isascii() or max(len(user), len(password)) > MAX_SOCKS_NAME:
        raise ValueError(f"{option}: user and password of a SOCKS proxy must be ASCII, {MAX_SOCKS_NAME} bytes at most")


def proxy_for(target: Target, proxy: str | None) -> ProxyAddress | None:
    """Return the proxy for a target: the given URL, or the environment's proxy for ``"env"``.

    Raises:
        ValueError: the URL, or a variable of the environment, cannot be used.
    """
    if proxy is None:
        return None
    if proxy != "env":
        return parse_proxy(proxy)
    # Loaded here: most connections use no proxy. Those that do take the same way as a program's HTTP requests.
    from requests.utils import get_environ_proxies, select_proxy

    scheme = "https" if target.secure else "http"
    host = f"[{target.server_name}]" if ":" in target.host else target.host
    url = f"{scheme}://{host}:{target.port}/"
    # Without proxies where ``NO_PROXY`` names the host.
    proxies = get_environ_proxies(url)
    chosen = select_proxy(url, proxies)
    if not chosen or _is_in_ipv6_networks(target.server_name, proxies.get("no", "")):
        return None
    variable = f"{scheme}_proxy" if chosen == proxies.get(scheme) else "all_proxy"
    return parse_proxy(chosen, f"the proxy of the environment, {variable},")


def _is_in_ipv6_networks(host: str, no_proxy: str) -> bool:
    """Return whether the host is an IPv6 address in a network of ``no_proxy``: requests knows those of IPv4 alone."""
    from ipaddress import IPv6Address, IPv6Network

    with contextlib.suppress(ValueError):
        address = IPv6Address(host)
        for entry in no_proxy.split(","):
            with contextlib.suppress(ValueError):  # not a network of IPv6: the others count
                if address in IPv6Network(entry.strip(), strict=False):
                    return True
    return False
