"""One end of a conversation: the six families of messages, together on one link.

The same class serves both ends; `owlsocket_sync.connect` and the embedded server make it. Messages come in through
`receive`, which routes them by type, and go out through a `Carrier`. Handlers run through ``run``; this class starts no
thread, and holds no lock while it sends, waits, completes a future or runs a handler.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar, cast

from .deadline import Deadline, check_timeout
from .errors import SocketConnectionError, SocketMessageError, SocketTimeout
from .incoming import Incoming
from .options import Limits
from .outgoing import Outgoing
from .protocol.auth import Auth
from .protocol.carrier import Carrier
from .protocol.endpoint import ErrorContext
from .protocol.events import Events
from .protocol.instruments import PROCESS, Instrumented
from .protocol.lifecycle import Lifecycle
from .protocol.messages import CALL_TIMEOUT
from .protocol.queue import Queue
from .protocol.requests import Requests
from .protocol.rpc import Rpc
from .protocol.subscription import Subscription
from .protocol.typed import Proxy, public_methods
from .stages import ConnectionState, Ending

if TYPE_CHECKING:
    from .protocol.stats import Stats

Interface = TypeVar("Interface")

CLOSE_REASON_BYTES = 123
CLOSE_SECONDS = 3.0
FAREWELL_SHARE = 0.5
TOO_BIG = 1009
BREACHES = frozenset({1002, 1007, TOO_BIG})


class Connection(Incoming):
    """Talk to a peer: call and be called, notify and observe, request and reply, enqueue and consume.

    Made by `owlsocket_sync.connect` and by `owlsocket_sync.server.serve`. Every method may be called from any thread,
    from handlers too. As a context manager it closes itself.

    Attributes:
        default_call_timeout: seconds that a call waits for its answer when it does not say.
        expose_tracebacks: send the traceback along when a handler raises; off, the peer gets type and message.
        accepted: whether this is the end of a server, to which the peer connected.
    """

    def __init__(
        self,
        carrier: Carrier,
        run: Callable[..., bool],
        lend_place: Callable[[], AbstractContextManager[None]],
        settle: Callable[[Deadline], bool],
        *,
        name: str,
        limits: Limits,
        call_timeout: float = CALL_TIMEOUT,
        sender: str | None = None,
        stamp: bool = False,
        accepted: bool = False,
    ) -> None:
        self.accepted = accepted
        Rpc.__init__(self, limits.pending_calls)
        Events.__init__(self)
        Requests.__init__(self)
        Queue.__init__(self, limits.inbox_messages)
        Auth.__init__(self)
        Lifecycle.__init__(self, name)
        Outgoing.__init__(self, carrier, lend_place, limits, sender, stamp)
        Incoming.__init__(self, run, limits)
        self._settle = settle
        self.default_call_timeout = check_timeout(call_timeout, "call_timeout")
        Instrumented.__init__(self)

    # -- the life of a connection --------------------------------------------------------------------------------------

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
        from .protocol.stats import Stats

        return Stats(
            **self._counted(),
            pending=len(self._calls),
            queued=self.enqueued(),
            backlog=self._backlog.count()[0],
            latency=self.latency,
        )

    def wait_open(self, timeout: float | None = None) -> Connection:
        """Wait until the connection is open, and return it.

        Raises:
            SocketTimeout: it was not within the timeout (seconds; default: ``default_call_timeout``).
            SocketConnectionError: it is closed for good.
        """
        deadline = self._budget(timeout)
        with self._stepping_back(deadline):
            self._carrier.wait_open(deadline)
        return self

    def wait_closed(self, timeout: float | None = None) -> Ending:
        """Wait until the connection is closed for good, and return how it ended.

        Raises:
            SocketTimeout: it was not within the timeout (seconds; default: no limit).
        """
        deadline = self._budget(timeout, math.inf)
        with self._stepping_back(deadline):
            ending = self._carrier.wait_closed(deadline)
        if ending is None:
            raise SocketTimeout(f"{self.name} was not closed within {deadline.seconds:g} s")
        return ending

    def ping(self, timeout: float | None = None) -> float:
        """Ask the peer for a sign of life, and return the seconds it took; raises what `notify` raises."""
        deadline = self._budget(timeout)
        with self._waiting(deadline):
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
        """Take in nothing new, let calls and handlers finish, then close; all of it within so many seconds.

        Raises:
            SocketTimeout: they did not finish within the timeout; the connection is closed all the same.
        """
        deadline = self._budget(timeout)
        self._draining = True
        seconds = deadline.remaining()
        try:
            with self._stepping_back(deadline):
                finished = self._finish(Deadline(max(seconds / 2, seconds - FAREWELL_SHARE)))
        except BaseException:  # an interrupt: the connection goes on
            self._draining = False
            raise
        self.close(timeout=min(CLOSE_SECONDS, deadline.remaining()))
        if not finished:
            raise SocketTimeout(f"{self.name} did not finish within {deadline.seconds:g} s and was closed")

    def _finish(self, deadline: Deadline) -> bool:
        """Wait for the calls that are pending, then for handlers; whether all finished in time."""
        pending = list(self._calls.values())
        return all(one.outlast(deadline, self._calls_lock) for one in pending) and self._settle(deadline)

    def close(self, code: int = 1000, reason: str = "", timeout: float = CLOSE_SECONDS) -> None:
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

    # -- interfaces ----------------------------------------------------------------------------------------------------

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

    # -- what the carrier tells ----------------------------------------------------------------------------------------

    def _link_opened(self) -> None:
        """The link is open for everybody: calls that waited for it leave first."""
        self._launch(self._unsent_calls())

    def _link_lost(self, link: int, ending: Ending) -> None:
        """A link ended: whoever waits for an answer on it is told at once."""

        def error() -> SocketConnectionError:
            lost = SocketConnectionError(
                f"the link was lost before the answer came: {ending.code} {ending.reason}".strip()
            )
            lost.__cause__ = ending.error
            return lost

        self._fail_calls(error, link)
        self._fail_auth(error)
        self._fail_requests(error)
        self._tell_breach(ending)
        self._tell_closed_link(ending)

    def _tell_breach(self, ending: Ending) -> None:
        """Frames that break the protocol, or a limit, cost the peer its link: that is counted and told once."""
        if ending.error is not None and ending.code in BREACHES:
            limit = " (Limits.message_size)" if ending.code == TOO_BIG else ""
            breach = SocketMessageError(f"the link was closed with {ending.code}: {ending.reason}{limit}")
            breach.__cause__ = ending.error
            self._count("malformed")
            self._report(breach, ErrorContext("receive"))

    def _over(self, error: Callable[[], SocketConnectionError]) -> None:
        """The connection is closed for good: free everybody who waits for something."""
        self._fail_calls(error)
        self._fail_auth(error)
        self._fail_requests(error)
        self._end_events()
        self._end_queue()
        PROCESS.forget(self, self._counted())

    def _renew_after_fork(self) -> None:
        """In a forked child: forget locks that other threads of the parent held, and what the parent waits for."""
        self._renew_calls()
        self._renew_events()
        self._renew_requests()
        self._renew_queue()
        self._renew_auth()
        self._renew_lifecycle()
        self._backlog.renew_locks()


def connections() -> list[Connection]:
    """The connections of this process that are not closed, on both ends, in no order; from any thread.

    What a forked child inherits is its own from the moment at which it uses it.
    """
    known = cast("list[Connection]", PROCESS.connections())
    return [one for one in known if one.state is not ConnectionState.CLOSED]


def cut_reason(reason: str) -> str:
    """A close reason that fits its frame (RFC 6455, section 5.5): 123 bytes of UTF-8, no half characters."""
    return reason.encode("utf-8", "replace")[:CLOSE_REASON_BYTES].decode("utf-8", "ignore")


def _may_be_sent(code: int) -> bool:
    return code in (1000, 1001, 1002, 1003, *range(1007, 1015)) or 3000 <= code <= 4999
