"""A listening port, and the thread that accepts clients there until it is stopped.

Threads: one, which waits for clients and for the stop; `Acceptor.stop` frees it, from any thread.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from .. import fork
from ..deadline import Deadline
from ..errors.safe_text import logger
from ..transport.socket_options import set_options
from ..transport.waiting import wait_ready
from ..values import escape_for_log
from .request import plain_address

BACKLOG = 1024
ACCEPT_RETRY_DELAY = 0.1
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_ADVICE = {
    errno.EADDRINUSE: "another program listens there, or an earlier server of this one; port=0 takes a free port",
    errno.EADDRNOTAVAIL: "this machine does not have that address; host='' takes all that it has",
    errno.EACCES: "the system keeps low ports for itself; one from 1024 on is free for all",
}
"""What to do where an address cannot be listened on."""


class Acceptor:
    """A listening socket; it listens as soon as it is made, and accepts after `start`.

    Args:
        host: the address to listen on, or a name for it; ``""`` or ``"::"`` for all of IPv4 and IPv6.
        port: the port; 0 picks a free one.
        on_accept: called with each accepted socket and the address at its other end, on the acceptor's thread; must not
            block.
        make_room: called where the process has no descriptors for more clients.
        name: of the server, for logs and the thread.

    Attributes:
        address: host and port of the listening socket.
        has_both_families: whether clients of IPv4 and of IPv6 connect to the socket.

    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        on_accept: Callable[[socket.socket, tuple[str, int]], None],
        make_room: Callable[[], None],
        name: str,
    ) -> None:
        self.has_both_families = host in ("", "::") and socket.has_dualstack_ipv6()
        family, address = self._resolve(host, port)
        self._wake_read, self._wake_write = socket.socketpair()
        try:
            self._listener = _listen(family, address, self.has_both_families)
        except BaseException:
            # Now: an error that is kept would keep them open.
            self._wake_read.close()
            self._wake_write.close()
            raise
        # A client that leaves between readiness and `accept` would otherwise block the thread, and with it `stop`.
        self._listener.setblocking(False)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._on_accept = on_accept
        self._make_room = make_room
        self._name = name
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name}-acceptor", daemon=True)
        fork.register(self)

    def _resolve(self, host: str, port: int) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
        """Return the family and the address to listen on."""
        if host == "":
            host = "::" if self.has_both_families else "0.0.0.0"
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # Of a name with both families the address of IPv4, in whichever order the resolver has them: a server has one
        # URL, and more clients reach this one.
        family, _, _, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
        return family, address

    def start(self) -> None:
        """Start to accept; if no thread can be started, release the port and raise."""
        try:
            self._thread.start()
        except BaseException:
            self._close()
            raise

    def is_running(self) -> bool:
        """Return whether the acceptor was not stopped; without a lock, as a hint for waits in slices."""
        return not self._stopped.is_set()

    def _run(self) -> None:
        error_logged = False
        while not self._stopped.is_set():
            try:
                self._accept_next()
                error_logged = False
            except BaseException as error:
                # Out of descriptors, memory or threads, or an error of ours. The client stays in the backlog, so the
                # listener stays readable: without a pause this loop would spin, and without `error_logged` it would
                # fill the log. Whatever it is, a server that runs must go on accepting.
                if not error_logged:
                    logger.error(
                        "%s: cannot accept clients, retrying every %g s: %s",
                        self._name,
                        ACCEPT_RETRY_DELAY,
                        escape_for_log(str(error)),
                        exc_info=None if isinstance(error, OSError) else error,
                    )
                error_logged = True
                self._stopped.wait(ACCEPT_RETRY_DELAY)
        self._close()

    def _accept_next(self) -> None:
        """Wait for a client, or for the stop, and hand the client on."""
        wait_ready([self._listener, self._wake_read], [], math.inf)
        if self._stopped.is_set():
            return
        try:
            sock, address = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the client has left again
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._make_room()
            raise
        set_options(sock)
        self._on_accept(sock, (plain_address(address[0]), address[1]))

    def stop(self, seconds: float) -> None:
        """Stop accepting; idempotent, from any thread. Returns once the port is free, or after so many seconds."""
        if not self._stopped.is_set():
            # The flag before the wake: the thread looks at it only after it was woken.
            self._stopped.set()
            with contextlib.suppress(OSError):  # the thread has closed the pair already
                self._wake_write.send(b"\0")
        if threading.current_thread() is not self._thread:
            Deadline(seconds).join(self._thread)

    def after_fork(self) -> None:
        """Close the copies of the sockets; the port stays the parent's."""
        # Another event: a thread of the parent may have held the lock of the old one at the fork.
        self._stopped = threading.Event()
        self._stopped.set()
        self._close()

    def _close(self) -> None:
        for sock in (self._listener, self._wake_read, self._wake_write):
            sock.close()


def _listen(family: socket.AddressFamily, address: tuple[Any, ...], has_both_families: bool) -> socket.socket:
    """Return a socket that listens; the error of one that cannot says where, and what to do if that is known."""
    try:
        return socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=has_both_families)
    except OSError as error:
        if error.errno is None:
            raise
        place = f"[{address[0]}]:{address[1]}" if family == socket.AF_INET6 else f"{address[0]}:{address[1]}"
        advice = f" ({_ADVICE[error.errno]})" if error.errno in _ADVICE else ""
        raise OSError(error.errno, f"cannot listen on {place}: {os.strerror(error.errno)}{advice}") from error
