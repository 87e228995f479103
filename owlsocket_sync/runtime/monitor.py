"""The thread that looks whether the poller is held up by a handler which it runs itself.

Threads: the monitor sleeps while the poller runs no handlers, and ends after `IDLE_SECONDS` of that. While it sleeps,
a list holds an item. The thread that removes it, in one step, decides: the poller, which then wakes the monitor, or the
monitor itself, which ends.

Where the thread can block: asleep (the poller wakes it, `IDLE_SECONDS`), and in its ticks.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

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
        self._asleep: list[None] = []
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def ensure_awake(self) -> bool:
        """Have the monitor look from now on; return false if there is no thread for it; by the poller."""
        if self._asleep:
            try:
                self._asleep.pop()
            except IndexError:
                pass  # it goes on by itself, or ends
            else:
                self._bell.put(None)
                return True
        return self._thread is not None or self._start()

    def _start(self) -> bool:
        thread = threading.Thread(target=self._run, name="owlsocket-monitor", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except Exception:  # the process has no more threads, or ends
            self._thread = None
            return False
        return True

    def _run(self) -> None:
        while True:
            self._look()  # what is the same after the first tick has lasted
            time.sleep(TICK)
            while self._look():
                time.sleep(TICK)
            self._asleep.append(None)
            if not (self._look() and self._wakes_itself()) and not self._sleep():
                return

    def _wakes_itself(self) -> bool:
        """Take the item back: the poller began to run handlers, and may have looked before it was there."""
        try:
            self._asleep.pop()
        except IndexError:
            self._bell.get(timeout=MAX_WAIT)  # the poller has taken it, and rings
        return True

    def _sleep(self) -> bool:
        """Wait for the poller; return false if the monitor is to end."""
        try:
            self._bell.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            # From here on the poller finds no thread, and starts another one.
            thread, self._thread = self._thread, None
            try:
                self._asleep.pop()
            except IndexError:
                self._thread = thread
                self._bell.get(timeout=MAX_WAIT)  # as above
            else:
                return False
        return True
