"""Which thread polls: one at a time. Where a link or a handler holds it up, another one takes its turn.

A step of a link, and a run of handlers, are an item in a list. The thread that removes it, in one step, decides: the
one that polls, which goes on, or one that relieves it. So a turn is not taken over between two steps.

Threads: those that poll, and any thread where a method says so. ``_poller_lock`` guards the turn, the start of a thread
for it, and the descriptors; held for a few instructions.
"""

from __future__ import annotations

import contextlib
import math
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

from ..clock import monotonic
from ..locks import make_process_lock
from ..transport.selector import AnySelector, make_selector
from .monitor import Monitor
from .registration import LOCK_PATIENCE, InlineTasks, PolledLink

PATIENCE = 0.05


def do_nothing() -> None:
    """Wake no thread: there is none."""


class PollerTurn(ABC):
    """The part of a poller that has threads; see `owlsocket_sync.runtime.registration.Owner`."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        """Begin without links and threads; also in a forked child."""
        # A new lock there: a thread of the parent may have held the old one.
        self.lock = self._poller_lock = make_process_lock()
        self.ring: Callable[[], object] = do_nothing
        self.links: set[PolledLink] = set()
        self._selector: AnySelector | None = None
        self._turn: object = None
        self._unstarted: deque[threading.Thread] = deque()
        self._step: list[PolledLink | None] = []  # ``None`` for handlers that run here
        self._step_began = -math.inf
        self._held: set[PolledLink] = set()
        self._inline: InlineTasks | None = None  # what runs handlers here, or has run the last ones
        self._owed: deque[InlineTasks] = deque()  # to be left to workers, once the lock is free
        self._visits = 0
        self._seen: tuple[object, int, int] = None, 0, 0  # what the monitor has seen of these
        self._monitor = Monitor(self._look)

    @abstractmethod
    def _run(self, selector: AnySelector, turn: object) -> None:
        """Poll as long as this is the turn."""

    def _make_selector(self) -> None:
        """Make the selector, and a thread for it that is to be started; with the lock."""
        selector, turn = make_selector(), object()
        ring, thread = selector.waker.wake, self._make_thread(selector, turn)
        # No call from here on, and so no interrupt: what interrupted the lines above may have made one.
        if self._selector is None:
            self._selector, self._turn, self.ring = selector, turn, ring
            self._unstarted += (thread,)
        else:
            selector.close()

    def _make_thread(self, selector: AnySelector, turn: object) -> threading.Thread:
        return threading.Thread(target=self._run, args=(selector, turn), name="owlsocket-poller", daemon=True)

    def _start_thread(self) -> None:
        """Start the thread that was made, unless what interrupted this one has done so; with the lock."""
        try:
            thread = self._unstarted.popleft()
        except IndexError:
            return
        try:
            thread.start()
        except BaseException:
            self._unstarted.appendleft(thread)  # the next link tries again
            raise

    def _close_unused(self) -> None:
        """Close a selector without a thread, if there is no link; with the lock."""
        if self._selector is not None and self._unstarted and not self.links:
            selector, self._selector, self._turn, self.ring = self._selector, None, None, do_nothing
            self._unstarted.clear()
            selector.close()

    # -- a thread that is held up ------------------------------------------------------------------------------------

    def relieve(self) -> None:
        """Have another thread poll if a link holds up the one that does; by any thread that waits."""
        if self._unstarted:  # what this thread was interrupted in
            with self.lock, contextlib.suppress(Exception):
                self._start_thread()
        step = self._step
        if step and monotonic() - self._step_began >= PATIENCE:
            self._hand_on(step)

    def _look(self) -> bool:
        """Have another thread poll if a handler holds up the one that does; return whether any ran; by the monitor."""
        step, tasks, visits, seen = self._step, self._inline, self._visits, self._seen
        is_inline = step == [None]
        self._seen = step, visits, turns = step, visits, tasks.turns if tasks is not None else 0
        if is_inline and seen[0] is step and seen[2] == turns:
            self._hand_on(step)
        return is_inline or visits != seen[1]

    def _hand_on(self, step: list[PolledLink | None]) -> bool:
        """Have another thread poll instead of the one that is in this step, and return whether; from any thread."""
        with self.lock:
            selector, before, turn = self._selector, self._turn, object()
            if selector is None:
                return False
            thread = self._make_thread(selector, turn)
            try:
                registration = step.pop()
            except IndexError:
                return False  # the step is over, or another thread was here
            # Nothing is allocated here, and so no finalizer runs: it might wait for the thread that is to be started.
            if registration is not None:
                self._held.add(registration)
            self._turn = turn
            self._unstarted.append(thread)
            tasks = self._inline if registration is None else registration.tasks
            try:
                self._start_thread()
            except Exception:  # no more threads: the one that is held up goes on once it can
                self._unstarted.clear()
                if registration is not None:
                    self._held.discard(registration)
                self._turn = before
                step.append(registration)
                return False
        if tasks is not None:
            self._leave_to_workers(tasks)  # what is behind the task that runs, or what the step has submitted
        return True

    def _leave_to_workers(self, tasks: InlineTasks) -> None:
        """Have workers run what is ready, or the poller try again; by a thread that may hold a lock of a link."""
        # Never longer: a finalizer may hold up the lock of the pool, and wait for the lock that this thread holds.
        if not tasks.leave_to_workers(LOCK_PATIENCE):
            self._owed.append(tasks)

    def _try_again(self) -> None:
        for _ in range(len(self._owed)):
            self._leave_to_workers(self._owed.popleft())

    def _was_relieved(self, turn: object, registration: PolledLink) -> bool:
        """Return whether another thread polls instead of this one, and give the link back to it."""
        with self.lock:
            if self._turn is turn:
                self._step = []
                return False
            self._held.discard(registration)
            # Also where the link has ended meanwhile, which `wake` passes over: what follows from it has to be done.
            with contextlib.suppress(OSError, ValueError):
                self.ring()
        registration.wake()
        return True
