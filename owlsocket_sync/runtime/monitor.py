"""The thread that looks whether the poller is held up by a handler which it runs itself.

Threads: the monitor sleeps while the poller runs no handlers, and ends after `IDLE_SECONDS` of that. While no monitor
looks, a list holds an item: true if one sleeps. The thread that removes it, in one step, decides: the
poller, which then wakes the monitor or starts one, or the monitor itself, which goes on or ends. So there is one at
most.

Where the thread can block: asleep (the poller wakes it, `IDLE_SECONDS`), and in its ticks.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from ..errors.safe_text import logger
from ..locks import MAX_WAIT

TICK = 0.001
"""Seconds between two looks. A handler that is the same at both has lasted."""

IDLE_SECONDS = 2.0


class Monitor:
    """Looks regularly while there is something to look at.

    Args:
        look: called for each tick; returns false where the monitor may sleep.
    """

    def __init__(self, look: Callable[[], bool]) -> None:
        self._look = look
        self._resting: list[bool] = [False]  # true for a thread that sleeps, false for none; empty while one looks
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ensure_awake(self) -> bool:
        """Have the monitor look from now on; return false if there is no thread for it; by the poller."""
        if self._resting:
            try:
                sleeps = self._resting.pop()
            except IndexError:
                return True  # it goes on by itself
            if not sleeps:
                return self._start()
            self._bell.put(None)
        return True

    def _start(self) -> bool:
        thread = threading.Thread(target=self._run, name="owlsocket-monitor", daemon=True)
        try:
            thread.start()
        except Exception:  # the process has no more threads, or ends
            self._resting.append(False)
            return False
        return True

    def _run(self) -> None:
        while self._watch():
            pass

    def _watch(self) -> bool:
        """Look until there is nothing to look at, and rest; return false if the thread is to end."""
        self._finds_any()  # what is the same after the first tick has lasted
        time.sleep(TICK)
        while self._finds_any():
            time.sleep(TICK)
        if self._rests(sleeps=True):
            try:
                self._bell.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                try:
                    self._resting.pop()
                except IndexError:
                    self._bell.get(timeout=MAX_WAIT)  # the poller has taken it, and rings
                else:
                    return not self._rests(sleeps=False)
        return True

    def _rests(self, *, sleeps: bool) -> bool:
        """Say that this thread does not look from now on; return false if it has to go on at once."""
        self._resting.append(sleeps)
        # Afterwards: the poller may have begun to run handlers, and have looked before that was said.
        if not self._finds_any():
            return True
        try:
            self._resting.pop()
        except IndexError:
            if not sleeps:
                return True  # the poller has taken it, and starts another one
            self._bell.get(timeout=MAX_WAIT)  # as above
        return False

    def _finds_any(self) -> bool:
        try:
            return self._look()
        except BaseException:  # such as SystemExit of a log handler: without this thread, handlers hold up the poller
            logger.outlive("the monitor failed, and goes on")
            return True
