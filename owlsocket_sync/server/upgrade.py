"""The handshakes of a client: TLS, the WebSocket request, and the response to it, under one deadline.

Threads: everything runs on the thread that serves the client. It waits in slices, and checks between them whether the
server still accepts clients.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qsl, urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import NegotiationError
from websockets.http11 import Request as LibraryRequest
from websockets.http11 import Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from ..deadline import Deadline
from ..handshake_fields import NO_ANSWER, SUBPROTOCOLS, UpgradeAnswer
from ..transport.deflate import EXTENSIONS, Compression, negotiate
from ..transport.framing import ServerFraming
from ..transport.stream import DuplexStream
from ..transport.tls import do_handshake, linger_after_alert
from ..transport.waiting import wait_while
from ..urls import SECRET_KEYS
from ..values import Secret
from .handshakes import Handshake
from .health import HEAD_END, METHODS, HealthCheck
from .options import ServerOptions
from .proxy_header import ProxyHeaderError, read_proxy_header
from .request import Request
from .subprotocols import NoCommonSubprotocol, select_subprotocol

LINGER = 0.2

# At DEBUG, websockets logs whole requests, and with them the tokens in their queries.
_library_logger = logging.getLogger("owlsocket_sync.server.websockets")
_library_logger.setLevel(logging.WARNING)


class Upgrade:
    """The upgrade of one client (RFC 6455, section 4.2); its deadline begins when it is made.

    Args:
        handshake: the client, as it was accepted; its socket is closed by `close`, or by the link once there is one.
        options: of the server.
        accepting: returns whether the server still accepts clients.
        health: answers the health checks of the server; ``None`` where it answers none.

    Attributes:
        is_forwarded: whether the request came through a proxy that is trusted.
        target: the name that the client asked for, as that proxy forwards it; ``None`` for the ``Host`` header.
    """

    def __init__(
        self,
        handshake: Handshake,
        options: ServerOptions,
        accepting: Callable[[], bool],
        health: HealthCheck | None = None,
    ) -> None:
        self._handshake = handshake
        self._peer = self._remote = handshake.address
        self.is_forwarded = False
        self.target: str | None = None
        self._options = options
        self._accepting = accepting
        self._health = health
        self._deadline = Deadline(options.timeout)
        self._transport: socket.socket | DuplexStream = handshake.sock  # the outermost layer, which closes those below
        self._stream: DuplexStream
        # Without origins: `BaseServer._authenticate` checks them, for every kind of server.
        self._protocol = ServerProtocol(logger=_library_logger, select_subprotocol=_selector(options.subprotocols))
        self._response: Response
        self._compression: Compression | None = None
        self._leftover = b""

    def open_stream(self) -> None:
        """Make the stream to the client, after the TLS handshake where the server has a certificate.

        Raises:
            OSError: the TLS handshake failed, or the client disconnected.
        """
        sock, context = self._handshake.sock, self._options.ssl_context
        sock.setblocking(False)
        if self._options.proxy_protocol:
            self._read_proxy_header(sock)
        if context is not None:
            # A client that has reset the connection is met here: `wrap_socket` would leave the descriptor open.
            sock.getpeername()
            # `wrap_socket` detaches the descriptor from the plain socket: from here on only the TLS socket closes it.
            self._transport = sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            self._handshake.sock = sock
            try:
                do_handshake(sock, self._wait_ready)
            except ssl.SSLError:
                linger_after_alert(sock, LINGER)
                raise
        self._transport = self._stream = stream = DuplexStream(sock)
        stream.read_deadline = stream.write_deadline = self._deadline.at
        stream.should_continue = self._should_continue

    def _read_proxy_header(self, sock: socket.socket) -> None:
        """Read the header of the PROXY protocol.

        Raises:
            ProxyHeaderError: there is none, or it is from no proxy that may send it.
            OSError: the proxy disconnected.
        """
        proxies = self._options.proxies

        def receive(size: int) -> bytes:
            while True:
                self._wait_ready([sock], [])
                with suppress(BlockingIOError):  # readiness is a hint
                    return sock.recv(size)

        try:
            if proxies is not None and self._peer[0] not in proxies:
                raise ProxyHeaderError("the address is none of trusted_proxies")
            self._remote = read_proxy_header(receive) or self._peer
        except ProxyHeaderError as error:
            raise ProxyHeaderError(f"a connection from {self._peer[0]} was refused: {error}") from error
        self.is_forwarded = True

    def _should_continue(self) -> bool:
        return self._accepting() and not self._handshake.is_evicted

    def _wait_ready(self, readers: list[socket.socket], writers: list[socket.socket]) -> None:
        wait = partial(wait_while, self._should_continue, readers, writers, self._deadline.at)
        self._handshake.await_client(wait)

    def read_request(self) -> Request | None:
        """Read and check the request; ``None`` when it was rejected, or was a health check.

        Raises:
            OSError: the client has disconnected.
        """
        begun, method, request = bytearray(), "", None
        try:
            if self._health is not None:
                method = self._health.read_method(begun, self._receive)
            if not method:
                request = self._read_head(bytes(begun))
        except TimeoutError:
            if self._handshake.is_evicted:
                return None
            if self._accepting():
                self.reject(HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive in time.\n")
            else:
                self.reject_closing()
            return None
        if self._health is not None and method:
            self._answer_check(method, *self._health.report())
            return None
        if request is None:
            self._flush()
            return None
        try:
            parts = urlsplit(request.path)
        except ValueError:  # such as "//["
            self.reject(HTTPStatus.BAD_REQUEST, "The target of the request cannot be parsed.\n")
            return None
        # Before websockets looks at them, which puts what it rejects into its response.
        request.headers = headers = _as_latin_1(request.headers)
        self._response = self._protocol.accept(request)
        if self._response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._send_final(self._response)
            return None
        if self._options.deflate is not None:
            offers = ", ".join(request.headers.get_all(EXTENSIONS))
            answer, self._compression = negotiate(offers, self._options.deflate)
            if answer:
                self._response.headers[EXTENSIONS] = answer
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        query = {key: Secret(value) if key.lower() in SECRET_KEYS else value for key, value in pairs}
        self._look_behind_proxies(headers)
        return Request(parts.path, query, cast(Mapping[str, str], headers), self._remote, peer=self._peer)

    def _look_behind_proxies(self, headers: Headers) -> None:
        """Note the client that trusted proxies report in the headers of a request."""
        proxies = self._options.proxies
        hop = None if proxies is None else proxies.client_of(self._remote[0], headers)
        if hop is not None:
            # The headers name the proxy itself where they report no more than the name that was asked for.
            self._remote = self._remote if hop.host == self._remote[0] else (hop.host, hop.port)
            self.is_forwarded, self.target = True, hop.target

    def _receive(self) -> bytes:
        chunks: list[bytes] = []
        try:
            # Not `fill`, which waits and receives in one: a handshake that waits for its client may be closed at any
            # moment, this one no longer once its client has sent something.
            self._handshake.await_client(self._stream.wait_readable)
            while not self._stream.recv_available(chunks):
                self._handshake.await_client(self._stream.wait_readable)
        except EOFError as error:
            raise ConnectionAbortedError("the client disconnected before the end of its request") from error
        return chunks[0]

    def _read_head(self, begun: bytes) -> LibraryRequest | None:
        """Read a request, which begins with what was read of it; ``None`` when websockets has rejected it already."""
        tail, data = b"", begun or self._receive()
        while True:
            # Give websockets not a byte past the head: a client may send frames right after its request, and those
            # belong to our own parser. The end of the head may be split between two reads, hence the tail.
            end = (tail + data).find(HEAD_END)
            head_size = len(data) if end < 0 else end + len(HEAD_END) - len(tail)
            self._protocol.receive_data(data[:head_size])
            # The only event of a handshake is its request.
            for event in self._protocol.events_received():
                self._leftover = data[head_size:]
                return cast(LibraryRequest, event)
            if self._protocol.handshake_exc is not None:
                return None
            tail = (tail + data)[-len(HEAD_END) + 1 :]
            data = self._receive()

    def make_framing(self) -> ServerFraming:
        """Return the framing of the link, which begins with the bytes that arrived after the request."""
        framing = ServerFraming(self._stream, self._options.limits.message_size, self._leftover)
        if self._compression is not None:
            framing.agree(self._compression)
        return framing

    def answer(self) -> UpgradeAnswer:
        """Return what the connection keeps of the response that `accept` sends."""
        selected = self._response.headers.get(SUBPROTOCOLS)
        return NO_ANSWER if selected is None else UpgradeAnswer(selected)

    def accept(self) -> None:
        """Send the response that completes the upgrade; raises `OSError` when the client has disconnected."""
        self._protocol.send_response(self._response)
        self._flush()

    def reject(self, status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> None:
        """Send an error response and end the stream; raises `OSError` when the client has disconnected."""
        response = self._protocol.reject(status, text)
        response.headers.update(Headers(headers or {}))
        self._send_final(response)

    def reject_closing(self) -> None:
        """Reject the client because the server is closing; raises `OSError` when the client has disconnected."""
        self.reject(HTTPStatus.SERVICE_UNAVAILABLE, "The server is closing.\n")

    def _answer_check(self, method: str, status: HTTPStatus, text: str) -> None:
        """Answer a health check with a line of JSON, and end the stream."""
        # Not an error, whatever its name: websockets makes every response that is not an upgrade by this method.
        response = self._protocol.reject(status, text)
        del response.headers["Content-Type"]
        response.headers.update({"Content-Type": "application/json", "Cache-Control": "no-store", "Allow": METHODS})
        if method == "HEAD":
            response.body = b""
        self._send_final(response)

    def _send_final(self, response: Response) -> None:
        """Send a response that ends the stream."""
        self._protocol.send_response(response)
        # The deadline may be over, which is then the reason for the response: that still gets a moment to leave.
        self._stream.write_deadline = max(self._deadline.at, Deadline(LINGER).at)
        self._flush()

    def _flush(self) -> None:
        """Send the output of websockets; an empty piece of it ends the stream."""
        # What is written from here on is written even while the server closes: 503 says so to the client.
        self._stream.should_continue = None
        output = self._protocol.data_to_send()
        if output == [b""]:  # websockets has no response for bytes that are not HTTP at all
            output = [self._protocol.reject(HTTPStatus.BAD_REQUEST, "This is not a request.\n").serialize(), b""]
        for data in output:
            if data:
                self._stream.send(data)
            else:
                # Closing at once, with bytes of the client unread, would reset the connection under the response.
                self._stream.linger(LINGER)

    def close(self) -> None:
        """Close the connection to a client that got no link."""
        self._transport.close()


def _selector(known: Sequence[str] | None) -> Callable[[ServerProtocol, Sequence[Subprotocol]], Subprotocol | None]:
    """Return the selection of a subprotocol, in the form for websockets, which makes a method of it."""

    def select(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        try:
            return cast("Subprotocol | None", select_subprotocol(known, offered))
        except NoCommonSubprotocol as error:
            raise NegotiationError(str(error)) from error  # answered with 400

    return select


def _as_latin_1(headers: Headers) -> Headers:
    """Return headers whose values are Latin-1 (RFC 9110, section 5.5), as any release of websockets reads them."""
    # Earlier releases read ASCII, and escape other bytes as surrogates.
    return Headers(
        (name, value.encode("latin-1", "surrogateescape").decode("latin-1")) for name, value in headers.raw_items()
    )
