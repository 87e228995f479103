"""Queues of a store as the two ends of a stream: an outbox that is sent, and an inbox that is filled.

Threads: those of the connection, one at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import cast
from weakref import WeakKeyDictionary

from ..errors import StoreError, StoreFull
from ..protocol.hello import StreamBounds, StreamPosition
from ..protocol.incoming_stream import MovePosition, StoreMessages, StoreOutcome
from ..protocol.outgoing_stream import OutgoingStream, SendState
from ..stores.base import START, Draft, Entry, Incoming, Outgoing, Position, PositionMoved
from ..stores.queue import Queue
from .tenants import Tenancy


class StreamChanged(StoreError):
    """A queue has another stream id than before, which this connection has not given it."""

    def __init__(self, which: str) -> None:
        super().__init__(
            f"the {which} has another stream id than before: its store was emptied, or has an older state, unless "
            "another process has renewed it; what that store had since may be lost"
        )


def outbox_key(stream: str) -> str:
    """Return the key of the tenancy of an outbox."""
    return f"out/{stream}"


def check_greeted(outgoing: OutgoingStream, sending: Tenancy | None) -> None:
    """Raise `StreamChanged` unless the stream that was greeted is the one that this end may send."""
    if outgoing.state is not SendState.DOWN and sending is not None and sending.key != outbox_key(outgoing.stream):
        raise StreamChanged("outbox")


class OutboxEnd:
    """A queue whose messages are sent; see `owlsocket_sync.protocol.reliable.OutboxView`.

    Args:
        queue: the queue.
    """

    def __init__(self, queue: Queue) -> None:
        self.stored = cast(Outgoing, queue.stored)

    def bounds(self) -> StreamBounds:
        """Return its numbers."""
        bounds = self.stored.bounds()
        return StreamBounds(self.stored.stream, bounds.deleted + 1, bounds.next, bounds.deleted_id or None)

    def read_after(self, stream: str, seq: int, count: int) -> list[Entry]:
        """Return the first messages of a stream with greater numbers.

        Raises:
            StreamChanged: it has another stream by now: its numbers are those of other messages.
        """
        entries = self.stored.read_after(seq, count)
        if self.stored.stream != stream:
            raise StreamChanged("outbox")
        return entries

    def is_empty(self) -> bool:
        """Return whether nothing is left to be acknowledged."""
        bounds = self.stored.bounds()
        return bounds.first == bounds.next

    def find_last(self, offset: int) -> StreamPosition | None:
        """Return number and id of the last message up to this number."""
        deleted = self.stored.bounds().deleted
        # Numbers without a message are rare, and looked at once for each link.
        for seq in range(offset, max(0, deleted - 1), -1):
            id = self.stored.id_of(seq)
            if id:
                return StreamPosition("", seq, id)
        return None


@dataclass
class Undone:
    """The messages of one stream in a volatile inbox on which the work is not done.

    Attributes:
        waiting: their numbers on the stream and in the inbox, and their ids.
        done: the last message before them.
    """

    waiting: deque[tuple[int, int, str]] = field(default_factory=deque)
    done: StreamPosition | None = None


_UNDONE: WeakKeyDictionary[object, dict[str, Undone]] = WeakKeyDictionary()


class InboxEnd:
    """A queue that is filled with the messages of peers; see `owlsocket_sync.protocol.reliable.InboxView`.

    Args:
        queue: the queue.
        owner: of the streams: the same stream of another owner is another one, so no peer can skip messages of others.

    Attributes:
        is_volatile: the queue is gone with the process: messages are acknowledged when the work on them is done.
    """

    def __init__(self, queue: Queue, owner: str) -> None:
        self.stored = cast(Incoming, queue.stored)
        self._owner = owner
        self.is_volatile: bool = getattr(queue.stored, "is_volatile", False)
        # One step of the interpreter: two connections with one inbox get the same.
        self._undone = _UNDONE.setdefault(queue.stored, {}) if self.is_volatile else {}

    def key(self, stream: str) -> str:
        """Return the name of a stream in the store."""
        return f"{self._owner}/{stream}" if self._owner else stream

    def position(self, stream: str) -> StreamPosition | None:
        """Return how far the inbox is on a stream."""
        position = self.stored.position(self.key(stream))
        return None if position == START else StreamPosition(stream, position.offset, position.last_id or None)

    def done(self, stream: str) -> StreamPosition | None:
        """Return the last message that a consumer is done with, where the inbox is volatile."""
        undone = self._undone.get(stream)
        if undone is None:
            return None
        while undone.waiting and self.stored.id_of(undone.waiting[0][1]) is None:  # type: ignore[attr-defined]
            seq, _, id = undone.waiting.popleft()
            undone.done = StreamPosition(stream, seq, id)
        return undone.done

    def store(self, step: StoreMessages) -> tuple[int, StoreOutcome]:
        """Store messages with their position; return how many are stored, and why there are not more."""
        stream, before = step.after.stream, step.after.offset
        readable = takewhile(lambda message: message.payload is not None, step.messages)
        entries = [Entry(message.seq, message.id, message.payload) for message in readable]
        if not entries:
            return 0, StoreOutcome.INVALID
        following = self._next() if self.is_volatile else 0
        try:
            after = Position(before, step.after.last or "")
            offset = self.stored.receive(self.key(stream), entries, after).offset
        except PositionMoved:
            return 0, StoreOutcome.MOVED
        except StoreFull as error:
            return 0, StoreOutcome.FULL if error.retryable else StoreOutcome.INVALID
        count = offset - before
        if self.is_volatile:
            self._note_undone(stream, step.after, entries[:count], following)
        if count < len(entries):
            return count, StoreOutcome.FULL
        return count, StoreOutcome.STORED if count == len(step.messages) else StoreOutcome.INVALID

    def _next(self) -> int:
        return cast(Outgoing, self.stored).bounds().next

    def _note_undone(self, stream: str, after: StreamPosition, entries: Sequence[Entry], following: int) -> None:
        undone = self._undone.setdefault(stream, Undone(done=after))
        # Other threads may put messages as well: those of this stream are found by their ids.
        found = {entry.id: entry.seq for entry in self.stored.read_after(following - 1, 2 * len(entries) + 16)}
        for entry in entries:
            undone.waiting.append((entry.seq, found.get(entry.id, 0), entry.id))

    def move(self, step: MovePosition) -> bool:
        """Move the position; false if another link has moved it."""
        stream, start = step.to.stream, StreamPosition(step.to.stream, 0)
        if (self.position(stream) or start) != (step.after or start):
            return False
        self.stored.move_to(self.key(stream), Position(step.to.offset, step.to.last or ""))
        if stream in self._undone:
            self._undone[stream].waiting.append((step.to.offset, 0, step.to.last or ""))
        return True

    def append(self, drafts: Sequence[Draft]) -> None:
        """Store messages of a peer that numbers nothing, all or none."""
        self.stored.append(drafts)
