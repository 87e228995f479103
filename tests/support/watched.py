"""TLS sockets that notice when two threads are within one of them at once."""

from __future__ import annotations

import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ENTRANCES = (
    "recv",
    "recv_into",
    "read",
    "send",
    "sendall",
    "write",
    "pending",
    "do_handshake",
    "shutdown",
    "unwrap",
)


class Inner:
    """What is within a watched socket: reading and writing it directly are visits as well."""

    def __init__(self, watch: Watch, sock: ssl.SSLSocket) -> None:
        self._watch = watch
        self._number = id(sock)
        self._inner = sock._sslobj  # type: ignore[attr-defined]

    def read(self, *arguments: Any) -> Any:
        """Read, watched."""
        with self._watch._within(self._number, "recv"):
            return self._inner.read(*arguments)

    def write(self, *arguments: Any) -> Any:
        """Write, watched."""
        with self._watch._within(self._number, "send"):
            return self._inner.write(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Watch:
    """Has the sockets of a context watched.

    Attributes:
        overlaps: who came in while somebody else was within, as pairs of what they were doing.
        entered: how often each entrance was used.
        threads: who used any.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._lock = threading.Lock()
        self._inside: dict[int, tuple[int, str]] = {}
        self.overlaps: list[tuple[str, str]] = []
        self.entered: Counter[str] = Counter()
        self.threads: set[int] = set()
        entrances = {name: self._watched(getattr(ssl.SSLSocket, name)) for name in ENTRANCES}
        context.sslsocket_class = type("WatchedSocket", (ssl.SSLSocket,), entrances)

    def _watched(self, method: Callable[..., Any]) -> Callable[..., Any]:
        name = method.__name__

        def enter(sock: ssl.SSLSocket, *arguments: Any, **options: Any) -> Any:
            with self._within(id(sock), name):
                result = method(sock, *arguments, **options)
            if name == "do_handshake":
                sock._sslobj = Inner(self, sock)  # type: ignore[attr-defined]
            return result

        return enter

    @contextmanager
    def _within(self, sock: int, name: str) -> Iterator[None]:
        """A thread is within a socket; what it calls from there counts as the same visit."""
        me = threading.get_ident()
        with self._lock:
            holder = self._inside.get(sock)
            if holder is None:
                self._inside[sock] = me, name
                self.entered[name] += 1
                self.threads.add(me)
            elif holder[0] != me:
                self.overlaps.append((holder[1], name))
        try:
            yield
        finally:
            if holder is None:
                with self._lock:
                    del self._inside[sock]
