"""The client's side of a link: the upgrade, and frames, by `websocket.WebSocket` held to RFC 6455 and to limits.

What websocket-client leaves to its caller is done here: frames are sized before they are read, masked and fragmented
control frames refused, redirects refused, and cookies kept to the connection that they came on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

import websocket
from websocket import ABNF
from websocket import _handshake as handshake_module

from ..errors import SEPARATOR, AuthError, ResilientError, SocketConnectionError, SocketUnauthorized
from ..urls import SECRET_KEYS, Target, redact, redact_text, secrets_of
from .handshake_socket import BudgetExceeded, HandshakeSocket
from .stream import DuplexStream
from .wire import CLOSE, CONTROL_BYTES, Frame, Wire, WireError

HANDSHAKE_BYTES = 65_536
SWITCHING_PROTOCOLS = 101
SHOWN_CHARACTERS = 200
LONGER = 126  # from here on a length has bytes of its own (RFC 6455, section 5.2)

# Patterns of what is refused are compiled when something is.
_ANSWER = rb"(?s)HTTP/1\.\d ([2-5]\d\d)\b([^\n]*\n(?:[^\r\n][^\n]*\n)*)\r?\n(.*)"
_LOCATION = rb"(?im)^location:[ \t]*(.*?)\s*$"


class SizedFrames(websocket.frame_buffer):
    """Takes frames out of a stream, each as a whole, and refuses one that is too large before all of it came."""

    limit: int

    def __init__(self, stream: DuplexStream) -> None:
        super().__init__(stream.unread.take, skip_utf8_validation=True)
        self.recv_strict = stream.unread.take  # type: ignore[assignment, method-assign]  # all or nothing

    def recv_length(self) -> None:
        """Read the length of a frame (RFC 6455, section 5.2)."""
        assert self.header is not None
        length = self.header[6]
        if length < LONGER and length <= self.limit:
            self.length = length
            return
        super().recv_length()
        assert self.length is not None
        opcode, length = self.header[4], self.length
        if opcode >= CLOSE and length > CONTROL_BYTES:
            raise WireError(1002, "a control frame of more than 125 bytes")
        if opcode < CLOSE and length > self.limit:
            raise WireError(1009, f"a frame of {length} bytes, {self.limit} are allowed")


class ClientWire(Wire):
    """Messages in, masked frames out, on one stream.

    Args:
        stream: connected to the server.
        message_size: bytes of the largest message that is taken in.
    """

    def __init__(self, stream: DuplexStream, message_size: int) -> None:
        super().__init__(stream, message_size)
        self._websocket = websocket.WebSocket(enable_multithread=False, skip_utf8_validation=True)
        self._frames = SizedFrames(stream)

    # -- the upgrade -------------------------------------------------------------------------------------------------

    def upgrade(
        self, target: Target, headers: Mapping[str, str], until: float, wanted: Callable[[], bool] | None = None
    ) -> None:
        """Ask the server to speak WebSocket (RFC 6455, section 4.1).

        Raises:
            SocketConnectionError: it does not; ``status`` is its HTTP status. Where the body is a marshalled error,
                that error is raised in its place.
            TimeoutError: no answer until then.
        """
        self.stream.read_until = self.stream.write_until = until
        self.stream.wanted = wanted
        sock = HandshakeSocket(self.stream, HANDSHAKE_BYTES)
        refusal = self._shake_hands(sock, target, headers)
        if refusal is not None:
            raise refusal  # outside of any except: what websocket-client raised may hold our secrets
        self.stream.wanted = None

    def _shake_hands(self, sock: HandshakeSocket, target: Target, headers: Mapping[str, str]) -> ResilientError | None:
        """Do it, and return why it failed."""
        try:
            # A host that nobody has keeps the cookies of other connections of this process to themselves.
            self._websocket.connect(  # type: ignore[no-untyped-call]
                f"ws://owlsocket.invalid{target.resource}",
                socket=sock,
                host=target.host_header,
                header=[f"{name}: {value}" for name, value in headers.items()],
                suppress_origin=True,
                redirect_limit=0,
            )
        except (websocket.WebSocketException, BudgetExceeded, CookieError, ValueError, IndexError) as error:
            refusal = self._refusal(sock.seen, target, headers)
            if refusal is not None:
                return refusal  # a body that is too long, too slow or cut short makes it no less of one
            if isinstance(error, websocket.WebSocketTimeoutException):
                raise TimeoutError("the server did not answer the upgrade") from error
            what = f"more than {HANDSHAKE_BYTES} bytes" if sock.budget == 0 else str(error)
            return _invalid_upgrade(redact_text(what, *_secrets(target, headers))[:SHOWN_CHARACTERS])
        finally:
            _forget_cookies(self.response_header("set-cookie"))
        if self._websocket.status != SWITCHING_PROTOCOLS:
            return self._refusal(sock.seen, target, headers) or _invalid_upgrade(f"HTTP {self._websocket.status}")
        return None

    def _refusal(self, answer: bytes | bytearray, target: Target, headers: Mapping[str, str]) -> ResilientError | None:
        """What the answer that was read says in place of the upgrade, ``None`` when it is none."""
        found = re.match(_ANSWER, answer)
        if found is None:
            return None
        secrets = _secrets(target, headers)
        location = re.search(_LOCATION, found[2])
        elsewhere = redact_text(redact(location[1].decode("utf-8", "replace")), *secrets) if location else None
        return _refusal(int(found[1]), redact_text(found[3].decode("utf-8", "replace"), *secrets), elsewhere)

    def response_header(self, name: str) -> str | None:
        """A header of the answer to the upgrade, ``None`` where it is not there."""
        value = (self._websocket.headers or {}).get(name.lower())
        return value if isinstance(value, str) else None

    # -- frames ------------------------------------------------------------------------------------------------------

    def _parse_frame(self) -> Frame:
        frames = self._frames
        frames.limit = self._message_size - self._size
        if frames.header is not None:
            frames.clear()  # what was read of a frame that was not whole
        try:
            frame: ABNF = frames.recv_frame()
        except websocket.WebSocketProtocolException as error:
            raise WireError(1002, str(error)) from error
        if frame.mask_value:
            raise WireError(1002, "a masked frame")
        if frame.opcode >= CLOSE and not frame.fin:
            raise WireError(1002, "a fragmented control frame")
        data: Any = frame.data
        return frame.opcode, bool(frame.fin), data

    def frame(self, opcode: int, data: bytes) -> bytes:
        """A whole frame, masked."""
        frame: bytes = ABNF(1, 0, 0, 0, opcode, 1, data).format()
        return frame


def _secrets(target: Target, headers: Mapping[str, str]) -> list[str]:
    """What we told the server and nobody else may read."""
    secrets = list(secrets_of(target.resource))
    for name, value in headers.items():
        secrets += value.split()[-1:] if name.lower() in SECRET_KEYS else []
    return secrets


def _refusal(status: int, text: str, elsewhere: str | None) -> ResilientError:
    """What an HTTP status in place of the upgrade means, with this body, and this target of a redirect."""
    if SEPARATOR in text:
        error = ResilientError.unmarshal(text)
        error.status = status  # type: ignore[attr-defined]
        if status in (401, 403):
            error.code = AuthError.code
        elif status >= 500 and not isinstance(error, AuthError):
            error.retryable = True
        return error
    words = f"the server refused the upgrade with HTTP {status}" + (f": {text[:200]}" if text.strip() else "")
    if status in (401, 403):
        refusal: SocketConnectionError = SocketUnauthorized(words)
    elif 300 <= status < 400:
        where = f"to {elsewhere[:200]!r}" if elsewhere else "that names no target"
        refusal = SocketConnectionError(f"{words} (a redirect {where}, which is not followed)")
    else:
        refusal = SocketConnectionError(words)
    refusal.status = status
    return refusal


def _forget_cookies(set_cookie: str | None) -> None:
    """Take out of the jar of this process what an answer to us put there, and leave what others keep in it."""
    jar = handshake_module.CookieJar.jar
    cookies = SimpleCookie(set_cookie or "")
    for cookie in cookies.values():
        domain = "." + cookie["domain"].lower().removeprefix(".")
        for name in cookies:
            jar.get(domain, {}).pop(name, None)
        if not jar.get(domain):
            jar.pop(domain, None)


def _invalid_upgrade(what: str) -> SocketConnectionError:
    return SocketConnectionError(f"the server's answer to the upgrade is no WebSocket handshake: {what}")
