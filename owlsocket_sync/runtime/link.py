"""The life of one link: who reads it, and how it is closed. It dies once, for one reason.

Threads. One thread, the reader, pumps: it looks at the clock, and reads what nobody else does (see `reading`); others
write through the `Writer`, ask, ping and close. ``_ending_lock`` guards the ending and is a leaf.

Where a thread can block, and what frees it: the reader at its gate (`DuplexStream.wake`, the next tick, and
`DuplexStream.interrupt`) and in its pause for a full backlog (slices of `PAUSE`); a writer at the write lock or in
``stream.send_some`` (its deadline, `DuplexStream.interrupt`); `Link.ping` and `Link.close` on events (their deadline,
the end).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketTimeout
from ..options import Heartbeat
from ..stages import Ending
from ..transport.wire import TEXT, Close, Ping, Pong, Wire, WireError
from .heartbeat import Beat, Pongs, Pulse
from .reading import LOOK, Reading
from .writer import Writer

logger = logging.getLogger("owlsocket_sync")

PAUSE = 0.02
GATHER = 0.004
PIECE_SIZE = 32_768
FLUSH_RETRY = 0.05
CLOSE_GRACE = 0.2
ABNORMAL = 1006


class Link:
    """One WebSocket link, after its upgrade.

    Args:
        wire: what it reads from and writes to.
        deliver: called by the reader with each message.
        answer: called by a thread that reads in place of the reader; see `Reading`.
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
        answer: Callable[[str], bool | None],
        has_room: Callable[[], bool],
        tick: Callable[[float], float],
        heartbeat: Heartbeat | None,
    ) -> None:
        self._wire = wire
        self._stream = wire.stream
        self._deliver = deliver
        self._reading = Reading(wire, answer, self._take, self._may_go_on)
        self._has_room = has_room
        self._tick = tick
        self._pulse = Pulse(heartbeat, time.monotonic())
        self._pongs = Pongs()
        self._writer = Writer(wire, self._over, self._broke, self._pongs.asked)
        self._owed: bytes | None = None
        self._ending_lock = threading.Lock()
        self._wake_at = -math.inf
        self._alarmed = False
        self._gathered = False
        self._peer_ended = False
        self._last_beat = b""
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
        self._alarmed = False
        now = time.monotonic()
        reads = self._peer_ended or self._has_room()
        due = self._look_at_clock(now, reads)
        if not reads:
            self._answer_ping()
            # What comes before the end fits into the buffer of the system: it is read at once, room or not.
            self._peer_ended = self._stream.await_end(max(0.0, min(due - now, PAUSE)))
            return
        if not (self._reading.left or self._gathered):
            self._stream.read_until = self._wake_at = min(due, now + LOOK) if self._reading.aside else due
            try:
                if self._alarmed:
                    return
                self._stream.await_news()
            except TimeoutError:
                if not self._reading.aside:
                    return
            finally:
                self._wake_at = -math.inf
        self._read_on()

    def _read_on(self) -> None:
        close, end = self._reading.read_on()
        self._answer_ping()
        self._gathered = not self._reading.urgent
        if self._gathered:
            time.sleep(GATHER)  # let answers that nobody waits for yet come together
        if close is not None:
            self._take_close(close)
        elif end is not None and not self._reading.left:
            raise end

    def _may_go_on(self) -> bool:
        """Whether more may be taken in of what came."""
        return self.ending is None and (self._peer_ended or self._has_room())

    def _take(self, incoming: str | bytes | Ping | Pong) -> None:
        if isinstance(incoming, (str, bytes)):
            self._deliver(incoming)
        elif isinstance(incoming, Ping):
            self._owed = incoming.payload  # of the pings that came together, the last is answered (section 5.5.3)
        else:
            self._pongs.arrived(incoming.payload)

    def _answer_ping(self) -> None:
        if self._owed is not None:
            owed, self._owed = self._owed, None
            self._writer.pong(owed)

    def _look_at_clock(self, now: float, reads: bool) -> float:
        """Do what is due; return when something is due again."""
        following = min(self._tick(now), self.lease_until)
        if now >= self.lease_until:
            self.give_up(Ending(1000, "authentication took too long", SocketTimeout("authentication took too long")))
        stream = self._stream
        self._pulse.heard(stream.heard_at)
        beat = self._pulse.beat(now) if reads else self._pulse.beat_unheard(now, stream.stalled_at)
        if beat is Beat.DEAD:
            error = SocketConnectionError("the peer gave no sign of life in time (Heartbeat)")
            self.die(Ending(ABNORMAL, "no sign of life", error))
        elif beat is Beat.PING:
            self._pongs.forget(self._last_beat)
            self._last_beat = self._pongs.expect()[0]
            self._writer.ping(self._last_beat)
        self._writer.flush()
        following = min(following, self._pulse.next_at())
        return min(following, now + FLUSH_RETRY) if self._writer.waiting else following

    def wake_at(self, at: float) -> None:
        """Have the reader look at its clock at this moment; from any thread.

        One that does not wait looks before it does: either it sees that it was told, or we see until when it waits.
        """
        self._alarmed = True
        if at < self._wake_at:
            self._stream.wake()

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, messages: Sequence[bytes], deadline: Deadline) -> None:
        """Send text messages together; from any thread.

        Raises:
            SocketTimeout: they were not taken within the deadline. What was begun is finished by whoever writes next.
            SocketConnectionError: the link has ended.
        """
        if len(messages) == 1:
            self._writer.write(self._wire.frame(TEXT, messages[0]), deadline)
        else:
            pieces = self._pieces(messages)
            self._writer.write(next(pieces), deadline, rest=pieces)

    def ask(self, messages: Sequence[bytes], deadline: Deadline, answered: Callable[[], bool]) -> None:
        """`write`, and read for the answer in place of the reader, as `Reading.lead` does."""
        self._reading.lead(answered, deadline, partial(self.write, messages, deadline))

    def read_for(self, answered: Callable[[], bool], deadline: Deadline) -> None:
        """Read in place of the reader, as `Reading.lead` does; from any thread."""
        self._reading.lead(answered, deadline)

    def _pieces(self, messages: Sequence[bytes]) -> Iterator[bytes]:
        """Their frames, some at a time: the peer can work on the first ones while the last are made."""
        frames: list[bytes] = []
        size = 0
        for message in messages:
            frame = self._wire.frame(TEXT, message)
            frames.append(frame)
            size += len(frame)
            if size >= PIECE_SIZE:
                yield b"".join(frames)
                frames, size = [], 0
        if frames:
            yield b"".join(frames)

    # -- signs of life -----------------------------------------------------------------------------------------------

    @property
    def latency(self) -> float | None:
        """Seconds of the last round trip."""
        return self._pongs.latency

    def ping(self, deadline: Deadline) -> float:
        """Seconds of one round trip; from any thread but the reader's."""
        payload, waiter = self._pongs.expect()
        try:
            self._writer.write(self._wire.ping_frame(payload), deadline, payload)
            waiter.arrived.wait(deadline.wait_seconds())
        finally:
            self._pongs.forget(payload)
        if waiter.seconds is not None:
            return waiter.seconds
        raise self._over() or SocketTimeout(f"no pong came within {deadline.seconds:g} s")

    # -- the end -----------------------------------------------------------------------------------------------------

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """Say goodbye, wait for the peer's, and end; from any thread but the reader's. Idempotent."""
        grace = Deadline(max(0.0, deadline.remaining() - CLOSE_GRACE))
        if self._writer.say_goodbye(code, reason, grace):
            self._ended.wait(grace.wait_seconds())
        self.die(Ending(ABNORMAL, "the peer did not answer the close frame"))
        self._ended.wait(deadline.wait_seconds())

    def say_goodbye(self, code: int, reason: str) -> None:
        """Send a close frame as soon as that needs no waiting, and read on until the peer's; from any thread."""
        if not self._writer.say_goodbye(code, reason, Deadline(0.0)):
            self._stream.wake()  # the reader sends it when the peer takes it

    def _take_close(self, close: Close) -> None:
        """The peer says goodbye: answer in kind (RFC 6455, section 5.5.1), unless we did first."""
        self._writer.say_goodbye(close.code)
        self.die(Ending(close.code, close.reason))

    def give_up(self, ending: Ending) -> None:
        """Say goodbye without waiting for the peer's, and end for this reason; from any thread."""
        self._writer.say_goodbye(ending.code)
        self.die(ending)

    def _refuse(self, code: int, reason: str, error: Exception) -> None:
        self._answer_ping()
        self._writer.say_goodbye(code, reason[:60])
        self._stream.linger(CLOSE_GRACE)
        self.die(Ending(code, reason, error))

    def die(self, ending: Ending) -> None:
        """End for this reason, unless it ended already, and free everybody who waits; from any thread."""
        with self._ending_lock:
            if self.ending is not None:
                return
            self.ending = ending
        self._stream.interrupt()
        self._stream.wake()

    def _release(self) -> None:
        """Nobody reads any more: close the descriptor once nobody writes, and tell who waits."""
        self.die(Ending(ABNORMAL, "the reader ended"))
        self._reading.retire(lambda: self._writer.retire(self._stream.close))
        self._ended.set()
        self._pongs.end()

    def _over(self) -> SocketConnectionError | None:
        """A fresh error once it has ended, else ``None``."""
        ending = self.ending
        if ending is None:
            return None
        error = SocketConnectionError(f"the link has ended: {ending.code} {ending.reason}".strip())
        error.__cause__ = ending.error
        return error

    def _broke(self, error: OSError) -> SocketConnectionError:
        self.die(Ending(ABNORMAL, f"the link broke: {error}", error))
        return self._over() or SocketConnectionError(f"the link broke: {error}")

    def abandon(self) -> None:
        """In a forked child: let go of the parent's descriptors without a word on the parent's link."""
        self._stream.abandon()
