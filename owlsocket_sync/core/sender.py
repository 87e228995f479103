"""The way out of a connection: from a message to the link that takes it.

A message is encoded on the thread that sends it, before anything else happens; then it goes into the batch of that
thread, or to the carrier. Calls that find no link wait in their table; everything else waits for a link.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any

from ..deadline import Deadline, check_timeout
from ..delegation import delegate
from ..errors import SocketConnectionError, SocketError, SocketMessageMalformed
from ..errors.marshalled import unsent
from ..options import Limits
from ..protocol.calls import CallTable
from ..protocol.carrier import Carrier, Workers
from ..protocol.codec import compact, encode, encode_call, encode_event
from ..protocol.counters import UNCOUNTED, Counters
from ..protocol.hooks import Hooks, Span
from ..protocol.messages import IDS, CallMessage, EventMessage, Message, MessageType
from ..protocol.oversize import too_large
from ..protocol.pending import Pending
from ..protocol.scopes import Scopes, get_scope
from ..protocol.settings import Settings, check_prepared
from ..values import NeverCompressed

_NO_BLOCK = nullcontext()


class Sender:
    """Sends what the families of messages have to say.

    Args:
        carrier: carries the messages.
        settings: of the connection.
        table: the calls that are pending.
        counters: where messages that were sent count.
        hooks: the instruments of the connection.
        scopes: the open batches and deadlines.
        workers: another handler may run in place of one that waits; ``step_aside``: other threads read meanwhile.
        limits: of a message.
        sender: the name in each message, or ``None``.
        stamps: whether each message holds the time at which it was sent.
    """

    __slots__ = (
        "_blocks", "_carrier", "_counters", "_hooks", "_json_depth", "_message_size", "_scopes", "_sender", "_settings",
        "_stamps", "_step_aside", "_table", "_workers",
    )  # fmt: skip

    def __init__(
        self,
        carrier: Carrier,
        settings: Settings,
        table: CallTable,
        counters: Counters,
        hooks: Hooks,
        scopes: Scopes,
        workers: Workers,
        step_aside: Callable[[], AbstractContextManager[None]],
        *,
        limits: Limits,
        sender: str | None,
        stamps: bool,
    ) -> None:
        self._carrier, self._settings, self._table = carrier, settings, table
        self._counters, self._hooks, self._scopes = counters, hooks, scopes
        self._workers, self._blocks, self._step_aside = workers, workers.blocks, step_aside
        self._message_size, self._json_depth = limits.message_size, limits.json_depth
        self._sender, self._stamps = sender, stamps

    closing_error: Callable[[], SocketConnectionError | None] = delegate("_carrier.closing_error")
    schedule_wakeup: Callable[[float], None] = delegate("_carrier.schedule_wakeup")

    # -- several at once ---------------------------------------------------------------------------------------------

    def batch(self, current: Callable[[], Sender]) -> AbstractContextManager[None]:
        """Gather what is sent inside; at the end the sender that is ``current`` then sends it together."""
        return self._scopes.batch_scope(lambda: current()._send_together)

    def _send_together(self, gathered: list[bytes | Pending], interrupted: bool) -> None:
        if not interrupted:
            self._transmit(gathered, self.deadline_for(None))
            return
        # The error that ends the block is told, and not held up by a wait for a link.
        link, sent = self._carrier.current_link_id(), False
        with suppress(SocketError):
            sent = link is not None and self._transmit_on(link, gathered, self.deadline_for(None))
        if not sent:
            self._counters.count("dropped", sum(isinstance(item, bytes) for item in gathered))

    def send_gathered(self, deadline: Deadline | None) -> None:
        """Send what this thread gathered so far, by default within the timeout of calls; the batch goes on."""
        deadline = deadline or self.deadline_for(None)
        while self.has_open_batch():
            send = partial(self._transmit_on, self._await_link(deadline), deadline=deadline)
            self._scopes.send_batch(send)

    def has_open_batch(self) -> bool:
        """Return whether this thread holds messages in a batch."""
        return bool(self._open_batch())

    def _open_batch(self) -> list[bytes | Pending] | None:
        scope = get_scope() and self._scopes.find_batch()
        return scope.batch if scope else None

    # -- encoding ----------------------------------------------------------------------------------------------------

    def encode_call(self, method: str, payload: tuple[Any, ...], deadline: Deadline) -> tuple[Any, bytes]:
        """Return the id of a new call, and its message."""
        if self._settings.prepare is not None:
            call = CallMessage(payload=list(payload), id=IDS.next(), method=method, timeout=deadline.remaining())
            message, data = self.encode(call)
            return message.id, data
        id = IDS.next()
        dt = time.time() if self._stamps else None
        data = encode_call(method, payload, id, dt, deadline.remaining(), self._sender, self._json_depth)
        if len(data) > self._message_size:
            raise too_large(len(data), self._message_size)
        return id, data

    def encode(self, message: Message) -> tuple[Message, bytes]:
        """Return a message as the hook ``prepare`` left it, and its text."""
        if self._stamps and message.dt is None:
            message.dt = time.time()
        if message.sender is None:
            message.sender = self._sender
        prepare = self._settings.prepare
        if prepare is not None:
            message = check_prepared(prepare(message, False))
        data = encode(message, self._json_depth)
        if len(data) > self._message_size:
            raise too_large(len(data), self._message_size)
        return message, NeverCompressed(data) if message.type == MessageType.AUTH else data

    # -- sending -----------------------------------------------------------------------------------------------------

    def send(self, message: Message, deadline: Deadline | None = None) -> None:
        """Send a message once there is a link.

        Raises:
            SocketTimeout: there was none within the deadline (default: the timeout of calls).
            SocketConnectionError: there will be none, or the link broke while it was sent.
            SocketMessageError: it cannot be sent as JSON, or is too large.
        """
        self._enqueue(self.encode(message)[1], deadline or self.deadline_for(None))

    def send_text(self, text: str) -> None:
        """Send text of any kind; raise what `send` raises."""
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise unsent(SocketMessageMalformed(f"the text cannot be sent as UTF-8: {error}")) from error
        if len(data) > self._message_size:
            raise too_large(len(data), self._message_size)
        # As a message of this type would be, wherever its keys are.
        self._enqueue(NeverCompressed(data) if b'"auth"' in data else data, self.deadline_for(None))

    def send_event(self, event: str, payload: Any) -> None:
        """Send an event; raise what `send` raises."""
        if self._settings.prepare is not None:
            self.send(EventMessage(payload=payload, event=event))
            return
        data = encode_event(event, payload, time.time() if self._stamps else None, self._sender, self._json_depth)
        if len(data) > self._message_size:
            raise too_large(len(data), self._message_size)
        batch = self._open_batch()
        if batch is not None:
            batch.append(compact(data))
        else:
            self._transmit((data,), self.deadline_for(None))

    def send_observed(self, message: Message, span: Span) -> None:
        """Send a message with the keys that instruments add to it; raise what `send` raises."""
        self._enqueue(span.extended(self.encode(message)[1]), self.deadline_for(None))

    def reply(self, message: Message, link: int) -> None:
        """Send an answer on the link with this number, and on no other; dropped where that link is gone."""
        data = self.encode(message)[1]
        try:
            sent = self._carrier.transmit([data], link, Deadline(self._settings.call_timeout), is_answer=True)
        except SocketConnectionError:
            sent = False  # the peer that asked is gone
        if sent:
            self.note_sent(len(data))
        else:
            self._counters.count("dropped")

    def _enqueue(self, data: bytes, deadline: Deadline) -> None:
        batch = self._open_batch()
        if batch is not None:
            batch.append(data)
        else:
            self._transmit((data,), deadline)

    def _transmit(self, items: Sequence[bytes | Pending], deadline: Deadline) -> None:
        """Send these together once there is a link."""
        # False where the link was lost in between: then they wait for the next one.
        while not self._transmit_on(self._await_link(deadline), items, deadline):
            pass

    def _await_link(self, deadline: Deadline) -> int:
        link = self._carrier.current_link_id()
        if link is None:
            # The reader does not wait: the carrier raises at once there.
            with _NO_BLOCK if self._carrier.is_reader() else self._step_aside(), self._workers.managed_block():
                link = self._carrier.await_link(deadline)
        return link

    def note_sent(self, size: int) -> None:
        """Count a message of so many bytes that was sent, and show it to the instruments; without a lock."""
        sizes = self._counters.sizes_out
        sizes.append(size)
        if len(sizes) > UNCOUNTED:
            self._counters.flush()
        if self._hooks.message_instruments:
            self._hooks.report_messages("out", (size,))

    # -- calls -------------------------------------------------------------------------------------------------------

    def link_for_call(self) -> int | None:
        """Return the link on which a call that is made now leaves at once, ``None`` where it has to wait for one."""
        return self._carrier.current_link_id() if self._open_batch() is None else None

    def send_and_wait(self, call: Pending, link: int | None, is_done: Callable[[], bool]) -> None:
        """Send a call, after what was gathered, and wait for its answer; in place of the reader, for a while."""
        batch = self._open_batch()
        if batch is not None:
            batch.append(call)
            self.send_gathered(call.deadline)
        with self._workers.managed_block() if self._blocks.matter else _NO_BLOCK:
            if batch is None:
                self.send_call(call, link, is_done)
            elif not is_done():
                self._carrier.read_for(is_done, call.deadline)
            if not is_done():
                with self._step_aside():
                    call.wait(call.deadline)

    def send_call(self, call: Pending, link: int | None, is_done: Callable[[], bool] | None = None) -> None:
        """Send a call on the link that it was prepared for, or as `_send_or_hold` does; never raises `SocketError`."""
        # Not `call.link`: a worker may have sent it meanwhile, on a link that opened since it was prepared.
        if link is not None:
            try:
                sent = self._carrier.transmit((call.data,), link, call.deadline, is_done=is_done)
            except SocketError as error:
                self._fail_unsent((call,), error)
                return
            if sent:
                self.note_sent(len(call.data))
                # Not kept where it is not sent again: it may be large.
                call.sent, call.data = True, call.data if call.retry else b""
                return
            self._table.unclaim(call, link)
        self._send_or_hold((call,), is_done)

    def send_held(self) -> None:
        """Send the calls that waited for a link."""
        if calls := self._table.unsent():
            self._send_or_hold(calls)

    def _send_or_hold(self, calls: Sequence[Pending], is_done: Callable[[], bool] | None = None) -> None:
        """Send calls if there is a link; else they wait in their table for `send_held`."""
        batch = self._open_batch()
        if batch is not None:
            batch.extend(calls)
            return
        sent = False
        while not sent:
            link = self._carrier.current_link_id()
            if link is None:
                error = self.closing_error()
                if error is not None:
                    self._fail_unsent(calls, error, for_good=True)
                return
            deadline = calls[0].deadline if len(calls) == 1 else Deadline(self._settings.call_timeout)
            try:
                sent = self._transmit_on(link, calls, deadline, is_done)
            except SocketError:
                return  # each call has failed with it

    def _transmit_on(
        self,
        link: int,
        items: Sequence[bytes | Pending],
        deadline: Deadline,
        is_done: Callable[[], bool] | None = None,
    ) -> bool:
        claimed: list[Pending] = []
        frames: list[bytes] = []
        for item in items:
            if isinstance(item, bytes):
                frames.append(item)
            elif self._table.claim(item, link):  # else it was answered, cancelled, or sent by another thread
                claimed.append(item)
                frames.append(item.data)
        if not frames:
            return True
        try:
            sent = self._carrier.transmit(frames, link, deadline, is_done=is_done)
        except SocketError as error:
            self._fail_unsent(claimed, error)
            raise
        if not sent:
            for call in claimed:
                self._table.unclaim(call, link)
            return False
        self._counters.count_all_sent(len(frames), sum(map(len, frames)))
        if self._hooks.message_instruments:
            self._hooks.report_messages("out", map(len, frames))
        for call in claimed:
            call.sent, call.data = True, call.data if call.retry else b""
        return True

    def _fail_unsent(self, calls: Sequence[Pending], error: SocketError, *, for_good: bool = False) -> None:
        """Fail calls that could not be sent; those that may be sent again wait for the next link, if there is one."""
        for call in calls:
            if for_good or not (call.retry and isinstance(error, SocketConnectionError)):
                self._table.forget(call.id)
                call.complete(error=error)

    def deadline_for(self, timeout: float | None, default: float | None = None) -> Deadline:
        """Return the sooner one of this timeout (default: that of calls) and the ``deadline`` block around it."""
        if timeout is None:
            timeout = self._settings.call_timeout if default is None else default
        else:
            timeout = check_timeout(timeout)
        deadline = Deadline(timeout)
        return deadline if get_scope() is None else deadline.sooner(self._scopes.find_deadline())
