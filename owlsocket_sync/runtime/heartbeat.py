"""Signs of life: when to ask a silent peer for one, when to give it up, and who waits for it.

Threads: `Pulse` is arithmetic on a clock, and belongs to the reader. In `Pongs`, ``_pongs_lock`` guards the waiters and
is a leaf.
"""

from __future__ import annotations

import math
import os
import threading
import time
from enum import Enum

from ..options import Heartbeat


class Beat(Enum):
    """What to do now."""

    REST = "rest"
    PING = "ping"
    DEAD = "dead"


class Pulse:
    """The heartbeat of one link. Any byte that comes, and any that is taken after a stall, is a sign of life.

    Args:
        heartbeat: its interval and timeout; ``None`` never pings and never gives up.
        now: the moment at which the link began.
    """

    def __init__(self, heartbeat: Heartbeat | None, now: float) -> None:
        self._heartbeat = heartbeat
        self._heard_at = now
        self._deaf_until = now
        self._asked_at: float | None = None

    def heard(self, at: float) -> None:
        """The peer gave a sign of life at this moment."""
        if at > self._heard_at:
            self._heard_at = at
            if self._asked_at is not None and at >= self._asked_at:
                self._asked_at = None

    def beat(self, now: float) -> Beat:
        """What to do now; `Beat.PING` counts as done."""
        if self._heartbeat is None or now < self.next_at():
            return Beat.REST
        if self._asked_at is not None:
            return Beat.DEAD
        self._asked_at = now
        return Beat.PING

    def beat_unheard(self, now: float, stalled_at: float | None) -> Beat:
        """What to do now while nothing is read.

        The silence of the peer says nothing about it then, but ours may end its patience: so it gets its pings. Only
        that it has taken nothing for long (``stalled_at``: since when) speaks against it.
        """
        if self._heartbeat is None:
            return Beat.REST
        self._deaf_until = now
        if stalled_at is not None and now - stalled_at >= self._heartbeat.interval + self._heartbeat.timeout:
            return Beat.DEAD
        if now - (self._heard_at if self._asked_at is None else self._asked_at) < self._heartbeat.interval:
            return Beat.REST
        self._asked_at = now
        return Beat.PING

    def next_at(self) -> float:
        """The moment at which to ask `beat` again."""
        if self._heartbeat is None:
            return math.inf
        if self._asked_at is not None:
            return max(self._asked_at, self._deaf_until) + self._heartbeat.timeout
        return max(self._heard_at, self._deaf_until) + self._heartbeat.interval


class PongWaiter:
    """Somebody who asked for a sign of life."""

    __slots__ = ("arrived", "asked_at", "seconds")

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.asked_at = time.monotonic()
        self.seconds: float | None = None


class Pongs:
    """The pings of one link that were not answered yet, in the order in which they left.

    Attributes:
        latency: seconds of the last round trip.
    """

    def __init__(self) -> None:
        self._pongs_lock = threading.Lock()
        self._waiters: dict[bytes, PongWaiter] = {}
        self.latency: float | None = None

    def expect(self) -> tuple[bytes, PongWaiter]:
        """The payload for a new ping, and who waits for its pong."""
        payload, waiter = os.urandom(8), PongWaiter()
        with self._pongs_lock:
            self._waiters[payload] = waiter
        return payload, waiter

    def asked(self, payload: bytes) -> None:
        """This one leaves now: a pong that answers it answers all that left before, whoever began to ask first."""
        with self._pongs_lock:
            waiter = self._waiters.pop(payload, None)
            if waiter is not None:
                self._waiters[payload] = waiter

    def forget(self, payload: bytes) -> None:
        """Nobody waits for this one any more."""
        with self._pongs_lock:
            self._waiters.pop(payload, None)

    def arrived(self, payload: bytes) -> None:
        """A pong answers its ping, and all that were sent before it (RFC 6455, section 5.5.3)."""
        now = time.monotonic()
        with self._pongs_lock:
            if payload not in self._waiters:
                return
            answered = []
            for key in list(self._waiters):
                answered.append(self._waiters.pop(key))
                if key == payload:
                    break
        self.latency = now - answered[-1].asked_at
        for waiter in answered:
            waiter.seconds = now - waiter.asked_at
            waiter.arrived.set()

    def end(self) -> None:
        """No more will come: free everybody who waits."""
        with self._pongs_lock:
            waiters, self._waiters = list(self._waiters.values()), {}
        for waiter in waiters:
            waiter.arrived.set()
