"""The attempts of one connection to connect: how a link opens, and the pause before the next one.

Threads: the thread of the supervisor.
"""

from __future__ import annotations

import math
import threading
from abc import abstractmethod
from collections.abc import Callable

from ..clock import monotonic
from ..deadline import Deadline
from ..options import Backoff
from ..states import CloseInfo, ConnectionState
from .at_exit import EXIT_REGISTRY
from .carrier_state import CarrierState
from .endings import abnormal_end, aborting, failed_authentication
from .link import Link
from .pause import AttemptLog, ReconnectSchedule
from .supervisor_phase import SupervisorPhase

TIMER_INTERVAL = 0.05


class Attempts(CarrierState):
    """The part of a supervisor that begins links.

    Args:
        name: the name of the connection.
        address: returns the URL of the peer, without secrets.
        backoff: the delays between attempts; ``None`` never reconnects.
        authenticate: authenticates a new link while the poller reads; may raise. ``None`` without authentication.
    """

    __slots__ = (
        "_attempt_log", "_authenticate", "_backoff", "_last_info", "_opened_at", "_phase", "_reconnect_requested",
        "_schedule",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        address: Callable[[], str],
        backoff: Backoff | None,
        authenticate: Callable[[], object] | None,
    ) -> None:
        super().__init__(name, address)
        self._backoff = backoff
        self._authenticate = authenticate
        self._schedule = ReconnectSchedule(backoff)
        self._attempt_log = AttemptLog(name)
        self._opened_at: float | None = None
        self._phase = SupervisorPhase.DORMANT
        self._last_info: CloseInfo | None = None
        self._reconnect_requested = False

    def is_active(self) -> bool:
        """Return whether the connection has a link or tries to connect, in this process; takes no lock."""
        return self._phase in (SupervisorPhase.RUNNING, SupervisorPhase.READING) and self._should_run()

    @abstractmethod
    def close_at_exit(self, seconds: float) -> None:
        """Close the connection within ``seconds``."""

    @abstractmethod
    def _is_abandoned(self) -> bool:
        """Return whether this is a forked child."""

    @abstractmethod
    def _should_continue(self) -> bool:
        """Return whether to connect on."""

    @abstractmethod
    def _will_reconnect(self, error: Exception | None) -> bool:
        """Return whether to connect again after this error."""

    @abstractmethod
    def _was_healthy(self) -> bool:
        """Return whether the last link was open for long enough not to count as flapping."""

    def _begin(self, link: Link, deadline: Deadline) -> None:
        """Open a link that the poller reads, after its authentication."""
        if not self._should_run():
            link.abort(CloseInfo(1006, "closed while connecting"))
        elif self._authenticate is None:
            try:
                with aborting(link):
                    self._open(link)
            finally:
                link.resume()
        else:
            self._run_auth(link, deadline)

    def _run_auth(self, link: Link, deadline: Deadline) -> None:
        """Authenticate a link that the poller reads, then open it for all threads."""
        # Not on a worker: handlers that keep all workers busy would keep the link from opening.
        assert self._authenticate is not None
        with self._state_lock:
            self._auth_thread = threading.get_ident()
        try:
            self._authenticate()
        except BaseException as error:  # SystemExit as well: the link must not stay without a thread that opens it
            link.close_now(failed_authentication(error))
            return
        finally:
            with self._state_lock:
                # Authentication of a later link may have begun on another thread.
                if self._auth_thread == threading.get_ident():
                    self._auth_thread = None
        with aborting(link):
            self._open(link)

    def _open(self, link: Link) -> None:
        link.auth_deadline = math.inf
        with self._state_lock:
            # The link may have been lost, and replaced, meanwhile. In one step: see `_fail_calls`.
            if self._link is not link or link.close_info is not None:
                return
            self._opened_at = monotonic()
            self._enter(ConnectionState.OPEN)
        link.resume()  # log handlers come after it, and may take their time
        self._deliver_changes()
        # After the state: a call that found no link is in the table by now.
        if self._events.awaits_link():
            self._pool.submit("opened", self._events.link_opened)

    def _wait_backoff(self, info: CloseInfo | None, error: Exception | None) -> bool:
        """Wait before the next attempt; return false if there is none."""
        if not self._will_reconnect(error):
            return False
        schedule, was_open = self._schedule, self._opened_at is not None
        is_planned = schedule.plan(info, error, was_open=was_open, was_healthy=self._was_healthy())
        if self._consume_reconnect_request():
            return True
        if not is_planned:
            return False
        self._attempt_log.log(self.url, schedule.failures, schedule.seconds_left(), error, failed=not was_open)
        while (seconds := schedule.seconds_left(self._is_awaited())) > 0:
            if self._wait_skipped(min(seconds, TIMER_INTERVAL)):
                break
            # Without a link, this is where submitted calls time out.
            self._run_timers(monotonic())
        if not self._is_abandoned():
            self._consume_reconnect_request()
        return self._should_continue()

    def _run_timers(self, now: float) -> float:
        return min(self._events.run_timers(now), self._pool.retry(now))

    def _wait_skipped(self, seconds: float) -> bool:
        with self._state_lock:
            return self._state_changed.wait_for(lambda: self._reconnect_requested or not self._should_run(), seconds)

    def _consume_reconnect_request(self) -> bool:
        """Return whether `reconnect` was called since the last attempt."""
        with self._state_lock:
            requested, self._reconnect_requested = self._reconnect_requested, False
        return requested

    def _finish(self, error: Exception | None) -> None:
        """Close the connection: free all threads that wait, and end the workers."""
        with self._state_lock:
            self._enter(ConnectionState.CLOSED, self._closing or self._last_info or abnormal_end(error))
        try:
            self._deliver_changes()
        finally:  # whatever a log handler raises
            self._events.closed(self._closed_error)
            EXIT_REGISTRY.remove(self)
            self._end_workers(self._pool, Deadline(0.0))
