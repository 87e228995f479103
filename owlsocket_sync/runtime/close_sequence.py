"""The last steps of a link at this end: a close frame, and the time in which the peer gets to read it.

Threads: the poller, which calls `CloseSequence.step`, and waits for `PATIENCE` at most in it.
"""

from __future__ import annotations

from ..clock import monotonic
from ..deadline import Deadline
from ..states import CloseInfo
from ..transport.stream import DuplexStream
from .writer import CLOSE_WRITE_TIMEOUT, Writer

PATIENCE = 0.001
RETRY_DELAY = 0.01
LINGER = 0.2
MAX_READS = 16


class CloseSequence:
    """The end of one link, step by step.

    Args:
        writer: of the link.
        stream: of the link.
        info: how the link ends; the code of the close frame.
        reason: of the close frame.
        lingers: whether the peer may still send: then it is read until it closes, or for `LINGER` seconds.

    Attributes:
        info: how the link ends.
    """

    def __init__(self, writer: Writer, stream: DuplexStream, info: CloseInfo, reason: str, *, lingers: bool) -> None:
        self._writer = writer
        self._stream = stream
        self.info = info
        self._reason = reason
        self._lingers = lingers
        self._frame_until = monotonic() + CLOSE_WRITE_TIMEOUT
        self._linger_until: float | None = None

    def step(self, now: float) -> float | None:
        """Do what can be done now, and return when to call this next; ``None`` once the link may end."""
        if self._linger_until is None:
            # The write lock may be taken, or the peer accept nothing: both for a while only. Mostly it is a thread that
            # has sent its own close frame, and is about to release the lock.
            is_sent = self._writer.send_close(self.info.code, self._reason, Deadline(PATIENCE))
            if not is_sent and now < self._frame_until:
                return now + RETRY_DELAY
            if not self._lingers:
                return None
            # close() with unread bytes resets the connection, which discards what we sent last on its way to the peer.
            self._stream.finish_sending()
            self._linger_until = now + LINGER
        if self._stream.read_lock.acquire(False):
            try:
                for _ in range(MAX_READS):
                    if not self._stream.recv_available([], 0.0):
                        break
            except (EOFError, OSError):
                return None
            finally:
                self._stream.read_lock.release()
        return now + RETRY_DELAY if now < self._linger_until else None
