"""The state of a pool of workers, and what concerns all of it: waits of its workers, waiting for it, and its ends.

Locks: ``_pool_lock`` and its conditions; see `owlsocket_sync.runtime.workers`.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from ..clock import monotonic
from ..deadline import Deadline
from ..locks import HELD_UP, Condition
from ..protocol.carrier import BlockFlag
from ..reentrant import make_lock
from .full_pool import NEVER_FULL, FullPoolWarning
from .managed_block import NO_POOL, ManagedBlock, WorkerLocal, keeping_state, worker_local
from .start_retry import StartRetry

PATIENCE = 0.0005
"""Seconds of one wait for a task that has begun; after some of them another worker takes the turn over."""

WAITS, SHORT_WAITS = 4, 2
"""The number of waits, and that after a takeover. More than one: a thread that was not scheduled goes on meanwhile."""

END_INTERVAL = 0.05
"""Seconds between two looks for workers that are held up, by a thread that waits for their end."""

_NOT_A_WORKER = nullcontext()

NOTHING = object()
"""In place of the key of a lane: there was no task."""

Task = tuple[Hashable, Callable[..., object], tuple[Any, ...]]
"""The key of its lane, a function and its arguments."""

NOBODY: set[threading.Thread] = set()
"""The threads of pools that have had no task; stays empty."""

NOTHING_READY: deque[Task] = deque()
"""The tasks of pools that have had none; stays empty."""

Turn = list[None]
"""Stands for one worker; holds an item while its turn can be taken over."""

INLINE_THREADS: set[threading.Thread] = set()
"""Those that are workers of a pool for a moment, and end at another time than its own threads."""


class PoolState(ABC):
    """The state of a `owlsocket_sync.runtime.workers.WorkerPool`.

    Args:
        size: how many tasks run at once, not counting those in a managed block.
        name: the prefix of thread names.
        idle_timeout: seconds after which a thread without work ends.

    Attributes:
        ready: the tasks that wait for their start.
        turns: the number of tasks that were taken.
        is_hosted: the poller is going to look at what is ready; see `owlsocket_sync.runtime.inline_pool`.
        starts: attempts to start a thread; a carrier sets how to schedule the next one.
        full: warns where all workers are busy and tasks wait; its own one from the first slow task on.
    """

    __slots__ = (
        "_accepts", "_busy", "_ended", "_idle", "_idle_changed", "_idle_timeout", "_is_open", "_lanes", "_local",
        "_name", "_pool_lock", "_resumed", "_size", "_summoned", "_threads", "_turn", "_turn_changed", "_unfinished",
        "_unstarted", "_waits", "_watcher", "_work_available", "full", "is_hosted", "lock", "ready", "starts",
        "turns",
    )  # fmt: skip

    # Made for the first task.
    _resumed: list[Task]  # each was held up by its lane, which it now has
    _lanes: dict[Hashable, deque[Task] | None]  # those with a task that runs, and what that holds up
    _unstarted: list[threading.Thread]  # started by the thread that comes first

    def __init__(self, size: int, name: str, idle_timeout: float = 2.0) -> None:
        self._size = size
        self._name = name
        self._idle_timeout = idle_timeout
        # Reentrant: a signal handler or a finalizer may submit on the thread that it interrupted under this lock.
        lock = make_lock()
        self._work_available = Condition(lock)
        self._turn_changed = Condition(lock)
        self._idle_changed = Condition(lock)
        self._pool_lock = self.lock = lock
        self._is_open = self._accepts = False
        self.ready: deque[Task] = NOTHING_READY
        self._threads: set[threading.Thread] = NOBODY
        self._busy = 0
        self._idle = 0
        self._unfinished = 0  # tasks that were taken, those in a managed block too
        self._turn: Turn | None = None  # of the worker that took the last task, until that ends, waits or lasts
        self.turns = 0
        self._waits = WAITS
        self._watcher: Turn | None = None  # of the worker that waits to take the turn over
        self._summoned = False  # a worker was woken or started, and has not come yet
        self.is_hosted = False
        self._ended = False
        self.starts = StartRetry(name)
        self.full = NEVER_FULL
        self._local = worker_local()

    @abstractmethod
    def _ensure_worker(self) -> threading.Thread | None:
        """Wake a worker for what is ready, or return a thread to start after the lock is released; with the lock."""

    @abstractmethod
    def _start(self, thread: threading.Thread | None) -> None:
        """Start a thread; without the lock."""

    @abstractmethod
    def _loop(self) -> None:
        """Run tasks until there are none for a while."""

    @property
    def blocks(self) -> BlockFlag:
        """The flag of the thread that looks; the object is another one after a fork."""
        return self._local

    def is_worker(self) -> bool:
        """Return whether this thread is a worker of this pool."""
        # Not the local: where gevent patches after the import, all greenlets of a thread share that.
        return threading.current_thread() in self._threads

    def managed_block(self) -> AbstractContextManager[None]:
        """Return a context manager for a wait: if this thread is a worker, another may run in its place."""
        local = self._local
        return ManagedBlock(self, local) if local.pool is self and not local.is_blocked else _NOT_A_WORKER

    def begin_block(self, local: WorkerLocal) -> None:
        """Let another worker run in place of this thread."""
        local.is_blocked = True
        with self._pool_lock:
            self._busy -= 1
            turn = self._turn
            if turn is not None and turn is local.turn and take_over(turn):
                self._turn, self._waits = None, WAITS
            thread = self._ensure_worker()
        self._start(thread)

    def end_block(self, local: WorkerLocal) -> None:
        """Count this thread as busy again."""
        # After a fork within the block, the pool has forgotten this worker. Otherwise there may be more than `size`
        # workers for a moment: the first one whose task ends takes no other.
        if self._local is local:
            with self._pool_lock:
                self._busy += 1
        local.is_blocked = False

    def retry(self, now: float) -> float:
        """Start a worker that is still missing, look whether all are busy, and return when to call this next."""
        if now >= self.starts.at:
            self.starts.at = math.inf
            with self._pool_lock:
                thread = self._ensure_worker()
            self._start(thread)
        if now >= self.full.at:
            self.full.look(now, self.turns, self._count_waiting())
        return min(self.starts.at, self.full.at)

    def watch_full(self) -> None:
        """Have `retry` look whether all workers are busy; where tasks were left to workers."""
        if self.full is NEVER_FULL:
            self.full = FullPoolWarning(self._name, self._size)
        self.full.begin(monotonic(), self.starts.schedule)

    def _count_waiting(self) -> int:
        """Return how many tasks wait because all workers are busy; 0 if one is free."""
        with self._pool_lock:
            is_full = self._is_open and self._busy >= self._size
            return len(self.ready) + len(self._resumed) if is_full else 0

    def work_until_end(self) -> None:
        """Run what is left on this thread if there is no worker and none can be started; after `end`, by the reader."""
        with self._pool_lock:
            if self._threads or not (self._ended and self.starts.failing and (self.ready or self._resumed)):
                return
            self._threads.add(threading.current_thread())
        with keeping_state(self._local):
            self._loop()

    def wait_idle(self, deadline: Deadline) -> bool:
        """Wait until no task is left, and return whether that was within the deadline."""
        # A handler that waits here does not wait for itself.
        own = 1 if self._local.pool is self else 0

        def idle() -> bool:
            return (
                not self.ready and not self._resumed and self._unfinished <= own and not any(list(self._lanes.values()))
            )

        with self._pool_lock:
            return not self._is_open or deadline.wait_for(self._idle_changed, idle)

    def abandon(self) -> None:
        """Leave the workers to the parent; in a forked child, where a thread of the parent may have held the lock."""
        self._ended, self._accepts = True, False
        if self._is_open:
            self.ready.clear()
            self._resumed.clear()
            self._lanes.clear()
            self._unstarted.clear()
            self._threads.clear()
        # Greenlets survive a fork: a worker that sees another local than its own ends without a word.
        self._local = NO_POOL

    def discard(self) -> int:
        """Remove all tasks that have not started, and return how many; notices (lanes with a ``str`` key) stay."""
        with self._pool_lock:
            if not self._is_open:
                return 0
            # Without a turn, workers take tasks with the lock only.
            while self._turn is not None and not take_over(self._turn):
                self._turn_changed.wait(PATIENCE)  # its worker is just taking one
            self._turn, self._waits = None, WAITS
            count = len(_discard(self.ready))
            for key, _, _ in _discard(self._resumed):
                count += 1 + len(self._lanes.pop(key, None) or ())
            # A lane that runs stays: tasks that are submitted next must wait for its current one.
            count += sum(len(_discard(held_up)) for held_up in list(self._lanes.values()) if held_up)
            thread = self._ensure_worker()
        self._start(thread)
        return count

    def end(self, deadline: Deadline) -> None:
        """Run what was submitted, accept nothing more, and wait for the threads, except the calling one."""
        with self._pool_lock:
            self._ended, self._accepts = True, False
            if not self._is_open:
                return
            self._work_available.notify_all()
            self._turn_changed.notify_all()
            thread = self._ensure_worker()  # the poller is going to look at what is ready, and is not waited for
        self._start(thread)
        with self._pool_lock:
            own = {threading.current_thread()}
            workers = self._threads - own - INLINE_THREADS
            # It may be a handler that ends the pool, and a worker that waits for a lock of the thread which that
            # interrupted. No one notifies of it.
            while not deadline.sooner(Deadline(END_INTERVAL)).wait_for(
                self._idle_changed, lambda: self._threads - HELD_UP <= own
            ):
                if deadline.expired():
                    break
        for thread in workers - HELD_UP:
            deadline.join(thread)


def _discard(tasks: deque[Task] | list[Task]) -> list[Task]:
    """Remove and return all tasks but notices; other threads may append at the end meanwhile."""
    take_first = tasks.popleft if isinstance(tasks, deque) else partial(tasks.pop, 0)
    waiting = [take_first() for _ in range(len(tasks))]
    for task in reversed(waiting):
        if isinstance(task[0], str):
            tasks.insert(0, task)
    return [task for task in waiting if not isinstance(task[0], str)]


def take_over(turn: list[Any]) -> bool:
    """Decide on a turn; false where its worker has not begun its task yet, or it was decided already."""
    try:
        turn.pop()
    except IndexError:
        return False
    return True
