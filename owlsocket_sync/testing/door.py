"""The port that clients come to: open, or closed and yet kept."""

from __future__ import annotations

import math
import os
import selectors
import socket
from collections.abc import Callable

from .pipe import READ, Watch

HOST = "127.0.0.1"
BACKLOG = 1024
BREATH_SECONDS = 0.05

Welcome = Callable[[socket.socket, tuple[str, int]], None]


class Door:
    """Accepts clients; used on the loop's thread alone, once it is made.

    Args:
        selector: of the loop.
        welcome: called with each client's socket and address.
    """

    over = False

    def __init__(self, selector: selectors.BaseSelector, welcome: Welcome) -> None:
        self._selector = selector
        self._welcome = welcome
        self._watch = Watch(selector, _bound(0), self)
        self.port: int = self._watch.sock.getsockname()[1]
        self._open = False
        self.refuse(False)

    def refuse(self, on: bool) -> None:
        """Refuse clients, or let them in; the port stays ours, bound without being listened on."""
        if on is not self._open:
            return
        if on:
            self._open = False
            self._watch.close()
            self._watch = Watch(self._selector, _bound(self.port), self)
        else:
            self._watch.sock.listen(BACKLOG)
            self._watch.ask(READ)
            self._open = True

    def turn(self, now: float, sock: socket.socket | None = None, events: int = 0) -> float:
        """Let in who waits; when to come back unasked."""
        while self._open:
            try:
                client, address = self._watch.sock.accept()
            except BlockingIOError:
                break
            except ConnectionError:
                continue  # this one has left again
            except OSError:
                self._watch.ask(0)  # no descriptor is free: come back, and do not spin until then
                return now + BREATH_SECONDS
            self._welcome(client, address)
        self._watch.ask(READ if self._open else 0)
        return math.inf

    def close(self, *, reset: bool = False) -> None:
        """Give the port up."""
        self._open = False
        self._watch.close(reset=reset)


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((HOST, port))
    except OSError:
        sock.close()
        raise
    return sock
