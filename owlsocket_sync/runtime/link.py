"""One WebSocket link: its reader, its writers, its heartbeat, and how it is closed. It ends once, for one reason.

Threads: the poller (`poller`) calls `Link.step`, which runs the timers, and reads what no other thread reads (see
`reader`). It never waits: what takes time is a moment at which it goes on. The thread that does what follows from the
end calls `Link.release`. All other methods may be called from any thread but the poller, unless they say otherwise.

Locks: the read lock of the stream, then the write lock (`writer`), then the status of the link (`link_state`).

Where a thread can block, and what frees it: a writer at the write lock or in ``stream.send_some`` (its deadline,
`DuplexStream.interrupt`); `Link.ping` and `Link.close` at the status of the link (their deadline, the end of the link).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from ..clock import monotonic
from ..deadline import Deadline
from ..delegation import delegate
from ..errors import SocketConnectionError, SocketTimeout
from ..options import Heartbeat
from ..protocol.carrier import CarrierEvents
from ..states import CloseInfo
from ..transport.framing import Framing
from .failed_write import FailedWrite
from .heartbeat import HeartbeatAction, HeartbeatTimer, PingTracker
from .link_state import LinkState, LinkStatus
from .link_steps import ABNORMAL_CLOSURE, INTERNAL_ERROR, NORMAL_CLOSURE, LinkSteps
from .reader import ReaderRole
from .writer import Writer

FLUSH_RETRY = 0.05
CLOSE_GRACE = 0.2
__all__ = ["INTERNAL_ERROR", "Link"]


class Link(LinkSteps):
    """One WebSocket link, after its handshake.

    Args:
        framing: the frames of the link; its stream is closed with the link.
        number: the number of the link on its connection.
        events: gets the messages, and runs timers.
        heartbeat: when to ping, and when to time out.
        run_timers: called by the poller instead of the method of ``events``.

    Attributes:
        run_timers: runs the timers of the connection, and returns when to run them next.
        read_for: read in place of the poller, as `ReaderRole.lead` does.
        writer: writes the frames of the link.
        auth_deadline: when the link is closed unless authentication has completed (``time.monotonic``).
    """

    __slots__ = ("__weakref__", "_framing", "_heartbeat_timeout", "_last_ping", "auth_deadline", "run_timers")

    def __init__(
        self,
        framing: Framing,
        number: int,
        events: CarrierEvents,
        heartbeat: Heartbeat | None,
        run_timers: Callable[[float], float] | None = None,
    ) -> None:
        super().__init__()
        self._framing, self._stream = framing, framing.stream
        framing.count_wire = events.count_wire
        self._number = number
        self._receive = events.receive
        self._has_room = events.has_room
        self.run_timers = run_timers or events.run_timers
        self._status = LinkStatus(framing.stream.state_lock)
        self._reader = ReaderRole(framing, events.try_complete, self._handle, self._may_continue)
        self._heartbeat = HeartbeatTimer(heartbeat, monotonic())
        self._heartbeat_timeout = heartbeat.interval + heartbeat.timeout if heartbeat else math.inf
        self._pings = PingTracker(self._status)
        self._failed_write = FailedWrite(self._status, self._stream, self.abort)
        self._writer = Writer(framing, self._status, self._failed_write, self._pings)
        self._last_ping = b""
        self.auth_deadline = math.inf

    read_for: Callable[[Callable[[], bool], Deadline], None] = delegate("_reader.lead")
    writer: Writer = delegate("_writer")

    @property
    def is_open(self) -> bool:
        """True as long as the link takes messages."""
        return self._status.state is LinkState.OPEN

    @property
    def close_info(self) -> CloseInfo | None:
        """The reason why the link ended, ``None`` before it has."""
        return self._status.info

    # -- timers ------------------------------------------------------------------------------------------------------

    def _run_timers(self, now: float, reading: bool) -> float:
        """Do what is due, and return when to run the timers next."""
        next_at = min(self.run_timers(now), self.auth_deadline, self._failed_write.run_timer(now))
        if self._failed_write.error is not None:
            self._peer_closed = True  # what arrived before is bounded, too
        if now >= self.auth_deadline:
            timeout = SocketTimeout("authentication timed out")
            self._begin_closing(CloseInfo(NORMAL_CLOSURE, "authentication timed out", timeout))
        stream, timer = self._stream, self._heartbeat
        timer.on_activity(stream.last_activity)
        action = timer.poll(now) if reading else timer.poll_while_paused(now, stream.stalled_since)
        if action is HeartbeatAction.TIMED_OUT:
            error = SocketConnectionError(f"heartbeat timeout: nothing received for {self._heartbeat_timeout:g} s")
            self.abort(CloseInfo(ABNORMAL_CLOSURE, "heartbeat timeout", error))
        elif action is HeartbeatAction.PING:
            # One heartbeat ping at a time is tracked: an unanswered one is superseded.
            self._pings.unregister(self._last_ping)
            self._last_ping = self._pings.register(is_measured=reading)[0]  # in a pause, its pong waits for us
            self._writer.send_ping(self._last_ping)
        self._writer.flush_and_watch()
        next_at = min(next_at, timer.next_at())
        return min(next_at, now + FLUSH_RETRY) if self._writer.has_unsent else next_at

    def schedule_wakeup(self, at: float) -> None:
        """Make the poller run the timers at a moment (``time.monotonic``); from any thread."""
        # In this order; see step.
        self._wakeup_requested = True
        if at < self._waiting_until:
            self._stream.wake()

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, messages: Sequence[bytes], deadline: Deadline) -> None:
        """Send text messages together.

        Raises:
            SocketTimeout: the peer did not accept them in time. The next writer finishes what was begun.
            SocketConnectionError: the link has ended.
        """
        if not self._reader.step_aside():
            self._writer.write_later(messages)
            return
        try:
            self._writer.write_messages(messages, deadline)
        except SocketConnectionError as failure:
            raise self._failed_write.settle(failure, deadline) from failure.__cause__

    def send_and_read(self, messages: Sequence[bytes], deadline: Deadline, done: Callable[[], bool]) -> None:
        """Do what `write` does, then read in place of the reader as `ReaderRole.lead` does."""
        try:
            self._reader.lead(done, deadline, partial(self._writer.write_messages, messages, deadline))
        except SocketConnectionError as failure:
            raise self._failed_write.settle(failure, deadline) from failure.__cause__

    # -- pings -------------------------------------------------------------------------------------------------------

    @property
    def latency(self) -> float | None:
        """Seconds of the last round trip, ``None`` before the first."""
        return self._pings.latency

    def ping(self, deadline: Deadline) -> float:
        """Return the seconds of one round trip.

        Raises:
            SocketTimeout: no pong arrived in time.
            SocketConnectionError: the link has ended.
        """
        payload, waiter = self._pings.register()
        send = partial(self._writer.write, self._framing.ping_frame(payload), deadline, payload)
        try:
            self._reader.lead(lambda: waiter.seconds is not None, deadline, send)  # the reader may sleep for a moment
            seconds = self._pings.wait(waiter, deadline)
        except SocketConnectionError as failure:
            raise self._failed_write.settle(failure, deadline) from failure.__cause__
        finally:
            self._pings.unregister(payload)
        if seconds is not None:
            return seconds
        error = self._status.error() or SocketTimeout(f"no pong received within {deadline.seconds:g} s")
        error.sent = True
        raise error

    # -- closing -----------------------------------------------------------------------------------------------------

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """Perform the closing handshake (RFC 6455, section 7.1.2), and end the link at the deadline. Idempotent."""
        grace = Deadline(max(0.0, deadline.remaining() - CLOSE_GRACE))
        self._reader.step_aside()
        try:
            if self._writer.send_close(code, reason, grace):
                self._status.wait_released(grace)
            else:
                self._failed_write.wait(grace)
        except BaseException:
            # An interrupt may have lost the close frame, after which nothing else may be sent: the link is of no use.
            self.abort(CloseInfo(ABNORMAL_CLOSURE, "interrupted while closing"))
            raise
        self.abort(CloseInfo(ABNORMAL_CLOSURE, "the peer did not answer the close frame"))
        self._status.wait_released(deadline)

    def send_close(self, code: int, reason: str) -> None:
        """Send a close frame as soon as that needs no waiting, and keep reading until the peer's; from any thread."""
        if not self._writer.send_close(code, reason, Deadline(0.0)):
            self._stream.wake()  # the reader sends it once the peer accepts data

    def close_now(self, info: CloseInfo) -> None:
        """Send a close frame, and end the link without waiting for the peer's; from any thread but the poller."""
        self._writer.send_close(info.code)
        self.abort(info)

    def release(self) -> None:
        """Close the descriptor of a link that ended, once no thread reads or writes; not by the poller."""
        # A signal handler may hold up a thread that writes: calls fail before.
        self._reader.retire(partial(self._writer.close_when_idle, self._stream.close))
        self._status.enter(LinkState.RELEASED)

    def release_now(self) -> None:
        """Do what `release` does if that needs no waiting; by the poller."""
        if self._reader.retire(partial(self._writer.close_when_idle, self._stream.close, waits=False), waits=False):
            self._status.enter(LinkState.RELEASED)

    def close_in_child(self) -> None:
        """Close the parent's descriptors in a forked child, without a byte on the parent's link."""
        self._stream.close_in_child()
