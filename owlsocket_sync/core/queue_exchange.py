"""The exchange of a connection's outbox and inbox with the peer: what arrived, what waits, and what follows.

Threads: any thread adds what arrived, in one step of the interpreter. One at a time works: the drainer, where there is
an outbox, else a worker. It writes to stores and links, and holds no lock meanwhile but ``tenant_lock``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from ..clock import monotonic
from ..errors import (
    SocketConnectionError,
    SocketError,
    SocketTimeout,
    StoreError,
)
from ..protocol.hello import EVENTS, MAX_SEQ, Frame, Hello, read_frame
from ..protocol.incoming_stream import Numbered
from ..protocol.messages import Message, MessageType
from ..protocol.numbered import read_number
from ..protocol.reliable import ReliableEnd
from ..protocol.reports import ErrorContext
from ..stores.base import Draft
from .exchange_steps import UNREADABLE, ExchangeSteps
from .stored_ends import StreamChanged, check_greeted

MAX_BATCH = 512
POLL_INTERVAL = 0.05
"""Seconds after which to look for what others have put into the outbox, or taken from the inbox."""
RETRY_INTERVAL = 1.0

_Input = tuple[Callable[[Any], object], int, Any, int]


class QueueExchange(ExchangeSteps):
    """The exchange of one connection, over all its links; its arguments are those of `ExchangeSteps`.

    Attributes:
        wake: has `work` called soon.
    """

    def __init__(self, *arguments: Any, asks: bool) -> None:
        super().__init__(*arguments, asks=asks)
        self._inputs: deque[_Input] = deque()
        # Bound once: they are compared.
        self._on_message, self._on_opened, self._on_lost = self._take_message, self._take_opened, self._take_lost
        self._announced: tuple[int, ReliableEnd | None] = 0, None
        self._is_open = False
        self.wake: Callable[[], object] = lambda: None

    # -- what arrives; any thread ------------------------------------------------------------------------------------

    def receive_system(self, event: str, payload: Any, link: int) -> bool:
        """Return whether a system message belongs to the queues, and take it in then."""
        if event not in EVENTS:
            return False
        try:
            frame = read_frame(event, payload)
        except SocketError as error:
            self._services.counters.count("malformed")
            self._services.report(error, ErrorContext("receive", event))
        else:
            self._add(self._take_frame, link, frame)
        return True

    def receive_message(self, message: Message, link: int) -> None:
        """Take in a message for the inbox; it holds room in the backlog until it is stored."""
        size = self._services.backlog.weigh(message.raw)
        self._services.backlog.take(size)
        self._add(self._on_message, link, message, size)

    def receive_unreadable(self, seq: Any, id: Any, link: int) -> None:
        """Take in that a message with this number arrived which cannot be read: its sender must not repeat it."""
        if type(seq) is int and 0 < seq <= MAX_SEQ:
            message = Message(MessageType.MESSAGE, UNREADABLE, id, raw=f'{{"seq":{seq}}}')
            self._add(self._on_message, link, message)

    def receive_unprepared(self, message: Message, link: int) -> None:
        """Take in that a hook did not let a message in."""
        self.receive_unreadable(read_number(message.raw), message.id, link)

    def receive_ping(self, link: int) -> None:
        """Take in a ping of the peer, which is answered once all that came before it is stored."""
        self._add(self._take_ping, link)

    def receive_pong(self, link: int) -> None:
        """Take in an answer of the peer to a ping."""
        self._add(self._take_pong, link)

    def link_opened(self, link: int) -> None:
        """Take in that a link is open for all."""
        self._add(self._on_opened, link)

    def link_lost(self, link: int) -> None:
        """Take in that a link has ended."""
        self._add(self._on_lost, link)

    def end(self) -> None:
        """Take in that the connection is closed."""
        self.is_over = True
        self.wake()

    def _add(self, take: Callable[[Any], object], link: int, value: Any = None, size: int = 0) -> None:
        self._inputs.append((take, link, value, size))
        self.wake()

    def has_inputs(self) -> bool:
        """Return whether something arrived that `work` has not seen."""
        return bool(self._inputs)

    def announce(self, link: int, *, authenticates: bool) -> list[bytes]:
        """Return what to send first on a link of ours, before a byte is read; on the thread that connects.

        So a peer that asks whether this end is plain has seen a hello before the answer.

        Args:
            link: the number of the link.
            authenticates: the greeting follows later, after authentication.
        """
        machine = self._make_machine()
        try:
            actions = machine.announce() if authenticates else machine.greet()
        except StoreError as error:  # the link is good for everything else; the greeting follows
            self._report(error)
            actions = machine.announce()
        self._announced = link, machine
        frames = [self._frames.encode(action) for action in actions]
        self._frames.count_sent(frames)
        return frames

    # -- the work; one thread at a time ------------------------------------------------------------------------------

    def work(self) -> float:
        """Do all there is to do; return when to look again (``time.monotonic``), ``math.inf`` for never."""
        now = monotonic()
        if self._failed_at is not None and now >= self._failed_at + RETRY_INTERVAL:
            self._failed_at = None
        if self._failed_at is None:
            self._catch_up()
        while self._take_inputs() or self._pump():
            pass
        self._guarded(lambda _: self._retry_refused())
        self._guarded(lambda _: self._note_done())
        self._guarded(lambda _: self._send_ack())
        if self.is_over:
            self._leave_link()
            self._stop_draining()
            return math.inf
        if self._failed_at is not None:
            return self._failed_at + RETRY_INTERVAL
        has_outbox = self.outbox is not None and self._is_open
        return now + POLL_INTERVAL if has_outbox or self._awaits_consumers() else math.inf

    def _awaits_consumers(self) -> bool:
        machine = self._machine
        if machine is None or machine.incoming is None:
            return False
        return self._refused is not None or machine.incoming.has_undone

    def _take_inputs(self) -> bool:
        """Take in what arrived, as far as it goes in one piece; return whether there was anything."""
        if not self._inputs:
            return False
        for _ in range(MAX_BATCH):
            if not self._inputs:
                break
            take, link, value, size = self._inputs.popleft()
            if link > self._link and take is not self._on_lost:
                self._use_link(link)
            if take is self._on_message:
                self._take_messages(link, value, size)
            elif link == self._link:
                self._guarded(take, value)
        return True

    def _take_messages(self, link: int, first: Message, size: int) -> None:
        """Store messages that arrived one after the other together, which costs one sync of the disk."""
        messages, sizes = [first], [size]
        while self._inputs and len(messages) < MAX_BATCH:
            take, other, message, size = self._inputs[0]
            if take is not self._on_message or other != link:
                break
            self._inputs.popleft()
            messages.append(message)
            sizes.append(size)
        if link == self._link:
            self._guarded(self._take_message, messages)
        for size in sizes:
            self._services.backlog.release(size)

    def _guarded(self, take: Callable[[Any], object], value: Any = None) -> None:
        try:
            take(value)
        except SocketConnectionError:
            pass  # the link is about to be lost, and says why
        except SocketError as error:
            self._report(error)

    def _take_frame(self, frame: Frame) -> None:
        machine = self._machine
        if machine is None:
            return
        try:
            if isinstance(frame, Hello) and frame.queue is not None and frame.queue.bounds is not None:
                self._hold(frame.queue.bounds.stream)  # before its position is looked up
            actions = machine.receive(frame)
        except StoreError as error:
            self._report(error)
            self._deferred = frame
            if isinstance(frame, Hello) and not frame.is_answer:
                self._frames.send(Hello(is_answer=True), self._link)  # or the peer would take this end for a plain one
            return
        self._deferred = None
        self._do(actions)

    def _catch_up(self) -> None:
        """Do what a store did not let happen before."""
        late, self._late = self._late, []
        self._guarded(self._do, late)
        if self._deferred is not None:
            self._guarded(self._take_frame, self._deferred)
        if self._is_open and self._machine is not None and not self._machine.has_greeted:
            self._guarded(self._take_opened)

    def _take_ping(self, _: None) -> None:
        self._send_ack()
        self._frames.pong(self._link)

    def _take_pong(self, _: None) -> None:
        if self._machine is not None:
            self._do(self._machine.pong())

    def _take_opened(self, _: None) -> None:
        self._is_open = True
        if self._machine is not None and not self._machine.has_greeted:
            if self.outbox is not None and not self._asks:
                self._machine.sends = self._may_send(evicts=True)
            self._do(self._machine.greet())

    def _take_lost(self, _: None) -> None:
        self._is_open = False
        self._leave_link()

    def _take_message(self, messages: list[Message]) -> None:
        machine = self._machine
        if machine is None:
            return
        numbered: list[Numbered] = []
        plain: list[Draft] = []
        for message in messages:
            seq = read_number(message.raw) if machine.is_greeted else None
            payload = self._encoded(message)
            if seq is not None:
                numbered.append(Numbered(seq, str(message.id or seq), payload))
            elif payload is not None:
                plain.append(Draft(None if message.id is None else str(message.id), payload))
        if plain:
            self._store_plain(plain)
        if numbered:
            self._do(machine.messages(numbered))

    # -- links, and the outbox ---------------------------------------------------------------------------------------

    def _make_machine(self) -> ReliableEnd:
        return ReliableEnd(
            self.outbox,
            self.inbox,
            asks=self._asks,
            acks_when_done=self.inbox is not None and self.inbox.is_volatile,
            sends=self._asks and self._may_send(evicts=False),
            largest=self._frames.message_size,
        )

    def _may_send(self, *, evicts: bool) -> bool:
        try:
            return self.try_draining(evicts=evicts)
        except StoreError as error:
            self._report(error)
            return False

    def _use_link(self, link: int) -> None:
        """Go on with another link, on which this end may have spoken already."""
        self._leave_link()
        number, machine = self._announced
        self._link, self._is_open = link, False
        self._machine = machine if number == link and machine is not None else self._make_machine()

    def _pump(self) -> bool:
        """Send what waits in the outbox, as far as the peer allows; return whether there was anything to send."""
        machine, outbox = self._machine, self.outbox
        if machine is None or machine.outgoing is None or outbox is None or not self._is_open:
            return False
        if self._failed_at is not None:
            return False
        try:
            if self._sending is None:
                machine.stop_sending()
            if not machine.sends:
                if not self.try_draining(evicts=False):
                    return False
                self._do(machine.start_sending())
            check_greeted(machine.outgoing, self._sending)
            sent = self._frames.send_waiting(machine, outbox, self._link, self._tell_buried)
            if machine.outgoing.needs_ping():
                self._ping()
            return sent
        except StreamChanged as error:
            self._follow_outbox(machine, error)
            return True
        except SocketTimeout:
            # How much of it has left is not known: after another greeting, it is sent again from the last ack on.
            machine.stop_sending()
        except SocketConnectionError:
            pass  # the link is about to be lost, and says why
        except SocketError as error:
            self._report(error)
            machine.stop_sending()  # it greets again, once that is over
        return False

    def _ping(self) -> None:
        machine = self._machine
        if self._asks:
            self._frames.ping_by_text(self._link)
        elif not self._frames.ping(self._link) and machine is not None and machine.outgoing is not None:
            machine.stop_sending()  # without an answer it asks again
        else:
            self.receive_pong(self._link)
