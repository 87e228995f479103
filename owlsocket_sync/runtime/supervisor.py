"""Keeping a connection connected: one link after another, with backoff and authentication.

Threads: one thread, the reader, connects, reads, and reconnects; only this thread changes the link. Authentication runs
on a thread of its own while the reader reads. Other threads wait in `carrier_state`.

Where the reader can block, and what frees it: an attempt to connect (its deadline, a check every 50 ms), a link (see
`link`), a backoff (`Supervisor.close` and `Supervisor.reconnect`, which skip the rest of it).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from .. import fork
from ..clock import monotonic
from ..deadline import Deadline
from ..errors import ResilientError
from ..options import Backoff
from ..protocol.carrier import CarrierEvents
from ..states import CloseInfo, ConnectionState
from .at_exit import EXIT_REGISTRY
from .carrier_state import CarrierState
from .endings import abnormal_end, aborting, failed_attempt, failed_authentication, failed_end, failed_error
from .link import INTERNAL_ERROR, Link
from .pause import AttemptLog, ReconnectSchedule
from .supervisor_phase import PHASES, SupervisorPhase
from .workers import WorkerPool

TIMER_INTERVAL = 0.05
MAX_READER_FAILURES = 3

Connect = Callable[[Deadline, Callable[[], bool], int, CarrierEvents], Link]


class Supervisor(CarrierState):
    """Keeps one connection connected.

    Args:
        connect: opens a link; gets a deadline, a function that returns whether to continue, and the link's number.
        pool: runs handlers; ended with the connection.
        backoff: the delays between attempts; ``None`` never reconnects.
        timeout: seconds for one attempt to connect, including authentication.
        retry_initial: keep trying if the first attempt fails.
        name: the name of the connection in threads and errors.
        address: returns the URL of the peer, without secrets.
        authenticate: authenticates a new link, on a thread of its own; may raise. ``None`` without authentication.
    """

    def __init__(
        self,
        connect: Connect,
        pool: WorkerPool,
        *,
        backoff: Backoff | None,
        timeout: float,
        retry_initial: bool,
        name: str,
        address: Callable[[], str],
        authenticate: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(name, address)
        self._connect = connect
        self._pool = pool
        pool.starts.schedule = self.schedule_wakeup
        self._backoff = backoff
        self._timeout = timeout
        self._retry_initial = retry_initial
        self._authenticate = authenticate
        self._phase = SupervisorPhase.DORMANT
        self._reconnect_requested = False
        self._reader_failures = 0  # links in a row that an error of our own has ended
        self._schedule = ReconnectSchedule(backoff)
        self._attempt_log = AttemptLog(name)
        self._opened_at: float | None = None
        self._last_info: CloseInfo | None = None
        self._thread: threading.Thread | None = None

    def start(self, events: CarrierEvents) -> None:
        """Start to connect, unless it has started or is closed."""
        self._events = events
        self._start_if_dormant()

    def start_dormant(self, events: CarrierEvents) -> None:
        """Postpone connecting to the first use."""
        self._events = events

    def _start_if_dormant(self) -> None:
        # First without the lock: each look for a link comes here while there is none.
        if self._phase is not SupervisorPhase.DORMANT:
            return
        if self._advance(SupervisorPhase.DORMANT, SupervisorPhase.RUNNING):
            EXIT_REGISTRY.add(self)
            self._thread = threading.Thread(target=self._run, name=f"{self._name}-reader", daemon=True)
            try:
                self._thread.start()
            except Exception as error:  # the process has reached its limit of threads
                self._advance(SupervisorPhase.RUNNING, SupervisorPhase.DORMANT)
                raise failed_error("cannot start the thread of the connection", error) from error

    def _advance(self, before: SupervisorPhase, after: SupervisorPhase) -> bool:
        """Change the phase if it is ``before``, and return whether it was."""
        assert after in PHASES[before]
        # `before` decides between threads: of a first use and a close() at once, one begins and the other does not.
        with self._state_lock:
            if self._phase is not before:
                return False
            self._phase = after
            return True

    # -- the reader --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            error = self._run_links()
        except BaseException as failure:
            # Such as SystemExit of a log handler: other threads would wait for a link that has no reader.
            self._last_info = failed_end("the reader failed", failure)
            error = self._last_info.error
        if self._is_abandoned():
            fork.end_inherited_thread()
        elif self._advance(SupervisorPhase.RUNNING, SupervisorPhase.FINISHED):
            self._finish(error)
            self._pool.work_until_end()

    def _run_links(self) -> Exception | None:
        """Run one link after another, and return the error of the last one."""
        error: Exception | None = None
        while self._should_continue():
            info: CloseInfo | None = None
            self._opened_at = None
            try:
                info = self._run_link()
                error = info.error
            except Exception as failure:
                error = failed_attempt(failure)
            if self._is_abandoned():
                break
            self._last_info = info
            self._last_failure = error or self._last_failure
            if not self._wait_backoff(info, error):
                break
        return error

    def _is_abandoned(self) -> bool:
        # Greenlets survive a fork: a reader that belongs to the parent ends without touching the link.
        return self._phase is SupervisorPhase.ABANDONED

    def _should_continue(self) -> bool:
        return self._should_run() and not self._is_abandoned()

    def _run_link(self) -> CloseInfo:
        """Connect, and run the link until it ends."""
        deadline = Deadline(self._timeout)
        link = self._connect(deadline, self._should_continue, self._link_number + 1, self._events)
        link.run_timers = self._run_timers
        if self._is_abandoned():
            link.close_in_child()
            return CloseInfo(1006, "the link belongs to the parent process")
        with self._state_lock:
            number = self._link_number + 1
            self._current = link, number
        with aborting(link):
            self._begin(link, deadline)
        try:
            info = link.run()
            failed = info.code == INTERNAL_ERROR and info.error is not None
        except BaseException as failure:
            info, failed = link.close_info or failed_end("the reader failed", failure), True
        if not self._is_abandoned():
            self._reader_failures = (0 if self._was_healthy() else self._reader_failures) + 1 if failed else 0
            self._lose(number, info)
        return info

    def _lose(self, number: int, info: CloseInfo) -> None:
        """Fail the calls of the link that ended, then do all else that follows from its end."""
        comes_back = self._state is ConnectionState.OPEN and self._will_reconnect(info.error)
        try:
            self._leave_link(info, ConnectionState.RECONNECTING if comes_back else None)
            if not self._should_run():
                self._events.handlers_discarded(self._pool.discard())
            self._events.link_lost(number, info)
        finally:
            self._deliver_changes()

    def _begin(self, link: Link, deadline: Deadline) -> None:
        """Open a link, or begin its authentication, which opens it."""
        if not self._should_run():
            link.abort(CloseInfo(1006, "closed while connecting"))
        elif self._authenticate is None:
            self._open(link)
        else:
            link.auth_deadline = deadline.at
            name = f"{self._name}-auth"
            threading.Thread(target=self._run_auth, args=(link, deadline), name=name, daemon=True).start()

    def _run_auth(self, link: Link, deadline: Deadline) -> None:
        """Authenticate a link, then open it for all threads."""
        # On a thread of its own: on a worker, handlers that keep all workers busy would keep the link from opening.
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
        with self._state_lock:
            # The link may have been lost, and replaced, while it was authenticated.
            if self._link is not link or link.close_info is not None:
                return
        link.auth_deadline = math.inf
        self._opened_at = monotonic()
        self._set_state(ConnectionState.OPEN)
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

    def _will_reconnect(self, error: Exception | None) -> bool:
        """Return whether to connect again after this error."""
        if not self._should_run():
            return False
        if self._reconnect_requested:
            return True
        if self._backoff is None or _is_final(error) or self._reader_failures >= MAX_READER_FAILURES:
            return False
        return self._retry_initial or self._state is not ConnectionState.CONNECTING

    def _consume_reconnect_request(self) -> bool:
        """Return whether `reconnect` was called since the last attempt."""
        with self._state_lock:
            requested, self._reconnect_requested = self._reconnect_requested, False
        return requested

    def _was_healthy(self) -> bool:
        """Return whether the last link was open for long enough not to count as flapping."""
        healthy_after = self._backoff.healthy_after if self._backoff else 0.0
        return self._opened_at is not None and monotonic() - self._opened_at >= healthy_after

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

    # -- from other threads ------------------------------------------------------------------------------------------

    def reconnect(self, deadline: Deadline) -> None:
        """Close the link, within the deadline, and open a new one, without backoff."""
        with self._state_lock:
            self._reconnect_requested = True
            self._state_changed.notify_all()
            link = self._link
        if link is not None:
            link.close(1000, "reconnecting", Deadline(0.0) if self.is_reader() else deadline)

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """Close the connection."""
        with self._state_lock:
            self._enter(ConnectionState.CLOSING, CloseInfo(code, reason))
            link = self._link
        self._deliver_changes()
        if threading.current_thread() is self._thread:
            return
        if link is not None:
            link.close(code, reason, deadline)
        if self._advance(SupervisorPhase.DORMANT, SupervisorPhase.FINISHED):
            self._finish(None)
        elif self._thread is not None and self._thread.is_alive():
            deadline.join(self._thread)
            # The reader may miss the deadline: nothing waits on after close() has returned.
            self._events.closed(self._closed_error)
        self._end_workers(self._pool, deadline)

    def is_active(self) -> bool:
        """Return whether the connection has a link or tries to connect, in this process; takes no lock."""
        return self._phase is SupervisorPhase.RUNNING and self._should_run()

    # -- forks and exits ---------------------------------------------------------------------------------------------

    def close_in_child(self) -> None:
        """Leave the link to the parent; in a forked child."""
        # Not by `_advance`: a thread of the parent may have held its lock at the fork. No other thread is here.
        self._phase = SupervisorPhase.ABANDONED
        if self._link is not None:
            self._link.close_in_child()
        self._pool.abandon()

    def close_at_exit(self, seconds: float) -> None:
        """Close the connection within ``seconds``."""
        self.close(1001, "the process ends", Deadline(seconds))


def _is_final(error: Exception | None) -> bool:
    """Return whether each further attempt would fail like this one."""
    # A wrong option, or a callable of the user that returns a wrong value.
    return isinstance(error, (ValueError, TypeError)) or (isinstance(error, ResilientError) and not error.retryable)
