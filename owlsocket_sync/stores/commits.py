"""Group commit: what several threads store at the same time is one transaction, and one wait for the disk.

Threads: a thread adds its job, and waits for the turn to write. The one that gets it commits all jobs that are there;
the others find theirs done when it is their turn.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar, cast

from ..errors import StoreError
from ..fork import ensure_process
from .database import Database

Result = TypeVar("Result")

MAX_JOBS = 256
"""Jobs of one transaction."""


class CommitJob(Generic[Result]):
    """One step of a transaction, and how it ended.

    Args:
        action: gets the connection; raises a `StoreError` before it changes anything.
    """

    __slots__ = ("_action", "_error", "_result", "done")

    def __init__(self, action: Callable[[sqlite3.Connection], Result]) -> None:
        self._action = action
        self._error: Exception | None = None
        self._result: Result | None = None
        self.done = False

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

    def commit(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run an action in a transaction, with those of other threads, and return its result once it is on the disk."""
        ensure_process()
        job = CommitJob(action)
        self._jobs.append(job)
        try:
            self._database.turn.enter_thread()
            try:
                if not job.done:
                    self._commit_waiting(job)
            finally:
                self._database.turn.leave_thread()
        finally:
            # An interrupt, or no turn in time.
            if not job.done:
                with suppress(ValueError):
                    self._jobs.remove(job)
        return job.outcome()

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

    def forget(self) -> None:
        """Forget the jobs of the parent's threads; in a forked child."""
        self._jobs.clear()
