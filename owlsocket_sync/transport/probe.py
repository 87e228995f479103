"""One walk to a server, a step at a time: so that whoever looks for what is wrong sees where it ends, and when.

Threads: whoever walks; one at a time. Each step needs the one before it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from types import TracebackType

from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketTimeout
from ..options import Limits
from ..urls import Target
from .client_wire import ClientWire
from .dial import Attempt, ProxyAddress, default_context
from .stream import DuplexStream


class Probe:
    """Walks the way that a connection takes; a context manager that leaves nothing open.

    Args:
        target: where it leads.
        deadline: over all of it.
        proxy: on the way.
        ssl_context: for ``wss://``; ``None`` for the default.
        headers: sent with the upgrade.
    """

    def __init__(
        self,
        target: Target,
        deadline: Deadline,
        *,
        proxy: ProxyAddress | None = None,
        ssl_context: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._target = target
        self._deadline = deadline
        self._proxy = proxy
        self._context = ssl_context
        self._headers = dict(headers or {})
        self._attempt = Attempt(target, deadline, lambda: True)
        self._sock: socket.socket | None = None
        self._stream: DuplexStream | None = None

    @property
    def _place(self) -> tuple[str, int]:
        return (self._proxy.host, self._proxy.port) if self._proxy else (self._target.host, self._target.port)

    def resolve(self) -> list[str]:
        """The addresses of the host, or of the proxy.

        Raises:
            SocketConnectionError: nobody knows it.
        """
        host, port = self._place
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise SocketConnectionError(f"{host} is no known host: {error}") from error
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def connect(self) -> str:
        """Connect, and return the address that answered; raises what `dial` raises, as do the steps below."""
        self._sock = self._attempt.connect(*self._place)
        host, port = self._sock.getpeername()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def tunnel(self) -> str:
        """Have the proxy connect us through."""
        assert self._sock is not None
        assert self._proxy is not None
        try:
            self._attempt.tunnel(self._sock, self._proxy)
        except TimeoutError as error:
            raise self._too_late("the proxy did not answer", error) from error
        return f"through {self._proxy.host}:{self._proxy.port}"

    def encrypt(self) -> str:
        """Do the TLS handshake, and return what came of it."""
        assert self._sock is not None
        try:
            secure = self._attempt.encrypt(self._sock, self._context or default_context())
        except TimeoutError as error:
            raise self._too_late("the server did not finish the TLS handshake", error) from error
        self._sock = secure
        cipher = secure.cipher()
        return f"{secure.version()}, {cipher[0] if cipher else '?'}{_until(secure)}"

    def upgrade(self) -> str:
        """Ask for the upgrade."""
        assert self._sock is not None
        self._stream = DuplexStream(self._sock)
        wire = ClientWire(self._stream, Limits().message_size)
        try:
            wire.upgrade(self._target, self._headers, self._deadline.at)
        except TimeoutError as error:
            raise self._too_late("the server did not answer the upgrade", error) from error
        except OSError as error:
            if isinstance(error, SocketConnectionError):
                raise
            raise SocketConnectionError(f"the server broke off during the upgrade: {error}") from error
        return "HTTP 101"

    def _too_late(self, what: str, error: TimeoutError) -> SocketTimeout:
        return (
            error if isinstance(error, SocketTimeout) else SocketTimeout(f"{what} within {self._deadline.seconds:g} s")
        )

    def close(self) -> None:
        """End it; idempotent."""
        end = self._stream or self._sock
        if end is not None:
            end.close()

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _until(secure: ssl.SSLSocket) -> str:
    """When the server's certificate ends; empty where it was not checked, and so not read."""
    certificate = secure.getpeercert() or {}
    return f", certificate until {certificate['notAfter']}" if "notAfter" in certificate else ""
