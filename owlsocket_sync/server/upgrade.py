"""What happens before a client may talk: TLS, its request, and the answer, under one deadline.

Threads: all of it runs on the thread that serves the client. It waits in slices, and asks between them whether the
server still takes clients.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request as LibraryRequest
from websockets.http11 import Response
from websockets.server import ServerProtocol
from websockets.typing import Origin

from ..deadline import Deadline
from ..transport.readiness import wait_while
from ..transport.stream import READ_SIZE, DuplexStream
from ..transport.tls import shake_hands
from .wire import ServerWire

LINGER = 0.2
HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Request:
    """The request with which a client came.

    Attributes:
        path: of the URL, without the query.
        query: the parameters of the URL; the last one where a name comes twice.
        headers: of the request, whatever the case of their names.
        remote: the address and port that it came from.
        auth: who sent it, as the guard of the server verified it; ``None`` for nobody in particular.
    """

    path: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    remote: tuple[str, int]
    auth: Any = None


def encrypt(
    sock: socket.socket, context: ssl.SSLContext | None, deadline: Deadline, wanted: Callable[[], bool]
) -> DuplexStream:
    """The stream to a client, after its TLS handshake where there is to be one; raises `OSError` when that fails."""
    sock.setblocking(False)
    if context is None:
        return DuplexStream(sock)
    secure = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
    try:
        shake_hands(secure, lambda readers, writers: wait_while(wanted, readers, writers, deadline.at))
    except BaseException:
        secure.close()
        raise
    return DuplexStream(secure)


class Upgrade:
    """The upgrade of one client (RFC 6455, section 4.2).

    Args:
        stream: where the client is.
        remote: the address and port that it came from.
        origins: the web sites whose pages may connect; ``None`` for all.
        message_size: bytes of the largest message that is taken in later.
        deadline: until when the client has its answer.
        wanted: whether the server still takes clients.
        logger: where websockets may say something.
    """

    def __init__(
        self,
        stream: DuplexStream,
        remote: tuple[str, int],
        origins: Sequence[str] | None,
        message_size: int,
        deadline: Deadline,
        wanted: Callable[[], bool],
        logger: Any,
    ) -> None:
        self._stream = stream
        self._wanted = wanted
        self._remote = remote
        self._deadline = deadline
        self._message_size = message_size
        self._protocol = ServerProtocol(
            origins=None if origins is None else [*(Origin(one) for one in origins), None],
            logger=logger,
        )
        self._response: Response
        self._early = b""
        stream.read_until = stream.write_until = deadline.at
        stream.wanted = wanted

    def read_request(self) -> Request | None:
        """The request, once it may be granted; ``None`` where it was refused.

        Raises:
            OSError: the client is gone.
        """
        try:
            request = self._await_request()
        except TimeoutError:
            if self._wanted():
                self.refuse(HTTPStatus.REQUEST_TIMEOUT, "The request did not come in time.\n")
            else:
                self.refuse_for_good()
            return None
        if request is None:
            self._answer()
            return None
        try:
            parts = urlsplit(request.path)
        except ValueError:  # such as "//["
            self.refuse(HTTPStatus.BAD_REQUEST, "The target of the request cannot be read.\n")
            return None
        self._response = self._protocol.accept(request)
        if self._response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._refuse(self._response)
            return None
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        return Request(parts.path, query, cast(Mapping[str, str], request.headers), self._remote)

    def _await_request(self) -> LibraryRequest | None:
        """Read a request and not a byte more; ``None`` where websockets has an answer to it already."""
        tail = b""
        while True:
            data = self._stream.recv(READ_SIZE)
            if not data:
                raise ConnectionAbortedError("the client left before its request was whole")
            end = (tail + data).find(HEAD_END)
            taken = len(data) if end < 0 else end + len(HEAD_END) - len(tail)
            self._protocol.receive_data(data[:taken])
            for event in self._protocol.events_received():
                self._early = data[taken:]
                return cast(LibraryRequest, event)
            if self._protocol.handshake_exc is not None:
                return None
            tail = (tail + data)[-len(HEAD_END) + 1 :]

    def wire(self) -> ServerWire:
        """What carries messages once the upgrade was granted."""
        return ServerWire(self._stream, self._message_size, self._early)

    def grant(self) -> None:
        """Tell the client that it may talk; raises `OSError` when it is gone."""
        self._protocol.send_response(self._response)
        self._answer()

    def refuse(self, status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> None:
        """Tell the client why it may not, and end the stream; raises `OSError` when it is gone."""
        response = self._protocol.reject(status, text)
        response.headers.update(Headers(headers or {}))
        self._refuse(response)

    def refuse_for_good(self) -> None:
        """Tell the client that the server takes nobody any more; raises `OSError` when it is gone."""
        self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "The server is closing.\n")

    def _refuse(self, response: Response) -> None:
        self._protocol.send_response(response)
        self._stream.write_until = max(self._deadline.at, Deadline(LINGER).at)
        self._answer()

    def _answer(self) -> None:
        """Send what websockets has to say; where that is the end, let the client read it."""
        self._stream.wanted = None
        said = self._protocol.data_to_send()
        if said == [b""]:  # it has no words for what is no HTTP at all
            said = [self._protocol.reject(HTTPStatus.BAD_REQUEST, "This is no request.\n").serialize(), b""]
        for data in said:
            if data:
                self._stream.send(data)
            else:
                self._stream.linger(LINGER)
