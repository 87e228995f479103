"""Connecting a stream to an address: DNS, TCP, proxy and TLS, under one deadline.

Threads: belongs to the thread that connects, one at a time for one connection. Every wait is cut into slices of
`POLL_INTERVAL`, between which the thread checks whether to continue: closing a connection does not wait for a server
that does not respond.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import zip_longest
from typing import Any

from ..clock import monotonic
from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketTimeout
from ..errors.http_status import is_final, parse_retry_after
from ..urls import Target, redact
from ..values import escape_for_log
from .proxies import ProxyAddress
from .refusal import header_value, redirect_text
from .socket_options import OPTIONS, set_options
from .stream import DuplexStream
from .tls import do_handshake, tls_error
from .waiting import wait_while

MAX_PROXY_RESPONSE = 65_536
PROXY_ROLE = "the proxy "

Address = tuple[Any, ...]
Socket = socket.socket

_OPTIONS = OPTIONS


def dial(
    target: Target,
    deadline: Deadline,
    ssl_context: ssl.SSLContext | None = None,
    proxy: ProxyAddress | None = None,
    should_continue: Callable[[], bool] = lambda: True,
) -> DuplexStream:
    """Connect to a target.

    Args:
        target: host, port and scheme.
        deadline: for all steps together.
        ssl_context: for ``wss://``; `default_context` if ``None``.
        proxy: the proxy to connect through.
        should_continue: checked regularly; false cancels the attempt.

    Raises:
        SocketConnectionError: the target cannot be reached, or its certificate is invalid (then not ``retryable``).
        SocketTimeout: the deadline passed.
    """
    if proxy is not None and proxy.is_socks:
        import_module(".socks", __package__)  # before anything is dialled, where the extra is missing
    attempt = ConnectAttempt(target, deadline, should_continue)
    if proxy is None:
        sock = attempt.connect(target.host, target.port)
    else:
        sock = attempt.connect(proxy.host, proxy.port, PROXY_ROLE)
    try:
        if proxy is not None:
            attempt.tunnel(sock, proxy)
        if target.secure:
            sock = attempt.encrypt(sock, ssl_context or default_context())
        return DuplexStream(sock)
    except TimeoutError as error:
        sock.close()
        peer = f"proxy {proxy.host}:{proxy.port}" if proxy else f"{target.host}:{target.port}"
        raise SocketTimeout(f"connecting to {peer} timed out after {deadline.seconds:g} s") from error
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError) and not isinstance(error, SocketConnectionError):
            # Such as a proxy that resets the connection, or a process without descriptors.
            raise connection_failed(target, error) from error
        raise


def connection_failed(target: Target, error: OSError) -> SocketConnectionError:
    """Return the error for a failure of the operating system, which may be over at the next attempt."""
    return SocketConnectionError(f"connecting to {target.host}:{target.port} failed: {error}")


def default_context() -> ssl.SSLContext:
    """Return a context that verifies certificates and host names, and requires TLS 1.2 or newer."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def resolve(host: str, port: int, role: str = "") -> list[Address]:
    """Return the addresses of a host, as `socket.getaddrinfo` has them; ``role`` is what it is, before it in an error.

    Raises:
        SocketConnectionError: the host cannot be resolved.
    """
    try:
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        raise SocketConnectionError(f"cannot resolve {role}host '{host}': {error}") from error


def _credentials_hint(status: int, proxy: ProxyAddress) -> str:
    """Return what to do about credentials that a proxy asks for; some refuse wrong ones with 401, as a server would."""
    if status not in (401, 407):
        return ""
    if not proxy.has_login:
        return " (add user and password to the URL of the proxy)"
    return " (check user and password in the URL of the proxy)"


def _interleave_families(addresses: Sequence[Address]) -> list[Address]:
    """Alternate between address families (RFC 8305, section 4)."""
    # A family without a route then costs one share of the time, not the shares of all its addresses.
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    return [address for row in zip_longest(*families.values()) for address in row if address is not None]


class ConnectAttempt:
    """The steps from a host name to an encrypted socket, which share one deadline.

    Args:
        target: where to connect.
        deadline: for all steps together.
        should_continue: checked regularly; false cancels the attempt.
    """

    def __init__(self, target: Target, deadline: Deadline, should_continue: Callable[[], bool]) -> None:
        self._target = target
        self._deadline = deadline
        self._should_continue = should_continue

    def connect(self, host: str, port: int, role: str = "") -> socket.socket:
        """Connect to the first address that accepts; each address gets an equal share of the remaining time.

        Args:
            host: name or address.
            port: of the host.
            role: what it is, before its address in an error.
        """
        addresses = _interleave_families(resolve(host, port, role))
        failure: Exception | None = None
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            # What an address leaves of its share goes to those after it. The last one has the deadline itself: a moment
            # before it would be a failure of another class.
            left, now = len(addresses) - index, monotonic()
            share = self._deadline.at if left == 1 else now + (self._deadline.at - now) / left
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:  # no descriptor is left, or no support for the family
                failure = error
                continue
            try:
                set_options(sock, _OPTIONS)
                self._connect_address(sock, address, share)
            except SocketConnectionError:  # closed while connecting: no other address is tried
                sock.close()
                raise
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        if isinstance(failure, TimeoutError) and self._deadline.expired():
            seconds = self._deadline.seconds
            raise SocketTimeout(f"connecting to {role}{host}:{port} timed out after {seconds:g} s") from failure
        raise SocketConnectionError(f"{role}{host}:{port} cannot be reached: {failure}") from failure

    def _connect_address(self, sock: socket.socket, address: object, until: float) -> None:
        sock.setblocking(False)
        # A non-blocking connect reports its result as SO_ERROR once the socket is writable.
        code = sock.connect_ex(address)  # type: ignore[arg-type]
        if code in (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY):
            self._wait([], [sock], until)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    def _wait(self, readers: list[socket.socket], writers: list[socket.socket], until: float) -> None:
        wait_while(self._should_continue, readers, writers, until)

    def tunnel(self, sock: socket.socket, proxy: ProxyAddress) -> None:
        """Open a tunnel through a proxy, by SOCKS or with CONNECT of HTTP."""
        try:
            (self._tunnel_by_socks if proxy.is_socks else self._tunnel_by_connect)(sock, proxy)
        except OSError as error:
            if isinstance(error, (TimeoutError, SocketConnectionError)):
                raise
            raise SocketConnectionError(f"the link to proxy {proxy.host}:{proxy.port} broke: {error}") from error

    def _tunnel_by_connect(self, sock: socket.socket, proxy: ProxyAddress) -> None:
        """Open a tunnel through an HTTP proxy (RFC 9110, section 9.3.6)."""
        host = f"[{self._target.server_name}]" if ":" in self._target.host else self._target.host
        authority = f"{host}:{self._target.port}"
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        self._send(sock, "\r\n".join([*lines, "", ""]).encode("ascii"))
        response = self._read_header(sock)
        # A proxy may send interim responses first (RFC 9110, section 15.2); each is bounded, and so is the time.
        while re.match(rb"HTTP/1\.\d 1\d\d\b", response):
            response = self._read_header(sock)
        status = response.split(b"\r\n", 1)[0].decode("latin-1")
        words = status.split(" ", 2)
        if not status.startswith("HTTP/1.") or len(words) < 2 or not words[1].isdigit():
            raise SocketConnectionError(f"proxy {proxy.host}:{proxy.port} did not respond with HTTP: {status[:100]!r}")
        if not 200 <= int(words[1]) < 300:
            location = header_value(response, b"location")
            hint = redirect_text(int(words[1]), location and redact(location)) + _credentials_hint(int(words[1]), proxy)
            answer = escape_for_log(status[:100])
            error = SocketConnectionError(
                f"proxy {proxy.host}:{proxy.port} refused to connect to {authority}: {answer}{hint}"
            )
            error.status = int(words[1])
            error.retry_after = parse_retry_after(header_value(response, b"retry-after"))
            # Wrong credentials stay wrong, and so does a rule of the proxy; only some refusals are temporary.
            error.retryable = not is_final(error.status)
            raise error

    def _tunnel_by_socks(self, sock: socket.socket, proxy: ProxyAddress) -> None:
        from .socks import open_tunnel  # needs the extra

        host, port = self._target.server_name, self._target.port
        only_ipv4 = proxy.scheme.startswith("socks4")
        if proxy.scheme in ("socks4", "socks5"):  # the host is resolved here, and not by the proxy
            addresses = [each for each in resolve(host, port) if each[0] == socket.AF_INET or not only_ipv4]
            host = str(addresses[0][4][0]) if addresses else host
        if only_ipv4 and (":" in host or (proxy.scheme == "socks4" and not addresses)):
            error = SocketConnectionError(f"{proxy.scheme}:// reaches IPv4 addresses only, and {host} has none")
            error.retryable = False
            raise error
        open_tunnel(sock, proxy, host, port, lambda readers, writers: self._wait(readers, writers, self._deadline.at))

    def _send(self, sock: socket.socket, data: bytes) -> None:
        while data:
            try:
                data = data[sock.send(data) :]
            except BlockingIOError:
                self._wait([], [sock], self._deadline.at)

    def _read_header(self, sock: socket.socket) -> bytes:
        """Read the response up to its empty line, and not one byte more."""
        # What follows belongs to the server behind the proxy: peek, and receive up to the empty line only.
        response = b""
        while not response.endswith(b"\r\n\r\n"):
            if len(response) >= MAX_PROXY_RESPONSE:
                raise SocketConnectionError(f"the response of the proxy is longer than {MAX_PROXY_RESPONSE} bytes")
            self._wait([sock], [], self._deadline.at)
            peeked = sock.recv(4096, socket.MSG_PEEK)
            # The empty line may have begun in the bytes before.
            end = (response + peeked).find(b"\r\n\r\n", max(0, len(response) - 3))
            chunk = sock.recv(len(peeked) if end < 0 else end + 4 - len(response))
            if not chunk:
                raise SocketConnectionError("the proxy closed the connection without a response")
            response += chunk
        return response

    def encrypt(self, sock: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        """Perform the TLS handshake; closes the socket if it fails."""
        secure = sock
        try:
            secure = context.wrap_socket(sock, server_hostname=self._target.server_name, do_handshake_on_connect=False)
            do_handshake(secure, lambda readers, writers: self._wait(readers, writers, self._deadline.at))
        except OSError as error:
            secure.close()
            if isinstance(error, (TimeoutError, SocketConnectionError)):
                raise
            raise tls_error(error, self._target.host) from error
        except BaseException:
            secure.close()
            raise
        return secure
