"""Acknowledged delivery at one end of one link, as a state machine: at least once, in order, nothing stored twice.

An end has an outbox, an inbox, or both. Its owner, one thread at a time, tells it what arrived, and carries out the
actions that it returns, in their order: frames are sent, steps are done by the stores, and what came of a step is told.
It uses neither socket nor clock nor thread, and only looks at the stores.

The end that connected speaks first. A peer is plain if it answers a ping, and has not said hello until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from .hello import Ack, Frame, Hello, Nack, QueueTerms, Skip, StreamBounds, StreamPosition, Window
from .incoming_stream import InboxStep, IncomingStream, MovePosition, Numbered, StoreMessages, StoreOutcome
from .outgoing_stream import OWN_WINDOW, GreetAgain, OutboxStep, OutgoingStream, RenewStream, SendState

MAX_RENEWALS = 3
"""Streams that one link may cost: a peer that claims to be ahead of each is broken, or wants this store to be busy."""


class BarrierPing(Enum):
    """A question to any peer: whether it has taken in all that was sent before."""

    PING = "ping"


@dataclass(frozen=True)
class EndLink:
    """Close the link: the peer does not keep the rules."""

    reason: str


Action = Frame | BarrierPing | EndLink | OutboxStep | InboxStep


class OutboxView(Protocol):
    """The questions that are asked of an outbox."""

    def bounds(self) -> StreamBounds:
        """Return what the outbox has."""
        ...

    def find_last(self, offset: int) -> StreamPosition | None:
        """Return number and id of the last message up to this number, waiting or acknowledged; ``None`` if unknown."""
        ...


class InboxView(Protocol):
    """The questions that are asked of an inbox."""

    def position(self, stream: str) -> StreamPosition | None:
        """Return how far the inbox is on a stream; ``None`` if it does not know the stream."""
        ...

    def done(self, stream: str) -> StreamPosition | None:
        """Return the last message that a consumer is done with, where acks tell that."""
        ...


class ReliableEnd:
    """One end of one link; made again for each link.

    Args:
        asks: whether this end connected, and so speaks first.
        outbox: what it sends; ``None`` without an outbox.
        inbox: where it stores what arrives; ``None`` without an inbox.
        acks_when_done: see `IncomingStream`.
        sends: whether this end may send from the outbox; else another one does, until `start_sending`.
        largest: the bytes of the largest message that this end receives.

    Attributes:
        outgoing: the state of the outbox on this link, ``None`` without one.
        incoming: the state of the inbox on this link, ``None`` without one.
        is_greeted: whether the peer has said hello: it keeps these rules.
        has_greeted: whether this end has begun.
        sends: whether this end sends from the outbox.
        largest: the bytes of the largest message that the peer receives, ``None`` if it does not say so.
    """

    def __init__(
        self,
        outbox: OutboxView | None,
        inbox: InboxView | None,
        *,
        asks: bool,
        acks_when_done: bool = False,
        sends: bool = True,
        largest: int | None = None,
    ) -> None:
        self._asks, self.sends = asks, sends
        self._largest = largest
        self.largest: int | None = None
        self.has_greeted = False
        self._peer_accepts: bool | None = None
        self._outbox, self._inbox = outbox, inbox
        self.outgoing = None if outbox is None else OutgoingStream()
        self.incoming = None if inbox is None else IncomingStream(acks_when_done=acks_when_done)
        self.is_greeted = False
        self._renewals = 0

    # -- the beginning of a link -------------------------------------------------------------------------------------

    def announce(self) -> list[Action]:
        """Say that a hello follows; before authentication, so that an early pong does not make the peer think else."""
        return [Hello()] if self._asks else []

    def greet(self) -> list[Action]:
        """Begin, once the link is authenticated; once for each link."""
        self.has_greeted = True
        try:
            if self._asks:
                return [self._hello(), *self._probe()]
            return self.start_sending() if self.sends else []
        except BaseException:  # of a store: to be called again
            self.has_greeted = False
            raise

    def start_sending(self) -> list[Action]:
        """Send from the outbox from now on: no other end does any more."""
        self.sends = True
        if not self.has_greeted or (self.is_greeted and self._peer_accepts is None):
            return []  # the greeting follows, or that of the peer
        if self._asks:
            return [self._hello(), *self._probe()]
        if self._peer_accepts:
            return [self._hello()]
        if self._peer_accepts is False and self.outgoing is not None:
            self._begin()
            self.outgoing.turn_plain()
            return []
        return self._probe()

    def stop_sending(self) -> None:
        """Send nothing more from the outbox: another end does."""
        self.sends = False
        if self.outgoing is not None:
            self.outgoing.state = SendState.DOWN

    def _probe(self) -> list[Action]:
        """Find out whether the peer is plain."""
        if self.outgoing is None or not self.sends:
            return []
        if not self._asks and self.outgoing.state is SendState.DOWN:
            self._begin()
        self.outgoing.probe()
        return [BarrierPing.PING]

    def renewed(self) -> list[Action]:
        """Take in that `RenewStream` is done, or that the bounds have to be told again."""
        return [self._hello()]

    def _hello(self) -> Hello:
        return Hello(self._terms(self._begin()))

    def _terms(
        self, bounds: StreamBounds | None, position: StreamPosition | None = None, window: Window | None = None
    ) -> QueueTerms:
        accepts = self.incoming is not None
        return QueueTerms(bounds, accepts, position, window, self._largest if accepts else None)

    def _begin(self) -> StreamBounds | None:
        if self.outgoing is None or self._outbox is None or not self.sends:
            return None
        bounds = self._outbox.bounds()
        self.outgoing.begin(bounds)
        return bounds

    # -- what the peer says ------------------------------------------------------------------------------------------

    def receive(self, frame: Frame) -> list[Action]:
        """Take in a frame."""
        if isinstance(frame, Hello):
            self.is_greeted = True
            if frame.queue is None:
                return [] if frame.is_answer else [Hello(is_answer=True)]
            self._peer_accepts, self.largest = frame.queue.accepts, frame.queue.largest
            return self._take_answer(frame.queue) if frame.is_answer else self._answer(frame.queue)
        if isinstance(frame, Skip):
            return self._skip(frame)
        outgoing = self.outgoing
        if outgoing is None:
            return []
        if isinstance(frame, Nack):
            return self._outbox_steps(outgoing.nack(frame))
        if frame.greets or outgoing.state is SendState.GREETING:
            return self._greeted(frame.position)
        return self._outbox_steps(outgoing.ack(frame.position.stream, frame.position.offset))

    def pong(self) -> list[Action]:
        """Take in the answer to a `BarrierPing`."""
        if self.outgoing is None:
            return []
        if self.outgoing.state is SendState.GREETING and not self.is_greeted:
            self.outgoing.turn_plain()
        return [*self.outgoing.pong()]

    def _answer(self, asked: QueueTerms) -> list[Action]:
        """Answer a hello; an answer is never answered, so there is no end without an end."""
        actions, position = self._take_stream(asked.bounds)
        bounds = None
        if self.outgoing is not None:
            self._limit(asked.window)
            if not asked.accepts:
                bounds = self._begin() if self.outgoing.state is SendState.DOWN else None
                self.outgoing.turn_plain()
            elif self.outgoing.state not in (SendState.FLOWING, SendState.HELD):
                bounds = self._begin()
        window = None if self.incoming is None else OWN_WINDOW
        return [*actions, Hello(self._terms(bounds, position, window), is_answer=True)]

    def _take_answer(self, answer: QueueTerms) -> list[Action]:
        actions: list[Action] = []
        if self.outgoing is not None:
            self._limit(answer.window)
            if answer.position is not None:
                actions += self._greeted(answer.position)
            elif not answer.accepts:
                self.outgoing.turn_plain()
        steps, position = self._take_stream(answer.bounds)
        return [*actions, *steps, *([] if position is None else [Ack(position, greets=True)])]

    def _limit(self, window: Window | None) -> None:
        if window is not None and self.outgoing is not None:
            messages, size = min(window.messages, OWN_WINDOW.messages), min(window.size, OWN_WINDOW.size)
            self.outgoing.window = Window(messages, size)

    def _greeted(self, position: StreamPosition) -> list[Action]:
        if self.outgoing is None or self._outbox is None:
            return []
        return self._outbox_steps(self.outgoing.greeted(position, self._outbox.bounds(), self._outbox.find_last))

    def _outbox_steps(self, steps: Sequence[OutboxStep]) -> list[Action]:
        actions: list[Action] = []
        for step in steps:
            self._renewals += isinstance(step, RenewStream)
            if self._renewals > MAX_RENEWALS:
                return [*actions, EndLink("a position that fits no stream")]
            actions += [self._hello()] if isinstance(step, GreetAgain) else [step]
        return actions

    # -- the inbox ---------------------------------------------------------------------------------------------------

    def _take_stream(self, bounds: StreamBounds | None) -> tuple[list[Action], StreamPosition | None]:
        if bounds is None or self.incoming is None or self._inbox is None:
            return [], None
        steps = self.incoming.greet(bounds, self._inbox.position(bounds.stream), self._inbox.done(bounds.stream))
        return [*steps], self.incoming.acknowledged

    def messages(self, arrived: Sequence[Numbered]) -> list[Action]:
        """Take in numbered messages that arrived together, in their order."""
        if self.incoming is None:
            return []
        step, answers = self.incoming.messages(arrived)
        return [*answers, *([] if step is None else [step])]

    def stored(self, step: StoreMessages, count: int, outcome: StoreOutcome) -> list[Action]:
        """Take in how `StoreMessages` ended; see `IncomingStream.stored`."""
        if self.incoming is None:
            return []
        if outcome is StoreOutcome.MOVED:
            return [*self.incoming.forget()]
        return [*self.incoming.stored(step, count, outcome)]

    def moved(self, step: MovePosition, is_done: bool) -> list[Action]:
        """Take in how `MovePosition` ended: false if another link had moved the position before."""
        if self.incoming is None:
            return []
        if not is_done:
            return [*self.incoming.forget()]
        # The position of a greeting is part of its answer; only one that moves on is to be told.
        return [] if self.incoming.position == step.to else [*self.incoming.moved(step)]

    def _skip(self, skip: Skip) -> list[Action]:
        if self.incoming is None:
            return []
        step, answers = self.incoming.skip(skip)
        return [*answers, *([] if step is None else [step])]

    def room(self) -> list[Action]:
        """Take in that the inbox has room again."""
        return [] if self.incoming is None else [*self.incoming.room()]

    def done(self, position: StreamPosition) -> list[Action]:
        """Take in that consumers are done with all messages up to a position."""
        return [] if self.incoming is None else [*self.incoming.done(position)]
