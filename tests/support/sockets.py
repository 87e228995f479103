"""The other end of a socket, byte by byte: raw servers, frames, a proxy, and certificates."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple, TypeVar

from support.helpers import VECTORS, scaled

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
PATIENCE = 5.0


def head(
    opcode: int, size: int, *, fin: bool = True, masked: bool = False, rsv: int = 0, length_size: int | None = None
) -> bytes:
    """The first bytes of a frame, up to its mask (RFC 6455, section 5.2); its length in as few bytes as it takes."""
    first = bytes([(fin << 7) | (rsv << 4) | opcode])
    if length_size is None:
        length_size = 0 if size < 126 else 2 if size < 65_536 else 8
    if length_size == 0:
        return first + bytes([(masked << 7) | size])
    if length_size == 2:
        return first + bytes([(masked << 7) | 126]) + struct.pack("!H", size)
    return first + bytes([(masked << 7) | 127]) + struct.pack("!Q", size)


def mask(data: bytes, key: bytes) -> bytes:
    """Data under a mask; twice is once too often (RFC 6455, section 5.3)."""
    size = len(data)
    long_key = int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(data, "big") ^ long_key).to_bytes(size, "big")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = False, rsv: int = 0) -> bytes:
    """A frame as a server writes it; what is asked for beyond that breaks the protocol."""
    start = head(opcode, len(payload), fin=fin, masked=masked, rsv=rsv)
    return start + (b"\0\0\0\0" if masked else b"") + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame with a code."""
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


class Frame(NamedTuple):
    """A frame that came, unmasked."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """The code in a close frame."""
        return int(struct.unpack("!H", self.payload[:2])[0])


class RawPeer:
    """One end of a stream, read and written by the byte."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(scaled(PATIENCE))
        self.sock = sock
        self._seen = b""

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def read(self, size: int) -> bytes:
        """Exactly so many bytes; fewer at the end of the stream."""
        while len(self._seen) < size:
            chunk = self.sock.recv(65_536)
            if not chunk:
                break
            self._seen += chunk
        taken, self._seen = self._seen[:size], self._seen[size:]
        return taken

    def has_more(self) -> bool:
        """Wait for a byte, or for the end of the stream."""
        if not self._seen:
            self._seen = self.sock.recv(65_536)
        return bool(self._seen)

    def read_header(self) -> str:
        """An HTTP header, its empty line included."""
        while b"\r\n\r\n" not in self._seen:
            chunk = self.sock.recv(65_536)
            if not chunk:
                raise EOFError("no header came")
            self._seen += chunk
        header, _, self._seen = self._seen.partition(b"\r\n\r\n")
        return header.decode() + "\r\n\r\n"

    def read_frame(self, *, masked: bool = True) -> Frame:
        """The next frame, which must be whole, and masked where a client sent it."""
        first, second = self._exactly(2)
        assert first & 0xF0 == 0x80, "neither fragments nor reserved bits are sent"
        assert bool(second & 0x80) is masked, "clients mask, servers do not"
        size = second & 0x7F
        if size == 126:
            size = struct.unpack("!H", self._exactly(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self._exactly(8))[0]
        key = self._exactly(4) if masked else b"\0\0\0\0"
        return Frame(first & 0x0F, mask(self._exactly(size), key))

    def _exactly(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) < size:
            raise EOFError(f"{len(data)} of {size} bytes came")
        return data

    def upgrade(self, extra: str = "") -> str:
        """Read the request for the upgrade, grant it, and return it."""
        request = self.read_header()
        self.send(granted(request, extra))
        return request

    def at_end(self) -> bool:
        """Wait for the end of the stream, past whatever comes before it."""
        with contextlib.suppress(ConnectionError):
            while self.sock.recv(65_536):
                pass
        return True

    def consent(self) -> None:
        """Answer the close frame of the other end, past whatever comes before it, and wait for the end."""
        while (came := self.read_frame()).opcode != CLOSE:
            pass
        self.send(frame(CLOSE, came.payload))
        self.at_end()

    def reset(self) -> None:
        """Break the connection, so that the other end reads a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def header_of(request: str, name: str) -> str:
    """The value of a header in a request, empty when it is not there."""
    for line in request.split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name.lower():
            return value.strip()
    return ""


def granted(request: str, extra: str = "") -> bytes:
    """The answer that grants an upgrade."""
    key = header_of(request, "Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", extra + "\r\n" if extra else "", ""]).encode()


UPGRADE_LINES = [
    "GET {resource} HTTP/1.1",
    "Host: localhost",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
]
UPGRADE = "\r\n".join([*UPGRADE_LINES, "", ""]).format(resource="/")


def knock(port: int, resource: str = "/", headers: str = "") -> tuple[RawPeer, str]:
    """A raw client of a server on this machine, and the answer to its upgrade."""
    peer = RawPeer(socket.create_connection(("127.0.0.1", port), scaled(PATIENCE)))
    extra = [headers] if headers else []
    peer.send("\r\n".join([*UPGRADE_LINES, *extra, "", ""]).format(resource=resource).encode())
    return peer, peer.read_header()


Script = Callable[[RawPeer], object]
Server = TypeVar("Server", bound="ByteServer")


class ByteServer:
    """A TCP server that plays a script to each connection, on a thread of its own; a context manager."""

    def __init__(self, script: Script, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._script = script
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._over = threading.Event()
        self.accepted = 0
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"ws{'s' if self._context else ''}://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self._over.is_set():
                sock.close()
                return
            self.accepted += 1
            self._sockets.append(sock)
            thread = threading.Thread(target=self._play, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _play(self, sock: socket.socket) -> None:
        sock.settimeout(scaled(PATIENCE))
        with contextlib.suppress(OSError, EOFError):
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            self._script(RawPeer(sock))
        sock.close()

    def stop(self) -> None:
        """End everything at once; idempotent."""
        self._over.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
        self._acceptor.join(scaled(PATIENCE))
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(scaled(PATIENCE))
        for sock in self._sockets:
            sock.close()

    def __enter__(self: Server) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class ConnectProxy(ByteServer):
    """An HTTP proxy that leads every CONNECT to one port of this machine; remembers what it was asked."""

    def __init__(
        self, target_port: int, credentials: str | None = None, status: str = "200 yes", interim: bytes = b""
    ) -> None:
        self._interim = interim
        self.requests: list[str] = []
        self._target_port = target_port
        self._credentials = credentials
        self._status = status
        super().__init__(self._serve)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def _serve(self, peer: RawPeer) -> None:
        request = peer.read_header()
        self.requests.append(request)
        expected = None
        if self._credentials is not None:
            expected = "Basic " + base64.b64encode(self._credentials.encode()).decode()
        if expected is not None and header_of(request, "Proxy-Authorization") != expected:
            peer.send(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return
        peer.send(self._interim + f"HTTP/1.1 {self._status}\r\n\r\n".encode())
        if self._status.startswith("200"):
            with socket.create_connection(("127.0.0.1", self._target_port), scaled(PATIENCE)) as far:
                back = threading.Thread(target=pour, args=(far, peer.sock), daemon=True)
                back.start()
                pour(peer.sock, far)
                back.join(scaled(PATIENCE))


def pour(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes from one socket to another, and their end to both."""
    with contextlib.suppress(OSError):
        while chunk := source.recv(65_536):
            target.sendall(chunk)
    for sock in (source, target):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def full_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port that answers nothing at all, not even that it is there: its backlog is full."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.bind((host, 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket(family))
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def server_context() -> ssl.SSLContext:
    """A certificate for localhost and 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(VECTORS / "tls" / "server.pem")
    return context


def client_context() -> ssl.SSLContext:
    """Trusts whoever signed that certificate."""
    return ssl.create_default_context(cafile=str(VECTORS / "tls" / "authority.pem"))
