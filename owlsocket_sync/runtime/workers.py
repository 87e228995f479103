"""The threads that run handlers: a bounded pool, with one ordered lane for each key.

Threads: one lock, ``_pool_lock``, under the conditions ``_work`` (there is some) and ``_rested`` (a worker has none),
guards everything here but what waits in a lane. It is held for a few instructions, never while a task runs.
Tasks of one lane run one after another; lanes, and tasks without a lane, run side by side. A worker that waits for an
answer lends its place (`lend_place`), so that another may run: handlers may call back to any depth with one worker.
Threads start when there is work for them and end when there was none for a while.

What waits in a lane needs no lock: a task is appended and taken in one step each. Nor can it be left behind. Whoever
closes a lane closes it first and looks into it afterwards; whoever appends does that first, and looks afterwards
whether the lane was closed. So of the two that meet, one at least sees the other, and what is in a closed lane is moved
to one that is open, under the lock.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..deadline import Deadline

logger = logging.getLogger("owlsocket_sync")

Task = tuple[Callable[..., object], tuple[Any, ...]]
"""A function, and what it is called with."""

SHARE = 0.001
"""Seconds for which a lane may go on while others wait for a worker; a task that has begun takes the time it takes."""

FAILED = "a task of a worker failed"

_NO_LOAN = nullcontext()


class Lane:
    """Tasks in order. It is open as long as it is one of the pool's: somebody will come for what is appended."""

    __slots__ = ("key", "open", "tasks")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.tasks: deque[Task] = deque()
        self.open = True

    def empty(self) -> int:
        """Take everything out, beside a worker that may be taking as well; return how many tasks that were."""
        count = 0
        try:
            while True:
                self.tasks.popleft()
                count += 1
        except IndexError:
            return count


class Place(threading.local):
    """What a thread has of the pool: whether it works there, and whether it lent its place."""

    worker = False
    lent = False


class WorkerPool:
    """Runs tasks on at most ``size`` threads that work at once.

    Args:
        size: how many tasks run at once, those that wait not counted.
        name: what its threads are called.
        linger: seconds after which a thread without work ends.
    """

    def __init__(self, size: int, name: str, linger: float = 2.0) -> None:
        self._size = size
        self._name = name
        self._linger = linger
        self._lanes: dict[Hashable, Lane] = {}
        self.renew()

    def renew(self) -> None:
        """Start anew, without threads; also in a forked child."""
        for lane in self._lanes.values():
            lane.tasks.clear()  # a worker that the fork took along finds nothing more to do
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._rested = threading.Condition(lock)
        self._pool_lock = lock
        self._ready: deque[Lane | Task] = deque()
        self._lanes = {}
        self._threads: set[threading.Thread] = set()
        self._busy = 0
        self._idle = 0
        self._ended = False
        self._mine = Place()

    def submit(self, key: Hashable, function: Callable[..., object], *arguments: Any) -> bool:
        """Have a function run, after those of its lane; ``None`` is no lane. False after `end`: it will not run."""
        task = (function, arguments)
        lane = self._lanes.get(key)
        if lane is None or self._ended:
            return self._enter(key, task)
        lane.tasks.append(task)
        if not lane.open:
            self._rescue(lane)
        return True

    def _enter(self, key: Hashable, task: Task) -> bool:
        """Put a task into a lane that may have to be opened, or among those without one."""
        with self._pool_lock:
            if self._ended:
                return False
            lane = None if key is None else self._lanes.get(key)
            if lane is not None:
                lane.tasks.append(task)
                return True
            if key is None:
                self._ready.append(task)
            else:
                lane = self._lanes[key] = Lane(key)
                lane.tasks.append(task)
                self._ready.append(lane)
            thread = self._staff()
        self._start(thread)
        return True

    def _rescue(self, closed: Lane) -> None:
        """Move what was appended to a lane while it was being closed to the lane that has its key now."""
        with self._pool_lock:
            if closed.open or not closed.tasks:  # whoever closed it saw the task, or another one came to the rescue
                return
            lane = self._lanes.get(closed.key)
            if lane is None:
                lane = self._lanes[closed.key] = closed
                lane.open = True
                self._ready.append(lane)
            else:
                lane.tasks.extend(closed.tasks)
                closed.tasks.clear()
            thread = self._staff()
        self._start(thread)

    def _staff(self) -> threading.Thread | None:
        """See to it that somebody takes what is ready, with the lock held; whom to start once it is free."""
        if not self._ready or self._busy >= self._size:
            return None
        if self._idle:
            self._work.notify()
            return None
        thread = threading.Thread(target=self._loop, name=f"{self._name}-worker", daemon=True)
        self._threads.add(thread)
        self._busy += 1  # on behalf of the thread that starts, so that nobody starts a second one for the same task
        return thread

    def _start(self, thread: threading.Thread | None) -> None:
        """Start it; without the lock, which it may want before it counts as started."""
        if thread is None:
            return
        try:
            thread.start()
        except RuntimeError as error:  # no more threads to be had, or the interpreter is going away
            with self._pool_lock:
                self._threads.discard(thread)
                self._busy -= 1
                self._rested.notify_all()
            if not sys.is_finalizing():
                logger.warning("%s: no thread for a handler: %s", self._name, error)

    # -- a worker ------------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        mine = self._mine
        mine.worker = True
        turn: Lane | Task | None = None
        while self._mine is mine:  # else a fork took this thread along, and its place is not in the pool any more
            turn = self._next(mine, turn)
            if turn is None:
                return
            if isinstance(turn, Lane):
                self._drain(turn)
            else:
                _perform(turn)

    def _next(self, mine: Place, last: Lane | Task | None) -> Lane | Task | None:
        """The next thing to do, ``None`` to end; the place of the last one is given back first."""
        with self._pool_lock:
            self._busy -= 1
            if isinstance(last, Lane):
                self._hand_back(last)
            while not self._ready or self._busy >= self._size:
                if self._ended and not self._ready:
                    self._leave()
                    return None
                self._idle += 1
                self._rested.notify_all()
                worked = self._work.wait(self._linger)
                if self._mine is not mine:
                    return None
                self._idle -= 1
                if not worked and not (self._ready and self._busy < self._size):
                    self._leave()
                    return None
            self._busy += 1
            turn = self._ready.popleft()
            thread = self._staff()
        self._start(thread)
        return turn

    def _leave(self) -> None:
        self._threads.discard(threading.current_thread())
        self._rested.notify_all()
        if self._ended:  # others may wait for a place that nobody needs any more
            self._work.notify_all()

    def _hand_back(self, lane: Lane) -> None:
        """Let another worker go on with a lane, or close it where nothing is in it, with the lock held."""
        lane.open = False
        if lane.tasks:
            lane.open = True
            self._ready.append(lane)
        else:
            del self._lanes[lane.key]

    def _drain(self, lane: Lane) -> None:
        """Run tasks of a lane while there are some, and nobody else is kept waiting for long.

        What others do meanwhile is seen without the lock; seen a moment late, it makes a turn longer by one task.
        """
        tasks, until = lane.tasks, time.monotonic() + SHARE
        while tasks:
            try:
                function, arguments = tasks.popleft()
            except IndexError:  # discarded at this moment
                return
            try:
                function(*arguments)
            except BaseException:
                logger.exception(FAILED)
            if self._busy > self._size or (self._ready and time.monotonic() >= until):
                return

    def lend_place(self) -> AbstractContextManager[None]:
        """Around a wait: when this thread is a worker, another may work in its place meanwhile."""
        mine = self._mine
        return Loan(self, mine) if mine.worker and not mine.lent else _NO_LOAN

    # -- all of them ---------------------------------------------------------------------------------------------------

    def settle(self, deadline: Deadline) -> bool:
        """Wait until nothing is left to do; whether that was within the deadline."""
        mine = 1 if self._mine.worker else 0

        def settled() -> bool:
            return not self._ready and not self._lanes and len(self._threads) - self._idle <= mine

        with self._pool_lock:
            return self._rested.wait_for(settled, deadline.wait_seconds())

    def discard(self) -> int:
        """Forget what has not started, notices (lanes whose key is text) excepted; return how many tasks that were."""
        count = 0
        with self._pool_lock:
            waiting = {id(turn) for turn in self._ready}
            for lane in [lane for key, lane in self._lanes.items() if not isinstance(key, str)]:
                if id(lane) in waiting:  # one that runs stays open, so that what comes after it waits for it
                    lane.open = False
                    del self._lanes[lane.key]
                count += lane.empty()
            count += sum(not isinstance(turn, Lane) for turn in self._ready)
            kept = [turn for turn in self._ready if isinstance(turn, Lane) and turn.open]
            self._ready.clear()
            self._ready.extend(kept)
        return count

    def end(self, deadline: Deadline) -> None:
        """Let what is there finish, take nothing more, and wait for the threads, but not for oneself."""
        with self._pool_lock:
            self._ended = True
            self._work.notify_all()
            mine = {threading.current_thread()}
            others = self._threads - mine
            self._rested.wait_for(lambda: self._threads <= mine, deadline.wait_seconds())
        for thread in others:
            if thread.is_alive():  # one that was not started yet cannot be joined, and was out of time to wait for
                thread.join(deadline.wait_seconds())


class Loan:
    """The time for which a worker lends its place."""

    __slots__ = ("_mine", "_pool")

    def __init__(self, pool: WorkerPool, mine: Place) -> None:
        self._pool = pool
        self._mine = mine

    def __enter__(self) -> None:
        pool = self._pool
        self._mine.lent = True
        with pool._pool_lock:
            pool._busy -= 1
            thread = pool._staff()
        pool._start(thread)

    def __exit__(self, *_: object) -> None:
        pool = self._pool
        if pool._mine is self._mine:
            with pool._pool_lock:
                pool._busy += 1
        self._mine.lent = False


def _perform(task: Task) -> None:
    function, arguments = task
    try:
        function(*arguments)
    except BaseException:  # SystemExit too: it must not take the thread, and the place it holds, with it
        logger.exception(FAILED)
