"""The threads that run handlers: a bounded pool that starts tasks in the order in which they were submitted.

A task is started when all that were submitted before it have been started, with one exception: tasks of one lane run
one after another, so a task whose lane is busy is held up alone. The worker that took the last task has the *turn*: it
goes on with the next one when its own has ended. Where a task waits for the peer (`WorkerPool.managed_block`), or lasts
(`PATIENCE`), another worker takes the turn over. So quick tasks have ended before the next one begins, and a slow one
holds up its lane alone. A worker in a managed block leaves its place to another, so handlers may call back to any
depth with a single worker. Threads start when there is work for them, and end after ``idle_timeout`` without any.

Locks: ``_pool_lock``, under the conditions ``_work_available``, ``_turn_changed`` and ``_idle_changed``, guards
everything but what follows; held for a few instructions, never while a task runs. A leaf.

Tasks are appended and taken in one step of the interpreter each, mostly without the lock:

* The turn of a worker is a list. It holds an item from the start of a task on. The thread that removes it decides on
  the turn, in one step: its worker when the task has ended, which goes on, or another one, which takes the turn over.
  So a turn cannot be taken over between the taking of a task and its start, and one worker at a time takes tasks.
* A thread that appends looks afterwards whether a worker will look at the tasks (`_is_attended`). A worker first makes
  that untrue, and looks at the tasks afterwards. So at least one of the two sees the other.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from .. import fork
from ..clock import monotonic
from ..errors.safe_text import logger
from .managed_block import WorkerLocal
from .pool_state import NOTHING, PATIENCE, SHORT_WAITS, WAITS, PoolState, Task, Turn, take_over
from .registration import POLLING

TASK_FAILED = "a task of a worker failed"

_END = object()
"""In place of the key of a lane: the worker is to end."""


class WorkerPool(PoolState):
    """Runs tasks on at most ``size`` threads at once.

    Args:
        size: how many tasks run at once, not counting those in a managed block.
        name: the prefix of thread names.
        idle_timeout: seconds after which a thread without work ends.
    """

    __slots__ = ()

    def submit(self, key: Hashable, function: Callable[..., object], *arguments: Any) -> bool:
        """Run a function on a worker; from any thread.

        Args:
            key: of the lane, whose tasks run one after another; ``None`` for no lane.
            function: the function.
            arguments: its arguments.

        Returns:
            False after `end`: the function will not run.
        """
        task = (key, function, arguments)
        # The fast path takes no lock: append first, then check whether a worker still looks.
        appended = self._accepts and self._is_attended()
        if appended:
            self.ready.append(task)
            if self._is_attended():
                return True
        with self._pool_lock:
            if not appended:
                if not self._accepts and not self._open():
                    return False
                self.ready.append(task)
            thread = self._ensure_worker()
        self._start(thread)
        return True

    def _open(self) -> bool:
        """Make what only tasks need, before the first of them; false after the end; with the lock."""
        if self._ended:
            return False
        parts: tuple[deque[Task], set[threading.Thread]] = deque(), set()
        # No call from here on, and so no interrupt: a signal handler or a finalizer may have submitted the first task.
        if not self._is_open:
            (self.ready, self._threads), self._resumed, self._lanes, self._unstarted = parts, [], {}, []
            self._is_open = self._accepts = True
        return True

    def _is_attended(self) -> bool:
        """Return whether a worker is going to look at the tasks, however long the one that has the turn takes."""
        return self.is_hosted or self._is_attended_by_worker()

    def _is_attended_by_worker(self) -> bool:
        return (
            (self._summoned and not self._unstarted)
            or (self._watcher is not None and self._turn is not None)
            or self._busy >= self._size  # one of them looks when its task ends, or waits
        )

    def _is_complete(self) -> bool:
        """Return whether there are enough workers apart from those in a managed block; with the lock."""
        # One more than places: a finalizer that submits may have interrupted a worker that is about to wait. Where no
        # worker is idle and a place is free, one of the others is then on its way here, and looks at the tasks.
        return len(self._threads) - (self._unfinished - self._busy) > self._size

    def _ensure_worker(self, *, may_start: bool = True) -> threading.Thread | None:
        """Wake a worker for what is ready, or return a thread to start after the lock is released; with the lock."""
        if self._unstarted:  # what interrupted the thread that made it needs it now
            return self._unstarted[-1]
        if self._is_attended_by_worker() or not (self.ready or self._resumed):
            return None
        # The poller looks at what is ready, not at what is resumed; and who ends a pool waits for workers.
        if self.is_hosted and not (self._resumed or self._ended):
            return None
        if self._idle:
            self._work_available.notify()
        elif self._watcher is not None:
            self._turn_changed.notify()
        elif not may_start or self._is_complete():
            return None
        else:
            thread = threading.Thread(target=self._loop, name=f"{self._name}-worker", daemon=True)
            self._threads.add(thread)
            # No call from here on, and so no interrupt that finds a worker summoned that no thread starts.
            self._unstarted += (thread,)
            self._summoned = True
            return thread
        self._summoned = True
        return None

    def _start(self, thread: threading.Thread | None) -> None:
        """Start a thread; without the lock, which the thread may take before ``start`` returns."""
        if thread is None:
            return
        try:
            thread = self._unstarted.pop(0)
        except IndexError:  # what interrupted this thread has started it
            return
        try:
            thread.start()
        except Exception as error:  # the system has no more threads, or the interpreter is shutting down
            with self._pool_lock:
                self._threads.discard(thread)
                self._summoned = False
                self._idle_changed.notify_all()
            # Its work is left to the other workers. Where there are none, the next attempt is the only hope for it.
            if not sys.is_finalizing():
                self.starts.failed(error)
        else:
            self.starts.failing = False

    # -- the workers -------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        local = self._local
        local.matter, local.pool = True, self
        turn: Turn = []
        local.turn = turn
        key: Hashable = NOTHING
        with self._pool_lock:
            self._summoned = False  # it has come
        try:
            # After a fork, a worker that survives it is not part of the pool any more.
            while self._local is local and key is not _END:
                key = self._run(local, turn, key)
                fork.ensure_process()  # a task may fork: its child is not a worker of the parent's pool
        finally:
            if self._turn is turn:  # only after an error: the others must not wait for this worker
                self._turn = None
        if self._local is not local:
            fork.end_inherited_thread()

    def _run(self, local: WorkerLocal, turn: Turn, last: Hashable) -> Hashable:
        """Run a task, and those behind it while this worker keeps the turn; return the last one's key, or `_END`."""
        task = self._next(local, turn, last)
        return _END if task is None else self._run_from(local, turn, [task])

    def _run_from(self, local: WorkerLocal, turn: Turn, first: list[Task], until: float | None = None) -> Hashable:
        """Run the one task of a list, and those behind it while this worker keeps the turn; return the last key."""
        # The poller is a worker until a moment. A task may wait for a peer there: then another thread polls.
        key, function, arguments = first.pop()  # a worker keeps no message beyond its handler
        ready, lanes = self.ready, self._lanes
        # What the lane holds up comes next. While this worker keeps the turn, a lane begins to hold up nothing.
        holds_up = bool(lanes.get(key))
        poller = threading.get_ident() if until is not None else 0
        polls = poller in POLLING
        while True:
            if polls:
                POLLING.discard(poller)
            # From here on the turn may be taken over: nothing may come between this and the call.
            turn.append(None)
            try:
                function(*arguments)
            except BaseException:  # SystemExit as well: it must not end the thread, which is counted as busy
                logger.outlive(TASK_FAILED)
            # As `take_over`, in its place.
            try:
                turn.pop()
            except IndexError:
                self._turn_lost(key, function, arguments)
                return key
            if polls:
                POLLING.add(poller)
            del function, arguments
            if holds_up or self._resumed or self._busy > self._size or (until is not None and monotonic() >= until):
                return key
            # No other worker takes tasks now, nor gives a lane to one.
            try:
                following, function, arguments = ready.popleft()
            except IndexError:
                return key
            if following is None or following != key:
                fork.ensure_process()
                if self._local is not local:
                    return key
                if following is not None and following in lanes:
                    ready.appendleft((following, function, arguments))
                    return key
                if key is not None:
                    lanes.pop(key, None)
                if following is not None:
                    lanes[following] = None
                key = following
            self.turns += 1

    def _turn_lost(self, key: Hashable, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        """Note a task after which its worker does not have the turn any more."""

    def _next(self, local: WorkerLocal, turn: Turn, last: Hashable) -> Task | None:
        """Finish the task of the lane ``last``, and wait for the next one; ``None`` ends the worker."""
        started_at = -1
        while True:
            with self._pool_lock:
                if last is not NOTHING:
                    self._finish(turn, last)
                    last = NOTHING
                if not self._await_turn(local, turn):
                    return None
                # Before the task is taken: to start a thread takes a while, in which that thread may take the task.
                # One for each turn: it has not come yet when this worker looks again, or it could not be started.
                thread = self._ensure_another(may_start=started_at != self.turns)
                if thread is None:
                    task = self._take(turn)
                    if task is not None:
                        return task
                started_at = self.turns
            self._start(thread)

    def _finish(self, turn: Turn, key: Hashable) -> None:
        """Note that a task has ended, and resume its lane; with the lock."""
        self._busy -= 1
        self._unfinished -= 1
        if self._turn is turn:
            self._turn, self._waits = None, WAITS
        if key is not None:
            held_up = self._lanes.get(key)
            if held_up:
                self._resumed.append(held_up.popleft())
            else:
                self._lanes.pop(key, None)

    def _await_turn(self, local: WorkerLocal, turn: Turn) -> bool:
        """Wait until this worker may take a task, and there may be one; false if it is to end; with the lock."""
        waits, turns = 0, -1
        while True:
            has_work = bool(self.ready or self._resumed)
            may_take = self._turn is None or (waits >= self._waits and turns == self.turns)
            if has_work and self._busy < self._size and may_take and (self._turn is None or take_over(self._turn)):
                if self._turn is not None:
                    self._turn, self._waits = None, SHORT_WAITS  # tasks that last come in numbers
                return True
            # A watcher stays while tasks come and go: to wake one again for each would cost more.
            is_needed = has_work or turns not in (-1, self.turns)
            if is_needed and self._busy < self._size and self._watcher is None:
                waits, turns = (waits + 1 if turns == self.turns else 1), self.turns
                self._watcher = turn
                self._turn_changed.wait(PATIENCE)
                if self._local is not local:
                    return False
                # Cleared first: who appends a task without the lock looks at it afterwards.
                self._watcher, self._summoned = None, False
            elif not self._await_work(local):
                return False
            else:
                waits, turns = 0, -1

    def _await_work(self, local: WorkerLocal) -> bool:
        """Wait for work; false if the worker is to end; with the lock."""
        if self._ended and not (self.ready or self._resumed):
            return self._worker_exit()
        self._idle += 1
        if self._idle_changed.waiters:
            self._idle_changed.notify_all()
        notified = self._work_available.wait(self._idle_timeout)
        if self._local is not local:
            return False
        self._idle -= 1
        self._summoned = False
        # Work may have become ready between the timeout and the lock.
        if notified or ((self.ready or self._resumed) and self._busy < self._size):
            return True
        return self._worker_exit()

    def _worker_exit(self) -> bool:
        self._threads.discard(threading.current_thread())
        self._idle_changed.notify_all()
        if self._ended:
            # Workers that wait for a place, not for work, end as well.
            self._work_available.notify_all()
        return False

    def _ensure_another(self, *, may_start: bool) -> threading.Thread | None:
        """As `_ensure_worker`, for what is left when a task was taken; with the lock."""
        if self._watcher is not None or self._busy + 1 >= self._size or len(self.ready) + len(self._resumed) < 2:
            return None
        return self._ensure_worker(may_start=may_start)

    def _take(self, turn: Turn) -> Task | None:
        """Take the next task whose lane has none that runs, and the turn; with the lock."""
        lanes, task = self._lanes, None
        if self._resumed:
            task = self._resumed.pop(0)
        while task is None and self.ready:
            task = self.ready.popleft()
            key = task[0]
            if key is not None:
                if key in lanes:
                    held_up = lanes[key] = lanes[key] or deque()
                    held_up.append(task)
                    task = None
                else:
                    lanes[key] = None
        if task is not None:
            self._busy += 1
            self._unfinished += 1
            self.turns += 1
            self._turn = turn
        return task
