"""Frames of an outbox and an inbox on a link of the connection: encoded, sent, counted.

Threads: the one that works for the exchange; `QueueFrames.encode` is called by the thread that connects as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..deadline import Deadline
from ..errors import ResilientError, SocketError, SocketMessageError, SocketTimeout
from ..errors.marshalled import unsent
from ..protocol.carrier import Carrier
from ..protocol.codec import encode
from ..protocol.hello import Ack, Frame, Hello, Nack, Skip, write_frame
from ..protocol.json_values import from_json
from ..protocol.messages import EventMessage, Message, MessageType
from ..protocol.numbered import PING, encode_stored, write_number
from ..protocol.outgoing_stream import SendState, Waiting
from ..protocol.reliable import Action, ReliableEnd
from ..protocol.services import Services
from ..protocol.settings import Settings
from ..stores.base import Entry
from .sender import Sender
from .stored_ends import OutboxEnd

PONG = b'{"type":"pong"}'
MAX_MESSAGES = 128
READ_BYTES = 4 * 1024 * 1024
NUMBER_BYTES = 24
PING_TIMEOUT = 10.0


class QueueFrames:
    """Sends what an exchange has to say.

    Args:
        name: of the connection, in logs.
        sender: encodes messages that a hook prepares.
        carrier: carries what is sent.
        services: count what is sent, and show it to instruments.
        settings: of the connection.
        close: close the link with a reason, later: not on this thread.
        message_size: the most bytes of one message.
        sender_name: the name in each message, or ``None``.
        stamps: whether each message holds the time at which it was sent.
    """

    def __init__(
        self,
        name: str,
        sender: Sender,
        carrier: Carrier,
        services: Services,
        settings: Settings,
        close: Callable[[str], object],
        *,
        message_size: int,
        sender_name: str | None,
        stamps: bool,
    ) -> None:
        self.name = name
        self.close = close
        self._sender = sender
        self._carrier = carrier
        self._counters, self._hooks = services.counters, services.hooks
        self._settings = settings
        self.message_size = message_size
        self._typical_size = READ_BYTES // 8
        self._sender_name, self._stamps = sender_name, stamps

    def count_sent(self, frames: Sequence[bytes]) -> None:
        """Count messages that were sent, and show them to the instruments."""
        self._counters.count_all_sent(len(frames), sum(map(len, frames)))
        if self._hooks.message_instruments:
            self._hooks.report_messages("out", map(len, frames))

    def encode(self, action: Action) -> bytes:
        """Return a frame, or a ping, as text."""
        if not isinstance(action, (Hello, Ack, Nack, Skip)):
            return PING
        event, payload = write_frame(action)
        return encode(EventMessage(MessageType.SYSTEM, payload, event=event))

    def send(self, frame: Frame, link: int) -> None:
        """Send a frame; during authentication as well, as an answer."""
        self._transmit([self.encode(frame)], link, is_answer=True)

    def pong(self, link: int) -> None:
        """Answer a ping."""
        self._transmit([PONG], link, is_answer=True)

    def ping_by_text(self, link: int) -> None:
        """Ping a server: its application answers, and no proxy."""
        self._transmit([PING], link, is_answer=True)

    def ping(self, link: int) -> bool:
        """Ping a client, and return whether it answered in time."""
        try:
            self._carrier.ping(Deadline(PING_TIMEOUT))
        except SocketTimeout:
            return False
        return True

    def send_waiting(
        self, machine: ReliableEnd, outbox: OutboxEnd, link: int, tell_buried: Callable[[int, str], object]
    ) -> bool:
        """Send what waits in the outbox, as far as the window allows; return whether there was anything to send.

        Raises:
            StreamChanged: the outbox has another stream than the one that was greeted.
        """
        outgoing = machine.outgoing
        assert outgoing is not None
        # Messages may be large: those that are read at once are not to take much memory together.
        room = min(outgoing.room(), MAX_MESSAGES, max(1, READ_BYTES // self._typical_size))
        # First: what is put in between is not skipped.
        if not room or (following := outbox.stored.bounds().next) == outgoing.sent + 1:
            return False
        is_plain = outgoing.state is SendState.PLAIN
        waiting: list[Waiting] = []
        encoded: dict[int, bytes] = {}
        largest = min(self.message_size, machine.largest or self.message_size)
        entries = outbox.read_after(outgoing.stream, outgoing.sent, room)
        self._typical_size = max([1024, *(len(entry.payload) for entry in entries)])
        for entry in entries:
            try:
                data = self._encode_entry(entry, largest)
            except ResilientError as error:
                outbox.stored.bury_at(entry.seq, str(error))
                tell_buried(entry.seq, str(error))
            else:
                encoded[entry.seq] = data if is_plain else write_number(data, entry.seq)
                waiting.append(Waiting(entry.seq, len(data)))
        if entries and not waiting:
            return True  # all of them were buried
        sending = outgoing.send(waiting, following)
        frames = [self.encode(each) if isinstance(each, Skip) else encoded[each.seq] for each in sending]
        if frames and not self._transmit(frames, link):
            raise unsent(SocketTimeout("the link is not open"))
        return bool(sending)

    def _encode_entry(self, entry: Entry, largest: int) -> bytes:
        prepare = self._settings.prepare
        if prepare is None:
            dt = time.time() if self._stamps else None
            data = encode_stored(entry.payload, entry.id, dt, self._sender_name)
        else:
            message = Message(MessageType.MESSAGE, from_json(entry.payload), entry.id)
            try:
                data = self._sender.encode(message)[1]
            except SocketError:
                raise
            except Exception as error:  # of the hook
                raise SocketMessageError(f"the prepare hook failed: {error!r}") from error
        if len(data) + NUMBER_BYTES > largest:
            raise SocketMessageError(f"{len(data)} bytes are more than {largest} (Limits.message_size)")
        return data

    def _transmit(self, frames: Sequence[bytes], link: int, *, is_answer: bool = False) -> bool:
        sent = self._carrier.transmit(frames, link, Deadline(self._settings.call_timeout), is_answer=is_answer)
        if sent:
            self.count_sent(frames)
        return sent
