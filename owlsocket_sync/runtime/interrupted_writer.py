"""Writing on a thread that was interrupted while it wrote, by a signal handler or a finalizer.

Threads: with the write lock, which the interrupted writer further up on this thread holds.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ..deadline import Deadline
from ..errors import SocketConnectionError
from ..transport.frames import PING, TEXT
from ..transport.framing import Framing
from ..transport.stream import DuplexStream
from ..transport.tls import TLS_RECORD_SIZE
from .chunks import deflate_messages, encode_chunks
from .heartbeat import PingTracker
from .link_state import LinkState, LinkStatus

OPEN, CLOSING = LinkState.OPEN, LinkState.CLOSING
"""The states themselves: before Python 3.11, a look into an enumeration is a call."""

FRONT = slice(0, 0)

Flight = tuple[bytes | memoryview, list[int], bool]
"""Bytes to be sent, the number of those that were, and whether they belong to what interrupted the writer."""


class InterruptedWriter(ABC):
    """The part of a writer that its signal handlers, finalizers and failures need."""

    __slots__ = (
        "_control_frames", "_deferred", "_flight", "_framing", "_pings", "_queued_writes", "_status", "_stream",
        "_unfinished", "_unsettled", "_write_lock", "_writing",
    )  # fmt: skip

    _framing: Framing
    _stream: DuplexStream
    _status: LinkStatus
    _pings: PingTracker
    _write_lock: threading.RLock
    _writing: bool
    _flight: Flight | None
    _unfinished: list[bytes]
    _queued_writes: list[bytes]
    _control_frames: dict[int, Any]
    _deferred: list[bytes]
    _unsettled: bool
    """True if frames were sent that had been deferred, or begun without waiting, and are not counted yet."""

    @abstractmethod
    def flush(self, until: float = 0.0) -> bool:
        """Write what is unsent; by default as far as that needs no waiting."""

    @abstractmethod
    def _fly(self, until: float) -> None:
        """Send a part of what is in flight."""

    @abstractmethod
    def write(
        self, data: bytes, deadline: Deadline, ping: bytes | None = None, more: Iterator[bytes] | None = None
    ) -> None:
        """Write frames."""

    def _write_encoded(self, messages: Sequence[bytes], deadline: Deadline) -> None:
        """Write several text messages, or such as may be deflated, which they are before the lock is taken."""
        if self._framing.compression is None:
            chunks = encode_chunks(self._framing, messages)
            self.write(next(chunks), deadline, more=chunks)
        else:
            data, more, size = deflate_messages(self._framing, messages)
            self.write(data, deadline, more=more)
            self._framing.count_wire(0, size)

    def write_later(self, messages: Sequence[bytes]) -> None:
        """Write text messages as soon as that needs no waiting; by the reader.

        Raises:
            SocketConnectionError: the link has ended, or its close frame was sent.
        """
        if self._status.state is not LinkState.OPEN:
            raise self._status.error() or SocketConnectionError("the link is closing")
        # Not deflated: while the reader is busy, no other message is read.
        self._queued_writes.append(b"".join(self._framing.frame(TEXT, message) for message in messages))
        if self._framing.compression is not None:
            self._framing.count_wire(0, sum(map(len, messages)))
        self.flush()

    def close_when_idle(self, close: Callable[[], None], *, waits: bool = True) -> bool:
        """Close the descriptor with ``close`` once no thread writes, or at once if it ``waits`` not; return whether.

        The stream was shut down before.
        """
        # No thread can be in a system call on it then: its number may belong to another file right after.
        if not self._write_lock.acquire(waits):
            return False
        try:
            if waits or not self._writing:
                close()
            return waits or not self._writing
        finally:
            self._write_lock.release()

    def is_interrupted(self) -> bool:
        """Return whether this thread was interrupted while it wrote, by a signal handler or a finalizer."""
        return self._writing and self._write_lock._is_owned()  # type: ignore[attr-defined]

    def _write_within(self, data: bytes, deadline: Deadline, ping: bytes | None, more: Iterator[bytes] | None) -> None:
        """Write frames on a thread that was interrupted while it wrote; queue them where that cannot be known."""
        if self._status.state is not LinkState.OPEN:
            raise self._status.error() or SocketConnectionError("the link is closing")
        if ping is not None:
            self._pings.on_ping_sent(ping)
        whole = b"".join((data, *(more or ())))
        if self._fly_deferred(deadline.at) and self._fly_within(whole, deadline.at):
            return
        if ping is None:
            self._queued_writes.append(whole)
        else:
            self._control_frames[PING] = ping

    def _fly_deferred(self, until: float) -> bool:
        """Send what is in flight on this thread, then what is deferred; return whether all of it was sent."""
        try:
            while True:
                while self._flight is not None:
                    self._fly(until)
                # No call from here on, and so no interrupt: a frame is deferred, or in flight.
                if not self._deferred or self._unfinished or self._status.state is not OPEN:
                    break
                self._flight = self._deferred[0], [], True
                del self._deferred[0]
                self._unsettled = True
        except TimeoutError:
            return False  # what is in flight is continued by the writer that was interrupted
        return not self._deferred

    def _fly_within(self, data: bytes, until: float, *, may_close: bool = False) -> bool:
        """Send what is in flight on this thread, which was interrupted, then ``data``; return whether it was begun."""
        mine: Flight = data, [], True
        try:
            while self._flight is not None:
                self._fly(until)
            if self._status.state is CLOSING and not may_close:
                raise SocketConnectionError("the link is closing")
            if self._unfinished or not data:
                return not data  # the interrupted writer may be about to send what is unfinished
            # No call since the flight was looked at, and so no interrupt.
            self._flight = mine
            while self._flight is not None:
                self._fly(until)
        except TimeoutError:
            if self._flight is mine and not mine[1]:
                self._flight = None
                return False
            # What was begun is continued by the writer that was interrupted.
        return True

    def _keep_unfinished(self, own_size: int | None, keep: bool, more: Iterable[bytes]) -> bool:
        """Keep what was begun of a flight that ended early, and return whether that includes the writer's own frames.

        Args:
            own_size: the size of the writer's own frames, ``None`` if they were not in flight yet.
            keep: keep frames that were not begun as well.
            more: chunks that follow the writer's own.
        """
        # An interrupt before the end leaves the flight to the next writer.
        while True:
            flight = self._flight
            if flight is None:
                return True
            view, sent, is_foreign = flight
            left = view[sent[0] :] if sent else view
            begun = keep
            if own_size is not None:
                # OpenSSL demands that the record that was tried is repeated with the same bytes: a frame of which any
                # byte is in it counts as begun. What follows that record is dropped, or sends that time out pile up.
                tried = TLS_RECORD_SIZE if self._stream.secure else 0
                begun = keep or is_foreign or len(left) < own_size + tried
                left = left if begun else left[: len(left) - own_size]
            kept = [bytes(left)] if left else []
            # No call from here on. What interrupted this thread may have gone on with the flight.
            if self._flight is flight:
                self._unfinished[FRONT] = kept
                self._flight = None
                break
        if begun and own_size is not None:
            self._unfinished.extend(more)
        return begun
