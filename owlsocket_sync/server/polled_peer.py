"""The link to one client at the poller: when it is read, and what follows from its end.

Threads: any; see `peer`. The phase decides under ``_state_lock``, once, who has the link read, and who does what
follows from its end.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

from ..deadline import Deadline
from ..errors.safe_text import logger
from ..runtime.carrier_state import CarrierState
from ..runtime.inline_pool import InlinePool
from ..runtime.link import Link
from ..states import CloseInfo, ConnectionState
from .outbox import Outbox
from .peer_phase import PHASES, PeerPhase

START_DELAY = 0.05
_OVER = (PeerPhase.ENDED, PeerPhase.ABANDONED)


def _do_nothing(peer: PolledPeer | None = None) -> None:
    """Follow on the end of a client, for whom no server waits."""


class PolledPeer(CarrierState):
    """The part of a `Peer` that has its link read.

    Args:
        name: the name of the connection.
        url: of the client.

    Attributes:
        is_reading: the poller reads, or has read, the link.
        on_left: called once the link has ended, before `on_end`; raises no `Exception`.
        on_end: called with this last of all, once nothing of the client is left.
        on_stranded: called with this if there is no thread for the end of the link; `finish` has to follow.
    """

    __slots__ = (
        "_calls_failed", "_discarded", "_is_attended", "_is_left", "_only_link", "_phase", "is_reading", "on_end",
        "on_left", "on_stranded", "outbox",
    )  # fmt: skip

    _only_link: Link
    _pool: InlinePool
    outbox: Outbox

    def __init__(self, name: str, url: str) -> None:
        super().__init__(name, url)
        self._phase = PeerPhase.HANDSHAKE
        self.is_reading = False
        self.on_left: Callable[[], object] = _do_nothing
        self.on_end: Callable[[Any], object] = _do_nothing
        self.on_stranded: Callable[[Any], object] = _do_nothing
        self._calls_failed = False
        self._is_left = False  # the poller has let go of the socket
        self._is_attended = False  # a thread waits for the end of the link
        self._discarded = 0  # handlers, before the end of the link, which reports them

    def _advance(self, phase: PeerPhase) -> bool:
        """Change the phase if the table allows it, and return whether it did."""
        # READING is claimed here: three threads may want to have the link read, the client's own, a handler that sends,
        # and one that closes; and ENDING, of which one thread has the task.
        with self._state_lock:
            if phase not in PHASES[self._phase]:
                return False
            self._phase = phase
            self._state_changed.notify_all()
            return True

    def _wait_ended(self, deadline: Deadline) -> None:
        with self._state_lock:
            deadline.wait_for(self._state_changed, lambda: self._phase in _OVER)

    def _start_reading(self) -> None:
        """Give the link to the poller, unless it has been there."""
        if not self._advance(PeerPhase.READING):
            return
        try:
            self.is_reading = True
            self._only_link.attach(self._fail_calls, self._link_ended, self._pool)
        except Exception:  # out of threads or descriptors: the client's own thread tries again
            self.is_reading = False
            self._advance(PeerPhase.ACCEPTED)

    def _read(self) -> None:
        """Have the link read, or end it; on the client's thread."""
        while True:
            self._start_reading()
            if self._phase not in (PeerPhase.HANDSHAKE, PeerPhase.ACCEPTED):
                return None
            if self._only_link.close_info is not None:
                return self._end_unread()
            time.sleep(START_DELAY)

    def _end_unread(self) -> None:
        """End a link that the poller does not have."""
        self._fail_calls(self._only_link.close_info)
        self.finish_link()

    def _link_ended(self) -> bool:
        """Have a thread do all that follows from the end of the link, whose calls have failed; by the poller.

        Returns:
            False if there is no thread: to be called again.
        """
        if self._phase is PeerPhase.ABANDONED:
            return True
        self._only_link.release_now()
        with self._state_lock:
            self._is_left = True
            self._state_changed.notify_all()
            if self._is_attended or self._phase is not PeerPhase.READING:
                return True
        try:
            threading.Thread(target=self.finish, name=f"{self._name}-end", daemon=True).start()
        except Exception:
            self.on_stranded(self)
            return False
        return True

    def _ending(self, info: CloseInfo | None) -> CloseInfo:
        """Return how the link ended, for users."""
        ending = info or CloseInfo(1006, "the link ended")
        # Without an answer to our close frame the link ends with 1006; the reason is our own closing.
        return self._closing if self._closing is not None and ending.code == 1006 else ending

    def _fail_calls(self, info: CloseInfo | None) -> None:
        """Close the connection, and fail the calls of the link that ended."""
        try:
            # Before the calls fail: a caller that tries again at once must not find the connection open.
            self._enter(ConnectionState.CLOSED, ending := self._ending(info))
            self._events.fail_calls(1, ending)
        finally:
            with self._state_lock:
                self._calls_failed = True
                self._state_changed.notify_all()

    def finish(self) -> None:
        """Do what `finish_link` does, and log what it raises."""
        try:
            self.finish_link()
        except BaseException:
            # The last place to catch an error of our own, as in `Server`.
            logger.exception("%s: serving the client failed", self._name)

    def finish_link(self) -> None:
        """Do what follows from the end of the link, unless another thread does; not by the poller."""
        if not (self._calls_failed and self._advance(PeerPhase.ENDING)):
            return
        try:
            self._end(self._ending(self._only_link.close_info))
        finally:
            # Whatever a log handler raises meanwhile: the server waits for this phase.
            try:
                self._end_workers(self._pool, Deadline(0.0))
            finally:
                self._advance(PeerPhase.ENDED)
                try:
                    self._pool.work_until_end()
                finally:
                    self.on_end(self)

    def _end(self, ending: CloseInfo) -> None:
        """Release the link, whose calls have failed, and tell all who listen."""
        if self._closing is not None:
            self._events.handlers_discarded(self._discarded + self._pool.discard())
        try:
            self._leave_link()
            self._events.link_lost(1, ending)
            self._deliver_changes()
        finally:  # whatever a log handler raises
            try:
                self._events.closed(self._closed_error)
                self.outbox.end()
            finally:
                self.on_left()

    # -- the client's thread -----------------------------------------------------------------------------------------

    def wait_over(self) -> None:
        """Wait for the end of the link, and do what follows; on the client's thread, where that is not ours."""
        interrupt: BaseException | None = None
        while self._phase not in _OVER:
            try:
                with self._state_lock:
                    self._is_attended = True
                    Deadline(math.inf).wait_for(self._state_changed, lambda: self._is_left or self._phase in _OVER)
                self.finish_link()
                self._wait_ended(Deadline(math.inf))
            except BaseException as error:
                # The socket goes back to its owner, which may close it: not before the poller has let go of it.
                interrupt = interrupt or error
                self._only_link.abort(self._closing or CloseInfo(1006, "the request has ended"))
        if interrupt is not None:
            raise interrupt

    def abort_handshake(self) -> None:
        """End a link whose upgrade was not completed; instead of `run`, on the client's thread."""
        self._only_link.abort(CloseInfo(1006, "the handshake failed"))
        self._end_unread()
