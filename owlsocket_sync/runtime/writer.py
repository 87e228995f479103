"""Writing the frames of one link: whole, one after another, under a deadline for each writer.

Threads: ``_write_lock`` serializes writers; each waits for it, and for the peer, under its own deadline. A writer that
waits for the lock queues its frames, and the holder writes all queued frames with its own. A frame that was begun and
not finished is kept in ``_unfinished``, and written first by the next writer, so an impatient writer never breaks the
link. The reader never waits for the lock while the link is open: pongs, pings and close frames go to
``_control_frames`` (one place for each opcode), and the holder of the lock writes them before it releases it. The queue
and the control frames change in single steps of the interpreter, and need no lock.

A signal may interrupt a writer anywhere. So the lock is released by the thread that holds it, whether or not its
``acquire`` returned. A signal handler or a finalizer that writes on a thread that it interrupted while ``_writing``
sends what is in flight to its end, then its own: each step of a flight can be continued by the other one.

Lock order: ``_write_lock``, then the status of the link, or the TLS lock of the stream.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketTimeout
from ..errors.marshalled import unsent
from ..locks import LocksReleased, acquire_until
from ..reentrant import make_lock
from ..transport.frames import CLOSE, PING, PONG, TEXT
from ..transport.framing import Framing
from ..transport.tls import TLS_RECORD_SIZE
from .deferred_writes import NOTHING_DEFERRED, DeferringWriter, NotBegun
from .failed_write import FailedWrite
from .heartbeat import PingTracker
from .interrupted_writer import Flight
from .link_state import LinkState, LinkStatus

CLOSE_WRITE_TIMEOUT = 0.2
MAX_COALESCED_SIZE = 4096
ALL = slice(None)


class Writer(DeferringWriter):
    """Writes the frames of one link.

    Args:
        framing: encodes the frames; its stream sends them.
        status: of the link.
        failed_write: is told the errors of the stream, has the link end, and returns the error to raise.
        pings: is told the payload of each ping before it is written, with the write lock held.
    """

    __slots__ = ("lock",)

    def __init__(
        self,
        framing: Framing,
        status: LinkStatus,
        failed_write: FailedWrite,
        pings: PingTracker,
    ) -> None:
        self._framing, self._stream, self._status = framing, framing.stream, status
        self._failed_write, self._pings = failed_write, pings
        self._is_watched = self._unsettled = False
        # Reentrant: a signal handler that writes must not deadlock with the writer that it interrupted.
        self._write_lock = make_lock()
        self.lock, self._writing = self._write_lock, False
        self._unfinished: list[bytes] = []
        self._flight: Flight | None = None
        self._queued_writes: list[bytes] = []
        self._control_frames: dict[int, Any] = {}
        self.defer_to(NOTHING_DEFERRED)

    @property
    def has_unsent(self) -> bool:
        """True if the next writer has something to write besides its own frames."""
        if self._deferred and self._status.state is LinkState.OPEN:
            return True
        return bool(self._unfinished or self._control_frames or self._queued_writes or self._flight)

    def write_messages(self, messages: Sequence[bytes], deadline: Deadline) -> None:
        """Write text messages together; raise what `write` raises."""
        if len(messages) == 1 and self._framing.compression is None:
            self.write(self._framing.frame(TEXT, messages[0]), deadline)
        else:
            self._write_encoded(messages, deadline)

    def write(
        self, data: bytes, deadline: Deadline, ping: bytes | None = None, more: Iterator[bytes] | None = None
    ) -> None:
        """Write frames; from any thread but the reader.

        Args:
            data: the encoded frames.
            deadline: when to stop waiting for the write lock, and for the peer to accept the frames.
            ping: the payload, if the frame is a ping.
            more: further chunks, each encoded while the peer works on those before; what is begun is finished.

        Raises:
            SocketTimeout: the peer did not accept the frames in time. The next writer finishes what was begun; what was
                not begun is not sent.
            SocketConnectionError: the link has ended, or its close frame was sent.
        """
        try:
            if not self._write_lock.acquire(False) and self._coalesced(
                data, deadline, ping is not None or more is not None
            ):
                pass  # the holder of the lock wrote these frames along with its own; not `return`: see the last line
            elif self._writing:
                # Writing has begun, and the lock is ours: we are a signal handler that interrupted the writer, or that
                # handler waits meanwhile and has let go of the lock.
                self._write_within(data, deadline, ping, more)
            else:
                try:
                    self._writing = True
                    if self._status.state is not LinkState.OPEN:
                        raise unsent(self._status.error() or SocketConnectionError("the link is closing"))
                    if ping is not None:
                        self._pings.on_ping_sent(ping)
                    if self._unfinished or self._queued_writes or self._deferred:
                        self._send_after_unfinished(data, deadline.at, more or ())
                    else:
                        self._send_all(data, deadline.at, more=more or ())
                    if more is not None:
                        self._send_more(more, deadline.at)
                    if self._control_frames:
                        self._send_control_frames()
                finally:
                    self._writing = False
        except TimeoutError as error:
            self._stream.wake()  # the reader finishes the frame once the peer accepts data again
            raise _send_timeout(error, deadline) from error
        except SocketConnectionError:
            raise
        except OSError as error:
            raise self._failed_write.note(error) from error
        except BaseException:
            self._stream.wake()  # as above, after an interrupt
            raise
        finally:
            # An interrupt may come between acquire and the next line: release whatever this thread holds.
            try:
                self._write_lock.release()
            except RuntimeError:
                pass  # not acquired
        # Other threads may have left frames after the check above and before the release, and whatever this thread did
        # with the lock, they did not get it: the last one out flushes.
        if self._unfinished or self._control_frames or self._queued_writes or self._deferred or self._unsettled:
            self.flush_or_wake()

    def _coalesced(self, data: bytes, deadline: Deadline, alone: bool) -> bool:
        """Wait for the lock, and return false with it; return true if its holder wrote ``data`` as well."""
        alone = alone or len(data) > MAX_COALESCED_SIZE
        if not alone:
            self._queued_writes.append(data)
        try:
            # The holder of the lock may need another one that this thread held when a signal handler interrupted it.
            with LocksReleased((self._stream.state_lock,)):
                acquired = deadline.acquire(self._write_lock)
        except BaseException:
            self._unqueue(data)
            raise
        unsent = alone or self._unqueue(data)
        if unsent and not acquired:
            raise SocketTimeout(f"timed out waiting for the write lock after {deadline.seconds:g} s")
        return not unsent

    def _unqueue(self, data: bytes) -> bool:
        """Remove queued frames, and return whether they were still queued."""
        # Of two equal entries either may be removed: they are interchangeable.
        try:
            self._queued_writes.remove(data)
        except ValueError:
            return False
        return True

    def send_pong(self, payload: bytes) -> None:
        """Send a pong as soon as that needs no waiting; it replaces an older one that was not sent."""
        self._control_frames[PONG] = payload
        self.flush()

    def send_ping(self, payload: bytes) -> None:
        """Send a ping as soon as that needs no waiting."""
        self._control_frames[PING] = payload
        self.flush()

    def flush(self, until: float = 0.0) -> bool:
        """Write what is unsent, unless another thread writes, which does it then; by default without waiting.

        Args:
            until: when to stop waiting for the peer to accept it (``time.monotonic``).

        Returns:
            Whether the peer accepted no more by then.
        """
        is_stalled = False
        try:
            # What else is unsent on an interrupted thread is left to the writer that was interrupted.
            is_once = self.is_interrupted()
            while self.has_unsent and self._status.info is None and self._try_flush(until) and not is_once:
                pass
        except TimeoutError:
            is_stalled = True  # unfinished now: the reader tries again
        except OSError as error:
            self._failed_write.note(error)
        if self._unsettled:
            self._settle()
        return is_stalled

    def send_close(self, code: int, reason: str = "", deadline: Deadline | None = None) -> bool:
        """Send a close frame after what is unsent, unless one was sent; nothing follows it.

        Returns:
            Whether a close frame was sent in time.
        """
        if self._status.state is LinkState.OPEN:
            self._control_frames.setdefault(CLOSE, (code, reason))
        try:
            return self._try_flush((deadline or Deadline(CLOSE_WRITE_TIMEOUT)).at)
        except TimeoutError:
            return False  # a peer that accepts no data will not answer a close frame either
        except OSError as error:
            self._failed_write.note(error)
            return False
        finally:
            if self._unsettled:
                self._settle()

    def _try_flush(self, until: float) -> bool:
        """Write what is unsent; return false if another thread holds the lock until then."""
        try:
            if not acquire_until(self._write_lock, until):
                return False
            if self._writing:
                # Control frames that cannot be sent now are left to the writer that was interrupted.
                if not self._fly_deferred(until) or self._unfinished:
                    return False
                return self._fly_within(self._encode_control_frames(), until, may_close=True)
            try:
                self._writing = True
                self._flush_unfinished(until)
                self._send_all(self._encode_control_frames(), until, keep=True)
            finally:
                self._writing = False
            return True
        finally:
            # As in write(): after an interrupt, too.
            try:
                self._write_lock.release()
            except RuntimeError:
                pass  # not acquired

    # -- with the write lock -----------------------------------------------------------------------------------------

    def _send_control_frames(self) -> None:
        """Send control frames as far as that needs no waiting: the next writer may be waiting for the lock."""
        with contextlib.suppress(TimeoutError):  # unfinished now: the reader tries again
            if self._deferred and CLOSE in self._control_frames:
                self._flush_deferred()
            self._send_all(self._encode_control_frames(), 0.0, keep=True)

    def _send_more(self, more: Iterator[bytes], until: float) -> None:
        """Send the chunks that follow the first."""
        for chunk in more:
            self._send_all(chunk, until, keep=True, more=more)

    def _send_all(
        self, data: bytes, until: float, *, keep: bool = False, own_size: int | None = None, more: Iterable[bytes] = ()
    ) -> None:
        """Send frames, which include all that are unfinished; keep what was begun and not sent as unfinished.

        Args:
            data: the encoded frames.
            until: when to stop waiting for the peer (``time.monotonic``).
            keep: keep frames that were not begun as well.
            own_size: how many bytes at the end of ``data`` are the writer's own, dropped if not begun; all by default.
            more: chunks that follow the writer's own, and are kept with them if those were begun.
        """
        # A slice of bytes copies; a memoryview is only worth it for more than one part.
        view: bytes | memoryview = data if len(data) <= TLS_RECORD_SIZE else memoryview(data)
        mine: Flight = view, [], False
        is_begun = False
        try:
            while self._flight is not None:
                self._fly(until)  # begun by a signal handler on this thread
            if view:
                # No call in between, and so no interrupt: what was unfinished is part of the flight from here on.
                self._flight, is_begun = mine, True
                del self._unfinished[ALL]
                # As in `_fly`, inline for the frames that are sent in one step.
                self._stream.send_some(view, until, mine[1])
                if mine[1][0] == len(view) and self._flight is mine:
                    self._flight = None
            while self._flight is not None:
                self._fly(until)
        except BaseException as error:
            own_size = len(data) if own_size is None else own_size
            self._end_flight(error, own_size if is_begun else None, keep, more)
            raise

    def _fly(self, until: float) -> None:
        """Send a part of what is in flight; what interrupts this thread may do so as well, anywhere here."""
        flight = self._flight
        if flight is None:
            return
        view, sent, is_foreign = flight
        if not sent:
            self._stream.send_some(view, until, sent)
        rest = view[sent[0] :]
        following: Flight | None = (rest, [], is_foreign) if rest else None
        if self._flight is flight:
            self._flight = following

    def _encode_control_frames(self) -> bytes:
        """Return the encoded control frames, and remove them."""
        pending, frames = self._control_frames, b""
        if not pending:
            return frames
        pong, ping, close = (pending.pop(opcode, None) for opcode in (PONG, PING, CLOSE))
        # Nothing is sent after a close frame (RFC 6455, section 5.5.1).
        if self._status.state is not LinkState.OPEN:
            return frames
        if pong is not None:
            frames += self._framing.pong_frame(pong)
        if ping is not None:
            self._pings.on_ping_sent(ping)
            frames += self._framing.ping_frame(ping)
        if close is not None and self._status.enter(LinkState.CLOSING):
            frames += self._framing.close_frame(*close)
        return frames


def _send_timeout(error: TimeoutError, deadline: Deadline) -> SocketTimeout:
    timeout = SocketTimeout(f"send timed out after {deadline.seconds:g} s")
    # A SocketTimeout: another thread held the lock until then.
    return unsent(timeout) if isinstance(error, (NotBegun, SocketTimeout)) else timeout
