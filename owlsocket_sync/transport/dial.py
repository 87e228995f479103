"""From an address to a connected stream: DNS, TCP, proxy and TLS, under one deadline.

Threads: whoever dials, one at a time for one connection. It waits in slices, and asks between them whether it is still
wanted, so that closing a connection need not wait for a server that does not answer.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketTimeout
from ..urls import Target
from .readiness import wait_while
from .stream import DuplexStream
from .tls import shake_hands, tls_failure

PROXY_ANSWER_BYTES = 65_536

Address = tuple[Any, ...]

_OPTIONS = (
    ("SOL_SOCKET", "SO_KEEPALIVE", 1),
    ("IPPROTO_TCP", "TCP_KEEPIDLE", 30),
    ("IPPROTO_TCP", "TCP_KEEPINTVL", 10),
    ("IPPROTO_TCP", "TCP_KEEPCNT", 3),
    ("IPPROTO_TCP", "TCP_NODELAY", 1),
)


class ProxyAddress(NamedTuple):
    """An HTTP proxy, and who we are to it."""

    host: str
    port: int
    authorization: str | None = None

    def __repr__(self) -> str:
        return f"ProxyAddress({self.host!r}, {self.port})"


def parse_proxy(proxy: str) -> ProxyAddress:
    """Take an ``http://[user:password@]host:port`` URL apart.

    Raises:
        ValueError: it is another kind of URL; the message holds no password.
    """
    try:
        parts = urlsplit(proxy)
        port = parts.port
    except ValueError:
        raise ValueError("proxy must be a URL such as 'http://user:password@host:port'") from None
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"proxy must be an http:// URL with a host, 'env' or None, not a {parts.scheme or '?'}:// one")
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        try:
            authorization = "Basic " + base64.b64encode(pair.encode()).decode()
        except UnicodeEncodeError:
            raise ValueError("proxy has a user or password with half a character in it") from None
    return ProxyAddress(parts.hostname, port or 80, authorization)


def proxy_for(target: Target, proxy: str | None) -> ProxyAddress | None:
    """The proxy on the way to a target: the one that is named, or for ``"env"`` the one of the environment."""
    if proxy is None:
        return None
    if proxy != "env":
        return parse_proxy(proxy)
    from urllib.request import getproxies, proxy_bypass

    if proxy_bypass(f"{target.host}:{target.port}"):
        return None
    named = getproxies().get("https" if target.secure else "http")
    return parse_proxy(named) if named else None


def dial(
    target: Target,
    deadline: Deadline,
    ssl_context: ssl.SSLContext | None = None,
    proxy: ProxyAddress | None = None,
    wanted: Callable[[], bool] = lambda: True,
) -> DuplexStream:
    """Connect to a target.

    Raises:
        SocketConnectionError: it cannot be reached, or its certificate does not hold (then not ``retryable``).
        SocketTimeout: it was not reached within the deadline.
    """
    attempt = Attempt(target, deadline, wanted)
    sock = attempt.connect(proxy.host if proxy else target.host, proxy.port if proxy else target.port)
    try:
        if proxy is not None:
            attempt.tunnel(sock, proxy)
        if target.secure:
            sock = attempt.encrypt(sock, ssl_context or default_context())
        return DuplexStream(sock)
    except SocketTimeout:
        sock.close()
        raise
    except TimeoutError as error:
        sock.close()
        who = f"the proxy {proxy.host}:{proxy.port}" if proxy else f"{target.host}:{target.port}"
        raise SocketTimeout(f"{who} did not answer within {deadline.seconds:g} s") from error
    except BaseException:
        sock.close()
        raise


def default_context() -> ssl.SSLContext:
    """Certificates and host names are checked; TLS 1.2 or newer."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _in_turn(addresses: Sequence[Address]) -> list[Address]:
    """One of each family after the other (RFC 8305, section 4): a family that leads nowhere costs one share."""
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    return [address for turn in zip_longest(*families.values()) for address in turn if address is not None]


class Attempt:
    """One walk from a name to a stream."""

    def __init__(self, target: Target, deadline: Deadline, wanted: Callable[[], bool]) -> None:
        self._target = target
        self._deadline = deadline
        self._wanted = wanted

    def connect(self, host: str, port: int) -> socket.socket:
        """Connect to the first address that answers; each gets an even share of the time that is left."""
        try:
            addresses = _in_turn(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            raise SocketConnectionError(f"{host} is no known host: {error}") from error
        failure: Exception | None = None
        for place, (family, kind, protocol, _, address) in enumerate(addresses):
            share = time.monotonic() + self._deadline.remaining() / (len(addresses) - place)
            sock = socket.socket(family, kind, protocol)
            try:
                self._set_options(sock)
                self._connect_one(sock, address, share)
            except (OSError, SocketTimeout) as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        if isinstance(failure, TimeoutError) and self._deadline.expired():
            raise SocketTimeout(f"{host}:{port} did not accept within {self._deadline.seconds:g} s") from failure
        raise SocketConnectionError(f"{host}:{port} cannot be reached: {failure}") from failure

    def _connect_one(self, sock: socket.socket, address: object, until: float) -> None:
        sock.setblocking(False)
        code = sock.connect_ex(address)  # type: ignore[arg-type]
        if code in (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY):
            self._wait([], [sock], until)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    @staticmethod
    def _set_options(sock: socket.socket) -> None:
        for level, option, value in _OPTIONS:
            if hasattr(socket, option):
                with contextlib.suppress(OSError):
                    sock.setsockopt(getattr(socket, level), getattr(socket, option), value)

    def _wait(self, readers: list[socket.socket], writers: list[socket.socket], until: float) -> None:
        wait_while(self._wanted, readers, writers, until)

    def tunnel(self, sock: socket.socket, proxy: ProxyAddress) -> None:
        """Have an HTTP proxy connect us through (RFC 9110, section 9.3.6)."""
        host = f"[{self._target.host}]" if ":" in self._target.host else self._target.host
        place = f"{host}:{self._target.port}"
        lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        self._send(sock, "\r\n".join([*lines, "", ""]).encode("ascii"))
        answer = self._read_header(sock)
        status = answer.split(b"\r\n", 1)[0].decode("latin-1")
        words = status.split(" ", 2)
        if not status.startswith("HTTP/1.") or len(words) < 2 or not words[1].isdigit():
            raise SocketConnectionError(f"the proxy {proxy.host}:{proxy.port} does not speak HTTP: {status[:100]!r}")
        if not 200 <= int(words[1]) < 300:
            hint = " (put user and password into proxy=)" if words[1] == "407" else ""
            error = SocketConnectionError(f"the proxy {proxy.host}:{proxy.port} refuses {place}: {status[:100]}{hint}")
            error.status = int(words[1])
            error.retryable = words[1] != "407"
            raise error

    def _send(self, sock: socket.socket, data: bytes) -> None:
        while data:
            try:
                data = data[sock.send(data) :]
            except BlockingIOError:
                self._wait([], [sock], self._deadline.at)

    def _read_header(self, sock: socket.socket) -> bytes:
        """Read up to the empty line, and not a byte more: what follows is the server's."""
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            if len(answer) >= PROXY_ANSWER_BYTES:
                raise SocketConnectionError(f"the proxy's answer is longer than {PROXY_ANSWER_BYTES} bytes")
            self._wait([sock], [], self._deadline.at)
            seen = sock.recv(4096, socket.MSG_PEEK)
            end = (answer + seen).find(b"\r\n\r\n", max(0, len(answer) - 3))
            wanted = len(seen) if end < 0 else end + 4 - len(answer)
            taken = sock.recv(wanted)
            if not taken:
                raise SocketConnectionError("the proxy closed the connection instead of answering")
            answer += taken
        return answer

    def encrypt(self, sock: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        """Do the TLS handshake."""
        secure = sock
        try:
            secure = context.wrap_socket(sock, server_hostname=self._target.host, do_handshake_on_connect=False)
            shake_hands(secure, lambda readers, writers: self._wait(readers, writers, self._deadline.at))
        except OSError as error:
            secure.close()
            if isinstance(error, (TimeoutError, SocketConnectionError)):
                raise
            raise tls_failure(error, self._target.host) from error
        except BaseException:
            secure.close()
            raise
        return secure
