"""The heartbeat of a link: when to ping a silent peer, when to give it up, and which threads wait for a pong.

Threads: `HeartbeatTimer` is arithmetic on a clock, and belongs to the reader. `PingTracker` is guarded by the condition
of the link's status.
"""

from __future__ import annotations

import math
import os
from enum import Enum

from ..clock import monotonic
from ..deadline import Deadline
from ..options import Heartbeat
from .link_state import LinkStatus


class HeartbeatAction(Enum):
    """The action that is due."""

    WAIT = "wait"
    PING = "ping"
    TIMED_OUT = "timed out"


class HeartbeatTimer:
    """The clock of one link's heartbeat. A received byte, or one that the peer accepts after a stall, is activity.

    Args:
        heartbeat: interval and timeout; ``None`` never pings and never times out.
        now: when the link was opened (``time.monotonic``).

    Attributes:
        pinged_at: when the ping was sent that is not answered yet, ``None`` where there is none.
    """

    __slots__ = ("_heartbeat", "_last_activity", "_paused_until", "pinged_at")

    def __init__(self, heartbeat: Heartbeat | None, now: float) -> None:
        self._heartbeat = heartbeat
        self._last_activity = now
        self._paused_until = now
        self.pinged_at: float | None = None

    def on_activity(self, at: float) -> None:
        """Note that the peer was active at a moment."""
        if at > self._last_activity:
            self._last_activity = at
            # Activity from before the ping, which is noticed only now, does not answer it.
            if self.pinged_at is not None and at >= self.pinged_at:
                self.pinged_at = None

    def poll(self, now: float) -> HeartbeatAction:
        """Return the action that is due; `HeartbeatAction.PING` counts as carried out."""
        if self._heartbeat is None or now < self.next_at():
            return HeartbeatAction.WAIT
        if self.pinged_at is not None:
            return HeartbeatAction.TIMED_OUT
        self.pinged_at = now
        return HeartbeatAction.PING

    def poll_while_paused(self, now: float, stalled_since: float | None) -> HeartbeatAction:
        """Return the action that is due while the reader pauses for a full backlog.

        Args:
            now: the current time (``time.monotonic``).
            stalled_since: since when the peer has accepted nothing, ``None`` while it does.
        """
        if self._heartbeat is None:
            return HeartbeatAction.WAIT
        # We do not read, so the peer's silence proves nothing; only that it accepts nothing does. Our own silence may
        # make the peer time out: it gets a ping for each interval.
        self._paused_until = now
        if stalled_since is not None and now - stalled_since >= self._heartbeat.interval + self._heartbeat.timeout:
            return HeartbeatAction.TIMED_OUT
        if now - (self._last_activity if self.pinged_at is None else self.pinged_at) < self._heartbeat.interval:
            return HeartbeatAction.WAIT
        self.pinged_at = now
        return HeartbeatAction.PING

    def next_at(self) -> float:
        """Return when to call `poll` next (``time.monotonic``), ``math.inf`` without a heartbeat."""
        if self._heartbeat is None:
            return math.inf
        # After a pause the peer gets its full time again: what it sent meanwhile has yet to be read.
        if self.pinged_at is not None:
            return max(self.pinged_at, self._paused_until) + self._heartbeat.timeout
        return max(self._last_activity, self._paused_until) + self._heartbeat.interval


class PingWaiter:
    """A ping whose pong is awaited.

    Attributes:
        seconds: the round trip, ``None`` before the pong.
        sent_at: when the ping was about to be written.
        is_measured: whether its round trip counts as the latency of the link.
        is_awaited: whether the pong still counts; those of pings before it do in any case.
    """

    __slots__ = ("is_awaited", "is_measured", "seconds", "sent_at")

    def __init__(self) -> None:
        self.is_measured = self.is_awaited = True
        self.sent_at = monotonic()
        self.seconds: float | None = None


class PingTracker:
    """The unanswered pings of one link, in the order in which they were sent.

    Args:
        status: of the link; its condition guards the pings, and is notified of pongs.

    Attributes:
        latency: seconds of the last round trip, ``None`` before the first.
    """

    __slots__ = ("_status", "_waiters", "latency")

    def __init__(self, status: LinkStatus) -> None:
        self._status = status
        self._waiters: dict[bytes, PingWaiter] = {}
        self.latency: float | None = None

    def register(self, *, is_measured: bool = True) -> tuple[bytes, PingWaiter]:
        """Return the payload of a new ping, and its waiter; ``is_measured`` as of `PingWaiter`."""
        payload, waiter = os.urandom(8), PingWaiter()
        waiter.is_measured = is_measured
        with self._status.lock:
            self._waiters[payload] = waiter
        return payload, waiter

    def unregister(self, payload: bytes) -> None:
        """Wait no longer for the pong of a ping; it answers those that were sent before all the same."""
        with self._status.lock:
            waiter = self._waiters.get(payload)
            if waiter is None:
                return
            waiter.is_awaited = False
            for key in list(self._waiters):
                first = self._waiters.get(key)
                if first is not None and first.is_awaited:
                    break
                self._waiters.pop(key, None)

    def on_ping_sent(self, payload: bytes) -> None:
        """Note that a ping is about to be written; with the write lock held."""
        # Moved to the end: a pong answers all pings that were sent before, whichever was registered first.
        with self._status.lock:
            waiter = self._waiters.pop(payload, None)
            if waiter is not None:
                # Before that it waited for other writers.
                waiter.sent_at = monotonic()
                self._waiters[payload] = waiter

    def on_pong(self, payload: bytes) -> None:
        """Answer a ping, and all that were sent before it (RFC 6455, section 5.5.3)."""
        now = monotonic()
        with self._status.lock:
            # An unsolicited pong, or a late one that no other ping waits for.
            if payload not in self._waiters:
                return
            for key in list(self._waiters):
                waiter = self._waiters.pop(key, None)
                if waiter is not None:  # else what interrupted this thread has given it up
                    waiter.seconds = now - waiter.sent_at
                    if waiter.is_measured and waiter.is_awaited:
                        self.latency = waiter.seconds
                if key == payload:
                    break
            self._status.changed.notify_all()

    def wait(self, waiter: PingWaiter, deadline: Deadline) -> float | None:
        """Wait for a pong, and return the round trip in seconds; ``None`` if the link ended or time is up."""
        self._status.wait(lambda: waiter.seconds is not None or self._status.info is not None, deadline)
        return waiter.seconds
