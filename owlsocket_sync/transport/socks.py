"""The tunnel through a SOCKS proxy: python-socks speaks, over a socket that waits within the deadline of the attempt.

Threads: belongs to the thread that connects.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from ..errors import MissingExtra, SocketConnectionError
from ..values import escape_for_log, forgetting_locals
from .proxies import ProxyAddress

try:
    from python_socks import ProxyError, ProxyType
    from python_socks.sync import Proxy
except ImportError as error:
    raise MissingExtra(
        "a SOCKS proxy needs the package python-socks: python -m pip install 'owlsocket-sync[socks]'", error.name
    ) from error

Wait = Callable[[list[socket.socket], list[socket.socket]], None]

# RFC 1928, section 6: not allowed by ruleset, command not supported, address type not supported; and those of SOCKS4
# about the user. The proxy answers the next attempt in the same way.
_FINAL = frozenset({2, 7, 8, 0x5C, 0x5D})
_NO_METHOD = b"\x05\xff"
_LOGIN_REPLY = b"\x05\x02\x01"


class SocksHop:
    """The connection to the proxy, with the methods of a socket that python-socks calls.

    Args:
        sock: connected to the proxy, and non-blocking.
        wait: waits until a socket of the first list is readable, or one of the second writable; may raise.

    Attributes:
        received: the replies of the proxy.
    """

    def __init__(self, sock: socket.socket, wait: Wait) -> None:
        self._sock = sock
        self._wait = wait
        self.received = b""

    def connect(self, **_: object) -> SocksHop:
        """Return itself: python-socks asks the hop before a proxy for the way to it."""
        return self

    def sendall(self, data: bytes) -> None:
        """Send all bytes, within the deadline."""
        while data:
            try:
                data = data[self._sock.send(data) :]
            except BlockingIOError:
                self._wait([], [self._sock])

    def recv(self, size: int) -> bytes:
        """Receive up to so many bytes, within the deadline; python-socks asks for no byte beyond a reply."""
        while True:
            try:
                chunk = self._sock.recv(size)
            except BlockingIOError:
                self._wait([self._sock], [])
            else:
                self.received += chunk
                return chunk

    def close(self) -> None:
        """Do nothing: the attempt closes its socket."""


def open_tunnel(sock: socket.socket, proxy: ProxyAddress, host: str, port: int, wait: Wait) -> None:
    """Have a SOCKS proxy connect to a host.

    Args:
        sock: connected to the proxy, and non-blocking.
        proxy: its address, scheme and login.
        host: a name that the proxy resolves, or an address.
        port: of the host.
        wait: see `SocksHop`.

    Raises:
        SocketConnectionError: the proxy refused; not ``retryable`` if each attempt would end so.
        TimeoutError: raised by ``wait``.
    """
    hop: Any = SocksHop(sock, wait)
    kind = ProxyType.SOCKS4 if proxy.scheme.startswith("socks4") else ProxyType.SOCKS5
    user, password = proxy.login or (None, None)
    client = Proxy(kind, proxy.host, proxy.port, user, password or None, rdns=True, forward=hop)
    failure: Exception
    try:
        with forgetting_locals():  # the requests of python-socks hold the password
            client.connect(host, port)
        return
    # A ValueError: the name of the host is too long for the protocol, or has no form in it.
    except (ProxyError, ValueError) as error:
        failure = error
    raise _refusal(failure, proxy, f"{host}:{port}", hop.received) from failure


def _refusal(failure: Exception, proxy: ProxyAddress, authority: str, received: bytes) -> SocketConnectionError:
    """Return the error for a failure of python-socks."""
    # By the bytes (RFC 1928, section 3; RFC 1929, section 2): python-socks tells a refused login by its text alone.
    wants_login = received == _NO_METHOD or (received[:3] == _LOGIN_REPLY and len(received) == 4)
    hint = ""
    if wants_login:
        verb = "check user and password in" if proxy.has_login else "add user and password to"
        hint = f" ({verb} the URL of the proxy)"
    elif received and received[:1] not in (b"\x05", b"\x00"):
        hint = f" (it may be an HTTP proxy: use http://{proxy.host}:{proxy.port})"
    text = escape_for_log(str(failure)[:100])
    error = SocketConnectionError(
        f"proxy {proxy.host}:{proxy.port} refused to connect to {authority} by {proxy.scheme.upper()}: {text}{hint}"
    )
    code = getattr(failure, "error_code", None)
    error.retryable = not (wants_login or code in _FINAL or isinstance(failure, ValueError))
    return error
