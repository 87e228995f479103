"""The way out of a connection: from a message to the link that takes it.

A message is encoded on the thread that sends it, before anything else happens; then it goes into the batch of that
thread, or to the carrier. Calls that find no link wait in their table; everything else waits for one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from .deadline import Deadline, check_timeout
from .errors import SocketConnectionError, SocketError, SocketMessageError, SocketMessageMalformed
from .options import Limits
from .protocol.batch import Thoughts
from .protocol.carrier import Carrier
from .protocol.codec import compact, encode, encode_call, encode_event
from .protocol.instruments import Instrumented
from .protocol.messages import CallMessage, EventMessage, Message, new_id
from .protocol.pending import Asked, Pending
from .protocol.rpc import Rpc

Prepare = Callable[[Message, bool], Message]


class Outgoing(Rpc, Instrumented):
    """Sends what the families of messages have to say.

    Attributes:
        prepare: a hook ``(message, is_request) -> message``, asked for every message before it is sent (``False``)
            and after it was received (``True``, on a worker, in order). It must not call the peer: the answer would
            wait behind it.
    """

    prepare: Prepare | None = None

    def __init__(
        self,
        carrier: Carrier,
        lend_place: Callable[[], AbstractContextManager[None]],
        limits: Limits,
        sender: str | None,
        stamp: bool,
    ) -> None:
        self._carrier = carrier
        self._lend_place = lend_place
        self._limits = limits
        self._sender = sender
        self._stamp = stamp
        self._thoughts = Thoughts()
        self._awaited: set[object] = set()

    # -- several at once -----------------------------------------------------------------------------------------------

    def deadline(self, seconds: float) -> AbstractContextManager[Deadline]:
        """One deadline over all that this thread does on this connection inside the ``with`` block."""
        return self._thoughts.within(Deadline(check_timeout(seconds, "seconds")))

    @contextmanager
    def batch(self) -> Iterator[None]:
        """What this thread sends inside the ``with`` block leaves at its end, in as few writes as possible.

        What waits for an answer inside sends what was gathered first. Leaving raises what `notify` raises.
        """
        thoughts = self._thoughts
        if thoughts.batch is not None:
            yield
            return
        thoughts.batch = []
        try:
            yield
        finally:
            gathered, thoughts.batch = thoughts.batch, None
            if gathered:
                self._transmit(gathered, self._budget(None))

    # -- sending -------------------------------------------------------------------------------------------------------

    def send(self, message: Message | str) -> None:
        """Send a message as it is, or text of any kind; raises what `notify` raises."""
        if not isinstance(message, str):
            self._send(message)
            return
        try:
            data = message.encode()
        except UnicodeEncodeError as error:
            raise SocketMessageMalformed(f"the text cannot be sent as UTF-8: {error}") from error
        if len(data) > self._limits.message_size:
            raise self._too_large(data)
        self._dispatch(data, self._budget(None))

    def _send(self, message: Message, deadline: Deadline | None = None) -> None:
        self._dispatch(self._encode(message)[1], deadline or self._budget(None))

    def _dispatch(self, data: bytes, deadline: Deadline) -> None:
        batch = self._thoughts.batch
        if batch is not None:
            batch.append(data)
        else:
            self._transmit([data], deadline)

    def _send_event(self, event: str, payload: Any) -> None:
        if self.prepare is not None:
            self._send(EventMessage(payload=payload, event=event))
            return
        data = encode_event(event, payload, time.time() if self._stamp else None, self._sender)
        if len(data) > self._limits.message_size:
            raise self._too_large(data)
        batch = self._thoughts.batch
        if batch is not None:
            batch.append(compact(data))
        else:
            self._transmit((data,), self._budget(None))

    def _encode_call(self, method: str, payload: tuple[Any, ...], deadline: Deadline) -> tuple[Any, bytes]:
        if self.prepare is not None:
            message, data = self._encode(
                CallMessage(payload=list(payload), id=new_id(), method=method, timeout=deadline.remaining())
            )
            return message.id, data
        id = new_id()
        data = encode_call(
            method, payload, id, time.time() if self._stamp else None, deadline.remaining(), self._sender
        )
        if len(data) > self._limits.message_size:
            raise self._too_large(data)
        return id, data

    def _encode(self, message: Message) -> tuple[Message, bytes]:
        if self._stamp and message.dt is None:
            message.dt = time.time()
        if message.sender is None:
            message.sender = self._sender
        if self.prepare is not None:
            message = self.prepare(message, False)
        data = encode(message)
        if len(data) > self._limits.message_size:
            raise self._too_large(data)
        return message, data

    def _too_large(self, data: bytes) -> SocketMessageError:
        return SocketMessageError(
            f"a message of {len(data)} bytes is larger than {self._limits.message_size} (Limits.message_size)"
        )

    def _transmit(self, items: Sequence[bytes | Pending], deadline: Deadline) -> None:
        """Send these together once there is a link."""
        while True:
            link = self._carrier.open_link()
            if link is None:
                with self._lend_place():
                    link = self._carrier.await_link(deadline)
            if self._transmit_on(link, items, deadline):
                return

    def _ask(self, call: Asked) -> None:
        """Send a call, after what was gathered, and wait for its answer; in place of the reader, for a while."""
        batch = self._thoughts.batch
        if batch is not None:
            batch.append(call)
            self._transmit(self._thoughts.take_batch(), call.deadline)
        with self._lend_place():
            if batch is None:
                self._send_call(call, call.is_done)
            elif not call.done:
                self._carrier.read_for(call.is_done, call.deadline)
            if not call.done:
                call.outlast(call.deadline, self._calls_lock)

    def _send_call(self, call: Pending, answered: Callable[[], bool] | None = None) -> None:
        """Send a call on the link that it was registered for, or as `_launch` does."""
        if call.link is not None:
            try:
                sent = self._carrier.transmit((call.data,), call.link, call.deadline, answered=answered)
            except SocketError as error:
                self._tell_unsent((call,), error)
                return
            if sent:
                self._count_traffic("out", 1, len(call.data))
                if self._message_instruments:
                    self._tell_messages("out", (len(call.data),))
                call.sent()
                return
            self._unclaim(call)
        self._launch((call,), answered)

    def _link_for_call(self) -> int | None:
        """The link on which a call that is made now leaves at once, ``None`` where it has to wait for one."""
        return self._carrier.open_link() if self._thoughts.batch is None else None

    def _launch(self, calls: Sequence[Pending], answered: Callable[[], bool] | None = None) -> None:
        """Send calls if there is a link; else they wait in their table for `_link_opened`."""
        batch = self._thoughts.batch
        if batch is not None:
            batch.extend(calls)
            return
        sent = False
        while not sent:
            link = self._carrier.open_link()
            if link is None:
                error = self._closing_error()
                if error is not None:
                    self._tell_unsent(calls, error, for_good=True)
                return
            deadline = calls[0].deadline if len(calls) == 1 else Deadline(self.default_call_timeout)
            try:
                sent = self._transmit_on(link, calls, deadline, answered)
            except SocketError:
                return  # each call was told

    def _transmit_on(
        self,
        link: int,
        items: Sequence[bytes | Pending],
        deadline: Deadline,
        answered: Callable[[], bool] | None = None,
    ) -> bool:
        claimed: list[Pending] = []
        frames: list[bytes] = []
        for one in items:
            if isinstance(one, bytes):
                frames.append(one)
            elif self._claim(one, link):
                claimed.append(one)
                frames.append(one.data)
        if not frames:
            return True
        try:
            sent = self._carrier.transmit(frames, link, deadline, answered=answered)
        except SocketError as error:
            self._tell_unsent(claimed, error)
            raise
        if not sent:
            for one in claimed:
                self._unclaim(one)
            return False
        self._count_traffic("out", len(frames), sum(map(len, frames)))
        if self._message_instruments:
            self._tell_messages("out", map(len, frames))
        for one in claimed:
            one.sent()
        return True

    def _tell_unsent(self, calls: Sequence[Pending], error: SocketError, *, for_good: bool = False) -> None:
        """Fail calls that could not be sent; those that may be sent again wait for the next link, if there is one."""
        for one in calls:
            if for_good or not (one.retry and isinstance(error, SocketConnectionError)):
                self._forget_call(one.id)
                one.complete(error=error)

    def _answer(self, message: Message, link: int) -> None:
        data = self._encode(message)[1]
        try:
            sent = self._carrier.transmit([data], link, Deadline(self.default_call_timeout), answer=True)
        except SocketConnectionError:
            sent = False  # whoever asked is gone
        if sent:
            self._count_traffic("out", 1, len(data))
            if self._message_instruments:
                self._tell_messages("out", (len(data),))
        else:
            self._count("dropped")

    # -- waiting -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _waiting(self, deadline: Deadline | None = None) -> Iterator[None]:
        token = object()
        with self._stepping_back(deadline):
            self._awaited.add(token)
            try:
                yield
            finally:
                self._awaited.discard(token)

    def _stepping_back(self, deadline: Deadline | None) -> AbstractContextManager[None]:
        """Around a wait that does not let reading go on beyond the limits."""
        gathered = self._thoughts.take_batch()
        if gathered:
            self._transmit(gathered, deadline or self._budget(None))
        return self._lend_place()

    def _read_until(self, answered: Callable[[], bool], deadline: Deadline) -> None:
        with self._stepping_back(deadline):
            self._carrier.read_for(answered, deadline)

    def _budget(self, timeout: float | None, default: float | None = None) -> Deadline:
        if timeout is None:
            timeout = self.default_call_timeout if default is None else default
        else:
            timeout = check_timeout(timeout)
        deadline, around = Deadline(timeout), self._thoughts.deadline
        return deadline if around is None else deadline.sooner(around)

    def _closing_error(self) -> SocketConnectionError | None:
        return self._carrier.closing_error()

    def _alarm(self, at: float) -> None:
        self._carrier.wake_at(at)
