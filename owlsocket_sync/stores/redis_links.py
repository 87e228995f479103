"""`RedisLinks`: a queue in Redis as an end of a connection sees it, and how the steps of a queue are run.

Threads: any; it has no lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..deadline import Deadline
from ..errors.safe_text import logger
from ..redis.link import Script
from . import redis_scripts as scripts
from .base import Bounds, Entry, Position, check_position, new_stream, no_room
from .redis_link import StoreLink
from .redis_tools import KEYS, PAGE

LONGEST_WAIT = 0.5
"""Seconds after which a thread that waits looks around."""


class _Known(NamedTuple):
    """The stream id of a queue and its next number, as a reply had them."""

    stream: str = ""
    next: int = 0


class RedisLinks:
    """The part of a queue in Redis that an outbox and an inbox need.

    Args:
        name: of the queue.
        prefix: of its keys.
        link: of the store.
        limits: messages that the queue may hold, and their size.
    """

    def __init__(self, name: str, prefix: str, link: StoreLink, limits: tuple[int, int]) -> None:
        self.name = name
        # Braces would end the hash tag.
        tag = name.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
        self._keys = [encode(f"{prefix}:{{{tag}}}:{key}") for key in KEYS]
        self._log = self._keys[KEYS.index("log")]
        self._names = f"{prefix}:queues"
        self._link = link
        self._limits = limits
        self.begin()

    def begin(self) -> None:
        """Begin without knowing anything of the queue."""
        self._known = _Known()
        self._announced = ""
        self._changes_seen: dict[tuple[str, str], object] = {}

    # -- an end of a connection --------------------------------------------------------------------------------------

    @property
    def place(self) -> tuple[str, bytes]:
        """The place by which the queue is told from all others."""
        return self._link.place, self._log

    @property
    def stream(self) -> str:
        """The id of the sequence of numbers in this queue."""
        return self._run(scripts.OPEN)[0]

    def bounds(self) -> Bounds:
        """Return the numbers of its messages."""
        first, deleted, deleted_id = self._run(scripts.BOUNDS)[1]
        return Bounds(int(first), self._known.next, int(deleted), decode(deleted_id))

    def id_of(self, seq: int) -> str | None:
        """Return the id of a message."""
        ids = self._run(scripts.ID_OF, seq)[1]
        return decode(ids[0]) if ids else None

    def delete_to(self, seq: int) -> int:
        """Delete the messages with numbers up to this one."""
        # Redis may come back empty before it answers: the number would be that of another message then.
        total, stream = 0, self._known.stream
        while True:
            count = int(self._run(scripts.DELETE_TO, seq, PAGE, stream)[1])
            total += count
            if count < PAGE:
                return total

    def bury_at(self, seq: int, reason: str) -> bool:
        """Make a message a dead letter, claimed or not."""
        return bool(self._run(scripts.BURY_AT, seq, encode(reason), self._known.stream)[1])

    def renew_stream(self) -> str:
        """Give the queue another stream id, and its messages new numbers."""
        stream = new_stream()
        self._changes_seen[self._known.stream, stream] = None
        return self._run(scripts.RENEW, durable=True, candidate=stream)[0]

    def position(self, stream: str) -> Position:
        """Return how far a stream was received."""
        return _position(self._run(scripts.POSITION, encode(stream))[1])

    def receive(self, stream: str, entries: Sequence[Entry], after: Position | None = None) -> Position:
        """Store the messages that follow the position of a stream, and move it."""
        arguments: list[Any] = [encode(stream), *self._limits, "" if after is None else _place(after)]
        for entry in entries:
            arguments += (entry.seq, encode(entry.id), entry.payload)
        _, outcome, place = self._add(scripts.RECEIVE, arguments)
        position = _position(place)
        if outcome == b"moved":
            check_position(position, after)
        return position

    def move_to(self, stream: str, position: Position) -> None:
        """Set how far a stream was received."""
        self._announce()
        self._run(scripts.MOVE_TO, encode(stream), _place(position), durable=True)

    # -- what all have in common -------------------------------------------------------------------------------------

    def _run(
        self,
        script: Script,
        *arguments: Any,
        deadline: Deadline | None = None,
        durable: bool = False,
        closing: bool = False,
        candidate: str = "",
    ) -> tuple[str, Any]:
        """Run a script; return the stream id of the queue, and the result."""
        candidate = candidate or new_stream()
        while True:
            reply = self._link.run(
                script,
                self._keys,
                lambda: (candidate, *self._known),
                arguments,
                deadline=deadline,
                durable=durable,
                closing=closing,
            )
            stream = reply[0].decode()
            known, self._known = self._known, _Known(stream, int(reply[1]))
            if known.stream and stream != known.stream:
                self._report(known.stream, stream, int(reply[2]))
            # Without a result while messages get new numbers: some more of them have theirs now.
            if len(reply) > 3:
                return stream, reply[3]

    def _report(self, before: str, after: str, lost: int) -> None:
        mine = object()
        if self._changes_seen.setdefault((before, after), mine) is not mine:
            return
        count = f", at least {lost} messages" if lost else ""
        logger.error(
            "the queue %r of %s has lost what it had%s: Redis was emptied, or has an older state; its numbers have "
            "another stream id (%s, before: %s), unless another process has renewed that",
            self.name,
            self._link.place,
            count,
            after,
            before,
        )

    def _add(self, script: Script, arguments: Sequence[Any]) -> tuple[str, bytes, bytes]:
        """Run a script that adds messages, or raise where there is no room.

        Returns:
            The stream id, how it ended, and its result.
        """
        self._announce()
        stream, (outcome, *results) = self._run(script, *arguments, durable=True)
        self._announce()
        if outcome == b"full":
            raise no_room(self.name, (int(results[0]), int(results[1])), self._limits)
        return stream, outcome, results[0]

    def _announce(self) -> None:
        """Have the name of the queue among those of the store: before its first message, and in a Redis that is new."""
        if not self._announced or self._announced != self._known.stream:
            if not self._announced:
                self._link.check_policy()
            if not self._known.stream:
                self._run(scripts.OPEN)
            self._link.command("SADD", self._names, encode(self.name))
            self._announced = self._known.stream


def encode(text: str) -> bytes:
    """Return a text as Redis keeps it; also one that is not Unicode."""
    return text.encode("utf-8", "surrogatepass")


def decode(data: bytes) -> str:
    """Return a text that Redis has kept."""
    return data.decode("utf-8", "surrogatepass")


def _place(position: Position) -> bytes:
    return b"%d %s" % (position.offset, encode(position.last_id))


def _position(data: bytes) -> Position:
    offset, _, last_id = data.partition(b" ")
    return Position(int(offset), decode(last_id))
