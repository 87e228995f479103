"""The clients of a broadcast: raw sockets in a process of their own, which counts the frames that arrive.

``python -m benchmarks.audience PORT COUNT [deflate]`` connects, and prints a line. For each line on its stdin it
waits until each client has received a frame, and prints the moment (``time.perf_counter``, the clock of all processes).
"""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence

from .echo_servers import ROOT

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n\r\n"
TEXT, COMPRESSED = 0x81, 0xC1
READ_SIZE = 65_536


class Audience:
    """Starts the process, and asks it; the process ends with its stdin.

    Args:
        port: of the server, on 127.0.0.1.
        count: of the clients.
        cores: the process runs on these; ``None`` for any.
        deflate: the clients ask for compression, and the frames have to be compressed.
    """

    def __init__(self, port: int, count: int, cores: Sequence[int] | None, *, deflate: bool = False) -> None:
        command = [sys.executable, "-m", "benchmarks.audience", str(port), str(count), *(["deflate"] * deflate)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        if cores is not None:
            os.sched_setaffinity(self._process.pid, cores)
        self._read()

    def expect(self) -> None:
        """Have it wait for a frame for each client; returns once it does."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._read()

    def arrived(self) -> float:
        """Return the moment at which the last client had its frame (``time.perf_counter``)."""
        return float(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the clients of the broadcast have ended")
        return line


def main(port: int, count: int, deflate: bool) -> None:
    """Connect, and count until stdin ends."""
    first = COMPRESSED if deflate else TEXT
    poll = select.epoll()
    clients = {}
    for _ in range(count):
        sock = connect(port, OFFER if deflate else b"\r\n")
        clients[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
    print("ready", flush=True)
    for _ in sys.stdin:
        print("waiting", flush=True)
        waiting = dict(clients)
        while waiting:
            for number, _ in poll.poll():
                _check_frame(waiting.pop(number).recv(READ_SIZE), first)
        print(time.perf_counter(), flush=True)


def connect(port: int, rest: bytes = b"\r\n") -> socket.socket:
    """Return a raw socket after its upgrade.

    Args:
        port: of the server.
        rest: of the request, after the usual headers.
    """
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(UPGRADE.removesuffix(b"\r\n") + rest)
    # Byte by byte: nothing of a frame behind the response may be lost.
    response = b""
    while not response.endswith(b"\r\n\r\n"):
        response += sock.recv(1)
    if not response.startswith(b"HTTP/1.1 101 "):
        raise RuntimeError(f"the upgrade was refused: {response.decode('latin-1')}")
    return sock


def _check_frame(data: bytes, first: int) -> None:
    """Raise `RuntimeError` unless this is one frame, whole and of the length that a broadcast has here."""
    if not (data[:2] == bytes((first, 0x7E)) and struct.unpack("!H", data[2:4])[0] == len(data) - 4):
        raise RuntimeError(f"not one text frame: {data[:40]!r}, {len(data)} bytes")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), "deflate" in sys.argv[3:])
