"""The other end of the guarded paths: a WebSocket server in a process of its own, so that nothing of it is counted.

``python -m benchmarks.guard.peer`` prints its port, and ends with its stdin. It answers the calls ``echo`` (its
argument), ``held`` (once as many calls as its argument says have arrived, all of them together, after a pause) and
``event`` (``None``, then so many events in one write, after a pause). It has no dependencies.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

from ..echo_servers import ROOT
from ..servers.lifetime import announce

KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
EVENT = b'{"event":"tick","payload":"' + b"x" * 32 + b'","type":"event"}'
TEXT, CLOSE = 1, 8
CLOSED = bytes([0x88, 0])
QUIET = 0.03
"""Seconds after which all threads of the client wait again."""


class PeerProcess:
    """Starts the peer; a context manager that ends it.

    Attributes:
        url: the URL of the server.
    """

    def __enter__(self) -> PeerProcess:
        command = [sys.executable, "-m", "benchmarks.guard.peer"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        self.url = f"ws://127.0.0.1:{int(self._process.stdout.readline())}/"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate()


class Client:
    """One client of the peer."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._received = b""
        self._held: list[bytes] = []

    def serve(self) -> None:
        """Answer the upgrade, then each call until the client leaves."""
        sock = self._sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        key = head.lower().partition(b"sec-websocket-key:")[0]
        key = head[len(key) :].split(b"\r\n")[0].partition(b":")[2].strip()
        accept = base64.b64encode(hashlib.sha1(key + KEY_SUFFIX).digest())
        sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        while True:
            opcode, payload = self._read_frame()
            if opcode == TEXT:
                self._take(json.loads(payload))
            elif opcode == CLOSE:
                sock.sendall(CLOSED)
                return

    def _take(self, message: dict[str, object]) -> None:
        if message["type"] != "call":
            return
        answer: Callable[[dict[str, object]], None] = getattr(self, f"_on_{message['method']}")
        answer(message)

    def _on_echo(self, call: dict[str, object]) -> None:
        self._sock.sendall(_answer(call))

    def _on_held(self, call: dict[str, object]) -> None:
        self._held.append(_answer(call))
        if len(self._held) == call["payload"][0]:  # type: ignore[index]
            # By then the caller waits for the first result, and reads all of them.
            time.sleep(QUIET)
            self._sock.sendall(b"".join(self._held))
            self._held.clear()

    def _on_event(self, call: dict[str, object]) -> None:
        self._sock.sendall(_answer(call))
        time.sleep(QUIET)
        self._sock.sendall(_frame(EVENT) * call["payload"][0])  # type: ignore[index]

    def _read_frame(self) -> tuple[int, bytes]:
        first, second = self._read(2)
        size = second & 0x7F
        if size == 126:
            size = int.from_bytes(self._read(2), "big")
        elif size == 127:
            size = int.from_bytes(self._read(8), "big")
        key, data = self._read(4), self._read(size)
        whole = (key * (size // 4 + 1))[:size]
        plain = int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")
        return first & 0x0F, plain.to_bytes(size, "big")

    def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            self._receive()
        data, self._received = self._received[:size], self._received[size:]
        return data

    def _receive(self) -> None:
        data = self._sock.recv(65_536)
        if not data:
            raise EOFError
        self._received += data


def _answer(call: dict[str, object]) -> bytes:
    payload = call["payload"][0]  # type: ignore[index]
    return _frame(json.dumps({"id": call["id"], "type": "result", "payload": payload}).encode())


def _frame(data: bytes) -> bytes:
    """Return an unmasked text frame of less than 64 KiB (RFC 6455, section 5.2)."""
    if len(data) < 126:
        return bytes([0x81, len(data)]) + data
    return b"\x81\x7e" + len(data).to_bytes(2, "big") + data


def _serve(sock: socket.socket) -> None:
    with sock:
        try:
            Client(sock).serve()
        except (EOFError, OSError):
            pass


def main() -> None:
    """Serve each client on a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    announce(listener.getsockname()[1])
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=_serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    main()
