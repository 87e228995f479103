"""The actions of a `ReliableEnd`, carried out: frames on the link, steps in the stores, and who may take them.

Threads: the one that works for the exchange, but for `ExchangeSteps.evict` and `ExchangeSteps.try_draining`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from ..clock import monotonic
from ..errors import MessagesLost, SocketError, SocketMessageError, SocketMessageMalformed, StoreError, StoreFull
from ..errors.safe_text import logger
from ..protocol.hello import Ack, Frame, Hello, Nack, Skip, StreamPosition
from ..protocol.incoming_stream import MovePosition, StoreMessages, StoreOutcome, TellLost
from ..protocol.json_values import to_json
from ..protocol.messages import Message
from ..protocol.outgoing_stream import BuryMessage, DeleteTo, RenewStream
from ..protocol.reliable import Action, BarrierPing, EndLink, ReliableEnd
from ..protocol.reports import ErrorContext
from ..protocol.services import Services
from ..stores.base import Draft, Lead
from .queue_frames import QueueFrames
from .stored_ends import InboxEnd, OutboxEnd, StreamChanged, outbox_key
from .tenants import TENANCIES, Tenancy

ACK_MESSAGES = 64
ACK_SECONDS = 0.02
TAKEN_OVER = "taken over"
LEAD_INTERVAL = 0.25
"""Seconds after which to look whether the process that sends from the outbox has ended."""
UNREADABLE = object()
"""The payload of a message that cannot be read."""


class ExchangeSteps:
    """The part of an exchange that acts: on its stores, and on its link.

    Args:
        services: what the connection offers.
        frames: sends on its links.
        outbox: what is sent; ``None`` without an outbox.
        inbox: where what arrives is stored; ``None`` without an inbox.
        asks: whether this end connected.

    Attributes:
        on_deleted: called when messages of the outbox were deleted.
        is_over: the connection is closed.
    """

    def __init__(
        self, services: Services, frames: QueueFrames, outbox: OutboxEnd | None, inbox: InboxEnd | None, *, asks: bool
    ) -> None:
        self._services = services
        self._frames = frames
        self.outbox, self.inbox = outbox, inbox
        self._asks = asks
        self.is_over = False
        self._link = 0
        self._machine: ReliableEnd | None = None
        self.on_deleted: Callable[[], object] = lambda: None
        self._sending: Tenancy | None = None  # of the outbox's stream, while this end may send
        self._lead: Lead | None = None
        self._lead_at = 0.0
        self._is_full = False
        self._storing: Tenancy | None = None  # of the peer's stream
        self._inbox_stream = ""
        self._refused: StoreMessages | None = None
        # What a store that failed did not let happen.
        self._deferred: Frame | None = None
        self._late: list[Action] = []
        self._ack: Ack | None = None
        self._unacked, self._acked_at = 0, 0.0
        self._failed_at: float | None = None

    def _do(self, actions: Iterable[Action]) -> None:
        """Carry out actions, and what follows from them, in their order."""
        waiting = deque(actions)
        while waiting:
            waiting.extend(self._step(waiting.popleft()))

    def _step(self, action: Action) -> list[Action]:
        if isinstance(action, Ack) and not action.greets:
            self._ack = action
            self._unacked += 1
            if self._unacked >= ACK_MESSAGES or monotonic() - self._acked_at > ACK_SECONDS:
                self._send_ack()
        elif isinstance(action, (Hello, Ack, Nack, Skip)):
            self._send_ack()  # what it says was before
            self._frames.send(action, self._link)
        elif isinstance(action, BarrierPing):
            self._ping()
        elif isinstance(action, EndLink):
            self._services.report(SocketMessageError(f"the peer sent {action.reason}"), ErrorContext("queue"))
            self._frames.close(action.reason)
        elif isinstance(action, (DeleteTo, RenewStream, BuryMessage)):
            return self._change_outbox(action)
        elif isinstance(action, StoreMessages):
            return self._store(action)
        elif isinstance(action, MovePosition):
            return self._move(action)
        elif isinstance(action, TellLost):
            self._tell_lost(action)
        return []

    def _ping(self) -> None:
        raise NotImplementedError

    def _send_ack(self) -> None:
        """Send the latest ack, if there is one: it stands for all before."""
        if self._ack is not None:
            ack, self._ack = self._ack, None
            self._unacked, self._acked_at = 0, monotonic()
            self._frames.send(ack, self._link)

    def _tell_lost(self, lost: TellLost) -> None:
        if not lost.is_certain:
            logger.debug(
                "%s: a stream begins behind %d messages that are not known here", self._frames.name, lost.count
            )
            return
        error = MessagesLost(
            f"{lost.count} messages of the peer are lost: this inbox does not have them, and its outbox neither",
            lost.count,
        )
        self._services.report(error, ErrorContext("consume"))

    # -- the outbox --------------------------------------------------------------------------------------------------

    def try_draining(self, *, evicts: bool) -> bool:
        """Return whether this end may send from the outbox; any thread.

        Args:
            evicts: take it from an older link of this process.
        """
        if self.outbox is None:
            return False
        if self._sending is not None:
            return True
        if monotonic() < self._lead_at:
            return False
        tenancy = TENANCIES.of(outbox_key(self.outbox.stored.stream))
        if not tenancy.take(self, evicts=evicts):
            return False
        lead = self.outbox.stored.take_lead()
        if lead is None:  # another process does
            self._lead_at = monotonic() + LEAD_INTERVAL
            tenancy.leave(self)
            return False
        self._sending, self._lead = tenancy, lead
        return True

    def evict(self, key: str) -> None:
        """Leave a stream to a newer link."""
        if key.startswith("out/"):
            self._give_up_lead()
        else:
            # Deaf from here on: what it stored, or answered, would be behind the back of the newer link.
            self._storing = self._machine = None
            self._frames.close(TAKEN_OVER)

    def _stop_draining(self) -> None:
        sending = self._sending
        self._give_up_lead()
        if sending is not None:
            sending.leave(self)

    def _give_up_lead(self) -> None:
        lead, self._sending, self._lead = self._lead, None, None
        if lead is not None:
            lead.release()

    def _change_outbox(self, step: DeleteTo | RenewStream | BuryMessage) -> list[Action]:
        machine, outbox, tenancy = self._machine, self.outbox, self._sending
        if machine is None or outbox is None or tenancy is None:
            return []
        try:
            with tenancy.held_by(self) as is_mine:
                if not is_mine:
                    return []
                if outbox.stored.stream != step.stream:
                    raise StreamChanged("outbox")
                if isinstance(step, DeleteTo):
                    outbox.stored.delete_to(step.offset)
                elif isinstance(step, BuryMessage):
                    outbox.stored.bury_at(step.seq, "the peer cannot store it")
                else:
                    outbox.stored.renew_stream()
        except StreamChanged as error:
            self._follow_outbox(machine, error)
            return []
        except StoreError as error:
            self._report(error)
            machine.stop_sending()  # it greets again later, and finds out what the peer has
            return []
        if isinstance(step, RenewStream):
            self._restart_sending(machine)
            return []
        if isinstance(step, BuryMessage):
            self._tell_buried(step.seq, "the peer cannot store it")
        self.on_deleted()
        return []

    def _restart_sending(self, machine: ReliableEnd) -> None:
        """Have the outbox greeted again, under the stream id that it has now."""
        machine.stop_sending()
        try:
            self._stop_draining()
        except StoreError as error:
            self._report(error)

    def _follow_outbox(self, machine: ReliableEnd, error: StreamChanged) -> None:
        """Tell that the outbox has changed by itself, and go on with what it has now."""
        self._services.report(error, ErrorContext("queue"))
        self._restart_sending(machine)

    def _tell_buried(self, seq: int, reason: str) -> None:
        error = SocketMessageError(f"message {seq} of the outbox is a dead letter now: {reason}")
        self._services.report(error, ErrorContext("enqueue", str(seq)))

    # -- the inbox ---------------------------------------------------------------------------------------------------

    def _hold(self, stream: str) -> None:
        """Use a stream in the inbox: from a greeting on, this link has it, and no older one."""
        if self.inbox is None:
            return
        own = self.inbox.stored.stream
        if self._inbox_stream not in ("", own):
            self._services.report(StreamChanged("inbox"), ErrorContext("queue"))
        self._inbox_stream = own
        tenancy = TENANCIES.of(f"in/{own}/{self.inbox.key(stream)}")
        if tenancy is not self._storing:
            self._leave_stream()
            tenancy.take(self, evicts=True)
            self._storing = tenancy

    def _leave_stream(self) -> None:
        storing, self._storing = self._storing, None
        if storing is not None:
            storing.leave(self)

    def _store(self, step: StoreMessages) -> list[Action]:
        machine, inbox, tenancy = self._machine, self.inbox, self._storing
        if machine is None or inbox is None or tenancy is None:
            return []
        count, outcome = 0, StoreOutcome.FULL
        try:
            with tenancy.held_by(self) as is_mine:
                if not is_mine:
                    return []  # the newer link has greeted
                count, outcome = inbox.store(step)
        except StoreError as error:
            self._report(error)  # as if it were full: the peer keeps them, until storing works again
        if outcome is StoreOutcome.FULL:
            self._refused = StoreMessages(_behind(step, count), step.messages[count : count + 1])
        return machine.stored(step, count, outcome)

    def _move(self, step: MovePosition) -> list[Action]:
        machine, inbox, tenancy = self._machine, self.inbox, self._storing
        if machine is None or inbox is None or tenancy is None:
            return []
        try:
            with tenancy.held_by(self) as is_mine:
                return machine.moved(step, is_mine and inbox.move(step))
        except StoreError as error:
            self._report(error)
            # The peer greets again, but not before the store may work again.
            self._late = machine.moved(step, is_done=False)
            return []

    def _retry_refused(self) -> None:
        """Store the message for which there was no room, once there is; its peer waits to hear of it."""
        machine, inbox, step, tenancy = self._machine, self.inbox, self._refused, self._storing
        if step is None or machine is None or inbox is None or tenancy is None or self._failed_at is not None:
            return
        try:
            with tenancy.held_by(self) as is_mine:
                count, outcome = inbox.store(step) if is_mine else (0, StoreOutcome.MOVED)
        except StoreError as error:
            self._report(error)
            return
        if outcome is not StoreOutcome.FULL:
            self._refused = None
            self._do([*machine.room(), *machine.stored(step, count, outcome)])

    def _encoded(self, message: Message) -> bytes | None:
        """Return the payload as it is stored; ``None`` if that is not possible: a hook may have put anything there."""
        if message.payload is UNREADABLE:
            return None  # which was reported
        try:
            return to_json(message.payload)
        except SocketMessageMalformed as error:
            self._services.report(error, ErrorContext("consume", str(message.id or ""), message))
            return None

    def _store_plain(self, drafts: list[Draft]) -> None:
        """Store messages of a peer that does not number them, and cannot be told that there is no room."""
        if self.inbox is None:
            return
        try:
            self.inbox.append(drafts)
            self._is_full = False
        except StoreFull as error:
            if len(drafts) > 1:
                for draft in drafts:
                    self._store_plain([draft])
                return
            self._services.counters.count("dropped")
            # Once for each time that it fills up: a report for each message would be another flood.
            if not self._is_full:
                self._is_full = True
                self._services.report(error, ErrorContext("consume", drafts[0].id or ""))

    def _note_done(self) -> None:
        """Acknowledge what consumers are done with, where that is what counts."""
        machine, inbox = self._machine, self.inbox
        if inbox is None or not inbox.is_volatile or machine is None or machine.incoming is None:
            return
        position = machine.incoming.position
        done = None if position is None else inbox.done(position.stream)
        if done is not None:
            self._do(machine.done(done))

    def _report(self, error: SocketError) -> None:
        """Report an error of a store, at most once for each second; the end of a link is reported elsewhere."""
        if self.is_over:
            return  # a store may be closed right after its connection
        if isinstance(error, (StoreError, SocketMessageError)) and self._failed_at is None:
            self._failed_at = monotonic()
            self._services.report(error, ErrorContext("queue"))

    def _leave_link(self) -> None:
        """Forget what belongs to the link."""
        self._machine = self._ack = self._refused = self._deferred = None
        self._late = []
        self._leave_stream()


def _behind(step: StoreMessages, count: int) -> StreamPosition:
    """Return the position behind so many messages of a step."""
    if not count:
        return step.after
    last = step.messages[count - 1]
    return StreamPosition(step.after.stream, last.seq, last.id)
