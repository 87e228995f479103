"""The message queue: ``enqueue``, ``enqueued``, ``consume`` and ``messages``, over the message ``message``.

Threads: the condition ``_arrivals`` guards the messages and is a leaf: filters, which are user code, are asked while it
is free. A thread that waits on it is freed by a message, by the end of the connection, or by its deadline. Nodes are
walked along without it: what follows a node never leads backwards, passes over nothing that can still be taken, and
ends at the last node, also from a node that was taken meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from ..deadline import Deadline
from ..errors import SocketMessageError, SocketMessageMalformed, SocketUnsupported
from ..locks import Condition
from .backlog import MESSAGE_COST, memory_of
from .delivery import Consumed, Redelivery
from .iterators import check_limit
from .messages import Message, MessageType
from .reports import ErrorContext
from .services import Services
from .subscriptions import check_handler
from .types.interfaces import convert, type_adapter

Filter = Callable[[Any], Any]


class Node:
    """A place in the order of messages.

    Attributes:
        message: the message, ``None`` once it was taken.
        size: the memory of the message, in bytes.
        next: the node after it, ``None`` for the last one.
    """

    __slots__ = ("message", "next", "size")

    def __init__(self, message: Message | None, size: int = 0) -> None:
        self.message = message
        self.size = size
        self.next: Node | None = None


class MessageList:
    """Messages in order, of which any may be taken; its owner's lock is held around every method.

    Attributes:
        head: an empty node, which the first message follows.
        size: the memory of the messages, in bytes.
        requeue_count: the number of messages that were put back so far; a walk does not come by those.
    """

    __slots__ = ("_count", "_last", "head", "requeue_count", "size")

    def __init__(self) -> None:
        self.requeue_count = 0
        self.head = self._last = Node(None)
        self._count = self.size = 0

    def __len__(self) -> int:
        return self._count

    def append(self, message: Message, size: int = 0) -> None:
        """Add a message at the end."""
        node = Node(message, size)
        self._last.next = node
        self._last = node
        self._count += 1
        self.size += size

    def put_back(self, message: Message, size: int = 0) -> None:
        """Add a message at the front."""
        node = Node(message, size)
        node.next = self.head.next  # before the head leads to it: a walk must not end here
        self.head.next = node
        if self._last is self.head:
            self._last = node
        self._count += 1
        self.size += size
        self.requeue_count += 1

    def take(self, node: Node, before: Node) -> Message | None:
        """Take the message of the node that was found after ``before``; ``None`` when another thread did."""
        message, node.message = node.message, None
        if message is not None:
            self._count -= 1
            self.size -= node.size
            self.unlink(node, before)
            self._advance()
        return message

    def unlink(self, node: Node, before: Node) -> None:
        """Have an empty node passed over from now on, unless it is the last: new messages follow that."""
        if before.next is node and node.next is not None:
            before.next = node.next

    def _advance(self) -> None:
        while self.head.next is not None and self.head.next.message is None:
            self.head = self.head.next


class MessageQueue:
    """Messages of the peer that wait to be consumed, and ours on their way to the peer's queue.

    Args:
        services: what the connection offers.
        limit: the number of messages that may wait here.
        size: the memory that they may take, in bytes.
    """

    __slots__ = (
        "_arrivals", "_closed", "_full", "_limit", "_max_size", "_messages", "_queue_lock", "_services",
        "deadline_for",
    )  # fmt: skip

    def __init__(self, services: Services, limit: int, size: int) -> None:
        self._services = services
        self.deadline_for = services.deadline_for
        lock = services.make_lock()
        self._arrivals = Condition(lock)
        # For `with`: that of a condition runs Python code with the lock, in which an interrupt would leave it locked.
        # Reentrant: an interrupt of a wait, which has released it, must not release it for another thread.
        self._queue_lock = lock
        self._messages = MessageList()
        self._limit = limit
        self._max_size = size
        self._full = False
        self._closed = False

    def enqueue(self, payload: Any, id: str | None) -> None:
        """Put a message on the peer's queue; see `owlsocket_sync.Connection.enqueue`."""
        self._services.send(Message(MessageType.MESSAGE, payload, id))

    def __len__(self) -> int:
        return len(self._messages)

    def consume(self, filter: Filter | None, timeout: float, payload_type: Any, ack: bool = True) -> Consumed | None:
        """Take a message; see `owlsocket_sync.Connection.consume`."""
        if not ack:
            raise ValueError("ack=False needs an inbox: connect(inbox=...) or serve(inbox=...)")
        check_filter(filter)
        payload_type = None if payload_type is None else type_adapter(payload_type)
        message = self.take(filter, self._services.deadline_for(timeout))
        if message is not None:
            return self.consumed(message, payload_type)
        remaining = len(self._messages)
        return Consumed(None, None, remaining) if remaining else None

    def iterate(
        self,
        current: Callable[[], MessageQueue],
        filter: Filter | None,
        timeout: float | None,
        limit: int | None,
        payload_type: Any,
        redelivery: Redelivery,
    ) -> Iterator[Consumed]:
        """Return an iterator over the queue; see `owlsocket_sync.Connection.messages`.

        Args:
            current: return the queue of the connection, which in a forked child is another one.
            filter: as of `take`.
            timeout: seconds to wait for each message.
            limit: the number of messages after which to end.
            payload_type: the type that payloads are converted to.
            redelivery: the default: a message that was taken from here is not delivered again by itself.
        """
        if redelivery != Redelivery():
            raise ValueError("visibility_timeout, max_attempts and retry_delay need an inbox: connect(inbox=...)")
        check_filter(filter)
        check_limit(limit)
        return _iterate(current, filter, timeout, limit, None if payload_type is None else type_adapter(payload_type))

    def flush(self, timeout: float | None) -> None:
        """Raise: what is sent without an outbox is not acknowledged."""
        raise SocketUnsupported("flush() waits for acks, which need an outbox: connect(outbox=...)")

    def consumed(self, message: Message, payload_type: Any) -> Consumed:
        """Return what a consumer gets for a message that was taken."""
        payload = message.payload
        if payload_type is not None:
            try:
                payload = convert(payload, payload_type, "the payload of a message")
            except SocketMessageMalformed as error:
                error.fields = {"id": message.id, "payload": message.payload}
                raise
        return Consumed(payload, message.id, len(self._messages))

    def take(self, filter: Filter | None, deadline: Deadline) -> Message | None:
        """Wait for and remove the first message that matches; ``None`` when there was none within the deadline."""
        messages = self._messages
        while True:
            with self._queue_lock:
                before, requeue_count = messages.head, messages.requeue_count
            # A message that was put back comes before all that was looked at: then the walk begins again.
            while requeue_count == messages.requeue_count:
                message, before = self._search(filter, before)
                if message is not None:
                    return message
                if not self._wait_for_arrival(before, requeue_count, deadline):
                    return None

    def _search(self, filter: Filter | None, before: Node) -> tuple[Message | None, Node]:
        """Take the first message that matches after this node; else return the last node that was looked at."""
        while (node := before.next) is not None:
            message = node.message
            if message is not None and (filter is None or filter(message.payload)):
                with self._queue_lock:
                    message = self._messages.take(node, before)
                # Another consumer may have taken it while the filter ran without the lock: walk on.
                if message is not None:
                    self._change_share(-node.size)
                    return message, before
            elif message is None and node.next is not None:
                with self._queue_lock:
                    self._messages.unlink(node, before)
            else:
                before = node
        return None, before

    def _wait_for_arrival(self, before: Node, requeue_count: int, deadline: Deadline) -> bool:
        """Return whether there is a message that was not looked at, before the deadline."""

        def has_arrived() -> bool:
            return before.next is not None or requeue_count != self._messages.requeue_count

        with self._queue_lock:
            if has_arrived() or self._closed or deadline.expired():
                return has_arrived()
        with self._services.blocking_wait(deadline), self._queue_lock:
            deadline.wait_for(self._arrivals, lambda: has_arrived() or self._closed)
            return has_arrived()

    def put_back(self, message: Message) -> None:
        """Put a message that was taken back to the front."""
        with self._queue_lock:
            size = _memory_of(message)
            self._messages.put_back(message, size)
            self._arrivals.notify_all()
        self._change_share(size)

    def receive_message(self, message: Message) -> None:
        """Take in a message."""
        size, messages, share = _memory_of(message), self._messages, self._services.backlog.share
        reserved = share is None or not share.is_exceeded()
        with self._queue_lock:
            has_place = len(messages) < self._limit
            # An empty queue takes any size: a message above the limit could never be consumed otherwise.
            is_taken = has_place and (not len(messages) or (messages.size + size <= self._max_size and reserved))
            if is_taken:
                messages.append(message, size)
                self._arrivals.notify_all()
            already_reported, self._full = self._full, not is_taken
        if is_taken:
            self._change_share(size)
            return
        self._services.counters.count("dropped")
        # Once for each time that it fills up: a report for each message would be another flood.
        if not already_reported:
            held = (
                f"{messages.size} bytes of messages that were not consumed "
                f"({'Limits.inbox_bytes' if reserved else 'total_bytes of the server'})"
                if has_place
                else f"{self._limit} messages that were not consumed (Limits.inbox_messages)"
            )
            self._services.report(
                SocketMessageError(f"the queue holds {held}; messages are dropped until there is room"),
                ErrorContext("consume", str(message.id or ""), message),
            )

    def _change_share(self, by: int) -> None:
        share = self._services.backlog.share
        if share is not None:
            share.change(by)

    def end(self) -> None:
        """Free the threads that wait: the connection is closed; what is queued can still be consumed."""
        with self._queue_lock:
            self._closed = True
            self._arrivals.notify_all()


def _memory_of(message: Message) -> int:
    return MESSAGE_COST + memory_of(message.raw or "")


def check_filter(filter: Filter | None) -> None:
    """Raise `TypeError` unless a filter can be called; an empty queue would not ask it."""
    if filter is not None:
        check_handler(filter, "filter", "payload")


def _iterate(
    queue: Callable[[], MessageQueue],
    filter: Filter | None,
    timeout: float | None,
    limit: int | None,
    payload_type: Any,
) -> Iterator[Consumed]:
    while limit is None or limit > 0:
        source = queue()
        message = source.take(filter, source.deadline_for(timeout, math.inf))
        if message is None:
            return
        consumed = source.consumed(message, payload_type)
        done = False
        try:
            yield consumed
            done = True
        finally:
            # The loop's body raised, or was left by break; in a child of a fork within it, the message is the parent's.
            if not done and source is queue():
                source.put_back(message)
        limit = None if limit is None else limit - 1
