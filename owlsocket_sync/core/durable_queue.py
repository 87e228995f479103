"""The queue of a connection that has an inbox or an outbox: what is put and taken is in a store.

Threads: ``_deleted_lock``, under ``_deleted``, is a leaf: a thread that waits for the outbox to be empty is freed when
messages were deleted, at the end of the connection, or by its deadline.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import getpid
from typing import Any, Protocol

from ..deadline import Deadline
from ..errors import SocketMessageError, SocketMessageMalformed, SocketTimeout, SocketUnsupported
from ..errors.marshalled import unsent
from ..errors.safe_text import safe_str
from ..locks import Condition
from ..protocol.delivery import Consumed, Delivery, Lease, Redelivery
from ..protocol.iterators import check_limit
from ..protocol.json_values import to_json
from ..protocol.messages import IDS
from ..protocol.queue import Filter, MessageQueue
from ..protocol.services import Services
from ..protocol.types.interfaces import convert, type_adapter
from ..stores.base import Draft, QueueStats
from ..stores.queue import EntryLease, Queue
from .queue_exchange import QueueExchange
from .queue_lane import QueueLane

LOOK_INTERVAL = 0.1
FRAME_BYTES = 256
"""The bytes of a message apart from payload and id, at most."""


class WakesExchange(Protocol):
    """Has an exchange work on a thread."""

    def wake(self) -> None:
        """Have it work soon."""
        ...


@dataclass(frozen=True)
class StoredQueues:
    """The queues of a connection.

    Attributes:
        inbox: where messages of the peer are stored; ``None`` for the memory of the connection.
        outbox: what is sent; ``None`` to send at once.
        owner: of the streams that the peer sends; ``""`` where peers are not identified.
        make_worker: return what an exchange with an outbox is woken by: a drainer, which has a thread.
    """

    inbox: Queue | None = None
    outbox: Queue | None = None
    owner: str = ""
    make_worker: Callable[[QueueExchange, str], WakesExchange] | None = None


class DurableQueue:
    """The queue of a connection, of which one half at least is in a store; see `MessageQueue`.

    Args:
        services: what the connection offers.
        queues: in stores.
        memory: for the half that is not.
        exchange: with the peer.
        message_size: the most bytes of one message.
        last_failure: return the reason why there is no link; ``None`` while there is one.

    Attributes:
        memory: the half that is not in a store.
        exchange: with the peer.
        lane: of the workers, on which the exchange works; ``None`` if a drainer does.
    """

    def __init__(
        self,
        services: Services,
        queues: StoredQueues,
        memory: MessageQueue,
        exchange: QueueExchange,
        message_size: int,
        last_failure: Callable[[], Exception | None],
    ) -> None:
        self._services = services
        self._last_failure = last_failure
        self.deadline_for = services.deadline_for
        self._inbox, self._outbox = queues.inbox, queues.outbox
        self.memory = memory
        self.exchange = exchange
        self.lane: QueueLane | None = None
        self._message_size = message_size
        lock = services.make_lock()
        self._deleted = Condition(lock)
        # For `with`: that of a condition runs Python code with the lock, in which an interrupt would leave it locked.
        self._deleted_lock = lock
        self._deletions = 0
        exchange.on_deleted = self._notify_deleted

    # -- the outbox --------------------------------------------------------------------------------------------------

    def enqueue(self, payload: Any, id: str | None) -> None:
        """Put a message on the peer's queue; see `owlsocket_sync.Connection.enqueue`."""
        if self._outbox is None:
            self.memory.enqueue(payload, id)
            return
        if id is not None and not isinstance(id, str):
            raise TypeError(f"id must be a string or None, not {type(id).__name__}")
        self._services.check_open()
        # An id that no other message has, also after a backup was restored: by it the peer knows the message.
        draft = Draft(IDS.next() if id is None else id, to_json(payload))
        size = len(draft.payload) + len(draft.id or "") + FRAME_BYTES
        if size > self._message_size:
            limit = f"{self._message_size} (Limits.message_size)"
            raise unsent(SocketMessageError(f"a message of {size} bytes is larger than {limit}"))
        self._outbox.stored.append([draft])
        self.exchange.wake()

    def flush(self, timeout: float | None) -> None:
        """Wait until the peer has acknowledged everything; see `owlsocket_sync.Connection.flush`."""
        outbox = self.exchange.outbox
        if outbox is None:
            raise no_outbox()
        deadline = self._services.deadline_for(timeout)
        if outbox.is_empty():
            return
        with self._services.blocking_wait(deadline):
            while True:
                seen = self._deletions  # first: a deletion after the look ends the wait
                if outbox.is_empty():
                    return
                self._services.check_open()
                if deadline.expired():
                    # Before the figures: reading them takes time, in which a link may come.
                    failure = self._last_failure()
                    raise _unacknowledged(outbox.stored.stats(), deadline, failure) from failure
                with self._deleted_lock:
                    seconds = min(LOOK_INTERVAL, deadline.remaining())
                    # Another process may be the one that sends, so the wait is short.
                    self._deleted.wait_for(lambda seen=seen: self._deletions != seen, seconds)  # type: ignore[misc]

    def _notify_deleted(self) -> None:
        with self._deleted_lock:
            self._deletions += 1
            self._deleted.notify_all()

    # -- the inbox ---------------------------------------------------------------------------------------------------

    def receive_message(self, message: Any, link: int) -> None:
        """Take in a message of the peer."""
        if self._inbox is None:
            self.memory.receive_message(message)
        else:
            self.exchange.receive_message(message, link)

    def __len__(self) -> int:
        return len(self.memory) if self._inbox is None else len(self._inbox)

    def consume(self, filter: Filter | None, timeout: float, payload_type: Any, ack: bool) -> Consumed | None:
        """Take a message; see `owlsocket_sync.Connection.consume`."""
        if self._inbox is None:
            return self.memory.consume(filter, timeout, payload_type, ack)
        _refuse_filter(filter)
        adapter = None if payload_type is None else type_adapter(payload_type)
        delivery = self.take(Redelivery(max_attempts=None), self.deadline_for(timeout), adapter)
        if delivery is None:
            return None
        if ack:
            delivery.ack()
        return delivery

    def iterate(
        self,
        current: Callable[[], Any],
        filter: Filter | None,
        timeout: float | None,
        limit: int | None,
        payload_type: Any,
        redelivery: Redelivery,
    ) -> Iterator[Consumed]:
        """Return an iterator over the inbox; see `owlsocket_sync.Connection.messages`.

        Args:
            current: return the queue of the connection, which in a forked child is another one.
            filter: must be ``None``.
            timeout: seconds to wait for each message.
            limit: the number of messages after which to end.
            payload_type: the type that payloads are converted to.
            redelivery: the rules for messages that are not acknowledged.
        """
        if self._inbox is None:
            return self.memory.iterate(lambda: current().memory, filter, timeout, limit, payload_type, redelivery)
        _refuse_filter(filter)
        check_limit(limit)
        adapter = None if payload_type is None else type_adapter(payload_type)
        return _iterate(current, timeout, limit, adapter, redelivery)

    def take(self, redelivery: Redelivery, deadline: Deadline, adapter: Any) -> Delivery | None:
        """Wait for the next message of the inbox; ``None`` when there was none within the deadline.

        Args:
            redelivery: the rules for messages that are not acknowledged.
            deadline: the limit of the wait.
            adapter: converts the payload, if there is one.
        """
        inbox = self._inbox
        assert inbox is not None
        delivery = inbox.take(redelivery, Deadline(0.0))
        if delivery is None and not deadline.expired():
            with self._services.blocking_wait(deadline):
                # In short waits: the store does not know when the connection is closed.
                while delivery is None and not deadline.expired() and not self.exchange.is_over:
                    delivery = inbox.take(redelivery, deadline.sooner(Deadline(LOOK_INTERVAL)))
        return None if delivery is None else self._converted(delivery, adapter)

    def _converted(self, delivery: Delivery, adapter: Any) -> Delivery:
        payload, own, inbox = delivery.payload, delivery.lease, self.exchange.inbox
        assert isinstance(own, EntryLease)
        lease: Lease = own
        if inbox is not None and inbox.is_volatile:
            lease = WakingLease(own, self.exchange)
        elif adapter is None:
            return delivery
        try:
            if adapter is not None:
                payload = convert(payload, adapter, "the payload of a message")
        except SocketMessageMalformed as error:
            error.fields = {"id": delivery.id, "payload": delivery.payload}
            lease.reject(str(error))
            raise
        return Delivery(payload, delivery.id, delivery.remaining, delivery.attempts, lease)

    def with_timers(self, expire: Callable[[float], float]) -> Callable[[float], float]:
        """Return timers that run those of the queues as well."""
        if self.lane is None:
            return expire
        run_timers = self.lane.run_timers
        return lambda now: min(expire(now), run_timers(now))

    def end(self) -> None:
        """Free the threads that wait: the connection is closed."""
        self.memory.end()
        self.exchange.end()
        self._notify_deleted()


class WakingLease:
    """A lease on a message of a volatile inbox, whose end is told to the peer.

    Args:
        lease: the lease.
        exchange: with the peer.
    """

    def __init__(self, lease: EntryLease, exchange: QueueExchange) -> None:
        self._lease = lease
        self._exchange = exchange

    @property
    def answered(self) -> bool:
        """True once the message was acknowledged, given back or refused."""
        return self._lease.answered

    def ack(self) -> None:
        """Remove the message from its queue."""
        self._lease.ack()
        self._exchange.wake()

    def nack(self, delay: float | None) -> None:
        """Give the message back."""
        self._lease.nack(delay)

    def leave_round(self) -> None:
        """Give the message back, because the loop over the messages ended within its round."""
        self._lease.leave_round()

    def reject(self, reason: str) -> None:
        """Make the message a dead letter."""
        self._lease.reject(reason)
        self._exchange.wake()

    def extend(self, seconds: float) -> None:
        """Let the lease last for so many seconds from now on."""
        self._lease.extend(seconds)


def _iterate(
    current: Callable[[], DurableQueue],
    timeout: float | None,
    limit: int | None,
    adapter: Any,
    redelivery: Redelivery,
) -> Iterator[Delivery]:
    while limit is None or limit > 0:
        source = current()
        delivery = source.take(redelivery, source.deadline_for(timeout, math.inf), adapter)
        if delivery is None:
            return
        process, done = getpid(), False
        try:
            yield delivery
            done = True
        finally:
            # In a child of a fork within the body, the message is the parent's.
            if not delivery.answered and process == getpid():
                if done:
                    delivery.ack()
                else:
                    lease = delivery.lease
                    assert isinstance(lease, (EntryLease, WakingLease))
                    lease.leave_round()
        limit = None if limit is None else limit - 1


def _unacknowledged(left: QueueStats, deadline: Deadline, failure: Exception | None) -> SocketTimeout:
    count = left.depth + left.in_flight
    what = "1 message was" if count == 1 else f"{count} messages were"
    reason = f" (last failure: {safe_str(failure)})" if failure else ""
    return SocketTimeout(f"{what} not acknowledged within {deadline.seconds:g} s{reason}")


def no_outbox() -> SocketUnsupported:
    """Return the error of a wait for acks that no peer sends."""
    return SocketUnsupported("flush() waits for acks, which need an outbox: connect(outbox=...) or serve(outbox=...)")


def _refuse_filter(filter: Filter | None) -> None:
    if filter is not None:
        raise ValueError("filter cannot be used with an inbox: its messages are taken in their order")
