"""A pool of workers whose tasks the poller runs itself, where they were read, as long as they are quick.

While the poller is in a step of a link, it *hosts* the tasks that are submitted: no worker is woken for them. After the
step it runs them, as a worker for a moment, with the turn of one. So a quick handler needs no switch of threads. A task
that waits for a peer (`WorkerPool.managed_block`) has another thread poll at once; one that lasts, as soon as the
monitor sees it (`monitor`), which gives the turn to the workers. Those with a name that was slow before are left to
workers from the start (`slow_tasks`).

Locks: as in `workers`. A thread that submits appends, and looks afterwards whether the tasks are hosted. The poller
first makes that untrue, and looks at the tasks afterwards. So at least one of the two sees the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

from .. import fork
from ..clock import monotonic
from .managed_block import WorkerLocal
from .pool_state import INLINE_THREADS, SHORT_WAITS, Task, Turn, take_over
from .registration import LOCK_PATIENCE
from .slow_tasks import SLOW_TASKS
from .workers import WorkerPool

KNOWN_SLOW_WAITS = 1
"""After how many waits another worker takes the turn over from a task that was slow before."""

TaskName = Callable[[Hashable, Callable[..., object], tuple[Any, ...]], Hashable]


class InlinePool(WorkerPool):
    """A pool for the handlers of one connection; see `owlsocket_sync.runtime.registration.InlineTasks`.

    Args:
        size: how many tasks run at once, not counting those in a managed block.
        name: the prefix of thread names.
        name_of: returns the name under which a task is remembered if it is slow.
    """

    __slots__ = ("_inline_turn", "_name_of")

    def __init__(self, size: int, name: str, name_of: TaskName) -> None:
        super().__init__(size, name)
        self._name_of = name_of
        self._inline_turn: Turn | None = None  # of the thread that runs tasks in place of a worker

    def run_inline(self, until: float, hand_on: Callable[[], object]) -> bool:
        """Run what is ready until a moment, on the thread that calls; return whether it should come back."""
        local, turn, me = self._local, Turn(), threading.current_thread()
        if not self._pool_lock.acquire(True, LOCK_PATIENCE):
            return True
        try:
            task = self._take_quick(turn)
            if task is not None:  # a worker of this pool, from here on
                INLINE_THREADS.add(me)
                self._threads.add(me)
                self._inline_turn = turn
        finally:
            self._pool_lock.release()
        if task is None:
            self.leave_to_workers()
            return False
        SLOW_TASKS.runs += 1
        local.matter, local.pool = True, self
        local.turn, local.hand_on = turn, hand_on
        try:
            while task is not None:
                first = [task]
                task = None
                # Where names are slow, one at a time: the next one may be.
                key = self._run_from(local, turn, first, 0.0 if SLOW_TASKS.slow_until else until)
                fork.ensure_process()  # a task may fork: its child is not a worker of the parent's pool
                if self._local is not local:
                    return False
                with self._pool_lock:
                    has_turn = self._turn is turn
                    self._finish(turn, key)
                    if has_turn and (self.ready or self._resumed) and monotonic() < until:
                        task = self._take_quick(turn)
                    is_left = False if task is not None else self._leave(me, turn, has_turn, until)
        finally:
            if self._turn is turn:  # only after an error: the others must not wait for this thread
                self._turn = None
            self._threads.discard(me)
            INLINE_THREADS.discard(me)
            local.matter, local.pool = False, None
            local.turn = local.hand_on = None
        if not is_left and (self.ready or self._resumed):
            self.leave_to_workers()
        return is_left

    def _take_quick(self, turn: Turn) -> Task | None:
        """Take the next task, unless a worker has the turn, or the task is slow; with the lock."""
        if self._turn is not None or self._busy >= self._size or (SLOW_TASKS.slow_until and self._is_slow_next()):
            return None
        return self._take(turn)

    def _take(self, turn: Turn) -> Task | None:
        task = super()._take(turn)
        if task is not None and SLOW_TASKS.slow_until and SLOW_TASKS.is_slow(self._name_of(*task)):
            self._waits = KNOWN_SLOW_WAITS
        return task

    def _is_slow_next(self) -> bool:
        try:
            task = self._resumed[0] if self._resumed else self.ready[0]
        except IndexError:
            return False
        return SLOW_TASKS.is_slow(self._name_of(*task))

    def _leave(self, me: threading.Thread, turn: Turn, has_turn: bool, until: float) -> bool:
        """Cease to be a worker; return whether to come back because time was up; with the lock."""
        self._threads.discard(me)
        if self._inline_turn is turn:  # else it is that of the thread that polls now
            self._inline_turn = None
        if self._idle_changed.waiters or self._ended:
            self._idle_changed.notify_all()
            self._work_available.notify_all()
        self.is_hosted = self.is_hosted and has_turn and bool(self.ready) and monotonic() >= until
        return self.is_hosted

    def leave_to_workers(self, patience: float = -1.0) -> bool:
        """Have workers run what is ready, and what follows the task that runs; from any thread.

        Args:
            patience: for how long to wait for a holder of the lock, which a finalizer may hold up; negative: no limit.

        Returns:
            Whether that was done.
        """
        if not self._pool_lock.acquire(True, patience):
            return False
        try:
            self.is_hosted = False
            turn = self._inline_turn
            if turn is not None and self._turn is turn and take_over(turn):
                self._turn, self._waits = None, SHORT_WAITS
            thread = self._ensure_worker() if self._is_open else None
            is_left = bool(self.ready or (self._is_open and self._resumed))
        finally:
            self._pool_lock.release()
        self._start(thread)
        # Without the lock: it may wake the poller.
        if is_left:
            self.watch_full()
        return True

    def _turn_lost(self, key: Hashable, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        if threading.current_thread() in INLINE_THREADS:
            SLOW_TASKS.note(self._name_of(key, function, arguments))

    def begin_block(self, local: WorkerLocal) -> None:
        """Let another worker run in place of this thread, and another thread poll if this is the poller."""
        hand_on, local.hand_on = local.hand_on, None
        if hand_on is not None:
            self.is_hosted = False
        super().begin_block(local)
        if hand_on is not None:
            hand_on()
