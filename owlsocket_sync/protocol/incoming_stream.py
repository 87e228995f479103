"""The receiving end of an inbox on one link, as a state machine: what to store, to answer, and to report as lost.

It has no socket, clock or store: its owner, one thread at a time, tells it what arrived and does what it returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from .hello import Ack, Frame, Nack, NackReason, Skip, StreamBounds, StreamPosition


class Numbered(NamedTuple):
    """A message of a stream, as it arrived.

    Attributes:
        seq: its number.
        id: its id.
        payload: the content; ``None`` if it cannot be stored.
    """

    seq: int
    id: str
    payload: Any


@dataclass(frozen=True)
class StoreMessages:
    """Store these messages and the position behind them in one transaction, if the position is still this one.

    Attributes:
        after: the position that is expected; if another link moved it, nothing is stored.
        messages: their numbers follow it without a gap.
    """

    after: StreamPosition
    messages: tuple[Numbered, ...]


@dataclass(frozen=True)
class MovePosition:
    """Move the position without a message, if it is still the expected one (``None``: unknown to the store)."""

    after: StreamPosition | None
    to: StreamPosition


@dataclass(frozen=True)
class TellLost:
    """Tell the user of messages that this inbox does not have, and that no outbox has any more.

    Attributes:
        count: how many.
        is_certain: whether this inbox had been on the stream; else it may never have been meant to get them.
    """

    count: int
    is_certain: bool


class StoreOutcome(Enum):
    """The result of storing messages, for the first one that was not stored."""

    STORED = "stored"
    FULL = "full"
    INVALID = "invalid"
    MOVED = "moved"


InboxStep = StoreMessages | MovePosition | TellLost


class IncomingStream:
    """The state of an inbox on one link; made again for each link.

    Args:
        acks_when_done: a message is acknowledged when its consumer is done with it, because the inbox does not outlive
            the process; else when it is stored.

    Attributes:
        position: the last message that the inbox has, ``None`` before a hello.
    """

    def __init__(self, *, acks_when_done: bool = False) -> None:
        self._acks_when_done = acks_when_done
        self.position: StreamPosition | None = None
        self._done = StreamPosition("", 0)
        self._is_held = self._has_nacked = False

    # -- greeting ----------------------------------------------------------------------------------------------------

    def greet(
        self, bounds: StreamBounds, known: StreamPosition | None, done: StreamPosition | None = None
    ) -> list[InboxStep]:
        """Take in the stream that the peer is about to send.

        Args:
            bounds: of the peer's outbox.
            known: the position on this stream that the store has; ``None`` if it has none.
            done: the last message on this stream that a consumer is done with, where that is what counts.

        Returns:
            What to do before `acknowledged` is told to the peer.
        """
        before_first = bounds.first - 1
        self._is_held = self._has_nacked = False
        steps: list[InboxStep] = []
        if known is None or known.offset < before_first:
            missing = before_first - (0 if known is None else known.offset)
            self.position = StreamPosition(bounds.stream, before_first, bounds.last)
            if missing:
                steps.append(TellLost(missing, is_certain=known is not None))
            steps.append(MovePosition(known, self.position))
        else:
            self.position = known
        self._done = self.position
        if self._acks_when_done and done is not None and before_first <= done.offset < self.position.offset:
            self._done = done
        return steps

    @property
    def acknowledged(self) -> StreamPosition:
        """The position that the peer may be told: it never sends what is before it again."""
        return self._done

    # -- what arrives ------------------------------------------------------------------------------------------------

    def messages(self, arrived: Sequence[Numbered]) -> tuple[StoreMessages | None, list[Frame]]:
        """Take in messages that arrived together; return what to store, and what to answer at once."""
        position = self.position
        if position is None:
            return None, []  # the peer has not greeted: not sent by an end that keeps the rules
        new: list[Numbered] = []
        answers: list[Frame] = []
        offset = position.offset
        for message in arrived:
            if self._is_held:
                continue  # the peer was told, and sends it again when it hears of room
            if message.seq == offset + 1:
                self._has_nacked = False
                new.append(message)
                offset += 1
            elif message.seq > offset:
                answers += self._gap(offset + 1)
            else:
                answers = [Ack(self._done)]
        return StoreMessages(position, tuple(new)) if new else None, answers

    def stored(self, step: StoreMessages, count: int, outcome: StoreOutcome) -> list[Frame]:
        """Take in how storing ended; return the answers.

        Args:
            step: what was to be stored.
            count: how many of its messages are stored, with the position behind the last of them.
            outcome: why there are not more; after `StoreOutcome.MOVED` `forget` follows instead.
        """
        answers: list[Frame] = []
        stream = step.after.stream
        if count:
            last = step.messages[count - 1]
            self.position = StreamPosition(stream, last.seq, last.id)
            if not self._acks_when_done:
                self._done = self.position
                answers.append(Ack(self._done))
        if outcome is not StoreOutcome.STORED:
            # One nack for all that is on its way behind this message, and is not taken either.
            self._has_nacked = True
            self._is_held = outcome is StoreOutcome.FULL
            reason = NackReason.FULL if self._is_held else NackReason.INVALID
            answers.append(Nack(stream, step.after.offset + count + 1, reason))
        return answers

    def skip(self, skip: Skip) -> tuple[MovePosition | None, list[Frame]]:
        """Take in that numbers have no message; return what to do, and what to answer at once."""
        position = self.position
        if position is None or self._is_held or skip.stream != position.stream:
            return None, []
        if skip.to <= position.offset:
            return None, [Ack(self._done)]
        if skip.after > position.offset:
            return None, self._gap(position.offset + 1)
        self._has_nacked = False
        return MovePosition(position, StreamPosition(position.stream, skip.to, position.last)), []

    def moved(self, step: MovePosition) -> list[Frame]:
        """Take in that the position was moved over numbers that have no message; return the answers."""
        self.position = step.to
        if self._acks_when_done:
            return []
        self._done = step.to
        return [Ack(self._done)]

    def forget(self) -> list[Frame]:
        """Take in that another link moved the position; nothing is stored until the peer has greeted again."""
        # What that link stored may be other messages under the same numbers: only their ids tell, in a greeting.
        position, self.position = self.position, None
        return [] if position is None else [Nack(position.stream, position.offset + 1, NackReason.MOVED)]

    def _gap(self, expected: int) -> list[Frame]:
        if self._has_nacked or self.position is None:
            return []
        self._has_nacked = True
        return [Nack(self.position.stream, expected, NackReason.GAP)]

    # -- what the consumer does --------------------------------------------------------------------------------------

    @property
    def has_undone(self) -> bool:
        """True while a message is stored, and not acknowledged yet."""
        return self.position is not None and self._done.offset < self.position.offset

    def room(self) -> list[Frame]:
        """Take in that the inbox has room again; return the answers."""
        if not self._is_held:
            return []
        self._is_held = self._has_nacked = False
        return [Ack(self._done)]

    def done(self, done: StreamPosition) -> list[Frame]:
        """Take in that consumers are done with all messages up to a position; return the answers."""
        if self.position is None or not self._done.offset < done.offset <= self.position.offset:
            return []
        self._done = done
        return [Ack(done)]
