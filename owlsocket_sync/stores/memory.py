"""`MemoryStore`: queues of this process, which are gone with it; for tests, and for work that may be lost.

Threads: ``_entries_lock``, under ``_entries_changed``, guards one queue and is a leaf. A thread that waits on it is
freed by a message, by the moment of a delayed one, by `MemoryStore.close`, or by its deadline. `MemoryQueue.drop` takes
no lock, since a finalizer calls it; a thread that waits looks for what was dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeVar

from ..clock import monotonic
from ..deadline import Deadline
from ..errors import StoreError
from ..fork import ensure_process, register
from ..locks import Condition, interrupted_itself, make_process_lock
from ..options import check_count, check_size
from .base import (
    MAX_BYTES,
    MAX_MESSAGES,
    START,
    Bounds,
    Draft,
    Entry,
    Position,
    QueueStats,
    Stored,
    check_name,
)
from .queue import Queue
from .shelf import Shelf

Result = TypeVar("Result")

DROP_INTERVAL = 0.2
"""Seconds after which a waiting thread looks for leases that were dropped, while there are any."""


class MemoryStore:
    """Queues in the memory of this process; a forked child begins with empty ones.

    Args:
        max_messages: messages in one queue, dead letters included; one more raises `StoreFull`.
        max_bytes: their size as JSON.
    """

    def __init__(self, *, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        check_count("max_messages", max_messages)
        check_size("max_bytes", max_bytes)
        self._limits = (max_messages, max_bytes)
        self._queues: dict[str, MemoryQueue] = {}
        self._closed = False
        register(self)

    def queue(self, name: str) -> Queue:
        """Return the queue of this name."""
        ensure_process()
        if self._closed:
            raise StoreError("the store is closed")
        # One step of the interpreter: two threads get the same queue.
        return Queue(self._queues.setdefault(check_name(name), MemoryQueue(name, *self._limits)))

    def queues(self) -> list[str]:
        """Return the names of the queues that have, or had, messages."""
        ensure_process()
        return sorted(name for name, queue in self._queues.copy().items() if queue.is_used())

    def close(self) -> None:
        """Refuse further use, and free the threads that wait; the messages are gone with the store."""
        ensure_process()
        self._closed = True
        for queue in self._queues.copy().values():
            queue.close()

    def after_fork(self) -> None:
        """Begin with empty queues: the messages are the parent's."""
        for queue in self._queues.values():
            queue.begin()

    def __enter__(self) -> MemoryStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class MemoryQueue:
    """A queue in memory; see `owlsocket_sync.stores.Outgoing` and `owlsocket_sync.stores.Incoming`.

    Args:
        name: of the queue.
        max_messages: messages that it may hold.
        max_bytes: their size.

    Attributes:
        is_volatile: it is gone with the process, so a peer keeps a message until the work on it is done.
    """

    is_volatile = True

    def __init__(self, name: str, max_messages: int, max_bytes: int) -> None:
        self.name = name
        self._limits = (max_messages, max_bytes)
        self._closed = False
        self.begin()

    def begin(self) -> None:
        """Begin with nothing, and with a lock that no other thread holds."""
        lock = make_process_lock()
        self._entries_changed = Condition(lock)
        # For `with`: that of a condition runs Python code with the lock, in which an interrupt would leave it locked.
        self._entries_lock = lock
        self._busy = False
        self._shelf = Shelf(self.name, *self._limits)

    def close(self) -> None:
        """Refuse further use, and free the threads that wait."""
        self._closed = True
        with self._entries_lock:
            self._entries_changed.notify_all()

    @property
    def stream(self) -> str:
        """The id of the sequence of numbers in this queue."""
        ensure_process()
        return self._shelf.stream

    def is_used(self) -> bool:
        """Return whether it has, or had, messages."""
        return self._shelf.is_used()

    def append(self, drafts: Sequence[Draft], delay: float = 0.0) -> list[Stored]:
        """Store messages, all or none."""
        return self._do(lambda shelf: shelf.append(drafts, delay))

    def claim(
        self, visibility_timeout: float, max_attempts: int | None, deadline: Deadline, done: int | None = None
    ) -> Entry | None:
        """Wait for the first message that is free, and lease it."""
        if done is not None:
            self.ack(done)
        while True:
            # The version in the same step: a message that comes in between is not waited for.
            entry, version = self._do(lambda shelf: (shelf.claim(visibility_timeout, max_attempts), shelf.version))
            if entry is not None or deadline.expired():
                return entry
            with self._entries_lock:
                self._wait(self._shelf, version, deadline)

    def _wait(self, shelf: Shelf, version: int, deadline: Deadline) -> None:
        """Wait until a message may be free, or the deadline."""
        longest = min(shelf.next_due() - monotonic(), DROP_INTERVAL if shelf.has_leases() else math.inf)
        sooner = deadline.sooner(Deadline(max(0.0, longest)))
        sooner.wait_for(self._entries_changed, lambda: self._closed or version != shelf.version)

    def ack(self, seq: int) -> None:
        """Remove a message."""
        self._do(lambda shelf: shelf.remove(seq))

    def release(self, entry: Entry, delay: float) -> bool:
        """Give a claimed message back."""
        return self._do(lambda shelf: shelf.release(entry, delay))

    def bury(self, entry: Entry, reason: str) -> bool:
        """Make a claimed message a dead letter."""
        return self._do(lambda shelf: shelf.bury(entry, reason))

    def extend(self, entry: Entry, seconds: float) -> bool:
        """Let a lease end after so many seconds, not earlier."""
        return self._do(lambda shelf: shelf.extend(entry, seconds))

    def drop(self, entry: Entry) -> None:
        """Let a lease end by the clock."""
        self._shelf.drop(entry)

    def read_after(self, seq: int, count: int) -> list[Entry]:
        """Return the first messages with greater numbers."""
        return self._do(lambda shelf: list(shelf.read_after(seq, count)))

    def stats(self) -> QueueStats:
        """Return the state of the queue."""
        return self._do(Shelf.stats)

    def dead(self) -> list[Entry]:
        """Return the dead letters."""
        return self._do(Shelf.dead)

    def requeue(self, seq: int) -> int | None:
        """Append a dead letter as a message without attempts."""
        return self._do(lambda shelf: shelf.requeue(seq))

    def purge(self, dead: bool) -> int:
        """Delete the messages that wait, or the dead letters."""
        return self._do(lambda shelf: shelf.purge(dead))

    def take_lead(self) -> MemoryLead | None:
        """Become the one that sends its messages."""
        lead = MemoryLead(self)
        return lead if self._do(lambda shelf: shelf.lead_of(lead)) is lead else None

    def give_up(self, lead: MemoryLead) -> None:
        """Let another one send its messages."""
        with self._entries_lock:
            if self._shelf.lead is lead:
                self._shelf.lead = None

    def bounds(self) -> Bounds:
        """Return the numbers of its messages."""
        return self._do(Shelf.bounds)

    def id_of(self, seq: int) -> str | None:
        """Return the id of a message."""
        return self._do(lambda shelf: shelf.id_of(seq))

    def delete_to(self, seq: int) -> int:
        """Delete the messages with numbers up to this one."""
        return self._do(lambda shelf: shelf.delete_to(seq))

    def bury_at(self, seq: int, reason: str) -> bool:
        """Make a message a dead letter, claimed or not."""
        return self._do(lambda shelf: shelf.bury_at(seq, reason))

    def renew_stream(self) -> str:
        """Give the queue another stream id, and its messages new numbers."""
        return self._do(Shelf.renew_stream)

    def position(self, stream: str) -> Position:
        """Return how far a stream was received."""
        return self._do(lambda shelf: shelf.positions.get(stream, START))

    def receive(self, stream: str, entries: Sequence[Entry], after: Position | None = None) -> Position:
        """Store the messages that follow the position of a stream, and move it."""
        return self._do(lambda shelf: shelf.receive(stream, entries, after))

    def move_to(self, stream: str, position: Position) -> None:
        """Set how far a stream was received."""
        self._do(lambda shelf: shelf.positions.__setitem__(stream, position))

    def _do(self, action: Callable[[Shelf], Result]) -> Result:
        """Do one thing under the lock, and wake the threads that wait where a message may have become free."""
        ensure_process()
        with self._entries_lock:
            if self._closed:
                raise StoreError("the store is closed")
            if self._busy:
                raise interrupted_itself(self.name)
            version = self._shelf.version
            try:
                self._busy = True
                return action(self._shelf)
            finally:
                self._busy = False
                if version != self._shelf.version:
                    self._entries_changed.notify_all()


class MemoryLead:
    """The right to send the messages of a queue in memory.

    Args:
        queue: the queue.
    """

    def __init__(self, queue: MemoryQueue) -> None:
        self._queue = queue

    def release(self) -> None:
        """Give it up."""
        self._queue.give_up(self)
