"""The client's opening handshake, by `websocket.WebSocket` held to limits.

This module adds what websocket-client leaves to its caller: it limits the size of the response, refuses redirects,
confines cookies to their connection, and keeps the secrets of the request out of errors.

Threads: belongs to the thread that connects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from http.cookies import CookieError, SimpleCookie

import websocket
from websocket import _handshake as handshake_module

from ..errors import ResilientError, SocketConnectionError
from ..handshake_fields import NO_ANSWER, SUBPROTOCOLS, UpgradeAnswer
from ..options import Deflate
from ..urls import MIN_SECRET, SECRET_KEYS, Target, redact_text, secrets_of
from .framing import ClientFraming
from .handshake_socket import BudgetExceeded, HandshakeSocket
from .refusal import MAX_ERROR_TEXT, parse_refusal

MAX_HANDSHAKE_SIZE = 65_536
PUBLIC_HEADERS = frozenset({"origin", "user-agent", "accept", "accept-language", "cache-control", "pragma"})
SWITCHING_PROTOCOLS = 101
OFFER_HINT = " (the server refuses the compression that was offered: connect with compression=None)"
TLS_ALERT = b"\x15\x03"
"""A record of type alert (RFC 8446, section 5.1), as a TLS server answers a request in clear text."""
EXTENSIONS = "Sec-WebSocket-Extensions"


class ClientHandshake:
    """The opening handshake of one link.

    Args:
        framing: of the link; what arrives after the response stays in its buffer.
        deflate: the compression that is offered to the server, if any.
        subprotocols: those that are offered, the preferred one first.

    Attributes:
        answer: the response of the server, once `upgrade` has returned.
    """

    def __init__(
        self, framing: ClientFraming, deflate: Deflate | None = None, subprotocols: Sequence[str] | None = None
    ) -> None:
        self._framing = framing
        self._deflate = deflate
        self._subprotocols = subprotocols or ()
        self.answer = NO_ANSWER
        self._websocket = websocket.WebSocket(enable_multithread=False, skip_utf8_validation=True)

    def upgrade(
        self,
        target: Target,
        headers: Mapping[str, str],
        until: float,
        should_continue: Callable[[], bool] | None = None,
    ) -> None:
        """Perform the opening handshake (RFC 6455, section 4.1).

        Args:
            target: host and resource of the request.
            headers: additional headers.
            until: the deadline (``time.monotonic``).
            should_continue: checked regularly; false cancels the handshake.

        Raises:
            SocketConnectionError: the server refused the upgrade; ``status`` is its HTTP status.
            AuthError: the server refused the upgrade, and marshalled this error.
            TimeoutError: the server did not respond in time.
        """
        stream = self._framing.stream
        stream.read_deadline = stream.write_deadline = until
        stream.should_continue = should_continue
        sock = HandshakeSocket(self._framing, MAX_HANDSHAKE_SIZE)
        error = self._handshake(sock, target, headers) or self._negotiate(sock, _secrets(target, headers))
        if error is not None:
            # Raised outside of any except: the exception of websocket-client, as its context, may contain our secrets.
            raise error
        stream.should_continue = None

    def _handshake(self, sock: HandshakeSocket, target: Target, headers: Mapping[str, str]) -> ResilientError | None:
        """Perform the handshake, and return the error if it failed."""
        secrets = _secrets(target, headers)
        try:
            # websocket-client keeps a cookie jar per host name: a host that does not exist keeps other connections'
            # cookies out of this one.
            self._websocket.connect(  # type: ignore[no-untyped-call]
                f"ws://owlsocket.invalid{target.resource}",
                socket=sock,
                host=target.host_header,
                header=[f"{name}: {value}" for name, value in (*headers.items(), *self._offers())],
                suppress_origin=True,
                redirect_limit=0,
            )
        except (websocket.WebSocketException, BudgetExceeded, CookieError, ValueError, IndexError) as error:
            # The status decides, even if the body is too long, too slow or incomplete.
            refusal = parse_refusal(sock.received, secrets)
            if refusal is not None:
                if self._deflate is not None and EXTENSIONS.lower() in str(refusal).lower():
                    # Such as a server of ws (Node.js) that insists on context takeover.
                    refusal.message += OFFER_HINT
                return refusal
            if sock.received.startswith(TLS_ALERT):
                return _invalid_response("a TLS alert")
            if isinstance(error, websocket.WebSocketTimeoutException):
                raise TimeoutError("timed out waiting for the handshake response") from error
            if isinstance(error, websocket.WebSocketConnectionClosedException) and not sock.received:
                # As a TLS server treats a client that begins with an HTTP request.
                hint = "" if target.secure else " (use wss:// if the server expects TLS)"
                return SocketConnectionError(f"connection closed during the WebSocket handshake: no response{hint}")
            cause = f"more than {MAX_HANDSHAKE_SIZE} bytes" if sock.budget == 0 else str(error)
            return _invalid_response(redact_text(cause, *secrets)[:MAX_ERROR_TEXT])
        finally:
            _forget_cookies(self.response_header("set-cookie"))
        if self._websocket.status != SWITCHING_PROTOCOLS:
            refusal = parse_refusal(sock.received, secrets)
            return refusal or _invalid_response(f"HTTP {self._websocket.status}")
        return None

    def _offers(self) -> list[tuple[str, str]]:
        """Return the headers with the subprotocols and the extension that are offered."""
        # Not by websocket-client: it compares names without case, and fails where the server selects none.
        offers = [(SUBPROTOCOLS, ", ".join(self._subprotocols))] if self._subprotocols else []
        if self._deflate is not None:
            from .deflate import offer  # loaded where messages may be compressed

            offers.append((EXTENSIONS, offer(self._deflate)))
        return offers

    def _negotiate(self, sock: HandshakeSocket, secrets: list[str]) -> ResilientError | None:
        """Agree on what the server selected, and return the error if it may not do that."""
        # RFC 6455, section 4.1: the client fails the connection where it did not offer what is selected. Frames of an
        # extension that only one side knows, such as a compression, would be read as garbage.
        for name in (EXTENSIONS, SUBPROTOCOLS):
            value = sock.response_header(name)
            text = redact_text(value, *secrets)[:MAX_ERROR_TEXT]
            if name == EXTENSIONS and self._deflate is not None:
                from .deflate import read_answer

                try:
                    self._framing.agree(read_answer(value, self._deflate))
                except ValueError as error:
                    return _invalid_response(
                        f"the server answered the offer of compression with {text!r} ({name}), and so "
                        f"{redact_text(str(error), *secrets)[:MAX_ERROR_TEXT]}; connect with compression=None, or "
                        "configure the server for permessage-deflate without context takeover"
                    )
            elif value and not (name == SUBPROTOCOLS and value in self._subprotocols):
                return _invalid_response(f"the server selected {text!r} ({name}), which was not offered")
        self.answer = UpgradeAnswer(sock.response_header(SUBPROTOCOLS) or None, sock.response_head())
        return None

    def response_header(self, name: str) -> str | None:
        """Return a header of the handshake response, ``None`` if it is absent."""
        value = (self._websocket.headers or {}).get(name.lower())
        return value if isinstance(value, str) else None


def _secrets(target: Target, headers: Mapping[str, str]) -> list[str]:
    """Return the secrets in a request, which errors must not show."""
    secrets = list(secrets_of(target.resource))
    for name, value in headers.items():
        if name.lower() in SECRET_KEYS:
            secrets += value.split()[-1:]
        elif name.lower() not in PUBLIC_HEADERS:
            # A cookie, or any key of the user's own, in the parts that a server may repeat.
            secrets += [part for part in re.split(r"[\s;,=]+", value) if len(part) >= MIN_SECRET]
    return secrets


def _forget_cookies(set_cookie: str | None) -> None:
    """Remove the cookies of this response from websocket-client's jar, which all connections of the process share."""
    jar = handshake_module.CookieJar.jar
    cookies = SimpleCookie(set_cookie or "")
    for cookie in cookies.values():
        domain = "." + cookie["domain"].lower().removeprefix(".")
        for name in cookies:
            jar.get(domain, {}).pop(name, None)
        # Other users of websocket-client in this process keep their cookies of the same domain.
        if not jar.get(domain):
            jar.pop(domain, None)


def _invalid_response(cause: str) -> SocketConnectionError:
    return SocketConnectionError(f"invalid WebSocket handshake response: {cause}")
