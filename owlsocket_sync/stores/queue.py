"""`Queue`: a durable queue as users hold it; payloads are written and read as JSON here.

Threads: any; it has no state of its own but the stored queue's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from os import getpid
from typing import Any, NamedTuple

from ..deadline import Deadline, check_timeout
from ..errors import SocketMessageMalformed, StoreError
from ..errors.safe_text import logger
from ..options import Backoff
from ..protocol.delivery import RETRY_DELAY, Consumed, Delivery, Redelivery
from ..protocol.iterators import check_limit
from ..protocol.json_values import from_json, to_json
from ..protocol.messages import IDS
from .base import Draft, Entry, QueueStats, StoredQueue

LEFT_ROUND = (
    "given back when the loop over messages() ended; for a single message use get(), "
    "or consume(ack=False) of a connection"
)


class DeadLetter(NamedTuple):
    """A message that is not delivered any more.

    Attributes:
        payload: as it was put; the text where it is not JSON.
        id: its id.
        attempts: how often it was delivered.
        reason: why it is a dead letter.
        seq: its number in the queue.
    """

    payload: Any
    id: str
    attempts: int
    reason: str
    seq: int


class Queue:
    """A durable queue of messages, each of which one consumer works on at a time.

    What `put` has returned for is delivered at least once, in the order of the queue. A message whose consumer died, or
    gave it back, is delivered again.

    Args:
        stored: the queue in its store.
    """

    def __init__(self, stored: StoredQueue) -> None:
        self.stored = stored

    @property
    def name(self) -> str:
        """The name of the queue in its store."""
        return self.stored.name

    @property
    def stats(self) -> QueueStats:
        """The state of the queue now."""
        return self.stored.stats()

    def __len__(self) -> int:
        """Return the number of messages that wait, delayed ones included."""
        return self.stored.stats().depth

    def __bool__(self) -> bool:
        return True  # a queue is there, also while it is empty

    def _is_one_with(self, other: Queue) -> bool:
        """Return whether this is the same queue: two objects may be one queue of a file, or of a Redis."""
        places = [getattr(queue.stored, "place", queue.stored) for queue in (self, other)]
        return bool(places[0] == places[1])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def put(self, payload: Any, id: str | None = None, delay: float = 0.0) -> str:
        """Store a message, and return its id once it cannot be lost any more.

        Args:
            payload: any value that JSON can represent.
            id: the id of the message, which another one may have as well; by default one that no other message has.
            delay: seconds before which it is not delivered.

        Raises:
            StoreFull: there is no room; nothing was stored.
            SocketMessageMalformed: the payload cannot be represented as JSON.
        """
        if id is not None and not isinstance(id, str):
            raise TypeError(f"id must be a string or None, not {type(id).__name__}")
        delay = check_timeout(delay, "delay")
        if delay == math.inf:
            raise ValueError("delay must be finite")
        # Not the number in the queue: a store that was restored from a backup gives that to another message.
        return self.stored.append([Draft(IDS.next() if id is None else id, to_json(payload))], delay)[0].id

    def put_many(self, payloads: Iterable[Any]) -> list[str]:
        """Store messages, all or none, and return their ids; much faster than one by one.

        Raises:
            StoreFull: there is no room for all of them.
            SocketMessageMalformed: a payload cannot be represented as JSON.
            TypeError: it is one payload, whose parts would be stored.
        """
        if isinstance(payloads, (str, bytes, bytearray, Mapping)):
            raise TypeError(f"put_many takes a list of payloads, not {type(payloads).__name__}; put() takes one")
        drafts = [Draft(IDS.next(), to_json(payload)) for payload in payloads]
        return [stored.id for stored in self.stored.append(drafts)] if drafts else []

    def get(
        self,
        timeout: float = 0.0,
        visibility_timeout: float = 60.0,
        *,
        max_attempts: int | None = None,
        retry_delay: Backoff = RETRY_DELAY,
    ) -> Delivery | None:
        """Take the next message, which has to be answered: by ``ack``, ``nack`` or ``reject``.

        Args:
            timeout: seconds to wait for a message; ``math.inf`` for no limit.
            visibility_timeout: seconds after which a message is delivered again that this process forgot, without an
                answer. One that it works on stays its own, however long that takes.
            max_attempts: a message that was delivered so often without an ``ack`` becomes a dead letter; ``None`` for
                no limit.
            retry_delay: the delays of ``nack``.

        Returns:
            The message, or ``None`` where there was none in time.
        """
        return self.take(Redelivery(visibility_timeout, max_attempts, retry_delay), Deadline(check_timeout(timeout)))

    def messages(
        self,
        visibility_timeout: float = 60.0,
        max_attempts: int | None = 5,
        retry_delay: Backoff = RETRY_DELAY,
        *,
        timeout: float | None = None,
        limit: int | None = None,
    ) -> Iterator[Delivery]:
        """Iterate over messages: a round that ends acknowledges its message, one that does not gives it back.

        So a message is given back where the body of the loop raises, or leaves it by ``break``, and where the iterator
        is dropped, as by ``next(queue.messages())``: for one message use `get`. A body that answers a message itself
        decides.

        Args:
            visibility_timeout: as of `get`.
            max_attempts: as of `get`.
            retry_delay: the delays before the next delivery of a message that was given back.
            timeout: seconds to wait for each message, after which the iterator ends; ``None`` for no limit.
            limit: the number of messages after which it ends.
        """
        check_limit(limit)
        redelivery = Redelivery(visibility_timeout, max_attempts, retry_delay)
        return self._iterate(redelivery, check_timeout(timeout, default=math.inf), limit)

    def _iterate(self, redelivery: Redelivery, timeout: float, limit: int | None) -> Iterator[Delivery]:
        finished: EntryLease | None = None
        while limit is None or limit > 0:
            delivery = self.take(redelivery, Deadline(timeout), finished)
            if delivery is None:
                return
            lease, done = delivery.lease, False
            assert isinstance(lease, EntryLease)
            try:
                yield delivery
                done = True
            finally:
                if not done and lease.is_open():
                    lease.leave_round()
            limit = None if limit is None else limit - 1
            # With the next claim in one transaction, which is half of the work.
            finished = lease if lease.is_open() else None
        if finished is not None:
            finished.ack()

    def take(self, redelivery: Redelivery, deadline: Deadline, finished: EntryLease | None = None) -> Delivery | None:
        """Take the next message as `get` does, with its options in one object.

        Args:
            redelivery: the options.
            deadline: the limit of the wait.
            finished: the lease of a message to acknowledge first, in the same transaction.
        """
        while True:
            done = None if finished is None else finished.entry.seq
            entry = self.stored.claim(redelivery.visibility_timeout, redelivery.max_attempts, deadline, done)
            if finished is not None:
                finished.is_acknowledged()
                finished = None
            if entry is None:
                return None
            lease = EntryLease(self.stored, entry, redelivery)
            try:
                payload = from_json(entry.payload)
            except SocketMessageMalformed as error:
                # Another program wrote it: no attempt would end otherwise, and the others must go on.
                logger.error("%r: the message %s becomes a dead letter: %s", self, entry.id, error)
                lease.reject(str(error))
            else:
                return Delivery(payload, entry.id, entry.remaining, entry.attempts, lease)

    def peek(self, limit: int = 10) -> list[Consumed]:
        """Return the first messages without taking them, also those that are in flight."""
        total = self.stored.stats()
        count = total.depth + total.in_flight
        entries = self.stored.read_after(0, limit)
        return [Consumed(_shown(entry), entry.id, max(0, count - n)) for n, entry in enumerate(entries, 1)]

    def dead_letters(self) -> list[DeadLetter]:
        """Return the messages that are not delivered any more, the oldest first."""
        return [
            DeadLetter(_shown(entry), entry.id, entry.attempts, entry.reason, entry.seq) for entry in self.stored.dead()
        ]

    def requeue(self, letter: DeadLetter) -> None:
        """Put a dead letter at the end of the queue, with its id and without attempts.

        Raises:
            StoreError: it is not among the dead letters any more.
        """
        if not isinstance(letter, DeadLetter):
            raise TypeError(f"requeue takes what dead_letters() returns, not {type(letter).__name__}")
        if self.stored.requeue(letter.seq) is None:
            raise StoreError(f"the message {letter.id} is not among the dead letters of {self.name!r} any more")

    def purge(self, *, dead: bool = False) -> int:
        """Delete all messages that wait, and return how many those were; what is in flight stays.

        What a process that is dead worked on waits.

        Args:
            dead: delete the dead letters instead.
        """
        return self.stored.purge(dead)


class EntryLease:
    """The lease of a claimed entry; see `owlsocket_sync.protocol.delivery.Lease`.

    Args:
        stored: the queue that it was claimed from.
        entry: what was claimed.
        redelivery: the options of its delivery.
    """

    # Of the class: an interrupt may come before the first line of `__init__`.
    _answer: str | None = None
    _process = 0

    def __init__(self, stored: StoredQueue, entry: Entry, redelivery: Redelivery) -> None:
        self._stored = stored
        self.entry = entry
        self._redelivery = redelivery
        self._process = getpid()

    @property
    def answered(self) -> bool:
        """True once the message was acknowledged, given back or refused."""
        return self._answer is not None

    def is_open(self) -> bool:
        """Return whether this process has to answer; in a child of a fork, the message is the parent's."""
        return self._answer is None and self._process == getpid()

    def is_acknowledged(self) -> None:
        """Note that the message was removed from its queue."""
        self._answer = "acknowledged"

    def ack(self) -> None:
        """Remove the message from its queue."""
        if self._answer != "acknowledged":
            self._check_unanswered()
            self._stored.ack(self.entry.seq)
            self.is_acknowledged()

    def nack(self, delay: float | None) -> None:
        """Give the message back, or make it a dead letter after the last attempt."""
        attempts, last = self.entry.attempts, self._redelivery.max_attempts
        if delay is None:
            delay = self._redelivery.retry_delay.delay(attempts)
        elif check_timeout(delay, "delay") == math.inf:
            raise ValueError("delay must be finite")
        self._check_unanswered()
        if delay is None or (last is not None and attempts >= last):
            self._confirm(self._stored.bury(self.entry, f"given back after {attempts} attempts"), "refused")
        else:
            self._confirm(self._stored.release(self.entry, delay), "given back")

    def leave_round(self) -> None:
        """Give the message back, because the loop over the messages ended within its round."""
        self.nack(None)
        # After the last attempt it is a dead letter, and the error of a later answer says so.
        if self._answer == "given back":
            self._answer = LEFT_ROUND

    def reject(self, reason: str) -> None:
        """Make the message a dead letter."""
        self._check_unanswered()
        self._confirm(self._stored.bury(self.entry, reason), "refused")

    def extend(self, seconds: float) -> None:
        """Let the lease last for so many seconds from now on."""
        if check_timeout(seconds, "seconds") == math.inf:
            raise ValueError("seconds must be finite")
        self._check_unanswered()
        self._confirm(self._stored.extend(self.entry, seconds), None)

    def _check_unanswered(self) -> None:
        if self._answer is not None:
            raise StoreError(f"the message {self.entry.id} was already {self._answer}")

    def _confirm(self, held: bool, answer: str | None) -> None:
        if not held:
            raise StoreError(f"the lease of the message {self.entry.id} has ended: it may have been delivered again")
        self._answer = answer

    def __del__(self) -> None:
        # In a forked child this is a copy of the parent's, which still works on it.
        if self.is_open():
            self._stored.drop(self.entry)


def _shown(entry: Entry) -> Any:
    """Return a payload for people: as text where it is not JSON."""
    try:
        return from_json(entry.payload)
    except SocketMessageMalformed:
        return entry.payload.decode("utf-8", errors="replace")
