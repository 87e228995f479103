"""Group commit: what several threads store at the same time is one transaction, and one wait for the disk.

Threads: a thread adds its job, and takes the turn to write, or waits. The one that has the turn commits all jobs that
are there, and wakes their threads. Whenever the turn is free, the first thread that waits is woken, and leads: it added
its job before it found the turn taken, and the thread that left the turn looked at the jobs afterwards.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar, cast

from ..deadline import Deadline
from ..errors import StoreError
from ..fork import ensure_process
from .database import Database

Result = TypeVar("Result")

MAX_JOBS = 256
"""Jobs of one transaction."""
LOOK_INTERVAL = 0.25
"""Seconds after which a thread that waits looks for itself whether the turn is free."""


class CommitJob(Generic[Result]):
    """One step of a transaction, and how it ended.

    Args:
        action: gets the connection; raises a `StoreError` before it changes anything.

    Attributes:
        done: whether it was committed, or failed.
        woken: a lock that is free once the thread of the job has to look.
    """

    __slots__ = ("_action", "_error", "_result", "done", "woken")

    def __init__(self, action: Callable[[sqlite3.Connection], Result]) -> None:
        self._action = action
        self._error: Exception | None = None
        self._result: Result | None = None
        self.done = False
        self.woken = threading.Lock()
        self.woken.acquire()

    def wake(self) -> None:
        """Wake the thread that waits for it, or is about to."""
        # Two that wake it at once: one is enough.
        with suppress(RuntimeError):
            self.woken.release()

    def run(self, connection: sqlite3.Connection) -> None:
        """Run it, within the transaction."""
        self._error = None
        try:
            self._result = self._action(connection)
        except StoreError as error:  # no room, for this one
            self._error = error

    def fail(self, error: Exception) -> None:
        """End it with the error of the whole transaction."""
        self._error = error

    def outcome(self) -> Result:
        """Return its result, or raise its error."""
        if self._error is not None:
            raise self._error
        return cast(Result, self._result)


class GroupCommits:
    """The durable transactions of a store.

    Args:
        database: where they are made.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs: deque[CommitJob[Any]] = deque()
        database.turn.on_free = self._wake_next

    def commit(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run an action in a transaction, with those of other threads, and return its result once it is on the disk."""
        ensure_process()
        job = CommitJob(action)
        self._jobs.append(job)
        turn, held = self._database.turn, list[bool]()
        try:
            if (turn.try_enter_thread(held) or self._has_to_lead(job, held)) and not job.done:
                self._commit_waiting(job)
        finally:
            # First of all, and without a call before it: an interrupt would leave the turn taken for good.
            if held:
                turn.holder = None if turn.holder is held else turn.holder
                turn.turn_lock.release()
                turn.free()
            # An interrupt, or no turn in time: another one must lead.
            if not job.done:
                with suppress(ValueError):
                    self._jobs.remove(job)
                self._wake_next()
        return job.outcome()

    def _has_to_lead(self, job: CommitJob[Any], held: list[bool]) -> bool:
        """Wait until another thread has committed a job, or this one has the turn to do so; return whether it has."""
        turn = self._database.turn
        deadline = Deadline(turn.timeout)
        while not job.done:
            woken = deadline.sooner(Deadline(LOOK_INTERVAL)).acquire(job.woken)
            if job.done:
                return False
            # Without a wake-up, too: an interrupt may have taken one away.
            if turn.try_enter_thread(held):
                return True
            if woken:
                turn.enter_thread(held, deadline.remaining())
                return True
            if deadline.expired():
                raise turn.busy("another thread")
        return False

    def _wake_next(self) -> None:
        """Have the thread that came first lead; called whenever the turn is free."""
        try:
            job = self._jobs[0]
        except IndexError:
            return
        job.wake()

    def _commit_waiting(self, own: CommitJob[Any]) -> None:
        jobs = [own]
        with suppress(ValueError):
            self._jobs.remove(own)
        while self._jobs and len(jobs) < MAX_JOBS:
            jobs.append(self._jobs.popleft())
        committed: list[Any] = []
        try:
            self._database.write_in_turn(
                lambda connection: [job.run(connection) for job in jobs], durable=True, committed=committed
            )
        except Exception as error:
            for job in jobs:
                job.fail(error)
        except BaseException:
            if not committed:
                # An interrupt of this thread: the others are still waiting, and one of them comes next.
                self._jobs.extendleft(reversed(jobs[1:]))
                jobs = []
            raise
        finally:
            for job in jobs:
                job.done = True
                job.wake()

    def forget(self) -> None:
        """Forget the jobs of the parent's threads; in a forked child."""
        self._jobs.clear()
