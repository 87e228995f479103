"""The message queue: ``enqueue``, ``enqueued``, ``consume`` and ``messages``, over the message ``message``.

Threads: the condition ``_arrivals`` guards the inbox and is a leaf: filters, which are user code, are asked while it
is free. Whoever waits on it is freed by a message, by the end of the connection, or by its deadline.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..deadline import Deadline
from ..errors import SocketMessageError, SocketMessageMalformed
from .endpoint import Endpoint, ErrorContext
from .inbox import Entry, Inbox
from .messages import Message, MessageType
from .typed import convert, converter

Filter = Callable[[Any], Any]


class Consumed(NamedTuple):
    """A message taken from the queue; payload and id are ``None`` where a filter matched none."""

    payload: Any
    id: Any
    remaining: int


class Queue(Endpoint):
    """Put messages on the peer's queue, and take those that it put on ours."""

    def __init__(self, inbox_limit: int) -> None:
        self._arrivals = threading.Condition(threading.Lock())
        self._inbox = Inbox()
        self._inbox_limit = inbox_limit
        self._inbox_full = False
        self._inbox_ended = False

    def enqueue(self, payload: Any, id: str | None = None) -> None:
        """Put a message on the peer's queue; raises what `notify` raises."""
        self._send(Message(MessageType.MESSAGE, payload, id))

    def enqueued(self) -> int:
        """How many messages wait here."""
        return len(self._inbox)

    def consume(
        self, filter: Filter | None = None, timeout: float = 0.0, *, payload_type: Any = None
    ) -> Consumed | None:
        """Take the first message, or the first for whose payload ``filter`` is true.

        Args:
            filter: what it raises comes through, and takes nothing.
            timeout: seconds to wait for one; 0 does not wait.
            payload_type: what the payload is made, as by ``result_type`` of `call`; the filter sees it as it came.

        Returns:
            ``None`` when nothing is queued, ``(None, None, remaining)`` when the filter matched nothing.

        Raises:
            SocketMessageMalformed: the payload cannot be made ``payload_type``. The message is taken all the same:
                it would bar the way for ever. Its payload and id are in ``fields`` of the error.
            TypeError: nothing of JSON can be made ``payload_type``; nothing is taken.
        """
        payload_type = None if payload_type is None else converter(payload_type)
        message = self._take(filter, self._budget(timeout))
        if message is not None:
            return self._consumed(message, payload_type)
        remaining = len(self._inbox)
        return Consumed(None, None, remaining) if remaining else None

    def messages(
        self,
        filter: Filter | None = None,
        timeout: float | None = None,
        limit: int | None = None,
        *,
        payload_type: Any = None,
    ) -> Iterator[Consumed]:
        """Iterate over the queue, waiting for more; a message is done when the loop comes round again.

        One whose loop body raised, or was left by ``break``, goes back to the front of the queue.

        Args:
            filter: pass over the messages for which it is false.
            timeout: end when none came for so many seconds; ``None`` for as long as the connection lasts.
            limit: end after so many.
            payload_type: what the payload of each is made. One that cannot be made that raises what `consume`
                raises, and is taken all the same; iterate anew to go on behind it.
        """
        return self._messages(filter, timeout, limit, None if payload_type is None else converter(payload_type))

    def _messages(
        self, filter: Filter | None, timeout: float | None, limit: int | None, payload_type: Any
    ) -> Iterator[Consumed]:
        while limit is None or limit > 0:
            message = self._take(filter, self._budget(timeout, math.inf))
            if message is None:
                return
            consumed = self._consumed(message, payload_type)
            done = False
            try:
                yield consumed
                done = True
            finally:
                if not done:
                    self._put_back(message)
            limit = None if limit is None else limit - 1

    def _consumed(self, message: Message, payload_type: Any) -> Consumed:
        payload = message.payload
        if payload_type is not None:
            try:
                payload = convert(payload, payload_type, "the payload of a message")
            except SocketMessageMalformed as error:
                error.fields = {"id": message.id, "payload": message.payload}
                raise
        return Consumed(payload, message.id, len(self._inbox))

    def _take(self, filter: Filter | None, deadline: Deadline) -> Message | None:
        """Wait for and remove the first message that fits; ``None`` when none did in time."""
        inbox = self._inbox
        while True:
            with self._arrivals:
                before, returns = inbox.front, inbox.returns
            while returns == inbox.returns:  # else what was put back comes before all that was looked at
                message, before = self._search(filter, before)
                if message is not None:
                    return message
                if not self._wait_for_arrival(before, returns, deadline):
                    return None

    def _search(self, filter: Filter | None, before: Entry) -> tuple[Message | None, Entry]:
        """Take the first message that fits behind this entry; else the last entry that was looked at comes back."""
        while (entry := before.following) is not None:
            message = entry.message
            if message is not None and (filter is None or filter(message.payload)):
                with self._arrivals:
                    message = self._inbox.take(entry, before)
                if message is not None:
                    return message, before
            elif message is None and entry.following is not None:
                with self._arrivals:
                    self._inbox.leave_out(entry, before)
            else:
                before = entry
        return None, before

    def _wait_for_arrival(self, before: Entry, returns: int, deadline: Deadline) -> bool:
        """Whether there is a message that was not looked at before the time is over."""

        def news() -> bool:
            return before.following is not None or returns != self._inbox.returns

        with self._arrivals:
            if news() or self._inbox_ended or deadline.expired():
                return news()
        with self._waiting(deadline), self._arrivals:
            self._arrivals.wait_for(lambda: news() or self._inbox_ended, deadline.wait_seconds())
            return news()

    def _put_back(self, message: Message) -> None:
        with self._arrivals:
            self._inbox.put_back(message)
            self._arrivals.notify_all()

    def _receive_message(self, message: Message) -> None:
        with self._arrivals:
            if len(self._inbox) < self._inbox_limit:
                self._inbox.append(message)
                self._inbox_full = False
                self._arrivals.notify_all()
                return
            told, self._inbox_full = self._inbox_full, True
        self._count("dropped")
        if not told:
            self._report(
                SocketMessageError(
                    f"the queue holds {self._inbox_limit} messages that nobody consumed (Limits.inbox_messages); "
                    "messages are dropped until there is room"
                ),
                ErrorContext("consume", str(message.id or ""), message),
            )

    def _end_queue(self) -> None:
        """The connection is over: free whoever waits; what is queued can still be consumed."""
        with self._arrivals:
            self._inbox_ended = True
            self._arrivals.notify_all()

    def _renew_queue(self) -> None:
        """In a forked child: what is queued is the parent's."""
        self._arrivals = threading.Condition(threading.Lock())
        self._inbox.clear()
