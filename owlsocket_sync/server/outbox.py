"""Broadcasts to one client: written at once where the client takes them at once, else queued, in order.

Threads: any thread broadcasts, and never waits for the client. What the client does not take is sent before whatever
else is written to it: by the next writer, by its reader once it accepts data again, or, while its handler has not
returned and nothing reads, by a worker. ``_outbox_lock`` guards the sizes; it is taken last, and held for a few
instructions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Protocol

from ..clock import monotonic
from ..core.core import Core
from ..errors import SocketConnectionError, SocketError
from ..errors.safe_text import logger
from ..options import Limits
from ..protocol.counters import UNCOUNTED
from ..protocol.messages import Message
from ..protocol.reports import ErrorContext
from ..runtime.deferred_writes import NOTHING, SENT, DeferringWriter

LANE = "broadcast"
BROADCAST_TIMEOUT = 15.0
EXPIRY_RETRY = 0.05
NOT_SENT = "%s: a broadcast was not sent: %s"


class TextSize(int):
    """The size of a text, with that of the payload which it has on a link with a compression.

    Attributes:
        wire: bytes of the payload.
    """

    wire: int

    def __new__(cls, size: int, wire: int) -> TextSize:
        """Make it of both sizes."""
        made = super().__new__(cls, size)
        made.wire = wire
        return made


class Recipient(Protocol):
    """The client of an outbox.

    Attributes:
        is_reading: a thread reads, or has read, its link.
    """

    is_reading: bool

    def submit(self, key: Hashable, function: Callable[[], object]) -> bool:
        """Run a function on a worker, in order with others of the same key."""
        ...


class Outbox:
    """A bounded queue of broadcasts to one client, in order; empty as long as the client keeps up.

    Args:
        core: of the client's connection; counts what is sent, and reports what is dropped.
        recipient: the client.
        writer: of its link.
        limits: ``dispatch_messages`` and ``dispatch_bytes`` bound the queue.

    Attributes:
        frames: the queue.
        sizes: bytes of the messages that were begun or queued and are not counted as sent; those of ``frames`` last.
        settings: of the connection.
        compression: of the link.
    """

    __slots__ = (
        "_accepted",
        "_encode",
        "_first",
        "_first_expires_at",
        "_full",
        "_hooks",
        "_limits",
        "_name",
        "_note_sent",
        "_outbox_lock",
        "_recipient",
        "_services",
        "_size",
        "_sizes_out",
        "_writer",
        "compression",
        "frames",
        "settings",
        "sizes",
    )

    def __init__(self, core: Core, recipient: Recipient, writer: DeferringWriter, limits: Limits) -> None:
        self._services = core.services
        self._encode, self._note_sent = core.sender.encode, core.sender.note_sent
        self._name = core.options.name
        self.settings = core.settings
        self._sizes_out, self._hooks = core.services.counters.sizes_out, core.hooks
        self._recipient = recipient
        self._writer = writer
        self.compression = writer.compression
        self._limits = limits
        self._outbox_lock = core.services.make_lock()
        self.frames: list[bytes] = []
        self.sizes: list[int] = []
        self._size = 0
        self._accepted = False
        self._full = False
        self._first: bytes | None = None
        self._first_expires_at = math.inf
        writer.defer_to(self)

    @property
    def is_open(self) -> bool:
        """True until the link of the client ends."""
        return self._writer.is_open

    @property
    def message_size(self) -> int:
        """The most bytes of a message."""
        return self._limits.message_size

    def encode(self, message: Message) -> bytes:
        """Return the text of a message; raise what `Sender.encode` raises."""
        return self._encode(message)[1]

    def frame(self, data: bytes) -> tuple[bytes, int]:
        """Return the frame of a text, and the size of the text; the same for all clients with this `compression`."""
        frame, wire = self._writer.frame(data)
        return frame, len(data) if self.compression is None else TextSize(len(data), wire)

    def send_text(self, data: bytes) -> bool:
        """Do what `send` does with the text of a message."""
        return self.send(*self.frame(data))

    def send(self, frame: bytes, size: int) -> bool:
        """Write a broadcast as far as that needs no waiting, and queue it or drop it otherwise; from any thread.

        Args:
            frame: the encoded frame.
            size: of its message.

        Returns:
            False if it is dropped.
        """
        progress = NOTHING
        if self._accepted:
            try:
                progress = self._writer.write_now(frame, size)
            except SocketConnectionError as error:
                logger.debug(NOT_SENT, self._name, error)
                return False
            if progress is SENT:
                # As `Sender.note_sent`, without its objects: in a crowd each of them has to come from memory.
                sizes = self._sizes_out
                sizes += (size,)
                if len(sizes) > UNCOUNTED:
                    self._services.counters.flush()
                if isinstance(size, TextSize):
                    self._writer.count_wire(size.wire)
                if self._hooks.message_instruments:
                    self._hooks.report_messages("out", (size,))
                return True
        if progress is NOTHING and not self._put(frame, size):
            return False
        self.attend()
        return True

    def accept(self) -> None:
        """Send what was broadcast before the client was accepted, and write to it from now on."""
        self._accepted = True
        self.attend()

    def _put(self, frame: bytes, size: int) -> bool:
        """Queue a broadcast, and return whether it fits."""
        limits = self._limits
        with self._outbox_lock:
            # An empty queue takes any size, or a payload above the limit could never be broadcast.
            full = bool(self.sizes) and (
                len(self.sizes) >= limits.dispatch_messages or self._size + size > limits.dispatch_bytes
            )
            # No call from here on, and so no interrupt: the frame and its size are queued together.
            already_reported, self._full = self._full, full
            if not full:
                self._size += size
                self.sizes += (size,)
                self.frames += (frame,)
        if full:
            self._drop(already_reported)
        return not full

    def report(self, error: Exception, event: str) -> None:
        """Report an error of the hook ``prepare`` of the client."""
        self._services.report(error, ErrorContext(LANE, event))

    def _drop(self, already_reported: bool) -> None:
        self._services.counters.count("dropped")
        # Once for each episode: a client that reads nothing would otherwise report every broadcast.
        if not already_reported:
            error = SocketError(
                "the queue of broadcasts to the client is full (Limits.dispatch_messages, Limits.dispatch_bytes); "
                "broadcasts are dropped until the client reads"
            )
            self._services.report(error, ErrorContext(LANE))

    def attend(self) -> None:
        """Have the queue sent, without waiting for the client; from any thread."""
        # The caller has queued something before: either it sees that the client is accepted, or `accept` sees that.
        if not (self._accepted and self.sizes):
            return
        self._writer.attend()
        if self.sizes and not self._recipient.is_reading:
            self._recipient.submit(LANE, self._send_aside)

    def _send_aside(self) -> None:
        """Send the queue until it is empty or a thread reads; on a worker, before the handler has returned."""
        # Not by a reader that is started for it: what that reads before the handler has returned finds no handlers.
        while self._writer.has_unsent and not self._recipient.is_reading and self._writer.is_open:
            expires_at = min(self.expire(monotonic()), monotonic() + BROADCAST_TIMEOUT)
            self._writer.flush(expires_at)
            self.expire(monotonic())

    def expire(self, now: float) -> float:
        """Drop the first broadcast of the queue if it has been the first for too long; return when to call next."""
        while True:
            try:
                first = self.frames[0]
            except IndexError:
                self._first = None
                return math.inf
            if first is not self._first:
                self._first, self._first_expires_at = first, now + BROADCAST_TIMEOUT
            elif now >= self._first_expires_at:
                if self._writer.drop_deferred(first):
                    logger.debug(NOT_SENT, self._name, f"the client accepted nothing for {BROADCAST_TIMEOUT:g} s")
                    continue
                # A thread that writes has the lock: the reader must not look without a pause meanwhile.
                self._first_expires_at = now + EXPIRY_RETRY
            return self._first_expires_at

    def end(self) -> None:
        """Note the broadcasts that are lost with the link; once that has ended."""
        if self.frames:
            logger.debug(NOT_SENT, self._name, f"the link has ended before {len(self.frames)} of them were sent")

    # -- by the writer -----------------------------------------------------------------------------------------------

    def begin(self, size: int) -> None:
        """Note that a broadcast was begun that had not been queued; with the write lock."""
        with self._outbox_lock:
            place = len(self.sizes) - len(self.frames)
            here = slice(place, place)
            self.sizes[here] = (size,)
            self._size += size

    def forget_first(self) -> None:
        """Remove the first frame, which will not be sent; with the write lock."""
        with self._outbox_lock:
            place = len(self.sizes) - len(self.frames)
            self._size -= self.sizes[place]
            del self.sizes[place]
            del self.frames[0]

    def settle(self) -> None:
        """Count the broadcasts that were sent; without a lock."""
        with self._outbox_lock:
            done = slice(len(self.sizes) - len(self.frames))
            sizes = self.sizes[done]
            size = sum(sizes)
            self._size -= size
            del self.sizes[done]
        for size in sizes:
            self._note_sent(size)
            if isinstance(size, TextSize):
                self._writer.count_wire(size.wire)
