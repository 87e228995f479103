"""A link at the poller: its socket there, and its next moment.

Threads: those that poll, and any thread where a method says so.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sized
from typing import Protocol

from ..transport.selector import AnySelector
from ..transport.waiting import HasFileno

AT_ONCE = -math.inf
LOCK_PATIENCE = 0.001
"""Seconds for which the poller waits for a lock whose holder a finalizer may hold up, before it comes back."""

POLLING: set[int] = set()
"""The identifiers of the threads that poll: nothing that waits for a peer may be called there, for any connection."""


class Polled(Protocol):
    """A link, as far as the poller is concerned."""

    def step(self, ready: int) -> float | None:
        """Do what is to be done, without waiting.

        Args:
            ready: what is ready, see `owlsocket_sync.transport.selector`; 0 if the moment of the last step has come.

        Returns:
            When to call this next at the latest (``time.monotonic``), `AT_ONCE` for as soon as other links had their
            turn; ``None`` once the link has ended.
        """
        ...


class InlineTasks(Protocol):
    """The tasks of a link, which the poller may run; see `owlsocket_sync.runtime.inline_pool`.

    Attributes:
        is_hosted: whether the poller is going to look at what is ready.
        turns: the number of tasks that were begun.
    """

    is_hosted: bool
    turns: int

    @property
    def ready(self) -> Sized:
        """Return what is ready."""

    def run_inline(self, until: float, hand_on: Callable[[], object]) -> bool:
        """Run what is ready until a moment (``time.monotonic``), on the thread that calls.

        Args:
            until: the moment.
            hand_on: called where a task waits for a peer: another thread is to poll.

        Returns:
            Whether this thread should come back after other links had their turn.
        """
        ...

    def leave_to_workers(self, patience: float = -1.0) -> bool:
        """Have workers run what is ready, and what follows the task that runs; from any thread; return whether."""
        ...


class _NoTasks:
    """In place of tasks, for a link whose steps submit none."""

    is_hosted = False
    ready = ()
    turns = 0

    def run_inline(self, until: float, hand_on: Callable[[], object]) -> bool:
        """Run nothing."""
        return False

    def leave_to_workers(self, patience: float = -1.0) -> bool:
        """Do nothing."""
        return True


NO_TASKS = _NoTasks()


class Owner(Protocol):
    """The poller.

    Attributes:
        lock: guards the waker.
        links: those that have not ended.
        woken: those to be called soon; added by any thread.
        waiting: whether the poller waits, and has to be woken.
        ring: wake it; with the lock, as the waker may be closed.
    """

    lock: threading.RLock
    links: set[PolledLink]
    woken: set[PolledLink]
    waiting: bool
    ring: Callable[[], object]

    def rename(self, before: int | None, after: int | None, registration: PolledLink) -> None:
        """Note another descriptor of a link."""


class PolledLink:
    """A link at the poller.

    Attributes:
        tasks: what its steps submit.
        mute: stop received bytes from waking the poller; unmute: let them. Any thread may call both, which raise
            ValueError or OSError once the descriptor is closed.
    """

    __slots__ = (
        "_copy", "_poller", "_selector", "_sock", "due_at", "fileno", "mute", "on_end", "step", "tasks", "unmute",
    )  # fmt: skip

    def __init__(
        self,
        poller: Owner,
        selector: AnySelector,
        sock: HasFileno,
        link: Polled,
        on_end: Callable[[], bool],
        tasks: InlineTasks,
    ) -> None:
        self._poller = poller
        self._selector = selector
        self._sock = sock
        self.fileno = sock.fileno()
        self.step: Callable[[int], float | None] = link.step
        self.on_end = on_end
        self.tasks = tasks
        self.due_at = math.inf
        self._copy: int | None = None
        self.mute: Callable[[], object]
        self.unmute: Callable[[], object]

    def wake(self) -> None:
        """Call the link soon; from any thread."""
        # Added first: the poller says that it will wait, and looks at this afterwards. One of the two sees the other.
        poller = self._poller
        if self in poller.links:
            poller.woken.add(self)
            if poller.waiting:
                try:
                    # The number of a closed descriptor may belong to another file already.
                    with poller.lock:
                        poller.ring()
                except (OSError, ValueError):
                    pass  # a wake-up is pending already

    # -- by the poller -----------------------------------------------------------------------------------------------

    def mask(self) -> None:
        """Do what `mute` does, while a link reads nothing."""
        self._selector.mask(self.fileno)

    def unmask(self) -> None:
        """Do what `unmute` does."""
        self._selector.unmask(self.fileno)

    def watch_writable(self) -> bool:
        """Call the link once when the socket becomes writable; return whether that will be."""
        copy = self._selector.watch_writable(self._sock, self._copy)
        if copy != self._copy:
            self._poller.rename(self._copy, copy, self)
            self._copy = copy
        return copy is not None

    def ignore_writable(self) -> None:
        """Take back `watch_writable`."""
        copy, self._copy = self._copy, None
        if copy is not None:
            self._poller.rename(copy, None, self)
            self._selector.ignore_writable(copy)

    def leave(self) -> None:
        """Stop watching the socket, and let go of the link."""
        self.ignore_writable()
        # Its owner may have closed it already, and the number may be that of another one.
        if self._sock.fileno() == self.fileno:
            self._selector.remove(self.fileno)
        self.due_at, self.step = math.nan, _has_ended
        # What is left of this waits with its moments, for the time of a heartbeat.
        self.mute = self.unmute = _is_over

    def forget(self) -> None:
        """Let go of what follows from the end, which was handed over."""
        self.on_end, self.tasks = _is_over, NO_TASKS

    def close_in_child(self) -> None:
        """Close the copy of the descriptor; in a forked child."""
        if self._copy is not None and self._copy != self.fileno:
            os.close(self._copy)
        self._copy = None


def _is_over() -> bool:
    """Take the place of what belongs to a link that has ended: what follows from it, muting and unmuting."""
    return True


def _has_ended(ready: int) -> None:
    """Take the place of a link that has ended."""
