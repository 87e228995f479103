"""WebSocket messages over a stream: `websocket.WebSocket`, held to RFC 6455 and to limits.

What websocket-client leaves to its caller is done here: frames are sized before they are read, masked and fragmented
control frames refused, fragments joined in linear time, text checked by the decoder of the interpreter, pings handed
on rather than answered from within a read, redirects refused, and cookies kept to the connection that they came on.

Threads: `read` belongs to the reader; `frame` is pure.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import websocket
from websocket import ABNF
from websocket import _handshake as handshake_module

from ..errors import SEPARATOR, AuthError, ResilientError, SocketConnectionError, SocketUnauthorized
from ..urls import Target, redact_text, secrets_of
from .stream import BudgetExceeded, DuplexStream

HANDSHAKE_BYTES = 65_536
CONTROL_BYTES = 125
SWITCHING_PROTOCOLS = 101


class WireError(Exception):
    """The peer broke the protocol; ``code`` is the close code to answer with (RFC 6455, section 7.4.1)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class Ping:
    """A ping came, to be answered with this payload."""

    payload: bytes


@dataclass(frozen=True)
class Pong:
    """A pong came."""

    payload: bytes


@dataclass(frozen=True)
class Close:
    """A close frame came; 1005 when it names no code."""

    code: int
    reason: str


Incoming = str | bytes | Ping | Pong | Close


class SizedFrames(websocket.frame_buffer):
    """Reads frames, and refuses one that is too large before it makes room for it."""

    limit: int

    def recv_length(self) -> None:
        """Read the length of a frame (RFC 6455, section 5.2)."""
        super().recv_length()
        assert self.header is not None
        assert self.length is not None
        opcode, length = self.header[4], self.length
        if opcode >= ABNF.OPCODE_CLOSE and length > CONTROL_BYTES:
            raise WireError(1002, "a control frame of more than 125 bytes")
        if length > self.limit:
            raise WireError(1009, f"a frame of {length} bytes, {self.limit} are allowed")


class Wire(websocket.WebSocket):
    """Messages in, frames out, on one stream.

    Args:
        stream: connected to the server.
        message_size: bytes of the largest message that is taken in.
    """

    def __init__(self, stream: DuplexStream, message_size: int) -> None:
        super().__init__(enable_multithread=False, skip_utf8_validation=True)
        self.stream = stream
        self._message_size = message_size
        self.frame_buffer = SizedFrames(self._receive, True)
        self.frame_buffer.limit = message_size
        self._fragments = bytearray()
        self._fragments_opcode: int | None = None

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
        self.stream.budget = HANDSHAKE_BYTES
        self.stream.wanted = wanted
        refusal = self._shake_hands(target, headers)
        if refusal is not None:
            raise refusal  # outside of any except: what websocket-client raised may hold our secrets
        self.stream.budget = self.stream.wanted = None

    def _shake_hands(self, target: Target, headers: Mapping[str, str]) -> ResilientError | None:
        """Do it, and return why it failed."""
        try:
            # A host that nobody has keeps the cookies of other connections of this process to themselves.
            self.connect(  # type: ignore[no-untyped-call]
                f"ws://owlsocket.invalid{target.resource}",
                socket=self.stream,
                host=target.host_header,
                header=[f"{name}: {value}" for name, value in headers.items()],
                suppress_origin=True,
                redirect_limit=0,
            )
        except websocket.WebSocketBadStatusException as error:
            if error.status_code is None:
                return _invalid_upgrade("it has no status")
            return _refusal(error.status_code, error.resp_body, target)
        except websocket.WebSocketTimeoutException as error:
            raise TimeoutError("the server did not answer the upgrade") from error
        except BudgetExceeded:
            return _invalid_upgrade(f"more than {HANDSHAKE_BYTES} bytes")
        except (websocket.WebSocketException, ValueError, IndexError) as error:
            if self.status is None:
                return _invalid_upgrade(str(error))
        finally:
            if "set-cookie" in (self.headers or {}):
                handshake_module.CookieJar.jar.clear()
        if self.status != SWITCHING_PROTOCOLS:
            return _refusal(cast(int, self.status), None, target)
        return None

    def response_header(self, name: str) -> str | None:
        """A header of the answer to the upgrade, ``None`` where it is not there."""
        value = (self.headers or {}).get(name.lower())
        return value if isinstance(value, str) else None

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self) -> Incoming:
        """The next message, or control frame.

        Raises:
            TimeoutError: nothing whole came until the stream's ``read_until``; what came is kept for the next time.
            WireError: the peer broke the protocol.
            EOFError: the stream ended.
            OSError: the connection broke.
        """
        while True:
            frame = self._read_frame()
            data = cast(bytes, frame.data)
            if frame.opcode == ABNF.OPCODE_PING:
                return Ping(data)
            if frame.opcode == ABNF.OPCODE_PONG:
                return Pong(data)
            if frame.opcode == ABNF.OPCODE_CLOSE:
                return _read_close(data)
            message = self._join(frame, data)
            if message is not None:
                return message

    def _read_frame(self) -> ABNF:
        try:
            frame: ABNF = self.recv_frame()  # type: ignore[no-untyped-call]
        except websocket.WebSocketProtocolException as error:
            raise WireError(1002, str(error)) from error
        if frame.mask_value:
            raise WireError(1002, "a masked frame")
        if frame.opcode >= ABNF.OPCODE_CLOSE and not frame.fin:
            raise WireError(1002, "a fragmented control frame")
        return frame

    def _receive(self, size: int) -> bytes:
        data = self.stream.recv(size)
        if not data:
            raise EOFError("the peer ended the stream without a close frame")
        return data

    def _join(self, frame: ABNF, data: bytes) -> str | bytes | None:
        """The message that this frame completes (RFC 6455, section 5.4)."""
        if (frame.opcode == ABNF.OPCODE_CONT) is (self._fragments_opcode is None):
            raise WireError(1002, "a fragment out of order")
        if self._fragments_opcode is None:
            self._fragments_opcode = frame.opcode
        if len(self._fragments) + len(data) > self._message_size:
            raise WireError(1009, f"a message of more than {self._message_size} bytes")
        if not frame.fin:
            self._fragments += data
            return None
        whole = bytes(self._fragments + data) if self._fragments else data
        opcode, self._fragments_opcode = self._fragments_opcode, None
        self._fragments.clear()
        return whole if opcode == ABNF.OPCODE_BINARY else _text(whole)

    # -- writing -----------------------------------------------------------------------------------------------------

    @staticmethod
    def text_frame(data: bytes) -> bytes:
        """The frame of a text message, masked."""
        frame: bytes = ABNF.create_frame(data, ABNF.OPCODE_TEXT).format()
        return frame

    @staticmethod
    def ping_frame(payload: bytes) -> bytes:
        """The frame of a ping, masked."""
        frame: bytes = ABNF.create_frame(payload, ABNF.OPCODE_PING).format()
        return frame

    @staticmethod
    def pong_frame(payload: bytes) -> bytes:
        """The frame of a pong, masked."""
        frame: bytes = ABNF.create_frame(payload, ABNF.OPCODE_PONG).format()
        return frame

    @staticmethod
    def close_frame_of(code: int, reason: str) -> bytes:
        """A close frame, masked; 1005 stands for one without a code."""
        body = b"" if code == 1005 else struct.pack("!H", code) + reason.encode()
        frame: bytes = ABNF.create_frame(body, ABNF.OPCODE_CLOSE).format()
        return frame


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise WireError(1007, f"text that is no UTF-8: {error.reason} at byte {error.start}") from error


def _read_close(data: bytes) -> Close:
    if not data:
        return Close(1005, "")
    return Close(struct.unpack("!H", data[:2])[0], _text(data[2:]))


def _refusal(status: int, body: bytes | None, target: Target) -> ResilientError:
    """What an HTTP status in place of the upgrade means; a body that repeats our secrets is cleared of them."""
    text = redact_text((body or b"").decode("utf-8", "replace"), *secrets_of(target.resource))
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
        refusal = SocketConnectionError(f"{words} (a redirect; connect to its target instead)")
    else:
        refusal = SocketConnectionError(words)
    refusal.status = status
    return refusal


def _invalid_upgrade(what: str) -> SocketConnectionError:
    return SocketConnectionError(f"the server's answer to the upgrade is no WebSocket handshake: {what}")
