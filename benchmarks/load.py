"""The clients of a measured server: raw sockets of this process, which call or do nothing."""

from __future__ import annotations

import select
import socket
import time
from typing import NamedTuple

from .audience import READ_SIZE, UPGRADE, connect

TEXT = b'{"method":"echo","payload":["123"],"type":"call","id":"1","timeout":60000,"dt":1700000000000}'
KEY = b"\x01\x02\x03\x04"
CALL = bytes((0x81, 0x80 | len(TEXT))) + KEY + bytes(byte ^ KEY[place % 4] for place, byte in enumerate(TEXT))
"""A masked text frame of less than 126 bytes (RFC 6455, section 5.2)."""

TIMEOUT = 30.0
AT_ONCE = 32
"""Handshakes that are under way at the same time."""


class Calls(NamedTuple):
    """Calls that were answered.

    Attributes:
        answered: how many.
        seconds: for all of them.
    """

    answered: int
    seconds: float


class Load:
    """Clients of one server.

    Args:
        port: of the server, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._poll = select.epoll()
        self.clients: dict[int, socket.socket] = {}

    def connect(self, count: int) -> float:
        """Connect more clients, `AT_ONCE` at a time, and return the seconds."""
        start, poll = time.perf_counter(), select.epoll()
        begun = 0
        waiting: dict[int, socket.socket] = {}
        responses: dict[int, bytes] = {}
        while begun < count or waiting:
            while begun < count and len(waiting) < AT_ONCE:
                sock = socket.create_connection(("127.0.0.1", self._port), TIMEOUT)
                sock.sendall(UPGRADE)
                waiting[sock.fileno()], responses[sock.fileno()] = sock, b""
                poll.register(sock, select.EPOLLIN)
                begun += 1
            ready = poll.poll(TIMEOUT)
            if not ready:
                raise TimeoutError("the server does not answer an upgrade")
            for number, _ in ready:
                data = waiting[number].recv(READ_SIZE)
                responses[number] += data
                if not data or responses[number].endswith(b"\r\n\r\n"):
                    sock = waiting.pop(number)
                    poll.unregister(sock)
                    if not responses[number].startswith(b"HTTP/1.1 101 "):
                        raise ConnectionError(f"the upgrade was refused: {responses[number][:100]!r}")
                    self._keep(sock)
        return time.perf_counter() - start

    def connect_while_accepted(self, count: int) -> int:
        """Connect one client after the other until one is refused, and return how many were accepted."""
        for number in range(count):
            try:
                sock = connect(self._port)
            except (OSError, RuntimeError):
                return number
            self._keep(sock)
        return count

    def call_for(self, seconds: float) -> Calls:
        """Have each client call, again as soon as it has its answer, for so many seconds."""
        start, count = time.perf_counter(), 0
        until = start + seconds
        for sock in self.clients.values():
            sock.sendall(CALL)
        left = len(self.clients)
        while left:
            # An answer is a small frame, which arrives whole.
            ready = self._poll.poll(TIMEOUT)
            if not ready:
                raise TimeoutError("the server does not answer a call")
            going_on = time.perf_counter() < until
            for number, _ in ready:
                sock = self.clients[number]
                if not sock.recv(READ_SIZE):
                    raise ConnectionError("the server has closed a connection")
                count += 1
                if going_on:
                    sock.sendall(CALL)
                else:
                    left -= 1
        return Calls(count, time.perf_counter() - start)

    def close(self) -> None:
        """Close all of them."""
        for sock in self.clients.values():
            sock.close()
        self.clients.clear()

    def _keep(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.clients[sock.fileno()] = sock
        self._poll.register(sock, select.EPOLLIN)
