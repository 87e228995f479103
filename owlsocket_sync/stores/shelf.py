"""`Shelf`: the messages of one queue in memory, with their order, their leases and their dead letters.

Threads: none of its own; the lock of its queue is held around every method, except `Shelf.drop`.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator, Sequence

from ..clock import monotonic
from .base import (
    START,
    Bounds,
    Draft,
    Entry,
    Position,
    QueueStats,
    Stored,
    check_position,
    default_id,
    new_stream,
    no_room,
    sent_by_a_connection,
)


class ShelfRecord:
    """A message in memory.

    Attributes:
        until: the moment at which it becomes free; 0 where it is free, ``math.inf`` while it is leased.
        lease_end: the moment at which its lease ends once it is dropped.
    """

    __slots__ = ("added", "attempts", "id", "lease_end", "payload", "until")

    def __init__(self, id: str, payload: bytes) -> None:
        self.id = id
        self.payload = payload
        self.added = monotonic()
        self.attempts = 0
        self.until = self.lease_end = 0.0

    def entry(self, seq: int, remaining: int = 0, reason: str = "") -> Entry:
        """Return it as what a queue hands out."""
        return Entry(seq, self.id, self.payload, self.attempts, remaining, reason)


class Shelf:
    """The messages of one queue.

    Args:
        name: of the queue.
        max_messages: messages that it may hold, dead letters included.
        max_bytes: their size.

    Attributes:
        stream: the id of the sequence of numbers.
        version: grows whenever a message may have become free.
        positions: how far each stream of a peer was received.
        lead: the right to send the messages, where it is taken.
    """

    def __init__(self, name: str, max_messages: int, max_bytes: int) -> None:
        self._name = name
        self._max_messages, self._max_bytes = max_messages, max_bytes
        self.stream = new_stream()
        self.version = 0
        self.positions: dict[str, Position] = {}
        self.lead: object = None
        self._records: dict[int, ShelfRecord] = {}
        self._dead: dict[int, tuple[ShelfRecord, str]] = {}
        self._ready: list[int] = []
        self._held: list[tuple[float, int]] = []
        self._dropped: deque[Entry] = deque()
        self._first = self._next = 1
        self._in_flight = self._bytes = 0
        self._deleted = START

    # -- putting -----------------------------------------------------------------------------------------------------

    def has_room(self, drafts: Sequence[Draft]) -> bool:
        """Return whether there is room for these messages."""
        held = len(self._records) + len(self._dead) + len(drafts)
        return held <= self._max_messages and self._bytes + _size(drafts) <= self._max_bytes

    def append(self, drafts: Sequence[Draft], delay: float) -> list[Stored]:
        """Add messages, all or none."""
        if not self.has_room(drafts):
            held = (len(self._records) + len(self._dead), self._bytes)
            raise no_room(self._name, held, (self._max_messages, self._max_bytes))
        return [self._add(draft, delay) for draft in drafts]

    def _add(self, draft: Draft, delay: float) -> Stored:
        seq = self._next
        self._next += 1
        record = ShelfRecord(default_id(self.stream, seq) if draft.id is None else draft.id, draft.payload)
        self._records[seq] = record
        self._bytes += len(draft.payload)
        self._free(seq, record, delay)
        return Stored(seq, record.id)

    def _free(self, seq: int, record: ShelfRecord, delay: float) -> None:
        """Make a message free, at once or after a delay."""
        if record.until == math.inf:
            self._in_flight -= 1
        if delay <= 0:
            record.until = 0.0
            heapq.heappush(self._ready, seq)
        else:
            record.until = monotonic() + delay
            heapq.heappush(self._held, (record.until, seq))
        self.version += 1

    # -- taking ------------------------------------------------------------------------------------------------------

    def claim(self, visibility_timeout: float, max_attempts: int | None) -> Entry | None:
        """Lease the first message that is free."""
        _refuse_an_outbox(self._name, self.lead)
        self._free_what_is_due()
        while self._ready:
            seq = heapq.heappop(self._ready)
            record = self._records.get(seq)
            if record is None or record.until:
                continue
            if max_attempts is not None and record.attempts >= max_attempts:
                self._bury(seq, f"no answer after {record.attempts} attempts")
                continue
            record.attempts += 1
            record.until, record.lease_end = math.inf, monotonic() + visibility_timeout
            self._in_flight += 1
            return record.entry(seq, len(self._records) - self._in_flight)
        return None

    def next_due(self) -> float:
        """Return the moment at which the next message that is held becomes free; ``math.inf`` without one."""
        return self._held[0][0] if self._held else math.inf

    def has_leases(self) -> bool:
        """Return whether any message is leased."""
        return self._in_flight > 0

    def _free_what_is_due(self) -> None:
        while self._dropped:
            entry = self._dropped.popleft()
            record = self._leased(entry)
            if record is not None:
                self._free(entry.seq, record, record.lease_end - monotonic())
        now = monotonic()
        while self._held and self._held[0][0] <= now:
            until, seq = heapq.heappop(self._held)
            record = self._records.get(seq)
            if record is not None and record.until == until:
                self._free(seq, record, 0.0)

    def _leased(self, entry: Entry) -> ShelfRecord | None:
        record = self._records.get(entry.seq)
        held = record is not None and record.until == math.inf and record.attempts == entry.attempts
        return record if held else None

    # -- answers -----------------------------------------------------------------------------------------------------

    def remove(self, seq: int) -> ShelfRecord | None:
        """Remove a message, and return it."""
        record = self._records.pop(seq, None)
        if record is not None:
            self._in_flight -= record.until == math.inf
            self._bytes -= len(record.payload)
        return record

    def release(self, entry: Entry, delay: float) -> bool:
        """Give a claimed message back."""
        record = self._leased(entry)
        if record is not None:
            self._free(entry.seq, record, delay)
        return record is not None

    def bury(self, entry: Entry, reason: str) -> bool:
        """Make a claimed message a dead letter."""
        return self._leased(entry) is not None and self._bury(entry.seq, reason)

    def bury_at(self, seq: int, reason: str) -> bool:
        """Make a message a dead letter, claimed or not."""
        return seq in self._records and self._bury(seq, reason)

    def _bury(self, seq: int, reason: str) -> bool:
        record = self.remove(seq)
        if record is not None:
            self._bytes += len(record.payload)
            self._dead[seq] = (record, reason)
        return True

    def extend(self, entry: Entry, seconds: float) -> bool:
        """Let a lease end after so many seconds, not earlier."""
        record = self._leased(entry)
        if record is not None:
            record.lease_end = max(record.lease_end, monotonic() + seconds)
        return record is not None

    def drop(self, entry: Entry) -> None:
        """Let a lease end by the clock; without the lock."""
        self._dropped.append(entry)

    # -- looking, and putting in order -------------------------------------------------------------------------------

    def read_after(self, seq: int, count: int) -> Iterator[Entry]:
        """Yield the first messages with greater numbers."""
        for number in range(max(self._oldest(), seq + 1), self._next):
            record = self._records.get(number)
            if count > 0 and record is not None:
                yield record.entry(number)
                count -= 1
            elif count <= 0:
                return

    def _oldest(self) -> int:
        while self._first < self._next and self._first not in self._records:
            self._first += 1
        return self._first

    def stats(self) -> QueueStats:
        """Return the state of the queue."""
        self._free_what_is_due()
        oldest = self._records.get(self._oldest())
        age = 0.0 if oldest is None else monotonic() - oldest.added
        depth = len(self._records) - self._in_flight
        return QueueStats(depth, self._bytes, age, self._in_flight, len(self._dead))

    def dead(self) -> list[Entry]:
        """Return the dead letters."""
        return [record.entry(seq, reason=reason) for seq, (record, reason) in self._dead.items()]

    def requeue(self, seq: int) -> int | None:
        """Append a dead letter as a message without attempts."""
        record, _ = self._dead.pop(seq, (None, ""))
        if record is None:
            return None
        self._bytes -= len(record.payload)
        return self._add(Draft(record.id, record.payload), 0.0).seq

    def purge(self, dead: bool) -> int:
        """Delete the messages that wait, or the dead letters."""
        if dead:
            count = len(self._dead)
            self._bytes -= sum(len(record.payload) for record, _ in self._dead.values())
            self._dead.clear()
            return count
        _refuse_an_outbox(self._name, self.lead)
        self._free_what_is_due()
        waiting = [seq for seq, record in self._records.items() if record.until != math.inf]
        for seq in waiting:
            self.remove(seq)
        return len(waiting)

    # -- an end of a connection --------------------------------------------------------------------------------------

    def is_used(self) -> bool:
        """Return whether it has, or had, messages."""
        return self._next > 1 or bool(self.positions)

    def lead_of(self, lead: object) -> object:
        """Take the lead where nothing has it, and return what has it now."""
        self.lead = self.lead or lead
        return self.lead

    def bounds(self) -> Bounds:
        """Return the numbers of its messages."""
        return Bounds(self._oldest(), self._next, *self._deleted)

    def id_of(self, seq: int) -> str | None:
        """Return the id of a message."""
        record = self._records.get(seq)
        if record is not None:
            return record.id
        return self._deleted.last_id if seq and seq == self._deleted.offset else None

    def delete_to(self, seq: int) -> int:
        """Delete the messages with numbers up to this one."""
        count = 0
        for number in range(self._oldest(), min(seq + 1, self._next)):
            record = self.remove(number)
            if record is not None:
                self._deleted = Position(number, record.id)
                count += 1
        return count

    def renew_stream(self) -> str:
        """Give the queue another stream id, and its messages new numbers."""
        records, self._records, self._ready, self._held = self._records, {}, [], []
        self.stream, self._deleted = new_stream(), Position(self._next - 1, "")
        for record in records.values():
            seq, self._next = self._next, self._next + 1
            self._records[seq] = record
            # A lease on the old number counts no more.
            self._free(seq, record, 0.0 if record.until == math.inf else record.until - monotonic())
        return self.stream

    def receive(self, stream: str, entries: Sequence[Entry], after: Position | None) -> Position:
        """Store the messages that follow the position of a stream, and move it."""
        start = position = self.positions.get(stream, START)
        check_position(position, after)
        for entry in entries:
            if entry.seq <= position.offset:
                continue
            drafts = [Draft(entry.id, entry.payload)]
            if entry.seq > position.offset + 1 or (position != start and not self.has_room(drafts)):
                break
            self.append(drafts, 0.0)
            position = self.positions[stream] = Position(entry.seq, entry.id)
        return position


def _size(drafts: Sequence[Draft]) -> int:
    return sum(len(draft.payload) for draft in drafts)


def _refuse_an_outbox(name: str, lead: object) -> None:
    if lead is not None:
        raise sent_by_a_connection(name)
