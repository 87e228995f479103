"""One WebSocket link: its reader, its writers, its heartbeat, and how it is closed. It ends once, for one reason.

Threads: one thread, the reader, calls `Link.run`: it runs the timers, and reads what no other thread reads (see
`reader`); and `Link.release` afterwards. All other methods may be called from any thread but the reader, unless they
say otherwise.

Locks: the read lock of the stream, then the write lock (`writer`), then the status of the link (`link_state`).

Where a thread can block, and what frees it: the reader in its wait for bytes (`DuplexStream.wake`, the next timer,
`DuplexStream.interrupt`) and in its pause for a full backlog (after `BACKPRESSURE_POLL`); a writer at the write lock or
in ``stream.send_some`` (its deadline, `DuplexStream.interrupt`); `Link.ping` and `Link.close` at the status of the link
(their deadline, the end of the link).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from ..clock import monotonic
from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketTimeout
from ..errors.safe_text import logger
from ..options import Heartbeat
from ..protocol.carrier import CarrierEvents
from ..states import CloseInfo
from ..transport.frames import Close, FramingError, Ping, Pong
from ..transport.framing import Framing
from .endings import failed_error
from .failed_write import FailedWrite
from .heartbeat import HeartbeatAction, HeartbeatTimer, PingTracker
from .link_state import LinkState, LinkStatus
from .reader import ReaderRole
from .writer import Writer

BACKPRESSURE_POLL = 0.02
COALESCE_DELAY = 0.004
LED_PAUSE = 0.001
FLUSH_RETRY = 0.05
CLOSE_GRACE = 0.2
MAX_CLOSE_REASON = 60
NORMAL_CLOSURE, ABNORMAL_CLOSURE, INTERNAL_ERROR = 1000, 1006, 1011


class Link:
    """One WebSocket link, after its handshake.

    Args:
        framing: the frames of the link; its stream is closed with the link.
        number: the number of the link on its connection.
        events: gets the messages, and runs timers.
        heartbeat: when to ping, and when to time out.
        run_timers: called by the reader instead of the method of ``events``.

    Attributes:
        run_timers: runs the timers of the connection, and returns when to run them next.
        is_reader: return whether this thread is the reader; read_for: read in its place, as `ReaderRole.lead` does.
        writer: writes the frames of the link.
        auth_deadline: when the link is closed unless authentication has completed (``time.monotonic``).
    """

    def __init__(
        self,
        framing: Framing,
        number: int,
        events: CarrierEvents,
        heartbeat: Heartbeat | None,
        run_timers: Callable[[float], float] | None = None,
    ) -> None:
        self._framing, self._stream = framing, framing.stream
        framing.count_wire = events.count_wire
        self._number = number
        self._receive = events.receive
        self._has_room = events.has_room
        self.run_timers = run_timers or events.run_timers
        self._status = LinkStatus(framing.stream.state_lock)
        self._reader = ReaderRole(framing, events.try_complete, self._handle, self._may_continue)
        self.is_reader, self.read_for = self._reader.is_reader, self._reader.lead
        self._heartbeat = HeartbeatTimer(heartbeat, monotonic())
        self._heartbeat_timeout = heartbeat.interval + heartbeat.timeout if heartbeat else math.inf
        self._pings = PingTracker(self._status)
        self._failed_write = FailedWrite(self._status, self._stream.wake, self.abort)
        self.writer = self._writer = Writer(framing, self._status, self._failed_write.note, self._pings.on_ping_sent)
        self._pending_pong: bytes | None = None
        self._last_ping = b""
        self._waiting_until = -math.inf
        self._wakeup_requested = False
        self._timers_due = -math.inf
        self._coalescing = False
        self._peer_closed = False
        self.auth_deadline = math.inf

    @property
    def is_open(self) -> bool:
        """True as long as the link takes messages."""
        return self._status.state is LinkState.OPEN

    @property
    def close_info(self) -> CloseInfo | None:
        """The reason why the link ended, ``None`` before it has."""
        return self._status.info

    # -- reading -----------------------------------------------------------------------------------------------------

    def run(self) -> CloseInfo:
        """Read until the link ends, and return how it did; by the reader, which has to `release` it afterwards."""
        self._reader.begin()
        try:
            while self._status.info is None:
                self._step()
        except FramingError as error:
            self._fail(error.code, error.reason, error)
        except EOFError as error:
            reason = "the peer closed the stream without a close frame"
            self.abort(self._failed_write.ending() or CloseInfo(ABNORMAL_CLOSURE, reason, error))
        except OSError as error:
            self.abort(CloseInfo(ABNORMAL_CLOSURE, f"the link broke: {error}", error))
        except Exception as error:
            logger.exception("the reader failed")
            self._fail(INTERNAL_ERROR, "internal error", failed_error("internal error, please report it", error))
        finally:
            self.abort(CloseInfo(ABNORMAL_CLOSURE, "the reader ended"))
        assert self._status.info is not None
        return self._status.info

    def _step(self) -> None:
        """Run the timers, wait for bytes, and handle them."""
        now = monotonic()
        reading = self._peer_closed or self._has_room()
        if now >= self._timers_due or self._wakeup_requested or not reading:
            # Cleared before the timers run: a wake-up that is requested from here on is noticed before the wait.
            self._wakeup_requested = False
            self._timers_due = self._run_timers(now, reading)
        due = self._timers_due
        if not reading:
            self._send_pending_pong()
            # All that the peer sent before it closed is in the system's buffer, so its size is bounded: read it whether
            # or not there is room, to notice the end at once.
            self._peer_closed |= self._stream.wait_peer_close(max(0.0, min(due - now, BACKPRESSURE_POLL)))
            # In a pause the heartbeat has other rules: the timers run again once it is over.
            self._timers_due = -math.inf
            return
        if not (self._reader.has_leftover or self._coalescing):
            self._stream.read_deadline = self._waiting_until = due
            try:
                # schedule_wakeup sets the flag and reads the moment, we set the moment and read the flag: one of the
                # two threads sees the other.
                if self._wakeup_requested:
                    return
                self._stream.wait_readable()
                if self._reader.is_led:
                    # Woken although it is muted: by an error of the socket, which the leader has yet to meet.
                    # A leader may be held up, by a signal handler for example: without a pause this loop would spin.
                    time.sleep(LED_PAUSE)
            except TimeoutError:
                # Woken, or out of time: a writer may have left something, a timer may be due.
                self._timers_due = -math.inf
                self._reader.listen()
                if not self._reader.has_leftover:
                    return  # else a leader left it: at once, as it may be the end, which pending calls wait for
            finally:
                self._waiting_until = -math.inf
        self._read_available()

    def _read_available(self) -> None:
        close, error = self._reader.read_available()
        if self._heartbeat.pinged_at is not None:
            self._timers_due = -math.inf  # what was read answers the ping, so the next one is due at another time
        self._send_pending_pong()
        # Only results arrived, and no thread waits for them yet: let more of them arrive, so that a thread that submits
        # call after call keeps the interpreter. A thread that asks for a result meanwhile reads for itself.
        self._coalescing = not self._reader.deliver_now
        if self._coalescing:
            time.sleep(COALESCE_DELAY)
        if close is not None:
            self._on_close_frame(close)
        elif error is not None and not self._reader.has_leftover:
            raise error

    def _may_continue(self) -> bool:
        """Return whether to handle more of what was received."""
        return self._status.info is None and (self._peer_closed or self._has_room())

    def _handle(self, event: str | bytes | Ping | Pong) -> None:
        if isinstance(event, (str, bytes)):
            self._receive(event, self._number)
        elif isinstance(event, Ping):
            # Of several pings that arrived together, only the last need be answered (RFC 6455, section 5.5.3).
            self._pending_pong = event.payload
        else:
            self._pings.on_pong(event.payload)

    def _send_pending_pong(self) -> None:
        if self._pending_pong is not None:
            payload, self._pending_pong = self._pending_pong, None
            self._writer.send_pong(payload)
            if self._writer.has_unsent:
                self._timers_due = -math.inf  # the peer accepts no data: the timers try again

    def _run_timers(self, now: float, reading: bool) -> float:
        """Do what is due, and return when to run the timers next."""
        next_at = min(self.run_timers(now), self.auth_deadline, self._failed_write.run_timer(now))
        if self._failed_write.error is not None:
            self._peer_closed = True  # what arrived before is bounded, too
        if now >= self.auth_deadline:
            timeout = SocketTimeout("authentication timed out")
            self.close_now(CloseInfo(NORMAL_CLOSURE, "authentication timed out", timeout))
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
        """Make the reader run its timers at a moment (``time.monotonic``); from any thread."""
        # In this order; see _step.
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

    def step_aside(self) -> tuple[threading.RLock, ...]:
        """Give up the role of the reader before a wait; return the locks to be free meanwhile, in their order."""
        self._reader.step_aside()
        if self._status.state is LinkState.CLOSING and self._writer.is_interrupted():
            self.abort(CloseInfo(ABNORMAL_CLOSURE, "interrupted while closing"))
        return (self._stream.read_lock, self._writer.lock, *self._stream.locks)

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

    def _on_close_frame(self, close: Close) -> None:
        """Answer the peer's close frame unless it answers ours (RFC 6455, section 5.5.1), and end the link."""
        self._writer.send_close(close.code)
        self.abort(CloseInfo(close.code, close.reason))

    def close_now(self, info: CloseInfo) -> None:
        """Send a close frame, and end the link without waiting for the peer's; from any thread."""
        self._writer.send_close(info.code)
        self.abort(info)

    def _fail(self, code: int, reason: str, error: Exception) -> None:
        """Fail the connection (RFC 6455, section 7.1.7)."""
        self._send_pending_pong()
        self._writer.send_close(code, reason[:MAX_CLOSE_REASON])
        self._stream.linger(CLOSE_GRACE)
        self.abort(CloseInfo(code, reason, error))

    def abort(self, info: CloseInfo) -> None:
        """End the link without a close frame, unless it has ended, and free all threads that wait; from any thread."""
        if self._status.enter(LinkState.ENDED, info):
            # The shutdown frees writers and leaders, the wake-up a reader that is muted.
            self._stream.interrupt()
            self._stream.wake()

    def release(self) -> None:
        """Close the descriptor of a link that ended, once no thread reads or writes; by the reader, at its end."""
        # A signal handler may hold up a thread that writes: calls fail before.
        self._reader.retire(lambda: self._writer.close_when_idle(self._stream.close))
        self._status.enter(LinkState.RELEASED)

    def close_in_child(self) -> None:
        """Close the parent's descriptors in a forked child, without a byte on the parent's link."""
        self._stream.close_in_child()
