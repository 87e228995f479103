"""The life of one link: who reads it, who writes it, how it is closed. It dies once, for one reason.

Threads. ``_write_lock`` serializes writers, each of which waits for it, and for the peer, under its own deadline.
A frame that a writer could not finish is kept in ``_torn`` and sent first by the next one, so an impatient writer never
ends the link. The reader never waits for that lock: pongs and pings go to one-place slots that whoever holds the lock
sends before it lets go; the reader only tries to be that one, and then writes without waiting.

``_facts_lock`` guards the slots and the ending; it may be held while a pong is expected, which is a leaf. Order: write
lock, then (inside the stream) TLS lock; facts are read and set with neither wanted.

Where a thread can block, and what frees it: the reader in ``wire.read`` (`DuplexStream.wake`, the next tick, and
`DuplexStream.interrupt`) and in its pause for a full backlog (slices of `PAUSE`); a writer at the write lock or in
``stream.send_some`` (its deadline, `DuplexStream.interrupt`); `ping` and `close` on events (their deadline, the end).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence

from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketTimeout
from ..options import Heartbeat
from ..stages import Ending
from ..transport.wire import Close, Incoming, Ping, Pong, Wire, WireError
from .heartbeat import Beat, Pongs, Pulse

logger = logging.getLogger("owlsocket_sync")

PAUSE = 0.02
FLUSH_RETRY = 0.05
CLOSE_GRACE = 0.2
NO_STATUS = 1005
ABNORMAL = 1006


class Link:
    """One WebSocket link, after its upgrade.

    Args:
        wire: what it reads from and writes to.
        deliver: called by the reader with each message.
        has_room: asked by the reader before each read; while it is false, nothing is read.
        tick: called by the reader with the time; returns when to be called again.
        heartbeat: when to ping, and when to give up.

    Attributes:
        ending: how it ended, ``None`` while it lives.
        lease_until: the moment at which the link ends unless it is in use by then; set while somebody authenticates.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        deliver: Callable[[str | bytes], None],
        has_room: Callable[[], bool],
        tick: Callable[[float], float],
        heartbeat: Heartbeat | None,
    ) -> None:
        self._wire = wire
        self._stream = wire.stream
        self._deliver = deliver
        self._has_room = has_room
        self._tick = tick
        self._pulse = Pulse(heartbeat, time.monotonic())
        self._write_lock = threading.Lock()
        self._torn = b""
        self._facts_lock = threading.Lock()
        self._pong_slot: bytes | None = None
        self._ping_slot: bytes | None = None
        self._close_slot: tuple[int, str] | None = None
        self._close_sent = False
        self._pongs = Pongs()
        self._wake_at = math.inf
        self._ended = threading.Event()
        self.ending: Ending | None = None
        self.lease_until = math.inf

    # -- reading -----------------------------------------------------------------------------------------------------

    def pump(self) -> Ending:
        """Read until the link ends, then close its descriptor; by the reader."""
        try:
            while self.ending is None:
                self._turn()
        except WireError as error:
            self._refuse(error.code, error.reason, error)
        except EOFError as error:
            self.die(Ending(ABNORMAL, "the peer ended the stream without a close frame", error))
        except OSError as error:
            self.die(Ending(ABNORMAL, f"the link broke: {error}", error))
        except Exception as error:
            logger.exception("the reader failed")
            self._refuse(1011, "internal error", error)
        finally:
            self._release()
        assert self.ending is not None
        return self.ending

    def _turn(self) -> None:
        """One message, or one look at the clock."""
        now = time.monotonic()
        due = min(self._look_at_clock(now), self._pulse.next_at())
        if not self._has_room():
            time_left = max(0.0, min(due - now, PAUSE))
            self._ended.wait(time_left)
            self._pulse.pause(time.monotonic())
            return
        self._stream.read_until = due
        self._wake_at = due
        try:
            incoming = self._wire.read()
        except TimeoutError:
            return
        finally:
            self._wake_at = math.inf
            self._pulse.heard(self._stream.heard_at)
        self._take(incoming)

    def _take(self, incoming: Incoming) -> None:
        if isinstance(incoming, (str, bytes)):
            self._deliver(incoming)
        elif isinstance(incoming, Ping):
            with self._facts_lock:
                self._pong_slot = incoming.payload
            self._flush_slots()
        elif isinstance(incoming, Pong):
            self._pongs.arrived(incoming.payload)
        else:
            self._take_close(incoming)

    def _look_at_clock(self, now: float) -> float:
        """Do what is due; return when something is due again."""
        following = min(self._tick(now), self.lease_until)
        if now >= self.lease_until:
            self.give_up(Ending(1000, "authentication took too long", SocketTimeout("authentication took too long")))
        beat = self._pulse.beat(now)
        if beat is Beat.DEAD:
            error = SocketConnectionError("the peer gave no sign of life in time (Heartbeat)")
            self.die(Ending(ABNORMAL, "no sign of life", error))
        elif beat is Beat.PING:
            with self._facts_lock:
                self._ping_slot, _ = self._pongs.expect()
        if self._slots_filled():
            self._flush_slots()
            if self._slots_filled():
                following = min(following, now + FLUSH_RETRY)
        return following

    def wake_at(self, at: float) -> None:
        """Have the reader look at its clock at this moment; from any thread."""
        if at < self._wake_at:
            self._stream.wake()

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, messages: Sequence[bytes], deadline: Deadline) -> None:
        """Send text messages together; from any thread.

        Raises:
            SocketTimeout: they were not taken within the deadline. What was begun is finished by whoever writes next.
            SocketConnectionError: the link has ended.
        """
        frames = [self._wire.text_frame(message) for message in messages]
        self._write(frames[0] if len(frames) == 1 else b"".join(frames), deadline)

    def _write(self, data: bytes, deadline: Deadline) -> None:
        if not self._write_lock.acquire(timeout=min(deadline.remaining(), threading.TIMEOUT_MAX)):
            raise SocketTimeout(f"the link was busy with other messages for all of {deadline.seconds:g} s")
        try:
            if self.ending is not None or self._close_sent:
                raise self._ended_error()
            if self._torn:
                data, self._torn = self._torn + data, b""
            self._send_all(data, deadline.at)
        except TimeoutError as error:
            raise SocketTimeout(f"the peer took nothing more within {deadline.seconds:g} s") from error
        except OSError as error:
            if isinstance(error, SocketConnectionError):
                raise
            self.die(Ending(ABNORMAL, f"the link broke: {error}", error))
            raise self._ended_error() from error
        finally:
            self._write_lock.release()
        if self._slots_filled():
            self._flush_slots()

    def _send_all(self, data: bytes, until: float) -> None:
        """Send, and keep in ``_torn`` what was not taken; with the write lock."""
        view = memoryview(data)
        try:
            while len(view):
                view = view[self._stream.send_some(view, until) :]
        except TimeoutError:
            self._torn = bytes(view)
            raise

    def _slots_filled(self) -> bool:
        return bool(self._torn) or not (
            self._pong_slot is None and self._ping_slot is None and self._close_slot is None
        )

    def _flush_slots(self) -> None:
        """Send what waits in the slots, unless somebody else holds the lock and will, or the peer takes nothing."""
        while self._slots_filled() and self.ending is None:
            if not self._write_lock.acquire(blocking=False):
                return
            try:
                self._send_all(self._torn + self._empty_slots(), 0.0)
            except TimeoutError:
                return  # it is torn now, and the reader comes back to it
            except OSError as error:
                self.die(Ending(ABNORMAL, f"the link broke: {error}", error))
                return
            finally:
                self._write_lock.release()

    def _empty_slots(self) -> bytes:
        """The frames of the slots; with the write lock. What was torn goes with them."""
        self._torn = b""
        with self._facts_lock:
            pong, self._pong_slot = self._pong_slot, None
            ping, self._ping_slot = self._ping_slot, None
            close, self._close_slot = self._close_slot, None
        frames = b""
        if self._close_sent:
            return frames
        if pong is not None:
            frames += self._wire.pong_frame(pong)
        if ping is not None:
            frames += self._wire.ping_frame(ping)
        if close is not None:
            self._close_sent = True
            frames += self._wire.close_frame_of(*close)
        return frames

    @property
    def latency(self) -> float | None:
        """Seconds of the last round trip."""
        return self._pongs.latency

    # -- signs of life -----------------------------------------------------------------------------------------------

    def ping(self, deadline: Deadline) -> float:
        """Seconds of one round trip; from any thread but the reader's."""
        payload, waiter = self._pongs.expect()
        try:
            self._write(self._wire.ping_frame(payload), deadline)
            waiter.arrived.wait(deadline.wait_seconds())
        finally:
            self._pongs.forget(payload)
        if waiter.seconds is not None:
            return waiter.seconds
        if self.ending is not None:
            raise self._ended_error()
        raise SocketTimeout(f"no pong came within {deadline.seconds:g} s")

    # -- the end -----------------------------------------------------------------------------------------------------

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """Say goodbye, wait for the peer's, and end; from any thread but the reader's. Idempotent."""
        with self._facts_lock:
            if self._close_slot is None and not self._close_sent:
                self._close_slot = (code, reason)
        grace = Deadline(max(0.0, deadline.remaining() - CLOSE_GRACE))
        if self._write_lock.acquire(timeout=min(grace.remaining(), threading.TIMEOUT_MAX)):
            try:
                self._send_all(self._torn + self._empty_slots(), grace.at)
            except OSError:
                pass  # the peer takes nothing, so it will not consent either
            finally:
                self._write_lock.release()
            self._ended.wait(grace.wait_seconds())
        self.die(Ending(ABNORMAL, "the peer did not answer the close frame"))
        self._ended.wait(deadline.wait_seconds())

    def _take_close(self, close: Close) -> None:
        """The peer says goodbye: answer in kind (RFC 6455, section 5.5.1), unless we did first."""
        with self._facts_lock:
            if not self._close_sent:
                self._close_slot = (close.code, "")
        self._flush_slots()
        self.die(Ending(close.code, close.reason))

    def give_up(self, ending: Ending) -> None:
        """Say goodbye without waiting for the peer's, and end for this reason; from any thread."""
        with self._facts_lock:
            if not self._close_sent:
                self._close_slot = (ending.code, "")
        self._flush_slots()
        self.die(ending)

    def _refuse(self, code: int, reason: str, error: Exception) -> None:
        with self._facts_lock:
            self._close_slot = (code, reason[:60])
        self._flush_slots()
        self._stream.linger(CLOSE_GRACE)
        self.die(Ending(code, reason, error))

    def die(self, ending: Ending) -> None:
        """End for this reason, unless it ended already, and free everybody who waits; from any thread."""
        with self._facts_lock:
            if self.ending is not None:
                return
            self.ending = ending
        self._stream.interrupt()
        self._stream.wake()

    def _release(self) -> None:
        """Nobody reads any more: close the descriptor once nobody writes, and tell who waits."""
        self.die(Ending(ABNORMAL, "the reader ended"))
        with self._write_lock:  # freed soon: the stream was interrupted, every write on it fails
            self._stream.close()
        self._ended.set()
        self._pongs.end()

    def _ended_error(self) -> SocketConnectionError:
        ending = self.ending or Ending(NO_STATUS, "closing")
        error = SocketConnectionError(f"the link has ended: {ending.code} {ending.reason}".strip())
        error.__cause__ = ending.error
        return error

    def abandon(self) -> None:
        """In a forked child: let go of the parent's descriptors without a word on the parent's link."""
        self._stream.abandon()
