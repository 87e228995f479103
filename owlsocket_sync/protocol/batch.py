"""What one thread has in mind: the messages it gathers in a ``batch``, and its ``deadline`` over several calls.

Both belong to one connection and one thread, so nothing here needs a lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..deadline import Deadline
from .pending import Pending


class Thoughts(threading.local):
    """The open batch and the nearest deadline of the thread that looks."""

    def __init__(self) -> None:
        self.batch: list[bytes | Pending] | None = None
        self.deadline: Deadline | None = None

    @contextmanager
    def within(self, deadline: Deadline) -> Iterator[Deadline]:
        """Let a deadline hold inside; one further out never loosens the one that holds already."""
        outer = self.deadline
        self.deadline = deadline.sooner(outer)
        try:
            yield self.deadline
        finally:
            self.deadline = outer

    def take_batch(self) -> list[bytes | Pending]:
        """What was gathered so far; the batch goes on, empty."""
        if not self.batch:
            return []
        gathered, self.batch = self.batch, []
        return gathered
