"""A raw server, in a process of its own, that floods its client with pings and pongs while it answers calls.

``python -m fuzz.flooder PINGS_A_SECOND SECONDS`` prints its port, serves one client, and prints how many pings it sent
and how many pongs came, and whether the last of them answers the last ping.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator

from support.sockets import CLOSE, PING, PONG, TEXT, RawPeer, frame

BATCHES_A_SECOND = 1000
PATIENCE = 60.0


class Flood:
    """Sends so many pings a second for so many seconds, with a pong that nobody asked for behind each tenth."""

    def __init__(self, sock: socket.socket, rate: int, seconds: float) -> None:
        self._sock = sock
        self._size = rate // BATCHES_A_SECOND
        self._rate = rate
        self._seconds = seconds
        self._sending = threading.Lock()
        self._over = threading.Event()
        self.sent = 0
        self.pongs = 0
        self.last = b""

    def run(self) -> None:
        """Send them all; who takes them slowly gets them later."""
        unasked = frame(PONG, b"nobody asked") * (self._size // 10)
        began = time.monotonic()
        while time.monotonic() - began < self._seconds:
            if self.sent >= (time.monotonic() - began) * self._rate:
                time.sleep(0.5 / BATCHES_A_SECOND)
                continue
            pings = [frame(PING, b"%08x" % (self.sent + place)) for place in range(self._size)]
            self.sent += self._size
            self.send(b"".join(pings) + unasked)
        self._over.set()

    def send(self, data: bytes) -> None:
        """Send bytes whole."""
        with self._sending:
            self._sock.sendall(data)

    def serve(self) -> None:
        """Answer calls, that of ``end`` once the flood is over, and count pongs, until the link ends."""
        for opcode, payload in frames_of(self._sock):
            if opcode == PONG:
                self.pongs += 1
                self.last = payload
            elif opcode == TEXT and b'"call"' in payload:
                asked = json.loads(payload)
                if asked["method"] == "end":
                    self._over.wait(PATIENCE)
                answer = {"type": "result", "id": asked["id"], "payload": asked["payload"][0]}
                self.send(frame(TEXT, json.dumps(answer).encode()))
            elif opcode == CLOSE:
                return


def frames_of(sock: socket.socket) -> Iterator[tuple[int, bytes]]:
    """The masked frames that come, by one pass over what each system call gives."""
    data = b""
    with contextlib.suppress(OSError):
        while chunk := sock.recv(65_536):
            data += chunk
            at = 0
            while (end := _end_of_frame(data, at)) is not None:
                start = end - _size(data, at)
                key = data[start - 4 : start]
                yield data[at] & 15, bytes(byte ^ key[place % 4] for place, byte in enumerate(data[start:end]))
                at = end
            data = data[at:]


def _size(data: bytes, at: int) -> int:
    size = data[at + 1] & 127
    return size if size < 126 else int.from_bytes(data[at + 2 : at + 4], "big")


def _end_of_frame(data: bytes, at: int) -> int | None:
    if len(data) - at < 8:
        return at + 6 if len(data) - at >= 6 and not data[at + 1] & 127 else None
    end = at + (6 if data[at + 1] & 127 < 126 else 8) + _size(data, at)
    return end if end <= len(data) else None


def main() -> None:
    """Serve one client."""
    rate, seconds = int(sys.argv[1]), float(sys.argv[2])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        print(listener.getsockname()[1], flush=True)
        sock, _ = listener.accept()
    sock.settimeout(PATIENCE)
    with sock:
        RawPeer(sock).upgrade()
        flood = Flood(sock, rate, seconds)
        flooder = threading.Thread(target=flood.run)
        flooder.start()
        flood.serve()
        flooder.join()
    latest = flood.last == b"%08x" % (flood.sent - 1)
    print(json.dumps({"pings": flood.sent, "pongs": flood.pongs, "latest": latest}), flush=True)


if __name__ == "__main__":
    main()
