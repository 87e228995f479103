"""`RedisQueue`: one queue in Redis; its steps are the scripts of `redis_scripts`.

Threads: any; it has no lock. A thread that waits for a message is freed by one, from whatever process (it waits for an
item of the list ``bell``), by the moment of a delayed one, by the end of a lease, or by its deadline. It looks around
every `LONGEST_WAIT` seconds: for processes that have died, and for `RedisStore.close`.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence
from typing import Any

from ..clock import monotonic
from ..deadline import Deadline
from ..errors import StoreError
from ..errors.safe_text import logger
from ..redis.link import Script
from . import redis_scripts as scripts
from .base import Draft, Entry, QueueStats, Stored, default_id, sent_by_a_connection
from .redis_leases import MIN_LEASE, QueueLeases, RedisLeases, held_for
from .redis_link import StoreLink
from .redis_links import LONGEST_WAIT, RedisLinks, decode, encode
from .redis_owner import is_dead
from .redis_tools import KEYS, PAGE

OWNERS_INTERVAL = 0.5
"""Seconds between two looks for processes that have died."""


class RedisQueue(RedisLinks):
    """A queue in Redis; see `owlsocket_sync.stores.Outgoing` and `owlsocket_sync.stores.Incoming`.

    Args:
        name: of the queue.
        prefix: of its keys.
        link: of the store.
        owner: whose leases those of this process are.
        limits: messages that the queue may hold, and their size.
    """

    def __init__(self, name: str, prefix: str, link: StoreLink, owner: RedisLeases, limits: tuple[int, int]) -> None:
        self._owner = owner
        self.leases = QueueLeases()
        super().__init__(name, prefix, link, limits)
        self._bell = self._keys[KEYS.index("bell")]

    def begin(self) -> None:
        """Begin without leases, and as a writer of its own; in a forked child as well."""
        super().begin()
        self.leases.begin()
        self._looked = -math.inf
        self._claims = itertools.count()
        self._appends = itertools.count()
        # A writer appends one batch at a time: so there are as many as threads that append at once.
        self._writers: deque[str] = deque()
        self._writer_numbers = itertools.count()

    # -- putting -----------------------------------------------------------------------------------------------------

    def append(self, drafts: Sequence[Draft], delay: float = 0.0) -> list[Stored]:
        """Store messages, all or none."""
        if not drafts:
            return []
        try:
            writer = self._writers.pop()
        except IndexError:
            writer = f"{self._owner.owner.rpartition('/')[2]}-{next(self._writer_numbers)}"
        arguments: list[Any] = [math.ceil(delay * 1000), *self._limits, writer, next(self._appends)]
        for draft in drafts:
            arguments += ("" if draft.id is None else b"=" + encode(draft.id), draft.payload)
        try:
            stream, _, first = self._add(scripts.APPEND, arguments)
        finally:
            self._writers.append(writer)
        numbers = range(int(first), int(first) + len(drafts))
        return [
            Stored(seq, default_id(stream, seq) if draft.id is None else draft.id)
            for seq, draft in zip(numbers, drafts, strict=True)
        ]

    # -- taking ------------------------------------------------------------------------------------------------------

    def claim(
        self, visibility_timeout: float, max_attempts: int | None, deadline: Deadline, done: int | None = None
    ) -> Entry | None:
        """Wait for the first message that is free, and lease it."""
        while True:
            self.tell_changes()
            self._free_what_the_dead_left()
            entry, due = self._claim_now(visibility_timeout, max_attempts, deadline, done)
            done = None
            if entry is not None or deadline.expired():
                return entry
            self._link.await_item(self._bell, min(deadline.remaining(), due, LONGEST_WAIT))

    def _claim_now(
        self, visibility: float, most: int | None, deadline: Deadline, done: int | None
    ) -> tuple[Entry | None, float]:
        """Lease the first message that is free, or return the seconds until one may be."""
        lease = (_milliseconds(held_for(visibility)), -1 if most is None else most)
        claim, entry = next(self._claims), None
        arguments = (*lease, self._owner.owner, claim, "" if done is None else done)
        try:
            _, claimed = self._run(scripts.CLAIM, *arguments, deadline=deadline)
            if done is not None:
                self.leases.end(done)
            if claimed[0] == b"sent":
                self._refuse_an_outbox(claimed[1])
                return self._claim_now(visibility, most, deadline, None)
            if len(claimed) == 1:
                milliseconds = int(claimed[0])
                return None, math.inf if milliseconds < 0 else milliseconds / 1000
            entry = _entry(*claimed)
            self.leases.take(entry.seq, entry.attempts, visibility)
            self._owner.wake()
            if self._link.closed:
                raise StoreError("the store is closed")
            return entry, 0.0
        except BaseException:
            # An interrupt, or an outage that was too long: Redis may have leased a message, which has no consumer.
            self._lose(claim, entry)
            raise

    def _refuse_an_outbox(self, sender: bytes) -> None:
        """Raise where a connection sends the messages; where its process is dead, end its right to do so."""
        if not is_dead(sender.decode().partition(" ")[0]):
            raise sent_by_a_connection(self.name)
        # Redis keeps it for seconds; a process of this machine is known to be dead at once.
        self._run(scripts.LEAVE_LEAD, sender)

    def _lose(self, claim: int, entry: Entry | None) -> None:
        if entry is not None:
            self.leases.end(entry.seq, entry.attempts)
        if self._link.closed:
            self._run(scripts.FREE, f"{self._owner.owner} {claim}", closing=True)
        else:
            self.leases.lose(claim)

    def tell_changes(self) -> None:
        """Tell Redis of the leases that are renewed, were dropped, or have no consumer."""
        for claim in self.leases.lost():
            self._run(scripts.FREE, f"{self._owner.owner} {claim}")
        changes = self.leases.changes()
        if changes:
            rows = [(seq, attempts, _milliseconds(seconds)) for seq, attempts, seconds in changes]
            _, leased = self._run(scripts.LEASE, *itertools.chain(*rows))
            for (seq, attempts, _), is_leased in zip(changes, leased, strict=True):
                if not is_leased:
                    self.leases.end(seq, attempts)
        self._renew_leads()

    def _free_what_the_dead_left(self, *, now_and_then: bool = True) -> None:
        """Free what processes of this machine have leased that died; at the first use, and not at each one."""
        now = monotonic()
        if now_and_then and now < self._looked + OWNERS_INTERVAL:
            return
        self._looked = now
        for holder in self._run(scripts.HOLDERS)[1]:
            if is_dead(holder.decode()):
                self._run(scripts.FREE, holder)

    def give_back(self) -> None:
        """Free what this process has leased; at the end of its store."""
        leads = list(self.leases.leads)
        if not self.leases.is_empty():
            self.leases.begin()
            self._run(scripts.FREE, self._owner.owner, closing=True)
        for holder in leads:
            self._run(scripts.LEAVE_LEAD, holder, closing=True)

    # -- answers -----------------------------------------------------------------------------------------------------

    def ack(self, seq: int) -> None:
        """Remove a message."""
        self._run(scripts.REMOVE, seq)
        self.leases.end(seq)

    def release(self, entry: Entry, delay: float) -> bool:
        """Give a claimed message back."""
        return self._answer(scripts.RELEASE, entry, math.ceil(delay * 1000))

    def bury(self, entry: Entry, reason: str) -> bool:
        """Make a claimed message a dead letter."""
        return self._answer(scripts.BURY, entry, encode(reason))

    def _answer(self, script: Script, entry: Entry, argument: Any) -> bool:
        held = bool(self._run(script, entry.seq, entry.attempts, argument)[1])
        self.leases.end(entry.seq, entry.attempts)
        return held

    def extend(self, entry: Entry, seconds: float) -> bool:
        """Let a lease end after so many seconds, not earlier."""
        hold = self.leases.find(entry.seq, entry.attempts)
        least = 0.0 if hold is None else max(held_for(hold.visibility), hold.end - monotonic())
        row = (entry.seq, entry.attempts, _milliseconds(max(seconds, least)))
        held = bool(self._run(scripts.LEASE, *row)[1][0])
        if held:
            self.leases.extend(entry.seq, entry.attempts, monotonic() + seconds)
        return held

    def drop(self, entry: Entry) -> None:
        """Let a lease end by the clock."""
        self.leases.drop(entry.seq, entry.attempts)

    # -- the right to send -------------------------------------------------------------------------------------------

    def take_lead(self) -> RedisLead | None:
        """Become the one that sends its messages."""
        holder = f"{self._owner.owner} {next(self._claims)}"
        leader = self._take_lead(holder)
        if leader != holder and is_dead(leader.partition(" ")[0]):
            leader = self._take_lead(holder, leader)
        if leader != holder:
            return None
        self.leases.leads[holder] = monotonic() + MIN_LEASE / 3
        self._owner.wake()
        return RedisLead(self, holder)

    def _take_lead(self, holder: str, dead: str = "") -> str:
        return decode(self._run(scripts.TAKE_LEAD, holder, dead, _milliseconds(MIN_LEASE))[1])

    def _renew_leads(self) -> None:
        for holder, renewal in list(self.leases.leads.items()):
            if renewal <= monotonic():
                if self._take_lead(holder) == holder and holder in self.leases.leads:
                    self.leases.leads[holder] = monotonic() + MIN_LEASE / 3
                elif self.leases.leads.pop(holder, None) is not None:
                    logger.error(
                        "another process sends the messages of the queue %r by now: this one was suspended, "
                        "or could not reach Redis, for too long",
                        self.name,
                    )

    def give_up(self, holder: str) -> None:
        """Let another process send its messages."""
        # Without it: it was given up, or lost, or is a parent's.
        if self.leases.leads.pop(holder, None) is None:
            return
        try:
            self._run(scripts.LEAVE_LEAD, holder)
        except StoreError:
            if not self._link.closed:
                raise
            # Closed meanwhile, as at an exit: its store has not seen this lead any more.
            self._run(scripts.LEAVE_LEAD, holder, closing=True)

    # -- looking, and putting in order -------------------------------------------------------------------------------

    def read_after(self, seq: int, count: int) -> list[Entry]:
        """Return the first messages with greater numbers."""
        return [_entry(*row) for row in self._run(scripts.READ_AFTER, seq, count)[1]] if count > 0 else []

    def stats(self) -> QueueStats:
        """Return the state of the queue."""
        self.tell_changes()
        self._free_what_the_dead_left(now_and_then=False)
        depth, size, age, in_flight, dead = map(int, self._run(scripts.STATS)[1])
        return QueueStats(depth, size, age / 1000, in_flight, dead)

    def dead(self) -> list[Entry]:
        """Return the dead letters."""
        letters: list[Entry] = []
        start = b"-"
        while True:
            page: list[Any] = self._run(scripts.DEAD, start, PAGE)[1]
            for _, fields in page:
                payload, id, seq, attempts, reason = fields[1::2]
                letters.append(_entry(seq, id, payload, attempts, reason=decode(reason)))
            if len(page) < PAGE:
                return letters
            start = b"(" + page[-1][0]

    def requeue(self, seq: int) -> int | None:
        """Append a dead letter as a message without attempts."""
        number = self._run(scripts.REQUEUE, seq, durable=True)[1]
        return int(number) if number else None

    def purge(self, dead: bool) -> int:
        """Delete the messages that wait, or the dead letters."""
        sender = b"" if dead else self._run(scripts.LEADER)[1]
        if sender:
            self._refuse_an_outbox(sender)
        self.stats()  # which frees the messages of processes that have ended
        start, end, count = b"-", "+" if dead else self._known.next - 1, 0
        while start:
            purged, start = self._run(scripts.PURGE, int(dead), start, end, PAGE)[1]
            count += int(purged)
        return count


class RedisLead:
    """The right to send the messages of a queue in Redis, renewed while its process lives.

    Args:
        queue: the queue.
        holder: its name in Redis.
    """

    def __init__(self, queue: RedisQueue, holder: str) -> None:
        self._queue = queue
        self._holder = holder

    def release(self) -> None:
        """Give it up."""
        self._queue.give_up(self._holder)


def _milliseconds(seconds: float) -> int:
    return max(0, math.ceil(seconds * 1000))


def _entry(seq: bytes, id: bytes, payload: bytes, attempts: bytes, remaining: bytes = b"0", reason: str = "") -> Entry:
    return Entry(int(seq), decode(id), payload, int(attempts), int(remaining), reason)
