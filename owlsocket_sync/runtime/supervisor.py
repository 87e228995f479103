"""One connection over many links: who dials, who reads, and what happens when a link is lost.

Threads. One thread, the reader, dials, reads, and dials again; it is the only one that changes links. Where it can
block, and what frees it: in a dial (its deadline, slices that ask whether it is still wanted), in a link (there), in
a backoff (``_hurry``, set by `Supervisor.close` and `Supervisor.reconnect`). Authentication runs beside it on a thread
of its own, while it reads. How others wait is told in `standing`.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

from ..deadline import Deadline
from ..errors import ResilientError
from ..options import Backoff
from ..stages import ConnectionState, Ending
from ..values import on_one_line
from .guards import guard, release
from .link import Link
from .standing import Hooks, Standing
from .workers import WorkerPool

logger = logging.getLogger("owlsocket_sync")

RECONNECT_SECONDS = 1.0
SLICE = 0.05
SPREAD_CODES = frozenset({1001, 1012, 1013})

Dial = Callable[[Deadline, Callable[[], bool], int], Link]


class Supervisor(Standing):
    """Keeps one connection connected.

    Args:
        dial: makes a link within a deadline, asks now and then whether it is still wanted, and is told its number.
        pool: runs handlers, and ends with the connection.
        backoff: how to reconnect; ``None`` never.
        timeout: seconds for one attempt to connect, authentication included.
        patient: keep trying when the very first attempt fails.
        name: what threads and errors call the connection.
        address: where it leads, fit to be shown.
    """

    def __init__(
        self,
        dial: Dial,
        pool: WorkerPool,
        *,
        backoff: Backoff | None,
        timeout: float,
        patient: bool,
        name: str,
        address: Callable[[], str],
    ) -> None:
        super().__init__(name, address)
        self._dial = dial
        self._pool = pool
        self._backoff = backoff
        self._timeout = timeout
        self._patient = patient
        self._dormant = False
        self._hooks: Hooks
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._hurry = threading.Event()
        self._first_use = threading.Lock()  # taken once, by whoever ends the dormancy
        self._asked_to_reconnect = False
        self._opened_at: float | None = None
        self._struggles = False
        self._last_ending: Ending | None = None
        self._thread: threading.Thread | None = None

    def start(self, hooks: Hooks) -> None:
        """Begin to connect."""
        self._hooks = hooks
        self._moved = hooks.moved
        guard(self)
        self._thread = threading.Thread(target=self._run, name=f"{self._name}-reader", daemon=True)
        self._thread.start()

    # -- the reader --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        error: Exception | None = None
        while self._wanted_here():
            ending: Ending | None = None
            self._opened_at = None
            try:
                ending = self._live()
                error = ending.error
            except Exception as failure:
                error = failure
            if not self._reads():
                return
            self._last_ending = ending
            failures = 1 if self._was_healthy() else failures + 1
            if not self._rest(failures, ending, error):
                break
        if self._reads():
            self._finish(error)

    def _reads(self) -> bool:
        """Whether this thread is the reader. One that a fork took along, a greenlet, is not: it ends without a word."""
        return threading.current_thread() is self._thread

    def _wanted_here(self) -> bool:
        return self._wanted() and self._reads()

    def _live(self) -> Ending:
        """One link, from dialling to its end."""
        deadline = Deadline(self._timeout)
        link = self._dial(deadline, self._wanted_here, self._link_number + 1)
        if not self._reads():
            link.abandon()
            return Ending(1006, "it belongs to the parent process")
        with self._standing:
            number = self._link_number + 1
            self._current = link, number
        if not self._wanted():
            link.die(Ending(1006, "closed while connecting"))
        elif self._hooks.authenticate is None:
            self._open(link)
        else:
            link.lease_until = deadline.at
            name = f"{self._name}-auth"
            threading.Thread(target=self._authenticate, args=(link, deadline), name=name, daemon=True).start()
        ending = link.pump()
        if not self._reads():
            return ending
        with self._standing:
            self._current = None, number
            self._latency = link.latency
        if self._state is ConnectionState.OPEN and self._will_reconnect(ending.error):
            self._move(ConnectionState.RECONNECTING, ending)
        if not self._wanted():
            self._hooks.discarded(self._pool.discard())
        self._hooks.lost(number, ending)
        return ending

    def _authenticate(self, link: Link, deadline: Deadline) -> None:
        """Say who we are, on a thread of its own, whose messages alone may leave meanwhile.

        Not on a worker: handlers that keep all of those busy must not keep the link from opening.
        """
        assert self._hooks.authenticate is not None
        with self._standing:
            self._early_thread = threading.get_ident()
        try:
            self._hooks.authenticate()
        except Exception as error:
            link.give_up(Ending(1000, f"authentication failed: {error}", error))
            return
        finally:
            with self._standing:
                if self._early_thread == threading.get_ident():
                    self._early_thread = None
        self._open(link)

    def _open(self, link: Link) -> None:
        with self._standing:
            if self._link is not link or link.ending is not None:
                return
        link.lease_until = math.inf
        self._opened_at = time.monotonic()
        self._move(ConnectionState.OPEN, None)
        self._pool.submit("opened", self._hooks.opened)

    def _rest(self, failures: int, ending: Ending | None, error: Exception | None) -> bool:
        """Wait before the next attempt; false when there is to be none."""
        if not self._will_reconnect(error):
            return False
        if self._take_request():
            return True
        delay = self._backoff.delay(failures) if self._backoff else None
        if delay is None:
            return False
        if ending is not None and ending.code in SPREAD_CODES and self._backoff:
            import random

            delay = max(delay, random.uniform(0.0, self._backoff.initial * self._backoff.factor))
        self._log_failure(failures, delay, error)
        over = Deadline(delay)
        while not over.expired() and not self._hurry.wait(min(over.remaining(), SLICE)):
            self._hooks.tick(time.monotonic())
        if self._reads():
            self._take_request()
        return self._wanted_here()

    def _log_failure(self, failures: int, delay: float, error: Exception | None) -> None:
        """The loss of a link is told as a state; of attempts that failed, the first in a row is news."""
        failed = self._opened_at is None
        news, self._struggles = failed and not self._struggles, failed
        level = logging.WARNING if news else logging.DEBUG
        if not logger.isEnabledFor(level):
            return
        fields = {
            "owlsocket_connection": self._name,
            "owlsocket_url": self.url,
            "owlsocket_attempt": failures,
            "owlsocket_delay": delay,
            "owlsocket_error": None if error is None else type(error).__name__,
        }
        why = f" ({on_one_line(str(error))})" if error else ""
        logger.log(level, "%s: next attempt in %.2f s%s", self._name, delay, why, extra=fields)

    def _will_reconnect(self, error: Exception | None) -> bool:
        """Whether another attempt makes sense after this."""
        if not self._wanted():
            return False
        if self._asked_to_reconnect:
            return True
        if self._backoff is None or isinstance(error, (ValueError, TypeError)):
            return False
        if isinstance(error, ResilientError) and not error.retryable:
            return False
        return self._patient or self._state is not ConnectionState.CONNECTING

    def _take_request(self) -> bool:
        """Whether `reconnect` asked for the next attempt to come at once."""
        self._hurry.clear()
        if not self._wanted():
            self._hurry.set()
        asked, self._asked_to_reconnect = self._asked_to_reconnect, False
        return asked

    def _was_healthy(self) -> bool:
        """Whether the last link was open long enough for its loss to be news, and no flapping."""
        healthy_after = self._backoff.healthy_after if self._backoff else 0.0
        return self._opened_at is not None and time.monotonic() - self._opened_at >= healthy_after

    def _finish(self, error: Exception | None) -> None:
        """The connection is over: free everybody, then let the workers go."""
        self._ending = self._closing
        if self._ending is None:
            self._ending = self._last_ending or Ending(1006, str(error or "the link ended"), error)
        self._move(ConnectionState.CLOSED, self._ending)
        self._hooks.over(self._closed_error)
        release(self)
        self._pool.end(Deadline(0.0))

    # -- from other threads ------------------------------------------------------------------------------------------

    def reconnect(self) -> None:
        """Give up the link that there is and make a new one, at once."""
        with self._standing:
            self._asked_to_reconnect = True
            link = self._link
        self._hurry.set()
        if link is not None and threading.current_thread() is not self._thread:
            link.close(1000, "reconnecting", Deadline(RECONNECT_SECONDS))

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """End for good."""
        with self._standing:
            first = self._closing is None and self._state is not ConnectionState.CLOSED
            if first:
                self._closing = Ending(code, reason)
            link = self._link
        if first:
            self._move(ConnectionState.CLOSING, self._closing)
        self._hurry.set()
        if threading.current_thread() is self._thread:
            return
        if link is not None:
            try:
                link.close(code, reason, deadline)
            except BaseException:  # an interrupt: whoever does not wait for the goodbye does without it
                link.die(Ending(1006, "interrupted while closing"))
                raise
        if self._wake_up():
            self._finish(None)
        elif self._thread is not None and self._thread.is_alive():
            self._thread.join(deadline.wait_seconds())
            self._hooks.over(self._closed_error)  # nobody waits on, though the reader may be a moment behind
        self._pool.end(deadline)

    # -- forks and exits ---------------------------------------------------------------------------------------------

    def disown(self) -> None:
        """In a forked child: leave the link to the parent, and forget what its threads held."""
        link, over = self._link, self._state is ConnectionState.CLOSED or self._closing is not None
        if link is not None:
            link.abandon()
        self._stand_anew()
        self._begin_anew()
        self._pool.renew()
        self._hooks.renew()
        if over or self._backoff is None:
            self._state = ConnectionState.CLOSED
            self._ending = Ending(1006, "it belongs to the parent process, and does not reconnect")
        else:
            self._patient = self._dormant = True

    def say_goodbye(self, seconds: float) -> None:
        """At exit: tell the peer, within so many seconds."""
        self.close(1001, "the process ends", Deadline(seconds))

    def _awaken(self) -> None:
        """The first use in a forked child connects anew."""
        if self._dormant and self._wake_up():
            self.start(self._hooks)

    def _wake_up(self) -> bool:
        """Whether it was dormant, and this thread is the one to end that."""
        if not (self._dormant and self._first_use.acquire(blocking=False)):
            return False
        self._dormant = False
        return True
