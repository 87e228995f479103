"""The port of a proxy: listening, or closed and still reserved."""

from __future__ import annotations

import math
import os
import selectors
import socket
from collections.abc import Callable

from .pipe import READ, SocketRegistration

HOST = "127.0.0.1"
BACKLOG = 1024
ACCEPT_RETRY_DELAY = 0.05

OnAccept = Callable[[socket.socket, tuple[str, int]], None]


class Listener:
    """Accepts clients; once made, used on the thread of the loop alone.

    Args:
        selector: of the loop.
        on_accept: called with the socket and the address of each client.

    Attributes:
        port: the port, listening or not.
    """

    finished = False

    def __init__(self, selector: selectors.BaseSelector, on_accept: OnAccept) -> None:
        self._selector = selector
        self._on_accept = on_accept
        self._registration = SocketRegistration(selector, _bind(0), self)
        self.port: int = self._registration.sock.getsockname()[1]
        self._listening = False
        self.refuse(False)

    def refuse(self, on: bool) -> None:
        """Refuse clients, or accept them again; a refusing port stays bound, and does not listen.

        Raises:
            OSError: another process took the port.
        """
        if on is not self._listening:
            return
        if on:
            # A socket cannot stop listening, so a new one takes its place. Between the two the port is free.
            self._listening = False
            self._registration.close()
            self._registration = SocketRegistration(self._selector, _bind(self.port), self)
        else:
            self._registration.sock.listen(BACKLOG)
            self._registration.set_events(READ)
            self._listening = True

    def on_ready(self, now: float, sock: socket.socket | None = None, events: int = 0) -> float:
        """Accept the clients in the backlog; return when to be called next."""
        while self._listening:
            try:
                client, address = self._registration.sock.accept()
            except BlockingIOError:
                break
            except ConnectionError:
                continue  # the client has left again
            except OSError:
                # Out of descriptors: the socket stays readable, and the loop would spin if it watched it meanwhile.
                self._registration.set_events(0)
                return now + ACCEPT_RETRY_DELAY
            self._on_accept(client, address)
        self._registration.set_events(READ if self._listening else 0)
        return math.inf

    def close(self, *, reset: bool = False) -> None:
        """Close the port."""
        self._listening = False
        self._registration.close(reset=reset)


def _bind(port: int) -> socket.socket:
    sock = socket.socket()
    try:
        # So that a port with connections in TIME_WAIT can be bound again. On Windows the option would let a second
        # process take the port while it is in use.
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((HOST, port))
    except OSError:
        sock.close()
        raise
    return sock
