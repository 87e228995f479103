"""The order of what a hub sends to the clients of this process: one after another, by whichever thread has the *turn*.

Entries are appended by the bus, in its order. A thread that has appended some takes the turn, if it is free, and
delivers all up to its own; or waits until they are delivered. So all clients get all entries in one order, and a thread
that has published has its event on its way when it goes on. No lock is held during a delivery, which never waits for a
client.

A turn may be held up all the same: by a hook ``prepare``, an instrument, a log handler, a finalizer or a signal handler
that takes its time, perhaps waiting for a thread that waits here. A thread that sees no progress for `HELD_UP_SECONDS`
takes the turn over, and goes on after the client at which the other thread is. What is published inside of a delivery,
on the same thread, takes its turn over at once in the same way: so it is on its way as well when its caller goes on.

Threads: ``_log_lock`` guards the turn and the first entry; held for a few instructions, a leaf. A thread that waits
registers first and looks at the turn afterwards; a thread that ends a turn does it the other way round, so one of the
two sees the other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from operator import length_hint
from threading import get_ident
from typing import Any, Protocol

from ..clock import monotonic
from ..errors.safe_text import logger
from ..locks import acquire_until, make_process_lock

HELD_UP_SECONDS = 0.25


class LogEntry(Protocol):
    """An entry of the log.

    Attributes:
        done: it was delivered; set by the log.
        recipients: those that have not got it yet, ``None`` before the first; threads may share it.
    """

    done: bool
    recipients: Iterator[Any] | None

    def run(self) -> None:
        """Deliver it, or what is left of it."""
        ...


class DeliveryLog:
    """Delivers entries in the order in which they were appended.

    Attributes:
        append: append an entry; takes no lock, and waits for nothing.
    """

    def __init__(self) -> None:
        self._entries: deque[LogEntry] = deque()
        self.append = self._entries.append
        self._log_lock = make_process_lock()
        self._turn: tuple[int] | None = None
        self._waiters: list[threading.Lock] = []

    def deliver(self) -> None:
        """Return once the entries that were appended so far are delivered, by this thread or by another one."""
        try:
            last = self._entries[-1]
        except IndexError:
            return
        while not last.done and self._take_turn(last):
            self._wait(last)

    def _take_turn(self, last: LogEntry) -> bool:
        """Take the turn if it is free, and deliver entries; return whether this thread has to wait for another one."""
        turn = (get_ident(),)
        try:
            with self._log_lock:
                # Equal: a delivery of this thread, in which this one was begun.
                if self._turn is not None and self._turn != turn:
                    return True
                self._turn = turn
            goes_on = bool(self._entries)
            while goes_on and self._turn is turn:
                entry = self._entries[0]  # no call since the look at the turn: the entry is there
                try:
                    entry.run()
                except Exception:  # of one client: the others get it, and the next entries
                    logger.exception("a delivery of the hub failed")
                    if entry.recipients is not None:
                        continue
                goes_on = self._finish(entry, last, turn)
        finally:
            # Still there after an interrupt, or if another thread has delivered all meanwhile.
            if self._turn is turn:
                self._end_turn(turn)
        return not last.done

    def _finish(self, entry: LogEntry, last: LogEntry, turn: tuple[int]) -> bool:
        """Remove an entry that was delivered; return whether to go on with the next one."""
        with self._log_lock:
            if self._turn is not turn:
                return False  # taken over by a thread that delivers the rest
            entry.done = True
            self._entries.popleft()
            if self._entries and not last.done:
                return True
            self._turn = None
        if self._waiters:
            self._wake()
        return False

    def _end_turn(self, turn: tuple[int]) -> None:
        with self._log_lock:
            if self._turn is turn:
                self._turn = None
        self._wake()

    def _wake(self) -> None:
        with suppress(IndexError):
            while self._waiters:
                self._waiters.pop().release()

    def _wait(self, last: LogEntry) -> None:
        """Wait for the end of a turn; take it over if it is held up."""
        waiter = threading.Lock()
        waiter.acquire()
        try:
            self._waiters.append(waiter)
            before = self._progress()
            if last.done or before[0] is None or acquire_until(waiter, monotonic() + HELD_UP_SECONDS):
                return
            with self._log_lock:
                if self._progress() == before:
                    self._turn = None
        finally:
            with suppress(ValueError):
                self._waiters.remove(waiter)

    def _progress(self) -> tuple[tuple[int] | None, LogEntry | None, int]:
        """Return how far the turn is: there is progress if the value changes."""
        turn = self._turn
        try:
            entry = self._entries[0]
        except IndexError:
            return turn, None, 0
        recipients = entry.recipients
        return turn, entry, -1 if recipients is None else length_hint(recipients)
