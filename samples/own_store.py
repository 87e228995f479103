"""A store of one's own: durable queues in any mapping, such as a `shelve`, for the threads of one process.

It reads and writes a whole queue for each step, so it is for short ones; and it shows all that a store has to do.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from owlsocket_sync import StoreError, StoreFull
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.stores import Draft, Entry, Queue, QueueStats, Stored


@dataclass
class Row:
    id: str
    payload: bytes
    attempts: int = 0
    added: float = field(default_factory=time.time)
    until: float = 0.0  # free from this moment on, unless it is leased
    leased: bool = False

    def entry(self, seq: int, remaining: int = 0, reason: str = "") -> Entry:
        return Entry(seq, self.id, self.payload, self.attempts, remaining, reason)


@dataclass
class State:
    stream: str = field(default_factory=lambda: uuid.uuid4().hex)
    next: int = 1
    rows: dict[int, Row] = field(default_factory=dict)
    dead: dict[int, tuple[Row, str]] = field(default_factory=dict)


class MappingStore:
    def __init__(self, mapping: MutableMapping[str, Any], max_messages: int = 1000, max_bytes: int = 2**20) -> None:
        self.mapping = mapping
        self.limits = (max_messages, max_bytes)
        self.changed = threading.Condition(threading.RLock())
        self.closed = False
        self.dropped: dict[str, list[Entry]] = {}
        for state in mapping.values():  # what a process that has ended worked on is free
            for row in state.rows.values():
                row.leased = False

    def queue(self, name: str) -> Queue:
        if not isinstance(name, str) or not name:
            raise ValueError(f"the name of a queue is a text, not {name!r}")
        return Queue(MappingQueue(self, name))

    def queues(self) -> list[str]:
        return sorted(name for name, state in self.mapping.items() if state.next > 1)

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def __enter__(self) -> MappingStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class MappingQueue:
    def __init__(self, store: MappingStore, name: str) -> None:
        self.store = store
        self.name = name
        self.dropped = store.dropped.setdefault(name, [])

    @contextmanager
    def state(self) -> Iterator[State]:
        with self.store.changed:
            if self.store.closed:
                raise StoreError("the store is closed")
            state = self.store.mapping.get(self.name) or State()
            while self.dropped:
                if row := self.leased(state, self.dropped.pop()):
                    row.leased = False
            yield state
            self.store.mapping[self.name] = state  # for a shelve, this writes it
            self.store.changed.notify_all()

    @staticmethod
    def leased(state: State, entry: Entry) -> Row | None:
        row = state.rows.get(entry.seq)
        return row if row is not None and row.leased and row.attempts == entry.attempts else None

    @property
    def stream(self) -> str:
        with self.state() as state:
            return state.stream

    def append(self, drafts: Sequence[Draft], delay: float = 0.0) -> list[Stored]:
        with self.state() as state:
            kept = [*state.rows.values(), *(row for row, _ in state.dead.values())]
            size = sum(len(row.payload) for row in kept) + sum(len(draft.payload) for draft in drafts)
            if len(kept) + len(drafts) > self.store.limits[0] or size > self.store.limits[1]:
                raise StoreFull(f"the queue {self.name!r} holds {len(kept)} messages, dead letters included")
            first, until = state.next, time.time() + delay if delay else 0.0
            for draft in drafts:
                id = f"{state.stream}:{state.next}" if draft.id is None else draft.id
                state.rows[state.next] = Row(id, draft.payload, until=until)
                state.next += 1
            return [Stored(seq, state.rows[seq].id) for seq in range(first, state.next)]

    def claim(
        self, visibility_timeout: float, max_attempts: int | None, deadline: Deadline, done: int | None = None
    ) -> Entry | None:
        if done is not None:
            self.ack(done)
        with self.store.changed:
            while True:
                with self.state() as state:
                    entry = self.claim_in(state, visibility_timeout, max_attempts)
                if entry is not None or deadline.expired():
                    return entry
                self.store.changed.wait(min(0.02, deadline.remaining()))

    def claim_in(self, state: State, visibility_timeout: float, max_attempts: int | None) -> Entry | None:
        for seq, row in sorted(state.rows.items()):
            if row.leased or row.until > time.time():
                continue
            if max_attempts is not None and row.attempts >= max_attempts:
                state.dead[seq] = state.rows.pop(seq), f"no answer after {row.attempts} attempts"
                continue
            row.attempts, row.leased, row.until = row.attempts + 1, True, time.time() + visibility_timeout
            return row.entry(seq, sum(not row.leased for row in state.rows.values()))
        return None

    def ack(self, seq: int) -> None:
        with self.state() as state:
            state.rows.pop(seq, None)

    def release(self, entry: Entry, delay: float) -> bool:
        with self.state() as state:
            if row := self.leased(state, entry):
                row.leased, row.until = False, time.time() + delay
            return row is not None

    def bury(self, entry: Entry, reason: str) -> bool:
        with self.state() as state:
            if row := self.leased(state, entry):
                state.dead[entry.seq] = state.rows.pop(entry.seq), reason
            return row is not None

    def extend(self, entry: Entry, seconds: float) -> bool:
        with self.state() as state:
            if row := self.leased(state, entry):
                row.until = max(row.until, time.time() + seconds)
            return row is not None

    def drop(self, entry: Entry) -> None:
        self.dropped.append(entry)  # without the lock: a finalizer calls this

    def read_after(self, seq: int, count: int) -> list[Entry]:
        with self.state() as state:
            return [row.entry(number) for number, row in sorted(state.rows.items()) if number > seq][:count]

    def stats(self) -> QueueStats:
        with self.state() as state:
            rows, in_flight = state.rows.values(), sum(row.leased for row in state.rows.values())
            size = sum(len(row.payload) for row in (*rows, *(row for row, _ in state.dead.values())))
            oldest = time.time() - min((row.added for row in rows), default=time.time())
            return QueueStats(len(rows) - in_flight, size, max(0.0, oldest), in_flight, len(state.dead))

    def dead(self) -> list[Entry]:
        with self.state() as state:
            return [row.entry(seq, reason=reason) for seq, (row, reason) in state.dead.items()]

    def requeue(self, seq: int) -> int | None:
        with self.state() as state:
            row, _ = state.dead.pop(seq, (None, ""))
            if row is None:
                return None
            state.rows[state.next] = Row(row.id, row.payload)
            state.next += 1
            return state.next - 1

    def purge(self, dead: bool) -> int:
        with self.state() as state:
            doomed = [seq for seq, row in state.rows.items() if not row.leased]
            if dead:
                count = len(state.dead)
                state.dead.clear()
                return count
            for seq in doomed:
                del state.rows[seq]
            return len(doomed)


if __name__ == "__main__":
    import shelve
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        with shelve.open(f"{folder}/queues") as shelf, MappingStore(shelf) as store:
            store.queue("orders").put_many(["lantern", "perch"])
        with shelve.open(f"{folder}/queues") as shelf, MappingStore(shelf) as store:
            for message in store.queue("orders").messages(timeout=0):
                print("order:", message.payload)
