"""Keeping a connection connected: one link after another, with backoff and authentication.

Threads: while the connection is not open, it has a thread, which connects, gives the link to the poller (`poller`), and
authenticates; then it ends. When the link ends, the poller fails the calls of that link, and starts a thread for all
else: log handlers and other code of the user's must not hold up other connections. One thread at a time has this task,
and only that thread changes the link. Other threads wait in `carrier_state`.

Where the thread can block, and what frees it: an attempt to connect (its deadline, a check every 50 ms), a writer of
the last link that a signal handler holds up, a backoff (`Supervisor.close` and `Supervisor.reconnect`, which skip the
rest of it).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from .. import fork
from ..clock import monotonic
from ..deadline import Deadline
from ..errors import ResilientError
from ..options import Backoff
from ..protocol.carrier import CarrierEvents
from ..states import CloseInfo, ConnectionState
from .at_exit import EXIT_REGISTRY
from .attempts import Attempts
from .endings import abnormal_end, failed_attempt, failed_end, failed_error
from .inline_pool import InlinePool
from .link import INTERNAL_ERROR, Link
from .supervisor_phase import PHASES, SupervisorPhase

MAX_READER_FAILURES = 3

Connect = Callable[[Deadline, Callable[[], bool], int, CarrierEvents], Link]


class Supervisor(Attempts):
    """Keeps one connection connected.

    Args:
        connect: opens a link; gets a deadline, a function that returns whether to continue, and the link's number.
        pool: runs handlers; ended with the connection.
        backoff: the delays between attempts; ``None`` never reconnects.
        timeout: seconds for one attempt to connect, including authentication.
        retry_initial: keep trying if the first attempt fails.
        name: the name of the connection in threads and errors.
        address: returns the URL of the peer, without secrets.
        authenticate: authenticates a new link while the poller reads; may raise. ``None`` without authentication.
    """

    __slots__ = ("_connect", "_ended", "_error", "_lacks_thread", "_reader_failures", "_retry_initial", "_timeout")

    _pool: InlinePool

    def __init__(
        self,
        connect: Connect,
        pool: InlinePool,
        *,
        backoff: Backoff | None,
        timeout: float,
        retry_initial: bool,
        name: str,
        address: Callable[[], str],
        authenticate: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(name, address, backoff, authenticate)
        self._connect = connect
        self._pool = pool
        pool.starts.schedule = self.schedule_wakeup
        self._timeout = timeout
        self._retry_initial = retry_initial
        self._phase = SupervisorPhase.DORMANT
        self._reader_failures = 0  # links in a row that an error of our own has ended
        self._ended: tuple[int, CloseInfo] | None = None  # the link whose calls the poller has failed
        self._lacks_thread = False
        self._error: Exception | None = None

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
            try:
                self._start_thread()
            except Exception as error:  # the process has reached its limit of threads
                self._advance(SupervisorPhase.RUNNING, SupervisorPhase.DORMANT)
                raise failed_error("cannot start the thread of the connection", error) from error

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name=f"{self._name}-supervisor", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except BaseException:
            self._thread = None
            raise

    def _advance(self, before: SupervisorPhase, after: SupervisorPhase) -> bool:
        """Change the phase if it is ``before``, and return whether it was."""
        assert after in PHASES[before]
        # `before` decides between threads: of a first use and a close() at once, one begins and the other does not.
        with self._state_lock:
            if self._phase is not before:
                return False
            self._phase = after
            self._state_changed.notify_all()
            return True

    # -- the thread of the supervisor --------------------------------------------------------------------------------

    def _run(self) -> None:
        """Do what follows from the end of a link, and connect until the poller has another one, or it is over."""
        begin: Callable[[], object] | None = None
        try:
            begin = self._keep_connected()
        except BaseException as failure:
            # Such as SystemExit of a log handler: other threads would wait for a link that does not come.
            self._last_info = failed_end("the reader failed", failure)
            self._error = self._last_info.error
        if begin is not None:
            begin()
        elif self._is_abandoned():
            fork.end_inherited_thread()
        elif self._advance(SupervisorPhase.RUNNING, SupervisorPhase.FINISHED):
            self._finish(self._error)
            self._pool.work_until_end()

    def _keep_connected(self) -> Callable[[], object] | None:
        """Connect until the poller has a link, and return what this thread has to do then; ``None`` if it is over."""
        ended, self._ended = self._ended, None
        if ended is not None:
            self._lose(*ended)
            if not self._goes_on(ended[1], ended[1].error):
                return None
        while self._should_continue():
            info: CloseInfo | None = None
            error: Exception | None
            self._opened_at = None
            try:
                begin_or_info = self._connect_link()
                if callable(begin_or_info):
                    return begin_or_info
                info, error = begin_or_info, begin_or_info.error
            except Exception as failure:
                error = failed_attempt(failure)
            if not self._goes_on(info, error):
                break
        return None

    def _goes_on(self, info: CloseInfo | None, error: Exception | None) -> bool:
        """Wait before the next attempt; return false if there is none."""
        self._error = error
        if self._is_abandoned():
            return False
        self._last_info = info
        self._last_failure = error or self._last_failure
        return self._wait_backoff(info, error)

    def _is_abandoned(self) -> bool:
        # Greenlets survive a fork: a thread that belongs to the parent ends without touching the link.
        return self._phase is SupervisorPhase.ABANDONED

    def _should_continue(self) -> bool:
        return self._should_run() and not self._is_abandoned()

    def _connect_link(self) -> CloseInfo | Callable[[], object]:
        """Connect, and give the link to the poller; return what follows, or how the link ended before."""
        deadline = Deadline(self._timeout)
        link = self._connect(deadline, self._should_continue, self._link_number + 1, self._events)
        link.run_timers = self._run_timers
        if self._is_abandoned():
            link.close_in_child()
            return CloseInfo(1006, "the link belongs to the parent process")
        with self._state_lock:
            number = self._link_number + 1
            self._current = link, number
        if self._authenticate is None:
            link.hold()
        else:
            link.auth_deadline = deadline.at
        thread = threading.current_thread()
        try:
            with self._state_lock:
                # From here on the poller may start the next thread.
                self._thread = None
                self._advance(SupervisorPhase.RUNNING, SupervisorPhase.READING)
            link.attach(self._fail_calls, self._link_ended, self._pool)
        except BaseException as failure:  # the process has no more threads, or descriptors
            with self._state_lock:
                self._advance(SupervisorPhase.READING, SupervisorPhase.RUNNING)
                self._thread = thread
            link.abort(failed_end("the link cannot be read", failure))
            info = link.close_info or abnormal_end(None)
            self._fail_calls(info)
            self._ended = None
            self._lose(number, info)
            return info
        return partial(self._begin, link, deadline)

    def _link_ended(self) -> bool:
        """Have a thread do all that follows from the end of a link, whose calls have failed; by the poller.

        Returns:
            False if there is no thread: to be called again.
        """
        link = self._link
        if self._is_abandoned() or link is None:
            return True
        link.release_now()
        if not self._advance(SupervisorPhase.READING, SupervisorPhase.RUNNING):
            return True  # `close` has run it
        try:
            self._lacks_thread = False
            self._start_thread()
        except Exception:  # no more threads: a thread that closes does what is left, or the next attempt has one
            with self._state_lock:
                self._advance(SupervisorPhase.RUNNING, SupervisorPhase.READING)
                self._lacks_thread = True
                self._state_changed.notify_all()
            return False
        return True

    def _fail_calls(self, info: CloseInfo) -> None:
        """Change the state, and fail the calls of the link that ended; by the poller."""
        link, number = self._current
        if link is None or self._is_abandoned():
            return
        self._ended = number, info
        failed = info.code == INTERNAL_ERROR and info.error is not None
        self._reader_failures = (0 if self._was_healthy() else self._reader_failures) + 1 if failed else 0
        # Before the calls fail: a caller that tries again at once must not find the connection open. A thread that is
        # about to open the link has done so, or finds that it has ended.
        with self._state_lock:
            if self._state is ConnectionState.OPEN and self._will_reconnect(info.error):
                self._enter(ConnectionState.RECONNECTING, info)
        self._events.fail_calls(number, info)

    def _lose(self, number: int, info: CloseInfo) -> None:
        """Do all that follows from the end of a link, whose calls have failed."""
        try:
            self._leave_link()
            if not self._should_run():
                self._events.handlers_discarded(self._pool.discard())
            self._events.link_lost(number, info)
        finally:
            self._deliver_changes()

    def _will_reconnect(self, error: Exception | None) -> bool:
        if not self._should_run():
            return False
        if self._reconnect_requested:
            return True
        if self._backoff is None or _is_final(error) or self._reader_failures >= MAX_READER_FAILURES:
            return False
        return self._retry_initial or self._state is not ConnectionState.CONNECTING

    def _was_healthy(self) -> bool:
        healthy_after = self._backoff.healthy_after if self._backoff else 0.0
        return self._opened_at is not None and monotonic() - self._opened_at >= healthy_after

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
        else:
            self._wait_finished(deadline)
            # The thread may miss the deadline: nothing waits on after close() has returned.
            self._events.closed(self._closed_error)
        self._end_workers(self._pool, deadline)

    def _wait_finished(self, deadline: Deadline) -> None:
        """Wait for the end of the thread that closes the connection, or do its task where there is none."""
        while not (self._has_finished() or deadline.expired()):
            with self._state_lock:
                deadline.wait_for(self._state_changed, lambda: self._lacks_thread or self._has_finished())
            if self._lacks_thread and self._advance(SupervisorPhase.READING, SupervisorPhase.RUNNING):
                self._lacks_thread, self._thread = False, threading.current_thread()
                try:
                    self._run()
                finally:
                    self._thread = None
        thread = self._thread
        if thread is not None:
            deadline.join(thread)

    def _has_finished(self) -> bool:
        return self._phase in (SupervisorPhase.FINISHED, SupervisorPhase.ABANDONED)

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
