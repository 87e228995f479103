"""One end of a conversation: the six families of messages, together on one link.

The same class serves both ends; `owlsocket_sync.connect` and the embedded server make it. Messages come in through
`receive`, which routes them by type, and go out through a `Carrier`. Handlers run through ``run``; this class starts no
thread, and holds no lock while it sends, waits, completes a future or runs a handler.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, TypeVar, cast

from .deadline import Deadline, check_timeout
from .errors import SocketConnectionError, SocketError, SocketMessageError, SocketMessageMalformed, SocketTimeout
from .options import Limits
from .protocol.auth import Auth
from .protocol.batch import Thoughts
from .protocol.carrier import Carrier
from .protocol.endpoint import ErrorContext
from .protocol.events import Events
from .protocol.lifecycle import Lifecycle, Stats
from .protocol.mailbox import Backlog
from .protocol.messages import (
    CALL_TIMEOUT,
    AuthMessage,
    CallMessage,
    EventMessage,
    Message,
    MessageType,
    decode,
    encode,
    malformed,
)
from .protocol.queue import Queue
from .protocol.requests import Requests
from .protocol.rpc import PendingCall, Rpc
from .protocol.subscription import Subscription
from .protocol.typed import Proxy, public_methods
from .stages import ConnectionState, Ending

Interface = TypeVar("Interface")
Prepare = Callable[[Message, bool], Message]

CLOSE_REASON_BYTES = 123
PONG = b'{"type":"pong"}'


class Connection(Rpc, Events, Requests, Queue, Auth, Lifecycle):
    """Talk to a peer: call and be called, notify and observe, request and reply, enqueue and consume.

    Made by `owlsocket_sync.connect` and by `owlsocket_sync.server.serve`. Every method may be called from any thread,
    from handlers too. As a context manager it closes itself.

    Attributes:
        default_call_timeout: seconds that a call waits for its answer when it does not say.
        prepare: a hook ``(message, is_request) -> message``, asked for every message before it is sent (``False``)
            and after it was received (``True``, on a worker, in order).
        expose_tracebacks: send the traceback along when a handler raises; off, the peer gets type and message.
    """

    prepare: Prepare | None = None

    def __init__(
        self,
        carrier: Carrier,
        run: Callable[[Hashable, Callable[[], None]], bool],
        lend_place: Callable[[], AbstractContextManager[None]],
        settle: Callable[[Deadline], bool],
        *,
        name: str,
        limits: Limits,
        call_timeout: float = CALL_TIMEOUT,
        sender: str | None = None,
        stamp: bool = False,
    ) -> None:
        Rpc.__init__(self, limits.pending_calls)
        Events.__init__(self)
        Requests.__init__(self)
        Queue.__init__(self, limits.inbox_messages)
        Auth.__init__(self)
        Lifecycle.__init__(self, name)
        self._carrier = carrier
        self._run = run
        self._lend_place = lend_place
        self._settle = settle
        self._limits = limits
        self._sender = sender
        self._stamp = stamp
        self._thoughts = Thoughts()
        self._backlog = Backlog(limits.dispatch_messages, limits.dispatch_bytes)
        self._draining = False
        self.default_call_timeout = check_timeout(call_timeout, "call_timeout")

    # -- the life of a connection ------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it leads, without secrets."""
        return self._carrier.url

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        return self._carrier.state

    @property
    def latency(self) -> float | None:
        """Seconds of the last round trip, by `ping` or heartbeat; ``None`` before the first."""
        return self._carrier.latency

    @property
    def stats(self) -> Stats:
        """What this connection has seen so far, as of now."""
        return Stats(
            **self._counted(),
            pending=len(self._calls),
            queued=self.enqueued(),
            reconnects=max(0, self._carrier.links - 1),
            latency=self.latency,
        )

    def wait_open(self, timeout: float | None = None) -> Connection:
        """Wait until the connection is open, and return it.

        Raises:
            SocketTimeout: it was not within the timeout (seconds; default: ``default_call_timeout``).
            SocketConnectionError: it is closed for good.
        """
        deadline = self._budget(timeout)
        with self._waiting():
            self._carrier.wait_open(deadline)
        return self

    def wait_closed(self, timeout: float | None = None) -> Ending:
        """Wait until the connection is closed for good, and return how it ended.

        Raises:
            SocketTimeout: it was not within the timeout (seconds; default: no limit).
        """
        deadline = self._budget(timeout, math.inf)
        with self._waiting():
            ending = self._carrier.wait_closed(deadline)
        if ending is None:
            raise SocketTimeout(f"{self.name} was not closed within {deadline.seconds:g} s")
        return ending

    def ping(self, timeout: float | None = None) -> float:
        """Ask the peer for a sign of life, and return the seconds it took; raises what `notify` raises."""
        deadline = self._budget(timeout)
        with self._waiting():
            self._carrier.await_link(deadline)
            return self._carrier.ping(deadline)

    def reconnect(self) -> None:
        """Give up the link and make a new one, at once; observers and performers stay.

        Raises:
            SocketConnectionError: the connection is closed, or was made without reconnecting.
        """
        self._check_open()
        self._carrier.reconnect()

    def drain(self, timeout: float = 30.0) -> None:
        """Take in nothing new, let calls and handlers finish, then close.

        Raises:
            SocketTimeout: they did not finish within the timeout; the connection is closed all the same.
        """
        deadline = self._budget(timeout)
        self._draining = True
        with self._waiting():
            finished = self._finish(deadline)
        self.close()
        if not finished:
            raise SocketTimeout(f"{self.name} did not finish within {deadline.seconds:g} s and was closed")

    def _finish(self, deadline: Deadline) -> bool:
        """Wait for the calls that are pending, then for handlers; whether all finished in time."""
        futures = [pending.future for pending in list(self._calls.values())]
        return not wait(futures, deadline.wait_seconds()).not_done and self._settle(deadline)

    def close(self, code: int = 1000, reason: str = "", timeout: float = 3.0) -> None:
        """End the connection, for good; idempotent, from any thread, in any state.

        Args:
            code: the close code that the peer gets (RFC 6455, section 7.4): 1000 to 1014 or 3000 to 4999.
            reason: text for the peer, cut to 123 bytes.
            timeout: seconds until it ends without the peer's consent.
        """
        if isinstance(code, bool) or not isinstance(code, int) or not _may_be_sent(code):
            raise ValueError(f"code must be 1000, 1001, 1003, 1007 to 1014 or 3000 to 4999, not {code!r}")
        deadline = Deadline(check_timeout(timeout))
        with self._lend_place():
            self._carrier.close(code, cut_reason(reason), deadline)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Connection {self.name!r} {self.state.value} {self.url}>"

    # -- several at once ---------------------------------------------------------------------------------------------

    def deadline(self, seconds: float) -> AbstractContextManager[Deadline]:
        """One deadline over everything that this thread does on this connection inside the ``with`` block."""
        return self._thoughts.within(Deadline(check_timeout(seconds, "seconds")))

    @contextmanager
    def batch(self) -> Iterator[None]:
        """What this thread sends inside the ``with`` block leaves in as few writes as possible, at its end.

        Whatever waits for an answer inside sends what was gathered first. Leaving the block raises what `notify` raises.
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

    def proxy(self, interface: type[Interface], prefix: str = "") -> Interface:
        """An object whose methods are calls of the peer's methods with the same names, behind ``prefix``.

        Args:
            interface: a class (or `typing.Protocol`): its public methods are what can be called. A return annotation
                that is a dataclass makes the result one.
            prefix: goes before each name on the wire.
        """
        return cast(Interface, Proxy(interface, prefix, self.call))

    def expose(self, target: object, prefix: str = "") -> Subscription:
        """Answer calls by the public methods of an object, under their names behind ``prefix``."""
        methods = list(public_methods(target))
        if not methods:
            raise ValueError(f"{target!r} has no public methods that could answer calls")
        return Subscription.group([self.perform(f"{prefix}{name}", method) for name, method in methods])

    # -- out ---------------------------------------------------------------------------------------------------------

    def send(self, message: Message | str) -> None:
        """Send a message as it is, or text of any kind; raises what `notify` raises."""
        if isinstance(message, str):
            self._dispatch(message.encode(), self._budget(None))
        else:
            self._send(message)

    def _send(self, message: Message, deadline: Deadline | None = None) -> None:
        self._dispatch(self._encode(message)[1], deadline or self._budget(None))

    def _dispatch(self, data: bytes, deadline: Deadline) -> None:
        batch = self._thoughts.batch
        if batch is not None:
            batch.append(data)
        else:
            self._transmit([data], deadline)

    def _encode(self, message: Message) -> tuple[Message, bytes]:
        if self._stamp and message.dt is None:
            message.dt = time.time()
        if message.sender is None:
            message.sender = self._sender
        if self.prepare is not None:
            message = self.prepare(message, False)
        data = encode(message)
        if len(data) > self._limits.message_size:
            raise SocketMessageError(
                f"a message of {len(data)} bytes is larger than {self._limits.message_size} (Limits.message_size)"
            )
        return message, data

    def _transmit(self, items: Sequence[bytes | PendingCall], deadline: Deadline) -> None:
        """Send these together once there is a link."""
        while True:
            link = self._carrier.open_link()
            if link is None:
                with self._lend_place():
                    link = self._carrier.await_link(deadline)
            if self._transmit_on(link, items, deadline):
                return

    def _launch(self, calls: Sequence[PendingCall]) -> None:
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
                    self._tell_unsent(calls, error)
                return
            try:
                sent = self._transmit_on(link, calls, Deadline(self.default_call_timeout))
            except SocketError:
                return  # each call was told

    def _transmit_on(self, link: int, items: Sequence[bytes | PendingCall], deadline: Deadline) -> bool:
        claimed = [one for one in items if isinstance(one, PendingCall) and self._claim(one, link)]
        mine = {id(one) for one in claimed}
        frames = [
            one.data if isinstance(one, PendingCall) else one
            for one in items
            if not isinstance(one, PendingCall) or id(one) in mine
        ]
        if not frames:
            return True
        try:
            sent = self._carrier.transmit(frames, link, deadline)
        except SocketError as error:
            self._tell_unsent(claimed, error)
            raise
        if not sent:
            for one in claimed:
                self._unclaim(one)
            return False
        self._count_traffic("out", len(frames), sum(map(len, frames)))
        return True

    def _tell_unsent(self, calls: Sequence[PendingCall], error: SocketError) -> None:
        for one in calls:
            if not (one.retry and isinstance(error, SocketConnectionError)):
                self._forget_call(one.id)
                one.future.complete(error=error)

    def _answer(self, message: Message, link: int) -> None:
        data = self._encode(message)[1]
        if self._carrier.transmit([data], link, Deadline(self.default_call_timeout), answer=True):
            self._count_traffic("out", 1, len(data))
        else:
            self._count("dropped")

    # -- in ----------------------------------------------------------------------------------------------------------

    def receive(self, text: str | bytes, link: int | None = None) -> None:
        """Take in one frame, as if it had just arrived; never raises for what is in it.

        Args:
            text: the frame; bytes count as their UTF-8 text.
            link: the number of the link on which it arrived; answers go nowhere else. Default: the latest.
        """
        if link is None:
            link = self._carrier.links
        size = len(text) if isinstance(text, bytes) or text.isascii() else len(text.encode("utf-8", "replace"))
        self._count_traffic("in", 1, size)
        try:
            message = decode(text, self._limits.json_depth)
        except SocketMessageMalformed as error:
            self._count("malformed")
            self._report(error, ErrorContext("receive"))
            self._refuse_malformed(error, link)
            return
        if isinstance(message, str):
            self._count("malformed")
            self._report(malformed("text that is no JSON", message), ErrorContext("receive"))
            self._tell_listeners(message)
        elif message.type == "ping":
            self._submit("pong", 0, self._carrier.transmit, [PONG], link, Deadline(self.default_call_timeout))
        elif message.type != "pong":
            if message.dt is None:
                message.dt = time.time()
            if self.prepare is None:
                self._route(message, link)
            else:
                self._submit("prepare", size, self._prepare_and_route, message, link)

    def _prepare_and_route(self, message: Message, link: int) -> None:
        if self.prepare is not None:
            message = self.prepare(message, True)
        self._route(message, link)

    def _route(self, message: Message, link: int) -> None:
        kind = message.type
        if kind is MessageType.RESULT or kind is MessageType.ERROR:
            self._receive_answer(message)
        elif kind is MessageType.RESPONSE:
            self._receive_response(message)
        elif kind is MessageType.AUTH:
            self._receive_auth(cast(AuthMessage, message), link)
        elif kind is not MessageType.SYSTEM:
            self._route_question(kind, message, link)
        self._tell_listeners(message)

    def _route_question(self, kind: MessageType | str, message: Message, link: int) -> None:
        """What asks for something new: a connection that drains turns it down."""
        if self._draining:
            self._count("dropped")
            if kind is MessageType.CALL:
                self._answer_error(message, SocketConnectionError("draining, no new calls are performed"), link)
        elif kind is MessageType.CALL:
            self._receive_call(cast(CallMessage, message), link)
        elif kind is MessageType.EVENT:
            self._receive_event(cast(EventMessage, message))
        elif kind is MessageType.REQUEST:
            self._receive_request(message)
        elif kind is MessageType.MESSAGE:
            self._receive_message(message)
        else:
            self._count("malformed")
            self._report(
                malformed(f"a message of the unknown type {kind!r}", message.raw or ""),
                ErrorContext("receive", str(kind), message),
            )

    # -- what the carrier tells --------------------------------------------------------------------------------------

    def _has_room(self) -> bool:
        """Whether more may be read: a full backlog stops reading, an answer that is waited for lets it go on a while."""
        if self._backlog.within(1):
            return True
        return bool(self._calls or self._exchange is not None) and self._backlog.within(2)

    def _link_opened(self) -> None:
        """The link is open for everybody: calls that waited for it leave first."""
        self._launch(self._unsent_calls())

    def _link_lost(self, link: int, ending: Ending) -> None:
        """A link ended: whoever waits for an answer on it is told at once."""

        def error() -> SocketConnectionError:
            lost = SocketConnectionError(f"the link was lost before the answer came: {ending.code} {ending.reason}".strip())
            lost.__cause__ = ending.error
            return lost

        self._fail_calls(error, link)
        self._fail_auth(error)
        self._fail_requests(error)
        self._tell_closed_link(ending)

    def _over(self, error: Callable[[], SocketConnectionError]) -> None:
        """The connection is closed for good: free everybody who waits for something."""
        self._fail_calls(error)
        self._fail_auth(error)
        self._fail_requests(error)
        self._end_events()
        self._end_queue()

    # -- what the families ask for -----------------------------------------------------------------------------------

    def _submit(self, lane: Hashable, size: int, function: Callable[..., Any], *arguments: Any) -> None:
        if size:
            self._backlog.hold(1, size)

        def task() -> None:
            try:
                function(*arguments)
            except Exception as error:
                self._report(error, ErrorContext(str(lane or "worker")))
            finally:
                if size:
                    self._backlog.hold(-1, -size)

        if not self._run(lane, task):
            self._count("dropped")
            if size:
                self._backlog.hold(-1, -size)

    def _run_callback(self, function: Callable[[], None]) -> None:
        if not self._run(f"callback {id(function)}", lambda: self._guarded("submit", "", function)):
            self._guarded("submit", "", function)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        gathered = self._thoughts.take_batch()
        if gathered:
            self._transmit(gathered, self._budget(None))
        with self._lend_place():
            yield

    def _budget(self, timeout: float | None, default: float | None = None) -> Deadline:
        if timeout is None:
            return self._thoughts.budget(self.default_call_timeout if default is None else default)
        return self._thoughts.budget(check_timeout(timeout))

    def _hold(self, messages: int, size: int) -> None:
        self._backlog.hold(messages, size)

    def _closing_error(self) -> SocketConnectionError | None:
        return self._carrier.closing_error()

    def _alarm(self, at: float) -> None:
        self._carrier.wake_at(at)

    def _renew_after_fork(self) -> None:
        """In a forked child: forget locks that other threads of the parent held, and what the parent waits for."""
        self._renew_calls()
        self._renew_events()
        self._renew_requests()
        self._renew_queue()
        self._renew_auth()
        self._renew_lifecycle()
        self._backlog.renew_locks()


def cut_reason(reason: str) -> str:
    """A close reason that fits its frame (RFC 6455, section 5.5): 123 bytes of UTF-8, no half characters."""
    return reason.encode("utf-8", "replace")[:CLOSE_REASON_BYTES].decode("utf-8", "ignore")


def _may_be_sent(code: int) -> bool:
    return code in (1000, 1001, 1002, 1003, *range(1007, 1015)) or 3000 <= code <= 4999
