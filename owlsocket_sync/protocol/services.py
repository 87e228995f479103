"""Services: what each family of messages may ask of the connection that it is a part of.

These are all the effects there are. A family never touches a socket or a thread, and never looks into another family.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from ..deadline import Deadline
from ..delegation import delegate
from ..errors import SocketConnectionError
from ..locks import LockGroup
from .messages import Message
from .reports import Report

if TYPE_CHECKING:
    from .backlog import Backlog
    from .counters import Counters
    from .hooks import Hooks, Span
    from .pending import Pending
    from .subscriptions import HandlerContext


class Dispatch(Protocol):
    """Has a function run on a worker, in order within its lane; lane ``None`` has no order.

    ``size`` is the share of the backlog, in bytes, that the function holds until it has run.
    """

    def __call__(self, lane: Any, size: int, function: Callable[..., Any], *arguments: Any) -> None:
        """Hand over."""


class Services:
    """The effects that families have, and the state of the connection that they share.

    Args:
        sender: sends messages.
        tasks: run on workers, and hold a share of the backlog.
        waits: of threads, for the peer.
        locks: of the connection.
        surroundings: as below; the others, too.

    Attributes:
        send: send a message once there is a link, within a deadline (default: the timeout of calls); raises
            `SocketTimeout` or `SocketConnectionError` where there is none.
        send_observed: `send` for a message that instruments may add keys to.
        reply: send a message on the link with this number and on no other: the peer of a later link would not know
            the id.
        dispatch: have a function run on a worker.
        run: `dispatch` for a function that handles its errors and its backlog itself; false when it will not run.
        call_handler: invoke a subscription here; report what it raises, and return ``None`` then.
        surroundings: returns the context manager inside which each handler runs; ``None`` for none.
        report: report an error.
        blocking_wait: context manager around a wait for the peer: an open batch is sent first, within the deadline; a
            worker's place is free meanwhile; a full backlog does not stop reading.
        step_aside: context manager around a wait for another thread: others read, and use the locks of this one; raises
            `SocketError` on the reader.
        make_lock: return a new lock of the connection, which is free while its holder waits.
        mailbox_lock: return the lock of all mailboxes of the connection.
        has_open_batch: return whether this thread holds messages in a batch.
        deadline_for: return the sooner one of a timeout (default: that of calls) and the ``deadline`` block around it.
        closing_error: return a new error when the connection is closed, else ``None``.
        defer_cleanup: have a function called soon, where no lock is held; takes no lock, so the garbage collector may
            call it.
        counters: the counters of ``stats``.
        hooks: the instruments that observe this connection.
        backlog: what was read and not yet handled.
        json_depth: the deepest nesting of a message.
    """

    __slots__ = (
        "_locks", "_sender", "_tasks", "_waits", "backlog", "counters", "hooks", "json_depth", "report", "run",
        "surroundings",
    )  # fmt: skip

    def __init__(
        self,
        sender: Any,
        tasks: Any,
        waits: Any,
        locks: LockGroup,
        run: Callable[..., bool],
        report: Report,
        surroundings: HandlerContext | None,
        counters: Counters,
        hooks: Hooks,
        backlog: Backlog,
        json_depth: int,
    ) -> None:
        self._sender, self._tasks, self._waits, self._locks = sender, tasks, waits, locks
        self.run, self.report, self.surroundings = run, report, surroundings
        self.counters, self.hooks, self.backlog, self.json_depth = counters, hooks, backlog, json_depth

    send: Callable[..., None] = delegate("_sender.send")
    send_observed: Callable[[Message, Span], None] = delegate("_sender.send_observed")
    reply: Callable[[Message, int], None] = delegate("_sender.reply")
    has_open_batch: Callable[[], bool] = delegate("_sender.has_open_batch")
    deadline_for: Callable[..., Deadline] = delegate("_sender.deadline_for")
    closing_error: Callable[[], SocketConnectionError | None] = delegate("_sender.closing_error")
    dispatch: Dispatch = delegate("_tasks.dispatch")
    call_handler: Callable[..., Any] = delegate("_tasks.call_handler")
    defer_cleanup: Callable[[Callable[[], object]], None] = delegate("_tasks.defer")
    blocking_wait: Callable[[Deadline | None], AbstractContextManager[None]] = delegate("_waits.blocking_wait")
    step_aside: Callable[[], AbstractContextManager[None]] = delegate("_waits.step_aside")
    make_lock: Callable[[], threading.RLock] = delegate("_locks.make")
    mailbox_lock: Callable[[], threading.RLock] = delegate("_locks.mailbox_lock")

    def check_open(self) -> None:
        """Raise the error that ended the connection, if it has ended."""
        error = self.closing_error()
        if error is not None:
            raise error


class CallSender(Protocol):
    """The way out of a connection, as calls see it."""

    def encode_call(self, method: str, payload: tuple[Any, ...], deadline: Deadline) -> tuple[Any, bytes]:
        """Return the id of a new call, and its message."""

    def link_for_call(self) -> int | None:
        """Return the link on which a call leaves at once, ``None`` where it has to wait for one."""

    def send_and_wait(self, call: Pending, link: int | None, is_done: Callable[[], bool]) -> None:
        """Send a call, and wait for its answer until its deadline."""

    def send_call(self, call: Pending, link: int | None) -> None:
        """Send a call if there is a link, without waiting for one; never raises: the call fails instead."""

    def schedule_wakeup(self, at: float) -> None:
        """Have the timers run at this moment."""


def forked_error() -> SocketConnectionError:
    """Return the error of a child that waits for an answer to something that was sent before the fork."""
    return SocketConnectionError("this was sent before fork(); its answer belongs to the parent process")
