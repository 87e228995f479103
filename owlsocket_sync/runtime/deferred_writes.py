"""Writes that never wait for the peer: what it does not accept at once is deferred, and sent later, in order.

A frame that the peer accepted in part is unfinished, as that of any writer. A frame of which nothing was accepted, or
that another thread's write would have held up, is deferred: each writer sends the deferred frames before its own, and
the reader sends them once the peer accepts data again.

Threads: any thread defers, without the write lock, and looks afterwards whether another thread sends it. A thread that
has the lock looks again after it released it. So at least one of the two sees the other.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterable
from enum import Enum
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from ..errors import SocketConnectionError
from ..errors.marshalled import unsent
from ..transport.frames import CLOSE
from ..transport.tls import TLS_RECORD_SIZE
from .failed_write import FailedWrite
from .interrupted_writer import OPEN, Flight, InterruptedWriter

if TYPE_CHECKING:
    from ..transport.deflate import Compression

MAX_COALESCED_WRITES = 64
MAX_DEFERRED_SIZE = 65_536
"""Bytes of the deferred frames that are sent together, unless the first alone is larger."""


class NotBegun(TimeoutError):
    """The peer accepted not one byte of a writer's own frames in time, so none of them is sent."""


class WriteProgress(Enum):
    """The progress of a write that does not wait."""

    NOTHING = "nothing"
    """Not one byte is sent, or will be: the frame is the caller's."""
    BEGUN = "begun"
    """The next writer, or the reader, sends the rest."""
    SENT = "sent"


NOTHING, BEGUN, SENT = WriteProgress.NOTHING, WriteProgress.BEGUN, WriteProgress.SENT


class DeferredFrames(Protocol):
    """The deferred frames of one link, and what counts them.

    Attributes:
        frames: appended by any thread; removed with the write lock.
    """

    frames: list[bytes]

    def begin(self, size: int) -> None:
        """Note that a message was begun that had not been deferred; with the write lock."""

    def forget_first(self) -> None:
        """Remove the first frame, which will not be sent; with the write lock."""

    def settle(self) -> None:
        """Count messages that were sent; without a lock."""


class NothingDeferred:
    """The deferred frames of a link on which every writer waits."""

    __slots__ = ("frames",)

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def begin(self, size: int) -> None:
        """Do nothing: such a message is counted by its writer."""

    def forget_first(self) -> None:
        """Do nothing: there is none."""

    def settle(self) -> None:
        """Do nothing: there is none."""


NOTHING_DEFERRED = NothingDeferred()


class DeferringWriter(InterruptedWriter):
    """The part of a writer that never waits for the peer."""

    __slots__ = ("_failed_write", "_is_watched", "_outbox")

    _failed_write: FailedWrite
    _is_watched: bool
    """True while the reader sends what is unsent, or waits for the peer to accept it."""

    @property
    @abstractmethod
    def has_unsent(self) -> bool:
        """True if the next writer has something to write besides its own frames."""

    @abstractmethod
    def _send_all(
        self, data: bytes, until: float, *, keep: bool = False, own_size: int | None = None, more: Iterable[bytes] = ()
    ) -> None:
        """Send frames, which include all that are unfinished."""

    def defer_to(self, outbox: DeferredFrames) -> None:
        """Set where frames are deferred; before the first of them."""
        self._outbox = outbox
        self._deferred = outbox.frames

    @property
    def is_open(self) -> bool:
        """True as long as the link takes messages."""
        return self._status.state is OPEN

    @property
    def compression(self) -> Compression | None:
        """The compression of the link: links with the same one have the same frames."""
        return self._framing.compression

    def frame(self, message: bytes) -> tuple[bytes, int]:
        """Return the frame of a text message, and the size of its payload."""
        return self._framing.text_frame(message)

    def count_wire(self, size: int) -> None:
        """Count the payload of a message that was sent, on a link with a compression."""
        self._framing.count_wire(0, size)

    def write_now(self, data: bytes, size: int) -> WriteProgress:
        """Write a frame as far as that needs no waiting, unless something is unsent or a thread writes.

        Args:
            data: the encoded frame.
            size: of its message.

        Raises:
            SocketConnectionError: the link has ended, or its close frame was sent.
        """
        progress = NOTHING
        if (self._deferred or self._unfinished) and self._status.state is OPEN:
            return progress  # without the lock, which another thread may need: the caller defers, and attends
        sent: list[int] = []
        try:
            # A signal handler that interrupted a writer of this thread has the lock as well.
            if self._write_lock.acquire(False) and not self._writing:
                if self._status.state is not OPEN:
                    raise unsent(self._status.error() or SocketConnectionError("the link is closing"))
                if not (self._unfinished or self._deferred or self._queued_writes or self._flight):
                    mine: Flight = data if len(data) <= TLS_RECORD_SIZE else memoryview(data), sent, False
                    # As in `_send_all`, inline for the frames that are sent in one step.
                    try:
                        self._writing = True
                        self._flight = mine
                        self._stream.send_some(mine[0], 0.0, sent)
                        if self._flight is mine and sent[0] == len(data):
                            self._flight = None
                        while self._flight is not None:
                            self._fly(0.0)
                        progress = SENT
                    except BaseException as error:
                        self._end_flight(error, len(data), False, ())
                        raise
                    finally:
                        self._writing = False
        except NotBegun:
            pass
        except TimeoutError:
            self._outbox.begin(size)
            progress, self._unsettled = BEGUN, True
        except SocketConnectionError:
            raise
        except OSError as error:
            raise self._failed_write.note(error) from error
        except BaseException:
            self._stream.wake()  # the reader sends the rest of what an interrupt left
            raise
        finally:
            # As in `write`: an interrupt may come between acquire and the next line.
            try:
                self._write_lock.release()
            except RuntimeError:
                pass  # not acquired
        if self._control_frames or self._queued_writes or self._deferred or self._unsettled:
            self.flush_or_wake()
        return progress

    def attend(self) -> None:
        """Have deferred frames sent, by this thread or by the reader; after they were deferred."""
        # The caller has appended them before. The reader makes this untrue, and looks at the frames afterwards.
        if not self._is_watched:
            self.flush_or_wake()

    def flush_and_watch(self) -> None:
        """Write what is unsent as far as that needs no waiting, and be woken for the rest; by the reader."""
        self._is_watched = True
        self._is_watched = self._stream.watch_writable(self.flush())
        # Deferred meanwhile; or by a thread that relied on this one, while another one wrote.
        if not self._is_watched and self.has_unsent:
            self._is_watched = self._stream.watch_writable(self.flush())

    def flush_or_wake(self) -> None:
        """Write what is unsent as far as that needs no waiting, and leave the rest to the reader; not by the reader."""
        self.flush()
        if self._unfinished or self._deferred or self._flight:
            self._stream.wake()

    def drop_deferred(self, frame: bytes) -> bool:
        """Remove the first deferred frame if it is still this one, and no thread writes; return whether it was."""
        try:
            if not self._write_lock.acquire(False) or self._writing:
                return False
            if not self._deferred or self._deferred[0] is not frame:
                return False
            self._outbox.forget_first()
        finally:
            try:
                self._write_lock.release()
            except RuntimeError:
                pass  # not acquired
        self.flush_or_wake()  # the reader may have found the lock taken
        return True

    # -- with the write lock -----------------------------------------------------------------------------------------

    def _end_flight(self, error: BaseException, own_size: int | None, keep: bool, more: Iterable[bytes]) -> None:
        """Do what `_keep_unfinished` does after an error, which the caller raises.

        Raises:
            NotBegun: the peer accepted nothing of the writer's own frames in time.
        """
        # After a timeout or an interrupt the link goes on; after any other OSError it is broken.
        if isinstance(error, OSError) and not isinstance(error, TimeoutError):
            self._flight = None
        elif not self._keep_unfinished(own_size, keep, more) and isinstance(error, TimeoutError):
            raise NotBegun from error

    def _flush_unfinished(self, until: float) -> None:
        """Send what earlier writers began, some of what is deferred, and what other threads queued."""
        if self._deferred:
            if CLOSE in self._control_frames:
                self._flush_deferred()
            self._take_deferred()
        self._take_queued_writes()
        if self._unfinished:
            self._send_all(b"".join(self._unfinished), until, keep=True)

    def _flush_deferred(self) -> None:
        """Send deferred frames as far as that needs no waiting; before a close frame, which nothing follows."""
        try:
            while self._deferred:
                self._take_deferred()
                self._send_all(b"".join(self._unfinished), 0.0, keep=True)
        except TimeoutError:
            # For good: the close frame must not wait for a peer that is far behind.
            self._deferred = NOTHING_DEFERRED.frames

    def _send_deferred(self, until: float) -> None:
        """Send what is unfinished and deferred now, before a writer's own frames.

        Raises:
            NotBegun: the peer did not accept all of it in time.
        """
        try:
            # Not those that other threads defer meanwhile: they must not hold this thread.
            for _ in range(len(self._deferred) + 1):
                if not self._deferred:
                    break
                self._take_deferred()
                self._send_all(b"".join(self._unfinished), until, keep=True)
        except TimeoutError as error:
            raise NotBegun from error

    def _send_after_unfinished(self, data: bytes, until: float, more: Iterable[bytes]) -> None:
        """Send what is unfinished, deferred or queued, then ``data``."""
        if self._deferred:
            self._send_deferred(until)
        self._take_queued_writes()
        self._send_all(b"".join([*self._unfinished, data]), until, own_size=len(data), more=more)

    def _take_deferred(self) -> None:
        """Move deferred frames to the unfinished ones, unless some are unfinished already."""
        if self._unfinished:
            return  # or a peer that accepts nothing would have all of them begun
        count = size = 0
        # Another thread may append meanwhile.
        with contextlib.suppress(IndexError):
            while count < MAX_COALESCED_WRITES:
                size += len(self._deferred[count])
                if count and size > MAX_DEFERRED_SIZE:
                    break
                count += 1
        self._unsettled = True
        # Together: a list that may be long moves up once, and not for each of them.
        deferred, front = self._deferred, slice(count)
        # No call from here on, and so no interrupt: a signal handler may have sent some of them before.
        self._unfinished += deferred[front]
        del deferred[front]
        self._unsettled = True  # again: another thread may have settled before they were moved

    def _take_queued_writes(self) -> None:
        """Move queued frames to the unfinished ones, unless deferred ones come before them."""
        # In this order: a thread that queues a frame behind one that it deferred has deferred it by now. The limit
        # keeps writers that queue without end from holding this thread.
        count = min(len(self._queued_writes), MAX_COALESCED_WRITES)
        if self._deferred:
            return
        # One builtin call moves them, so that an interrupt neither loses nor repeats a frame. The list is empty once
        # pop raises.
        with contextlib.suppress(IndexError):
            self._unfinished.extend(islice(iter(partial(self._queued_writes.pop, 0), None), count))

    # -- after its release -------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Have frames counted once nothing of them is unsent."""
        if self._write_lock._is_owned():  # type: ignore[attr-defined]
            return  # what this thread interrupted does it after its release
        if self._unsettled and not self._unfinished and self._flight is None:
            self._unsettled = False
            self._outbox.settle()
