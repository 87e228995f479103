"""The interface between queues and the places where they keep their messages.

A store of your own implements `Store`; each of its queues is a `Queue` around an object with the methods of
`StoredQueue`. One whose queues are to be the outbox or the inbox of a connection implements `Outgoing` or `Incoming`
as well. Messages are bytes here: `Queue` writes and reads the JSON.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..deadline import Deadline
from ..errors import StoreError, StoreFull
from ..handshake_fields import is_encodable
from ..values import FieldwiseEq

if TYPE_CHECKING:
    from .queue import Queue

MAX_MESSAGES = 100_000
MAX_BYTES = 256 * 1024 * 1024


class Draft(NamedTuple):
    """A message to be stored: its id, ``None`` for one that the store gives it, and its JSON."""

    id: str | None
    payload: bytes


class Stored(NamedTuple):
    """The number and the id of a message that was stored."""

    seq: int
    id: str


class Entry(NamedTuple):
    """A stored message.

    Attributes:
        seq: its number in the queue: counted from 1, without gaps, and never used again.
        id: its id; `default_id` where it was stored without one.
        payload: its JSON.
        attempts: how often it was claimed.
        remaining: of a claimed one: the messages that were left for others then.
        reason: of a dead letter: why it is one.
    """

    seq: int
    id: str
    payload: bytes
    attempts: int = 0
    remaining: int = 0
    reason: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class QueueStats(FieldwiseEq):
    """The state of a queue at one point in time.

    Attributes:
        depth: messages that wait, delayed ones included.
        bytes: the size of all messages of the queue as JSON, dead letters included.
        oldest_age: seconds since the oldest message was put, of those that wait or are in flight; 0 without any.
        in_flight: messages that were delivered and are not answered yet.
        dead: dead letters.
    """

    depth: int
    bytes: int
    oldest_age: float
    in_flight: int
    dead: int


class Bounds(NamedTuple):
    """The numbers of the messages that an outbox holds.

    Attributes:
        first: the number of the oldest message, or `next` where there is none.
        next: the number that the next message will get.
        deleted: the greatest number up to which `Outgoing.delete_to` has deleted; 0 at first.
        deleted_id: the id of that message, ``""`` at first.
    """

    first: int
    next: int
    deleted: int
    deleted_id: str


class Position(NamedTuple):
    """A place in the stream of a peer: the number of the last message that was received, and its id."""

    offset: int
    last_id: str


START = Position(0, "")
"""The position in a stream of which nothing was received."""


class Store(Protocol):
    """Queues in one place, by name; a context manager. Threads: any."""

    def queue(self, name: str) -> Queue:
        """Return the queue of this name, which is made with its first message."""
        ...

    def queues(self) -> list[str]:
        """Return the names of the queues that have, or had, messages; in alphabetical order."""
        ...

    def close(self) -> None:
        """Give back what is in flight here, and let go of files and links; idempotent."""
        ...

    def __enter__(self) -> Store: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class StoredQueue(Protocol):
    """One queue of a store. Threads: any.

    Each method raises `StoreError` where the store fails.
    """

    @property
    def name(self) -> str:
        """The name of the queue."""
        ...

    @property
    def stream(self) -> str:
        """The id of the sequence of numbers in this queue: 32 hexadecimal digits, stored with it."""
        ...

    def append(self, drafts: Sequence[Draft], delay: float = 0.0) -> list[Stored]:
        """Store messages, all or none; what is stored when it returns, is not lost.

        Args:
            drafts: the messages.
            delay: seconds before which none of them is claimed.

        Raises:
            StoreFull: a limit is reached.
        """
        ...

    def claim(
        self, visibility_timeout: float, max_attempts: int | None, deadline: Deadline, done: int | None = None
    ) -> Entry | None:
        """Wait for the first message that is free, lease it to this process, and count the attempt.

        The lease lasts at least until the message is answered, or `drop` is called, while this process lives.

        Args:
            visibility_timeout: the seconds of the lease.
            max_attempts: a message that was claimed so often already becomes a dead letter.
            deadline: the limit of the wait.
            done: the number of a message to acknowledge first, whatever is found; best in the same transaction.

        Raises:
            StoreError: a connection sends the messages: it has the `Lead`.
        """
        ...

    def ack(self, seq: int) -> None:
        """Remove a message, claimed or not; does nothing where it was removed before."""
        ...

    def release(self, entry: Entry, delay: float) -> bool:
        """Give a claimed message back, to be free after ``delay`` seconds; false where the lease has ended."""
        ...

    def bury(self, entry: Entry, reason: str) -> bool:
        """Make a claimed message a dead letter; false where the lease has ended."""
        ...

    def extend(self, entry: Entry, seconds: float) -> bool:
        """Let a lease end after so many seconds, not earlier; false where it has ended."""
        ...

    def drop(self, entry: Entry) -> None:
        """Let a lease end by the clock, as its holder forgot it; from a finalizer: it waits for nothing."""
        ...

    def read_after(self, seq: int, count: int) -> list[Entry]:
        """Return the first messages with greater numbers, claimed ones included, without taking them."""
        ...

    def stats(self) -> QueueStats:
        """Return the state of the queue, once the leases that have ended are free, as `claim` frees them."""
        ...

    def dead(self) -> list[Entry]:
        """Return the dead letters, the oldest first."""
        ...

    def requeue(self, seq: int) -> int | None:
        """Append a dead letter as a message without attempts; return its new number, ``None`` where there is none."""
        ...

    def purge(self, dead: bool) -> int:
        """Delete the messages that wait, or the dead letters; return how many those were.

        What the next `claim` would free waits as well.

        Raises:
            StoreError: of the messages that wait: a connection sends them.
        """
        ...


class Lead(Protocol):
    """The right to be the one that sends the messages of an outbox; it ends with its process."""

    def release(self) -> None:
        """Give it up; idempotent, from any thread."""
        ...


class Outgoing(StoredQueue, Protocol):
    """A queue that can be an outbox: its messages are sent in order, and deleted when the peer has them.

    `append` gives each message its number in the stream.
    """

    def take_lead(self) -> Lead | None:
        """Become the one that sends its messages, among all processes; ``None``, at once, where another one is."""
        ...

    def bounds(self) -> Bounds:
        """Return the numbers of its messages."""
        ...

    def id_of(self, seq: int) -> str | None:
        """Return the id of a message that is stored, or the last that was deleted; ``None`` for any other."""
        ...

    def delete_to(self, seq: int) -> int:
        """Delete the messages with numbers up to this one, claimed or not, and return how many those were."""
        ...

    def bury_at(self, seq: int, reason: str) -> bool:
        """Make a message a dead letter, claimed or not, because the peer cannot take it; false if it is gone."""
        ...

    def renew_stream(self) -> str:
        """Give the queue another stream id, and its messages new numbers without gaps; return the stream id.

        Each message keeps its id, by which a peer knows it.
        """
        ...


class Incoming(StoredQueue, Protocol):
    """A queue that can be an inbox: it keeps how far each stream of a peer was received."""

    def position(self, stream: str) -> Position:
        """Return how far a stream was received; `START` for one that is not known."""
        ...

    def receive(self, stream: str, entries: Sequence[Entry], after: Position | None = None) -> Position:
        """Store the messages that follow the position of a stream, and move it, in one transaction.

        Messages up to the position are passed over, and those from a gap in the numbers on as well.

        Args:
            stream: of the peer.
            entries: its messages, in ascending order; their numbers are those of the stream.
            after: the position that the receiver knows: if another link of the stream has moved it, nothing is stored.

        Returns:
            The position afterwards: less than the last number for a gap, or where not all had room.

        Raises:
            StoreFull: the first one of them that is new has no room; ``retryable`` is false if it never has.
            PositionMoved: the position is another one than ``after``.
        """
        ...

    def move_to(self, stream: str, position: Position) -> None:
        """Set how far a stream was received, without a message; for the start of a stream, and for a known loss."""
        ...


class PositionMoved(StoreError):
    """Another link of a stream has stored messages, in this process or another one."""


def check_position(position: Position, after: Position | None) -> None:
    """Raise `PositionMoved` where a receiver knows another position."""
    if after is not None and position != after:
        raise PositionMoved(f"the stream was received up to {position.offset}, not {after.offset}")


def new_stream() -> str:
    """Return a stream id."""
    return uuid.uuid4().hex


def default_id(stream: str, seq: int) -> str:
    """Return the id of a message that was put without one."""
    return f"{stream}:{seq}"


def no_room(queue: str, held: tuple[int, int], limits: tuple[int, int]) -> StoreFull:
    """Return the error of a queue that has no room for more.

    Args:
        queue: its name.
        held: the messages that it holds, and their size.
        limits: how many it may hold, and of which size.
    """
    error = StoreFull(
        f"the queue {queue!r} holds {held[0]} messages of {held[1]} bytes, dead letters included, and has no room for "
        f"more (max_messages={limits[0]}, max_bytes={limits[1]}): consume or purge some, or raise the limit"
    )
    # What has no room in an empty queue never has; seen in the step that refused it, as others may empty it meanwhile.
    error.retryable = held[0] > 0
    return error


def check_name(name: str) -> str:
    """Return the name of a queue; raise `ValueError` unless it is a text with something in it."""
    if not isinstance(name, str) or not name or not is_encodable(name, "utf-8"):
        raise ValueError(f"the name of a queue must be a text that is not empty, without lone surrogates, not {name!r}")
    return name


def sent_by_a_connection(queue: str) -> StoreError:
    """Return the error of one that wants messages of an outbox, while a connection sends them."""
    return StoreError(
        f"the queue {queue!r} is the outbox of a connection, in this process or another one: its messages are for the "
        "peer, and cannot be taken or purged while the connection is open"
    )
