"""Services: what each family of messages may ask of the connection that it is a part of.

These are all the effects there are. A family never touches a socket or a thread, and never looks into another family.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..deadline import Deadline
from ..errors import SocketConnectionError
from .messages import Message
from .reports import Report

if TYPE_CHECKING:
    from .backlog import Backlog
    from .counters import Counters
    from .hooks import Hooks
    from .pending import Pending
    from .subscriptions import HandlerContext


class Dispatch(Protocol):
    """Has a function run on a worker, in order within its lane; lane ``None`` has no order.

    ``size`` is the share of the backlog, in bytes, that the function holds until it has run.
    """

    def __call__(self, lane: Any, size: int, function: Callable[..., Any], *arguments: Any) -> None:
        """Hand over."""


@dataclass(frozen=True)
class Services:
    """The effects that families have, and the state of the connection that they share.

    Attributes:
        send: send a message once there is a link, within a deadline (default: the timeout of calls); raises
            `SocketTimeout` or `SocketConnectionError` where there is none.
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

    send: Callable[..., None]
    reply: Callable[[Message, int], None]
    dispatch: Dispatch
    run: Callable[..., bool]
    call_handler: Callable[..., Any]
    surroundings: HandlerContext | None
    report: Report
    blocking_wait: Callable[[Deadline | None], AbstractContextManager[None]]
    step_aside: Callable[[], AbstractContextManager[None]]
    make_lock: Callable[[], threading.RLock]
    mailbox_lock: Callable[[], threading.RLock]
    has_open_batch: Callable[[], bool]
    deadline_for: Callable[..., Deadline]
    closing_error: Callable[[], SocketConnectionError | None]
    defer_cleanup: Callable[[Callable[[], object]], None]
    counters: Counters
    hooks: Hooks
    backlog: Backlog
    json_depth: int

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
