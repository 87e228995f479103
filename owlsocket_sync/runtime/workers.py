"""The threads that run handlers: a bounded pool, with one ordered lane for each key.

Threads: one lock, under the conditions ``_work`` (there is some) and ``_rested`` (a worker has none), guards everything
here. It is held for a few instructions, never while a task runs.
Tasks of one lane run one after another; lanes, and tasks without a lane, run side by side. A worker that waits for an
answer lends its place (`lend_place`), so that another may run: handlers may call back to any depth with one worker.
Threads start when there is work for them and end when there was none for a while.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from ..deadline import Deadline

logger = logging.getLogger("owlsocket_sync")

Task = Callable[[], None]


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
        self.renew()

    def renew(self) -> None:
        """Start anew, without threads; also in a forked child."""
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._rested = threading.Condition(lock)
        self._ready: deque[Hashable | Task] = deque()
        self._lanes: dict[Hashable, deque[Task]] = {}
        self._threads: set[threading.Thread] = set()
        self._busy = 0
        self._idle = 0
        self._ended = False
        self._mine = threading.local()

    def submit(self, lane: Hashable, task: Task) -> bool:
        """Have a task run, after those of its lane; ``None`` is no lane. False after `end`: it will not run."""
        with self._work:
            if self._ended:
                return False
            if lane is None:
                self._ready.append(task)
            else:
                queue = self._lanes.get(lane)
                if queue is not None:
                    queue.append(task)
                    return True
                self._lanes[lane] = deque([task])
                self._ready.append(_Turn(lane))
            thread = self._staff()
        self._start(thread)
        return True

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
            with self._work:
                self._threads.discard(thread)
                self._busy -= 1
                self._rested.notify_all()
            if not sys.is_finalizing():
                logger.warning("%s: no thread for a handler: %s", self._name, error)

    def _loop(self) -> None:
        mine = self._mine
        mine.worker = True
        while self._mine is mine:  # else a fork took this thread along, and its place is not in the pool any more
            turn = self._next(mine)
            if turn is None:
                return
            self._run(turn, mine)

    def _next(self, mine: threading.local) -> Hashable | Task | None:
        """The next thing to do, ``None`` to end; the place of the last one is given back first."""
        with self._work:
            self._busy -= 1
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

    def _run(self, turn: Hashable | Task, mine: threading.local) -> None:
        if not isinstance(turn, _Turn):
            return _perform(turn)  # type: ignore[arg-type]
        with self._work:
            queue = self._lanes.get(turn.lane)
            task = queue.popleft() if queue else None
        if task is not None:
            _perform(task)
        if self._mine is not mine:
            return None
        with self._work:
            queue = self._lanes.get(turn.lane)
            if queue:
                self._ready.append(turn)
                thread = self._staff()
            else:
                self._lanes.pop(turn.lane, None)
                thread = None
        return self._start(thread)

    @contextmanager
    def lend_place(self) -> Iterator[None]:
        """Around a wait: when this thread is a worker, another may work in its place meanwhile."""
        if not getattr(self._mine, "worker", False) or getattr(self._mine, "lent", False):
            yield
            return
        mine = self._mine
        mine.lent = True
        with self._work:
            self._busy -= 1
            thread = self._staff()
        self._start(thread)
        try:
            yield
        finally:
            if self._mine is mine:
                with self._work:
                    self._busy += 1
            mine.lent = False

    def settle(self, deadline: Deadline) -> bool:
        """Wait until nothing is left to do; whether that was within the deadline."""
        mine = 1 if getattr(self._mine, "worker", False) else 0

        def settled() -> bool:
            return not self._ready and not self._lanes and len(self._threads) - self._idle <= mine

        with self._work:
            return self._rested.wait_for(settled, deadline.wait_seconds())

    def discard(self) -> int:
        """Forget what has not started, notices (lanes whose key is text) excepted; return how many tasks that were."""
        with self._work:
            count = 0
            waiting = {turn.lane for turn in self._ready if isinstance(turn, _Turn)}
            for key in [key for key in self._lanes if not isinstance(key, str)]:
                count += len(self._lanes[key])
                self._lanes[key].clear()
                if key in waiting:  # one that runs stays, so that what comes after it waits for it
                    del self._lanes[key]
            kept = [turn for turn in self._ready if isinstance(turn, _Turn) and isinstance(turn.lane, str)]
            count += sum(not isinstance(turn, _Turn) for turn in self._ready)
            self._ready = deque(kept)
        return count

    def end(self, deadline: Deadline) -> None:
        """Let what is there finish, take nothing more, and wait for the threads, but not for oneself."""
        with self._work:
            self._ended = True
            self._work.notify_all()
            mine = {threading.current_thread()}
            others = self._threads - mine
            self._rested.wait_for(lambda: self._threads <= mine, deadline.wait_seconds())
        for thread in others:
            if thread.is_alive():  # one that was not started yet cannot be joined, and was out of time to wait for
                thread.join(deadline.wait_seconds())


class _Turn:
    """A lane's turn to run its next task."""

    __slots__ = ("lane",)

    def __init__(self, lane: Hashable) -> None:
        self.lane = lane


def _perform(task: Task) -> None:
    try:
        task()
    except BaseException:  # SystemExit too: it must not take the thread, and the place it holds, with it
        logger.exception("a task of a worker failed")
