"""A write that failed: the reader tells how the link ended, because the peer's reason may be among what arrived before.

A peer that refuses a message sends a close frame, and resets the connection, the rest of which it does not read. A
writer may meet the reset first, while the close frame is in the buffer.

Threads: any thread notes its failure and waits for the reader, at most `SETTLE_TIMEOUT`. The reader reads on until the
end of the stream, at most for `REST_TIMEOUT`, and ends the link.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..clock import monotonic
from ..deadline import Deadline
from ..errors import SocketConnectionError
from ..errors.safe_text import safe_str
from ..states import CloseInfo
from ..transport.stream import DuplexStream
from .link_state import LinkState, LinkStatus

REST_TIMEOUT = 0.2
SETTLE_TIMEOUT = 0.5
ABNORMAL_CLOSURE = 1006


class FailedWrite:
    """The first failure of a write on one link.

    Args:
        status: of the link.
        stream: wakes the reader.
        abort: ends the link.

    Attributes:
        error: the failure; ``None`` as long as no write has failed.
    """

    __slots__ = ("_abort", "_rest_until", "_status", "_stream", "error")

    def __init__(self, status: LinkStatus, stream: DuplexStream, abort: Callable[[CloseInfo], object]) -> None:
        self._status = status
        self._stream = stream
        self._abort = abort
        self.error: OSError | None = None
        self._rest_until = math.inf

    def note(self, error: OSError) -> SocketConnectionError:
        """Have the reader end the link, and return the error to raise until it has."""
        # The reader itself may fail to write again and again meanwhile, and need not be woken by that.
        if self.error is None:
            self._rest_until = monotonic() + REST_TIMEOUT
            self.error = error
            self._stream.wake()
        return self._status.error() or SocketConnectionError(f"the link broke: {safe_str(error)}")

    def ending(self) -> CloseInfo | None:
        """Return how the link ends if the peer gave no reason, ``None`` if no write has failed."""
        if self.error is None:
            return None
        return CloseInfo(ABNORMAL_CLOSURE, f"the link broke: {safe_str(self.error)}", self.error)

    def run_timer(self, now: float) -> float:
        """End the link if the peer has not ended it for a while, and return when to be called next; by the reader."""
        ending = self.ending()
        if ending is not None and now >= self._rest_until:
            self._abort(ending)
        return self._rest_until

    def settle(self, failure: SocketConnectionError, deadline: Deadline) -> SocketConnectionError:
        """Return the error to raise for a message that failed, once the reason is known."""
        if self.error is not None:
            self.wait(deadline)
        elif self._status.state is LinkState.CLOSING:
            # The reader has answered the peer's close frame, and is about to end the link with the peer's reason.
            self._wait_for_reason(deadline)
        else:
            return failure
        settled = self._status.error() or failure
        settled.sent = failure.sent
        return settled

    def wait(self, deadline: Deadline) -> None:
        """Wait until the reader has ended a link on which a write has failed, or end it."""
        ending = self.ending()
        if ending is not None:
            self._wait_for_reason(deadline)
            self._abort(ending)

    def _wait_for_reason(self, deadline: Deadline) -> None:
        bound = Deadline(min(SETTLE_TIMEOUT, deadline.remaining()))
        self._status.wait(lambda: self._status.info is not None, bound)
