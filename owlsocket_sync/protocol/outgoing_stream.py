"""The sending end of an outbox on one link, as a state machine: what to send, what to delete, when to begin again.

It has no socket, clock or store: its owner, one thread, tells it what happened and does what it returns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from .hello import Nack, NackReason, Skip, StreamBounds, StreamPosition, Window

OWN_WINDOW = Window(1000, 8 * 1024 * 1024)
"""The most that is on its way, however much the peer would take."""


class SendState(Enum):
    """The states of the sending end on its link."""

    DOWN = "down"
    GREETING = "greeting"
    FLOWING = "flowing"
    HELD = "held"
    PLAIN = "plain"


SENDING = frozenset({SendState.FLOWING, SendState.PLAIN})


class Waiting(NamedTuple):
    """A message that waits in the outbox.

    Attributes:
        seq: its number on the stream.
        size: of its payload, in bytes.
    """

    seq: int
    size: int


@dataclass(frozen=True)
class DeleteTo:
    """Delete the messages up to this number: the peer has them."""

    stream: str
    offset: int


@dataclass(frozen=True)
class RenewStream:
    """Give what is left in the outbox a new stream, numbered from 1, then greet: the peer is ahead of this store."""

    stream: str


@dataclass(frozen=True)
class BuryMessage:
    """Make a message a dead letter: the peer cannot take it."""

    stream: str
    seq: int


@dataclass(frozen=True)
class GreetAgain:
    """Say hello once more: what the peer says does not fit what was sent on this link."""


OutboxStep = DeleteTo | RenewStream | BuryMessage | GreetAgain
Sending = Waiting | Skip


class OutgoingStream:
    """The state of an outbox on one link; made again for each link.

    Attributes:
        state: where it stands.
        stream: the id of the stream that was greeted.
        acked: the number of the last message that the peer has.
        sent: the number of the last message that was sent.
        window: how much may be on its way.
    """

    def __init__(self) -> None:
        self.state = SendState.DOWN
        self.stream = ""
        self.acked = self.sent = self._first = 0
        self.window = OWN_WINDOW
        self._under_way: deque[Waiting] = deque()
        self._size = 0
        self._probes = self._answers = 0
        self._barrier: tuple[int, int] | None = None  # a number, and the probe whose answer proves its arrival

    # -- greeting ----------------------------------------------------------------------------------------------------

    def begin(self, bounds: StreamBounds) -> None:
        """Wait for an answer: these bounds are about to be sent in a hello."""
        self.state, self.stream, self._first = SendState.GREETING, bounds.stream, bounds.first
        self._restart(bounds.first - 1)

    def greeted(
        self, position: StreamPosition, bounds: StreamBounds, find_last: Callable[[int], StreamPosition | None]
    ) -> list[OutboxStep]:
        """Take in the position of the peer's inbox, which answers a hello.

        Args:
            position: of the peer's inbox.
            bounds: of the outbox, as of now.
            find_last: return the last message up to a number, waiting or acknowledged; ``None`` where none is known.
        """
        if position.stream != self.stream or self.state is SendState.DOWN:
            return []  # it answers an earlier hello
        if bounds.stream != self.stream:
            return [GreetAgain()]  # the store has changed since that hello
        offset = position.offset
        if offset < bounds.first - 1 and (self.state is not SendState.GREETING or bounds.first != self._first):
            return [GreetAgain()]  # the peer lost what it had, and tells its user once it knows the bounds
        if offset >= bounds.next or _is_other(position, bounds, find_last(offset)):
            self.state = SendState.DOWN
            return [RenewStream(self.stream)]
        if self.state is SendState.FLOWING and offset >= self.acked:
            self._advance(offset)
            self.sent = max(self.sent, offset)
        else:
            self._restart(offset)
        self.state = SendState.FLOWING
        return [DeleteTo(self.stream, offset)] if offset >= bounds.first else []

    def turn_plain(self) -> None:
        """Send what any end of the protocol understands: this peer acknowledges nothing but pings."""
        if self.state is SendState.GREETING:
            self.state = SendState.PLAIN

    # -- what the peer says ------------------------------------------------------------------------------------------

    def ack(self, stream: str, offset: int) -> list[OutboxStep]:
        """Take in that the peer has all messages up to a number, and has room."""
        if stream != self.stream or self.state not in (SendState.FLOWING, SendState.HELD):
            return []
        # Never delete what was not sent on this link: it may have got the same number in an older state of the store.
        if offset > self.sent:
            return [GreetAgain()]
        if self.state is SendState.HELD:
            self.state = SendState.FLOWING
        if offset <= self.acked:
            return []
        self._advance(offset)
        return [DeleteTo(self.stream, offset)]

    def nack(self, nack: Nack) -> list[OutboxStep]:
        """Take in that the peer did not take a message."""
        if nack.stream != self.stream or self.state not in (SendState.FLOWING, SendState.HELD):
            return []
        if nack.reason is NackReason.MOVED or nack.expected > self.sent + 1:
            return [GreetAgain()]
        if nack.expected <= self.acked:
            return []  # it has it meanwhile
        self._rewind(nack.expected - 1)
        if nack.reason is NackReason.FULL:
            self.state = SendState.HELD
        return [BuryMessage(self.stream, nack.expected)] if nack.reason is NackReason.INVALID else []

    def pong(self) -> list[OutboxStep]:
        """Take in that the peer has taken in all that was sent before the first ping that it has not answered."""
        self._answers += 1
        if self.state is not SendState.PLAIN or self._barrier is None or self._answers < self._barrier[1]:
            return []
        offset, self._barrier = self._barrier[0], None
        if offset <= self.acked:
            return []
        self._advance(offset)
        return [DeleteTo(self.stream, offset)]

    # -- what to send ------------------------------------------------------------------------------------------------

    def room(self) -> int:
        """Return how many more messages may be on their way now."""
        if self.state not in SENDING or (self._size >= self.window.size and self._under_way):
            return 0
        return max(0, self.window.messages - len(self._under_way))

    def send(self, waiting: Sequence[Waiting], following: int) -> list[Sending]:
        """Return what to send, in order, of what waits in the outbox.

        Args:
            waiting: the first messages behind `sent`, at most `room`.
            following: `StreamBounds.next`, read *before* `waiting`: what is put in between must not be skipped.
        """
        sending: list[Sending] = []
        for message in waiting:
            if self._under_way and self._size + message.size > self.window.size:
                return sending
            self._pass_over(message.seq - 1, sending)
            self.sent = message.seq
            self._under_way.append(message)
            self._size += message.size
            sending.append(message)
        if not waiting and self.room():
            self._pass_over(following - 1, sending)
        return sending

    def needs_ping(self) -> bool:
        """Return whether to send a ping now, behind what was sent: only its answer proves that it arrived."""
        if self.state is not SendState.PLAIN or self._barrier is not None or self.sent <= self.acked:
            return False
        self.probe()
        self._barrier = self.sent, self._probes
        return True

    def probe(self) -> None:
        """Count a ping that is about to be sent: pings are answered in their order."""
        self._probes += 1

    def _pass_over(self, to: int, sending: list[Sending]) -> None:
        if to > self.sent:
            if self.state is not SendState.PLAIN:
                sending.append(Skip(self.stream, self.sent, to))
            self.sent = to

    def _advance(self, offset: int) -> None:
        self.acked = offset
        while self._under_way and self._under_way[0].seq <= offset:
            self._size -= self._under_way.popleft().size

    def _rewind(self, to: int) -> None:
        self.sent = to
        while self._under_way and self._under_way[-1].seq > to:
            self._size -= self._under_way.pop().size

    def _restart(self, offset: int) -> None:
        self.acked = self.sent = offset
        self._under_way.clear()
        self._size, self._barrier = 0, None


def _is_other(position: StreamPosition, bounds: StreamBounds, known: StreamPosition | None) -> bool:
    """Return whether the peer has another message at its position than this outbox."""
    # The number alone proves nothing: a store that was restored from a backup soon writes past it. The id does.
    if known is None or known.last is None:
        return False
    if position.last is None:
        return known.offset >= bounds.first  # nothing is deleted unless the peer proves that it has it
    return position.last != known.last
