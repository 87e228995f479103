"""The steps of a link at the poller: reading, pausing, and its last close frame. No step waits.

Threads: the poller; `LinkSteps.attach`, `LinkSteps.step_aside` and `LinkSteps.abort` from any thread.
"""

from __future__ import annotations

import math
import threading
from abc import abstractmethod
from collections.abc import Callable

from ..clock import monotonic
from ..errors.safe_text import logger
from ..states import CloseInfo
from ..transport.frames import Close, FramingError, Ping, Pong
from ..transport.selector import BROKEN, READABLE, WOKEN, WRITABLE
from ..transport.stream import DuplexStream
from .close_sequence import CloseSequence
from .endings import failed_end, failed_error
from .failed_write import FailedWrite
from .heartbeat import HeartbeatTimer, PingTracker
from .link_state import LinkState, LinkStatus
from .poller import get_poller
from .reader import ReaderBusy, ReaderRole
from .registration import AT_ONCE, NO_TASKS, InlineTasks
from .writer import Writer

BACKPRESSURE_POLL = 0.02
COALESCE_DELAY = 0.004
BUSY_DELAY = 0.01
MAX_CLOSE_REASON = 60
NORMAL_CLOSURE, ABNORMAL_CLOSURE, INTERNAL_ERROR = 1000, 1006, 1011


def _do_nothing(info: CloseInfo) -> None:
    """Take the place of failing calls, which is done once."""


class LinkSteps:
    """The part of a `Link` that the poller runs."""

    __slots__ = (
        "_close_sequence", "_fail_calls", "_failed_write", "_has_room", "_heartbeat", "_held_until", "_is_full",
        "_is_masked", "_number", "_peer_closed", "_pending_pong", "_pings", "_reader", "_receive", "_status",
        "_stream", "_timers_due", "_waiting_until", "_wakeup_requested", "_writer",
    )  # fmt: skip

    _number: int
    _receive: Callable[[str | bytes, int], object]
    _has_room: Callable[[], bool]
    _status: LinkStatus
    _stream: DuplexStream
    _reader: ReaderRole
    _writer: Writer
    _heartbeat: HeartbeatTimer
    _pings: PingTracker
    _failed_write: FailedWrite

    def __init__(self) -> None:
        self._fail_calls: Callable[[CloseInfo], object] = _do_nothing
        self._pending_pong: bytes | None = None
        self._waiting_until = -math.inf
        self._wakeup_requested = False
        self._timers_due = -math.inf
        self._held_until = -math.inf
        self._is_masked = False
        self._is_full = False  # what is left over was left because there is no room
        self._peer_closed = False
        self._close_sequence: CloseSequence | None = None

    @abstractmethod
    def _run_timers(self, now: float, reading: bool) -> float:
        """Do what is due, and return when to run the timers next."""

    def attach(
        self, fail_calls: Callable[[CloseInfo], object], on_end: Callable[[], bool], tasks: InlineTasks = NO_TASKS
    ) -> None:
        """Let the poller read from now on.

        Args:
            fail_calls: called by the poller once the link has ended, with the reason.
            on_end: called by the poller afterwards, until it returns true; `Link.release` has to follow.
            tasks: what `receive` of the link submits, which the poller may run.

        Raises:
            Exception: there is no thread, or no descriptor, for the poller.
        """
        self._fail_calls = fail_calls
        registration = get_poller().attach(self, self._stream.socket, on_end, tasks)
        # Bytes may call it already, but nothing is muted before this.
        self._reader.attach(registration)
        self._stream.watcher = registration
        registration.wake()  # for what arrived with the handshake, and for what was asked for before

    def hold(self) -> None:
        """Have nothing read before `resume`: what the peer sends must find the link open; before `attach`."""
        self._held_until = math.inf
        self._is_masked = True

    def resume(self) -> None:
        """Have the link read from now on; from any thread."""
        self._held_until = -math.inf
        self._stream.wake()

    def step_aside(self) -> tuple[threading.RLock, ...]:
        """Give up the role of the reader before a wait; return the locks to be free meanwhile, in their order."""
        self._reader.step_aside()
        if self._status.state is LinkState.CLOSING and self._writer.is_interrupted():
            self.abort(CloseInfo(ABNORMAL_CLOSURE, "interrupted while closing"))
        return (self._stream.read_lock, self._writer.lock, *self._stream.locks)

    def step(self, ready: int) -> float | None:
        """Do what is to be done, and return when to go on; ``None`` once the link has ended; by the poller."""
        try:
            if self._close_sequence is not None:
                due = self._go_on_closing(monotonic())
            else:
                due = self._step(ready) if self._status.info is None else AT_ONCE
        except FramingError as error:
            due = self._fail(error.code, error.reason, error)
        except EOFError as error:
            reason = "the peer closed the stream without a close frame"
            self.abort(self._failed_write.ending() or CloseInfo(ABNORMAL_CLOSURE, reason, error))
        except OSError as error:
            self.abort(CloseInfo(ABNORMAL_CLOSURE, f"the link broke: {error}", error))
        except Exception as error:
            due = self._fail_internally(error)
        except BaseException as error:  # such as SystemExit of a log handler: it ends this link, and no other one
            self.abort(failed_end("the reader failed", error))
        info = self._status.info
        if info is not None:
            fail_calls, self._fail_calls = self._fail_calls, _do_nothing
            try:
                fail_calls(info)
            except BaseException:  # of an error of our own: what follows has to be done all the same
                logger.exception("the calls of a link that ended were not failed in order")
            return None
        # schedule_wakeup sets the flag and reads the moment, we set the moment and read the flag: one of the two
        # threads sees the other.
        self._waiting_until = due
        return AT_ONCE if self._wakeup_requested else due

    def _fail_internally(self, error: Exception) -> float:
        """Fail the connection because of an error of our own."""
        try:
            logger.exception("the reader failed")
            return self._fail(INTERNAL_ERROR, "internal error", failed_error("internal error, please report it", error))
        except BaseException as failure:
            self.abort(failed_end("the reader failed", failure))
            return AT_ONCE

    def _step(self, ready: int) -> float:
        """Run the timers, and read, as far as both is due."""
        now = monotonic()
        self._waiting_until = -math.inf
        if ready == READABLE and now < self._timers_due and self._may_read_at_once():
            return self._read_available(now)  # as below, in fewer steps: this is what most messages meet
        if ready & (WOKEN | BROKEN) and self._reader.has_leftover and not (self._is_masked or self._is_full):
            # A leader left it: first of all, as it may be the end, which pending calls wait for.
            self._timers_due = -math.inf  # whatever else it was woken for
            return self._read_available(now)
        if self._reader.is_led and not (
            ready & (WOKEN | WRITABLE) or self._is_masked or self._wakeup_requested or now >= self._timers_due
        ):
            # An error of the socket, which the leader has yet to meet, calls once although it is muted: muted again, it
            # would call again.
            if ready & READABLE:
                self._reader.mask()
            return self._timers_due
        if ready & (WOKEN | WRITABLE):
            # A writer may have left something, and an interrupt may have kept a leader from unmuting the link.
            self._timers_due = -math.inf
            if not self._is_masked:
                self._reader.listen()
        reading = self._peer_closed or self._reader.is_led or self._has_room()
        if now >= self._timers_due or self._wakeup_requested or not reading:
            # Cleared before the timers run: a wake-up that is requested from here on is noticed before the wait.
            self._wakeup_requested = False
            self._timers_due = self._run_timers(now, reading)
            if self._status.info is not None or self._close_sequence is not None:
                return AT_ONCE
        if not reading:
            return self._pause(now)
        if now < self._held_until:
            if ready & READABLE:
                self._mask()  # a leader has unmuted it
            return min(self._timers_due, self._held_until)
        must_read = bool(ready & (READABLE | BROKEN)) or self._is_masked
        if self._is_masked:
            self._is_masked = False
            self._reader.listen()
        if self._reader.has_leftover:
            return self._read_available(now)
        if self._reader.is_led:
            if ready & READABLE:
                self._reader.mask()
            return self._timers_due
        if must_read or (self._stream.secure and self._stream.has_decrypted()):
            return self._read_available(now)
        return self._timers_due

    def _may_read_at_once(self) -> bool:
        return not (self._is_masked or self._wakeup_requested or self._reader.is_led) and self._has_room()

    def _pause(self, now: float) -> float:
        """Read nothing while there is no room, and return when to look again."""
        self._send_pending_pong()
        # All that the peer sent before it closed is in the system's buffer, so its size is bounded: read it whether or
        # not there is room, to notice the end at once.
        self._peer_closed = self._peer_closed or self._stream.is_peer_closed()
        due, self._timers_due = self._timers_due, -math.inf  # the heartbeat has other rules: the timers run again
        self._mask()
        return AT_ONCE if self._peer_closed else min(due, now + BACKPRESSURE_POLL)

    def _mask(self) -> None:
        """Let received bytes wait in the system's buffer."""
        self._is_masked = True
        registration = self._reader.registration
        if registration is not None:
            registration.mask()

    def _hold(self, until: float) -> float:
        """Read nothing until a moment, and return when to go on."""
        self._held_until = until
        self._mask()
        return min(self._timers_due, until)

    def _read_available(self, now: float) -> float:
        try:
            close, error = self._reader.read_available()
        except ReaderBusy:
            return self._hold(now + BUSY_DELAY)
        self._is_full = self._reader.has_leftover
        if self._heartbeat.pinged_at is not None:
            self._timers_due = -math.inf  # what was read answers the ping, so the next one is due at another time
        if self._pending_pong is not None:
            self._send_pending_pong()
        if close is not None:
            return self._on_close_frame(close)
        if error is not None and not self._reader.has_leftover:
            raise error
        if not self._reader.deliver_now:
            # Only results arrived, and no thread waits for them yet: let more of them arrive, so that a thread that
            # submits call after call keeps the interpreter. A thread that asks for a result meanwhile reads for itself.
            return self._hold(monotonic() + COALESCE_DELAY)
        if self._stream.secure:
            if self._stream.takes_no_bytes():
                return self._hold(now + BUSY_DELAY)
            if self._stream.has_decrypted():
                return AT_ONCE
        return AT_ONCE if self._reader.has_leftover else self._timers_due

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

    # -- the end -----------------------------------------------------------------------------------------------------

    def _on_close_frame(self, close: Close) -> float:
        """Answer the peer's close frame unless it answers ours (RFC 6455, section 5.5.1), and end the link."""
        self._begin_closing(CloseInfo(close.code, close.reason))
        return self._go_on_closing(monotonic())

    def _begin_closing(self, info: CloseInfo, reason: str = "", *, lingers: bool = False) -> None:
        self._close_sequence = CloseSequence(self._writer, self._stream, info, reason, lingers=lingers)
        self._mask()  # what arrives from now on is nothing to act on

    def _go_on_closing(self, now: float) -> float:
        """Go on with the last close frame, and return when to go on again; the link ends with it."""
        sequence = self._close_sequence
        assert sequence is not None
        due = sequence.step(now)
        if due is None:
            self.abort(sequence.info)
            return AT_ONCE
        return due

    def _fail(self, code: int, reason: str, error: Exception) -> float:
        """Fail the connection (RFC 6455, section 7.1.7)."""
        if self._close_sequence is None:
            self._send_pending_pong()
            self._begin_closing(CloseInfo(code, reason, error), reason[:MAX_CLOSE_REASON], lingers=True)
        return self._go_on_closing(monotonic())

    def abort(self, info: CloseInfo) -> None:
        """End the link without a close frame, unless it has ended, and free all threads that wait; from any thread."""
        if self._status.enter(LinkState.ENDED, info):
            # The shutdown frees writers and leaders, the wake-up has the poller end the link.
            self._stream.interrupt()
            self._stream.wake()
