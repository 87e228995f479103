"""The handshakes in flight of one server, and their bound: above it, the one that is waited for longest is closed.

A client that connects and sends nothing costs a thread and a descriptor until the timeout of its handshake. So the
number of such clients is bounded apart from that of links, in total and for each address.

Threads: ``_flight_lock`` guards the set of handshakes, and is a leaf. Any thread may enter and leave.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice

from ..clock import monotonic
from ..errors.safe_text import logger
from ..locks import make_process_lock
from ..transport.waiting import is_readable

QUIET_SECONDS = 10.0
"""An episode is over once no handshake was closed for so long."""
CANDIDATES = 16
"""How many of the oldest handshakes are looked at for those that wait for their clients."""
FREED_AT_ONCE = 8
"""How many are closed where the process is out of descriptors or threads."""


class Handshake:
    """One client, from its acceptance until its request has arrived.

    Attributes:
        sock: the socket, with TLS once that has begun.
        address: the address and port at the other end of the socket.
        is_evicted: whether it is closed to make room for others.
    """

    __slots__ = ("_is_waiting", "address", "is_evicted", "sock")

    def __init__(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self.sock = sock
        self.address = address
        self.is_evicted = False
        self._is_waiting = False

    def await_client(self, wait: Callable[[], None]) -> None:
        """Wait for the client; without receiving what it sends."""
        # Without: as long as this is noted, bytes that have arrived are unread, and seen by `waits_for_client`.
        self._is_waiting = True
        try:
            wait()
        finally:
            self._is_waiting = False

    def waits_for_client(self) -> bool:
        """Return whether the thread of this handshake waits, and the client has sent nothing meanwhile."""
        try:
            return self._is_waiting and not is_readable(self.sock)
        except OSError:  # TLS takes over the descriptor at this moment
            return False

    def evict(self) -> None:
        """Wake the thread that waits for the client, and have it close the socket."""
        self.is_evicted = True
        with suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class HandshakesInFlight:
    """The handshakes of a server that are not finished, in the order in which their clients came.

    Args:
        name: of the server, for the log.
        limit: how many there may be; from one address, half as many.
        is_shared: returns whether many clients come from an address, as from that of a proxy: it has no limit of its
            own.
    """

    def __init__(self, name: str, limit: int, is_shared: Callable[[str], bool]) -> None:
        self._name = name
        self._limit = limit
        self._share = (limit + 1) // 2
        self._is_shared = is_shared
        self._flight_lock = make_process_lock()
        self._by_age: dict[Handshake, None] = {}
        self._by_address: dict[str, dict[Handshake, None]] = {}
        self._quiet_until = -QUIET_SECONDS

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._by_age)

    def enter(self, handshake: Handshake) -> None:
        """Add a handshake; where there are too many, the one that waits longest for its client is closed."""
        host = handshake.address[0]
        has_share = not self._is_shared(host)
        with self._flight_lock:
            siblings = self._by_address.get(host, {})
            crowd, origin = self._by_age, ""
            if has_share and len(siblings) >= self._share:
                crowd, origin = siblings, f" from {host}"
            count = len(crowd)
            limit = self._share if origin else self._limit
            # Also those that were let in above the limit, because no other waited for its client then.
            evicted = count >= limit and self._evict(crowd, count - limit + 1)
            self._by_age[handshake] = None
            self._by_address.setdefault(host, {})[handshake] = None
        if evicted:
            self._report(f"{count} unfinished handshakes{origin}: the oldest are closed (option handshakes)")

    def leave(self, handshake: Handshake) -> None:
        """Remove a handshake, before its socket is closed; idempotent."""
        with self._flight_lock:
            self._remove(handshake)

    def make_room(self) -> None:
        """Close some handshakes, because the process has no descriptors or threads for more clients."""
        with self._flight_lock:
            count = len(self._by_age)
            evicted = self._evict(self._by_age, FREED_AT_ONCE)
        if evicted:
            self._report(f"no room for clients: the oldest of {count} unfinished handshakes are closed")

    def _evict(self, candidates: Iterable[Handshake], count: int) -> int:
        """Close the oldest that wait for their clients, so many at most; return how many. Under the lock."""
        # None that waits for this process instead, as in a storm of clients that come back at once: these are done
        # soon, so they may be more than the limit.
        waiting = (handshake for handshake in islice(candidates, CANDIDATES) if handshake.waits_for_client())
        evicted = list(islice(waiting, count))
        for handshake in evicted:
            handshake.evict()
            self._remove(handshake)
        return len(evicted)

    def _remove(self, handshake: Handshake) -> None:
        self._by_age.pop(handshake, None)
        host = handshake.address[0]
        siblings = self._by_address.get(host, {})
        siblings.pop(handshake, None)
        if not siblings:
            self._by_address.pop(host, None)

    def _report(self, reason: str) -> None:
        """Log one line for each episode."""
        now = monotonic()
        # Moved on while the episode lasts. Without the lock: two threads at once cost a second line at worst.
        is_new, self._quiet_until = now >= self._quiet_until, now + QUIET_SECONDS
        if is_new:
            logger.warning("%s: %s", self._name, reason)
