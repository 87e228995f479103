"""The drainer: the thread of a connection that has an outbox, which moves messages between stores and links.

Threads: the condition ``_work_changed`` guards the thread, and whether there is work; a leaf. The thread starts with
the first work, waits until there is more, or until it is to look again, and ends with the connection.
"""

from __future__ import annotations

import threading
from typing import Protocol

from ..clock import monotonic
from ..errors.safe_text import logger
from ..locks import Condition
from ..reentrant import make_lock

RETRY_DELAY = 1.0


class Exchange(Protocol):
    """The work of a drainer."""

    is_over: bool

    def work(self) -> float:
        """Do all there is to do; return when to look again (``time.monotonic``)."""
        ...


class Drainer:
    """Has an exchange work on a thread of its own.

    Args:
        exchange: does the work.
        name: of the connection.
    """

    def __init__(self, exchange: Exchange, name: str) -> None:
        self._exchange = exchange
        self._name = name
        lock = make_lock()
        self._work_changed = Condition(lock)
        # For `with`: that of a condition runs Python code with the lock, in which an interrupt would leave it locked.
        self._work_lock = lock
        self._has_work = False
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Have the exchange work soon; from any thread."""
        # Without the lock while there is work already: most of what arrives comes in rows.
        if self._has_work and self._thread is not None:
            return
        error: Exception | None = None
        with self._work_lock:
            self._has_work = True
            is_idle = self._thread is None and self._exchange.is_over
            if self._thread is None and not is_idle:
                error = self._start()
            self._work_changed.notify_all()
        if is_idle:
            self._exchange.work()  # only to let go of its stores: no thread has worked, and none will
        if error is not None:  # without the lock: a logging handler is code of the user's
            logger.error("%s: cannot start the thread of the outbox, trying again later: %s", self._name, error)

    def _start(self) -> Exception | None:
        thread = threading.Thread(target=self._drain, name=f"{self._name}-outbox", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except Exception as error:  # the process has reached its limit of threads
            self._thread = None
            return error
        return None

    def _drain(self) -> None:
        while True:
            # Before the work: what comes during it is looked at once more.
            self._has_work = False
            try:
                due = self._exchange.work()
            except BaseException:  # such as SystemExit of an on_error handler: the outbox goes on
                logger.exception("%s: the work on its queues failed", self._name)
                due = monotonic() + RETRY_DELAY
            if self._exchange.is_over:
                return
            with self._work_lock:
                self._work_changed.wait_for(lambda: self._has_work, max(0.0, due - monotonic()))
