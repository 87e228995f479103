"""The steps of connecting to a server, one at a time, so that a failure shows the step that it belongs to."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType

from .. import Limits, SocketConnectionError, SocketTimeout
from ..deadline import Deadline
from ..transport.client_handshake import ClientHandshake
from ..transport.dial import PROXY_ROLE, ConnectAttempt, Socket, default_context, resolve
from ..transport.framing import ClientFraming
from ..transport.proxies import ProxyAddress
from ..transport.stream import DuplexStream
from ..urls import Target


class Probe:
    """Connects to a server step by step; a context manager that closes the connection.

    The steps must be called in order: `resolve`, `connect`, `tunnel` (with a proxy), `encrypt` (for ``wss://``) and
    `upgrade`. Each returns its result in words, and raises what `dial` raises. One thread at a time.

    Args:
        target: the server.
        deadline: the deadline for all steps together.
        proxy: the proxy, or ``None``.
        ssl_context: the context for ``wss://``; ``None`` for the default.
        headers: the headers of the upgrade request.
        subprotocols: those that are offered to the server.
    """

    def __init__(
        self,
        target: Target,
        deadline: Deadline,
        *,
        proxy: ProxyAddress | None = None,
        ssl_context: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
    ) -> None:
        self._target = target
        self._deadline = deadline
        self._proxy = proxy
        self._context = ssl_context
        self._headers = dict(headers or {})
        self._subprotocols = subprotocols
        # Nothing closes a probe from another thread, so it never has to stop early.
        self._attempt = ConnectAttempt(target, deadline, lambda: True)
        self._sock: Socket | None = None
        self._stream: DuplexStream | None = None

    @property
    def _first_hop(self) -> tuple[str, int, str]:
        if self._proxy:
            return self._proxy.host, self._proxy.port, PROXY_ROLE
        return self._target.host, self._target.port, ""

    def resolve(self) -> list[str]:
        """Return the addresses of the host, or of the proxy.

        Raises:
            SocketConnectionError: the host cannot be resolved.
        """
        # getaddrinfo lists an address once for each protocol; dict.fromkeys keeps their order, a set would not.
        return list(dict.fromkeys(str(address[0]) for *_, address in resolve(*self._first_hop)))

    def connect(self) -> str:
        """Connect to the host, or to the proxy, and return the address that accepted."""
        self._sock = self._attempt.connect(*self._first_hop)
        # An IPv6 address has four fields: host, port, flow and scope.
        host, port = self._sock.getpeername()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def tunnel(self) -> str:
        """Ask the proxy for a tunnel to the host, by CONNECT of HTTP or by SOCKS."""
        assert self._sock is not None
        assert self._proxy is not None
        try:
            self._attempt.tunnel(self._sock, self._proxy)
        except TimeoutError as error:
            raise self._timeout("the proxy did not answer", error) from error
        return f"through {self._proxy.host}:{self._proxy.port}" + (f", {self._proxy.scheme}" * self._proxy.is_socks)

    def encrypt(self) -> str:
        """Do the TLS handshake, and return its version, its cipher and the end of the certificate."""
        assert self._sock is not None
        try:
            secure = self._attempt.encrypt(self._sock, self._context or default_context())
        except TimeoutError as error:
            raise self._timeout("the server did not finish the TLS handshake", error) from error
        self._sock = secure
        cipher = secure.cipher()
        return f"{secure.version()}, {cipher[0] if cipher else '?'}{_valid_until(secure)}"

    def upgrade(self) -> str:
        """Do the WebSocket handshake."""
        assert self._sock is not None
        self._stream = DuplexStream(self._sock)
        framing = ClientFraming(self._stream, Limits().message_size)
        handshake = ClientHandshake(framing, subprotocols=self._subprotocols)
        try:
            handshake.upgrade(self._target, self._headers, self._deadline.at)
        except TimeoutError as error:
            raise self._timeout("the server did not answer the WebSocket handshake", error) from error
        except OSError as error:
            # Our own errors are OSErrors too, and say what happened already.
            if isinstance(error, SocketConnectionError):
                raise
            raise SocketConnectionError(f"connection closed during the WebSocket handshake: {error}") from error
        selected = handshake.answer.subprotocol
        return "HTTP 101" if selected is None else f"HTTP 101, subprotocol {selected}"

    def _timeout(self, text: str, error: TimeoutError) -> SocketTimeout:
        # The transport raises the bare TimeoutError of the socket for a wait, and its own class for a whole attempt.
        if isinstance(error, SocketTimeout):
            return error
        return SocketTimeout(f"{text} within {self._deadline.seconds:g} s")

    def close(self) -> None:
        """Close the connection; idempotent."""
        open_end = self._stream or self._sock
        if open_end is not None:
            open_end.close()

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _valid_until(secure: ssl.SSLSocket) -> str:
    # Without verification, ssl does not parse the certificate, and getpeercert() is empty.
    certificate = secure.getpeercert() or {}
    return f", certificate valid until {certificate['notAfter']}" if "notAfter" in certificate else ""
