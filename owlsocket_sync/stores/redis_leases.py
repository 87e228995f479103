"""`RedisLeases`: what this process has leased of the queues of a Redis, renewed as long as it lives.

Threads: any. One thread of its own renews, as long as there is a lease or one that was dropped; it is freed by the end
of a pause, or by `RedisLeases.close`. No lock is taken: each step on what they share is one of the interpreter.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ..clock import monotonic
from ..deadline import Deadline
from ..errors import StoreError
from .redis_owner import make_owner

MIN_LEASE = 6.0
"""Seconds of the shortest lease of a process that lives, which is renewed after a third of it."""
RENEWAL_INTERVAL = 1.0
"""Seconds between two looks for leases to be renewed."""
JOIN_PATIENCE = 5.0


class Hold(NamedTuple):
    """A lease of this process.

    Attributes:
        attempts: of the message.
        visibility: the seconds of the lease, once it is dropped.
        end: the moment at which it ends then.
        renewal: the moment at which it has to be renewed.
    """

    attempts: int
    visibility: float
    end: float
    renewal: float


def held_for(visibility: float) -> float:
    """Return the seconds for which a lease is taken and renewed."""
    return max(visibility, MIN_LEASE)


class QueueLeases:
    """The leases of one queue.

    Attributes:
        holds: those of messages, by number.
        leads: the right to send its messages, by the name of its holder: the moment at which it has to be renewed.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin with none."""
        self.holds: dict[int, Hold] = {}
        self.leads: dict[str, float] = {}
        self._dropped: deque[tuple[int, int, float]] = deque()
        self._lost: deque[int] = deque()
        self._looked = 0.0

    def take(self, seq: int, attempts: int, visibility: float) -> None:
        """Note a lease that was taken."""
        now = monotonic()
        self.holds[seq] = Hold(attempts, visibility, now + visibility, now + held_for(visibility) / 3)

    def find(self, seq: int, attempts: int) -> Hold | None:
        """Return a lease; ``None`` where it was answered, dropped or lost."""
        hold = self.holds.get(seq)
        return hold if hold is not None and hold.attempts == attempts else None

    def extend(self, seq: int, attempts: int, end: float) -> None:
        """Note that a lease ends later."""
        hold = self.find(seq, attempts)
        if hold is not None:
            self.holds[seq] = hold._replace(end=max(hold.end, end))

    def drop(self, seq: int, attempts: int) -> None:
        """Note that a lease is to end by the clock; from a finalizer."""
        hold = self.find(seq, attempts)
        if hold is not None and self.holds.pop(seq, None) is not None:
            self._dropped.append((seq, attempts, hold.end))

    def is_empty(self) -> bool:
        """Return whether nothing is left to be renewed, or to be let go of."""
        return not self.holds and not self._dropped and not self._lost and not self.leads

    def lose(self, claim: int) -> None:
        """Note a claim that was interrupted: its message, if there is one, has no consumer."""
        self._lost.append(claim)

    def lost(self) -> list[int]:
        """Return the claims that were interrupted, to be given back now."""
        return [self._lost.popleft() for _ in range(len(self._lost))]

    def changes(self) -> list[tuple[int, int, float]]:
        """Return what has to be told to Redis now: number, attempts, and the seconds until the end of the lease."""
        now, changes = monotonic(), []
        while self._dropped:
            try:
                seq, attempts, end = self._dropped.popleft()
            except IndexError:
                break  # another thread has it
            changes.append((seq, attempts, max(0.0, end - now)))
        # Not at each use: there may be many.
        if now >= self._looked + RENEWAL_INTERVAL:
            self._looked = now
            changes += self._renewals(now)
        return changes

    def _renewals(self, now: float) -> Iterator[tuple[int, int, float]]:
        for seq, hold in list(self.holds.items()):
            if hold.renewal <= now:
                yield seq, hold.attempts, max(held_for(hold.visibility), hold.end - now)
                # Not where it was dropped or answered meanwhile.
                if self.holds.get(seq) is hold:
                    self.holds[seq] = hold._replace(renewal=now + held_for(hold.visibility) / 3)

    def end(self, seq: int, attempts: int | None = None) -> None:
        """Forget a lease that was answered; with any number of attempts where none is given."""
        if attempts is None or self.find(seq, attempts) is not None:
            self.holds.pop(seq, None)


class RedisLeases:
    """The thread that renews the leases of one store.

    Args:
        renew: returns, for each queue, its leases, and what tells Redis of the changes.
    """

    def __init__(self, renew: Callable[[], Iterable[tuple[QueueLeases, Callable[[], None]]]]) -> None:
        self._renew = renew
        self.begin()

    def begin(self) -> None:
        """Begin with another owner, and without a thread; in a forked child as well."""
        self.owner = make_owner()
        self._stop = threading.Event()
        # The thread that takes the item starts the thread that renews.
        self._rest: deque[None] = deque([None], 1)
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Start the thread unless it runs; once there is a lease."""
        try:
            self._rest.pop()
        except IndexError:
            return
        if self._stop.is_set():
            return
        try:
            self._thread = threading.Thread(target=self._run, name="owlsocket-leases", daemon=True)
            self._thread.start()
        except BaseException:
            self._rest.append(None)
            raise

    def _run(self) -> None:
        stop, rest = self._stop, self._rest
        while not stop.wait(RENEWAL_INTERVAL):
            is_empty = True
            for leases, tell in self._renew():
                try:
                    tell()
                except StoreError:
                    pass  # the link has reported it; what could not be renewed is due again after a third
                is_empty = is_empty and leases.is_empty()
            if is_empty:
                rest.append(None)
                # A lease that was taken meanwhile has found no item.
                if all(leases.is_empty() for leases, _ in self._renew()) or not rest:
                    return
                try:
                    rest.pop()
                except IndexError:
                    return

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            Deadline(JOIN_PATIENCE).join(thread)
