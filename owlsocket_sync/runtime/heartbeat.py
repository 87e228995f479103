"""When to ask a silent peer for a sign of life, and when to give it up: arithmetic on a clock.

Threads: none of its own; the reader asks and tells.
"""

from __future__ import annotations

import math
from enum import Enum

from ..options import Heartbeat


class Beat(Enum):
    """What to do now."""

    REST = "rest"
    PING = "ping"
    DEAD = "dead"


class Pulse:
    """The heartbeat of one link. Any byte from the peer is a sign of life.

    Args:
        heartbeat: its interval and timeout; ``None`` never pings and never gives up.
        now: the moment at which the link began.
    """

    def __init__(self, heartbeat: Heartbeat | None, now: float) -> None:
        self._heartbeat = heartbeat
        self._heard_at = now
        self._asked_at: float | None = None

    def heard(self, at: float) -> None:
        """A byte came at this moment."""
        if at > self._heard_at:
            self._heard_at = at
            if self._asked_at is not None and at >= self._asked_at:
                self._asked_at = None

    def beat(self, now: float) -> Beat:
        """What to do now; `Beat.PING` counts as done."""
        if self._heartbeat is None:
            return Beat.REST
        if self._asked_at is not None:
            return Beat.DEAD if now - self._asked_at >= self._heartbeat.timeout else Beat.REST
        if now - self._heard_at >= self._heartbeat.interval:
            self._asked_at = now
            return Beat.PING
        return Beat.REST

    def pause(self, now: float) -> None:
        """We did not listen until now, so silence until now says nothing about the peer."""
        if self._asked_at is not None:
            self._asked_at = now

    def next_at(self) -> float:
        """The moment at which to ask `beat` again."""
        if self._heartbeat is None:
            return math.inf
        if self._asked_at is not None:
            return self._asked_at + self._heartbeat.timeout
        return self._heard_at + self._heartbeat.interval
