"""The cookies of one connection: what its upgrade responses set goes back to the same host, and to no other.

A load balancer with sticky sessions so finds the server again to which it led the link before.

Threads: belongs to the thread that connects, one at a time for one connection.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.request import Request as CookieRequest

from ..handshake_fields import ResponseHeaders
from ..urls import Target
from ..values import Secret

MAX_COOKIES = 50
MAX_COOKIE_SIZE = 4096
"""Characters; the limits of browsers (RFC 6265, section 6.1). A request with more than that is refused."""

_CONTROL = r"[\x00-\x08\x0a-\x1f\x7f]"


class CookieFields:
    """The ``Set-Cookie`` headers of a response, as `http.cookiejar` asks for them."""

    def __init__(self, values: Sequence[str]) -> None:
        self._values = values

    def info(self) -> CookieFields:
        """Return the headers: themselves."""
        return self

    def get_all(self, name: str, default: Sequence[str] = ()) -> Sequence[str]:
        """Return the values of a header."""
        return self._values if name.lower() == "set-cookie" else default


class StickyCookies:
    """Keeps the cookies of the host to which the latest link led; `http.cookiejar` applies their attributes."""

    def __init__(self) -> None:
        self._host = ""
        self._jar = CookieJar()

    def keep(self, target: Target, headers: ResponseHeaders) -> None:
        """Keep what a response sets, with regard to Domain, Path, Secure and expiry."""
        if target.host != self._host:
            # Another host: nothing of the first may reach it, and what it sets must not grow without a bound.
            self._host, self._jar = target.host, CookieJar(DefaultCookiePolicy(secure_protocols=("wss",)))
        # A control character, such as a lone CR, would end a line of our own request.
        fields = [
            field
            for field in headers.get_all("set-cookie")
            if len(field) <= MAX_COOKIE_SIZE and not re.search(_CONTROL, field)
        ]
        response: Any = CookieFields(fields)
        self._jar.extract_cookies(response, _request(target))
        for cookie in list(self._jar)[:-MAX_COOKIES]:
            self._jar.clear(cookie.domain, cookie.path, cookie.name)

    def add_to(self, headers: dict[str, str], target: Target) -> dict[str, str]:
        """Return the headers of a request with the cookies for it; a cookie of the user's of the same name wins."""
        if target.host != self._host:
            return headers
        request = _request(target)
        self._jar.add_cookie_header(request)
        kept = request.get_header("Cookie")
        if not kept:
            return headers
        name = next((name for name in headers if name.lower() == "cookie"), "Cookie")
        own = headers.get(name, "")
        names = {pair.partition("=")[0].strip() for pair in own.split(";")}
        pairs = [pair for pair in kept.split("; ") if pair.partition("=")[0] not in names]
        return {**headers, name: Secret("; ".join([own, *pairs] if own else pairs))}


def _request(target: Target) -> CookieRequest:
    # Without the query, in which tokens travel: cookies depend on host, path and scheme.
    path = target.resource.partition("?")[0]
    return CookieRequest(f"{target.scheme}://{target.host_header}{path}")
