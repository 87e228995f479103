"""A timer thread, for objects without a reader that runs their timers.

Threads: ``_schedule_changed`` (a condition) guards the schedule and the thread; a leaf, released while a target runs.
The thread lives while anything is scheduled, whatever a target raises; `Timer.stop` ends it.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import weakref
from typing import Protocol

from ..clock import monotonic
from ..errors.safe_text import logger
from ..locks import MAX_WAIT, Condition, make_process_lock

PURGE_THRESHOLD = 256
RETRY_DELAY = 1.0


class HasTimers(Protocol):
    """An object with things to do at certain moments."""

    def run_timers(self, now: float) -> float:
        """Do what is due at ``now`` (``time.monotonic``), and return when to call this next."""
        ...


class Timer:
    """A schedule, and the thread that runs it.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._schedule_changed = Condition(make_process_lock())
        # Weak references: the schedule keeps no target alive. The number keeps heapq from comparing references.
        self._schedule: list[tuple[float, int, weakref.ref[HasTimers]]] = []
        self._numbers = itertools.count()
        self._purge_at = PURGE_THRESHOLD
        self._thread: threading.Thread | None = None
        self._name = name

    def add(self, at: float, target: HasTimers) -> None:
        """Call ``target.run_timers`` at a moment (``time.monotonic``)."""
        with self._schedule_changed:
            if len(self._schedule) > self._purge_at:
                self._purge()
            heapq.heappush(self._schedule, (at, next(self._numbers), weakref.ref(target)))
            error = self._ensure_thread()
            self._schedule_changed.notify()
        if error is not None:  # without the lock: a logging handler is code of the user's
            logger.error("%s: cannot start the timer thread, trying again at the next timer: %s", self._name, error)

    def _ensure_thread(self) -> Exception | None:
        # The thread itself is asked, not a flag: whatever ended it, the next addition starts another one.
        if self._thread is not None and self._thread.is_alive():
            return None
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            thread.start()
        except Exception as error:  # the process has reached its limit of threads
            return error
        self._thread = thread
        return None

    def _purge(self) -> None:
        """Remove the entries of targets that were collected."""
        self._schedule = [entry for entry in self._schedule if entry[2]() is not None]
        heapq.heapify(self._schedule)
        # Twice the rest: the cost of a purge is spread over as many additions.
        self._purge_at = 2 * len(self._schedule) + PURGE_THRESHOLD

    def stop(self) -> None:
        """Clear the schedule, which ends the thread."""
        with self._schedule_changed:
            self._schedule.clear()
            self._schedule_changed.notify()

    def _run(self) -> None:
        while True:
            try:
                if not self._run_next():
                    return
            except BaseException:
                # One target must not end the timers of all others. The pause keeps an error that repeats from spinning.
                logger.outlive("%s: a timer failed", self._name)
                time.sleep(RETRY_DELAY)

    def _run_next(self) -> bool:
        """Wait for the next moment, and call its target; false when nothing is scheduled any more."""
        with self._schedule_changed:
            if not self._schedule:
                # Under the lock: an addition from here on finds no thread, and starts another one.
                self._thread = None
                return False
            at, _, reference = self._schedule[0]
            seconds = at - monotonic()
            if seconds > 0:
                self._schedule_changed.wait(min(seconds, MAX_WAIT))
                return True
            heapq.heappop(self._schedule)
        # Without the lock: the target may add its next moment.
        target = reference()
        if target is not None:
            target.run_timers(monotonic())
        return True
