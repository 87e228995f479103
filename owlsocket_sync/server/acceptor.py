"""A port of this machine, and a thread that accepts whoever comes to it, until it is told to stop.

Threads: one, which waits for clients and for the end. `Acceptor.stop` frees it, from any thread. That no more
descriptors are to be had ends nothing: it waits a moment and accepts on.
"""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import threading
from collections.abc import Callable

from ..transport.readiness import wait_ready

logger = logging.getLogger("owlsocket_sync")

BACKLOG = 1024
BREATHER = 0.1


class Acceptor:
    """Listens, from the moment it is there.

    Args:
        host: the address to listen on.
        port: the port; 0 takes a free one.
        take: called with each socket that was accepted; must not block.
        name: what logs and the thread are called.

    Attributes:
        address: what it listens on.
    """

    def __init__(self, host: str, port: int, take: Callable[[socket.socket], None], name: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        self._listener.setblocking(False)
        self._wake_read, self._wake_write = socket.socketpair()
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._take = take
        self._name = name
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name}-acceptor", daemon=True)

    def start(self) -> None:
        """Accept from now on."""
        self._thread.start()

    def _run(self) -> None:
        complained = False
        while True:
            wait_ready([self._listener, self._wake_read], [], math.inf)
            if self._stopped.is_set():
                break
            try:
                sock = self._listener.accept()[0]
            except (BlockingIOError, ConnectionAbortedError):
                continue  # whoever came has left already
            except OSError as error:
                if not complained:
                    logger.error("%s: cannot accept clients for the moment: %s", self._name, error)
                complained = True
                self._stopped.wait(BREATHER)
                continue
            complained = False
            self._take(sock)
        self._close()

    def stop(self, seconds: float) -> None:
        """Accept nobody more; returns once the port is free, or the seconds are over; idempotent, from any thread."""
        if not self._stopped.is_set():
            self._stopped.set()
            with contextlib.suppress(OSError):
                self._wake_write.send(b"\0")
        if threading.current_thread() is not self._thread:
            self._thread.join(min(seconds, threading.TIMEOUT_MAX))

    def abandon(self) -> None:
        """In a forked child: let go of the port, which stays the parent's."""
        self._stopped.set()
        self._close()

    def _close(self) -> None:
        for one in (self._listener, self._wake_read, self._wake_write):
            one.close()
