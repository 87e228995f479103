"""The carrier of a connection: a link that may come, go and come again; and what a carrier tells the connection.

Links are numbered from 1. A sender names the link it means; a message that was meant for a link that is gone is not
sent on the next one by mistake.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketTimeout
from ..errors.marshalled import unsent
from ..errors.safe_text import safe_str
from ..states import CloseInfo, ConnectionState, StateChange


def failure_of(ending: CloseInfo) -> Exception:
    """Return the error with which a link ended, one with code and reason where there was none."""
    return ending.error or SocketConnectionError(f"the link was closed: {ending.summary}")


def no_link_error(what: str, failure: Exception | None) -> SocketTimeout:
    """Return the error of a message that waited for a link in vain; nothing of it was sent.

    Args:
        what: the beginning of its message.
        failure: `Carrier.last_failure`.
    """
    reason = f" (last failure: {safe_str(failure)})" if failure else ""
    error = unsent(SocketTimeout(what + reason))
    error.__cause__ = failure
    return error


class Carrier(Protocol):
    """Carries encoded messages; every method may be called from any thread.

    Attributes:
        latest_change: the number of the latest change of the state, set in the step that changes the state. A handler
            that is registered afterwards does not see that change, although it may be delivered later.
    """

    latest_change: int

    def start(self, events: CarrierEvents) -> None:
        """Begin to carry, and to tell ``events``; before anything else, once."""
        ...

    def current_link_id(self) -> int | None:
        """Return the number of the link that this thread may send on now, or ``None``."""
        ...

    def await_link(self, deadline: Deadline) -> int:
        """Wait for such a link.

        Raises:
            SocketTimeout: there was none within the deadline.
            SocketConnectionError: there will be none.
        """
        ...

    def transmit(
        self,
        frames: Sequence[bytes],
        link: int,
        deadline: Deadline,
        *,
        is_answer: bool = False,
        is_done: Callable[[], bool] | None = None,
    ) -> bool:
        """Send messages on this link, in as few writes as possible.

        Args:
            frames: the messages.
            link: the number of the link.
            deadline: the moment until which they are to be written.
            is_answer: they may leave before the link is open for all.
            is_done: do what `read_for` does once they are written.

        Returns:
            False when this link is not, or no longer, open; then nothing was sent.

        Raises:
            SocketTimeout: they could not be written within the deadline.
            SocketConnectionError: the link broke while they were written.
        """
        ...

    def read_for(self, is_done: Callable[[], bool], deadline: Deadline) -> None:
        """Take in answers in place of the reader, until ``is_done()`` or the deadline.

        For a while at most: the caller has to look afterwards, and wait on.
        """
        ...

    def is_reader(self) -> bool:
        """Return whether this thread reads the link, and so cannot wait for what the peer sends."""
        ...

    def step_aside(self) -> Sequence[Any]:
        """Get ready for a wait of this thread, in which other threads make progress.

        A signal handler or a finalizer may wait on a thread that it interrupted while that read, or held locks.

        Returns:
            The reentrant locks that this thread may hold, and that have to be free during the wait; in their order.
        """
        ...

    def ping(self, deadline: Deadline) -> float:
        """Return the seconds of one round trip on the open link; raise as `transmit` does."""
        ...

    def reconnect(self, deadline: Deadline) -> None:
        """Close the link, within the deadline, and make a new one."""
        ...

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """Close the connection, with this close code, within the deadline."""
        ...

    def wait_open(self, deadline: Deadline) -> None:
        """Wait until the connection is open; raise what `await_link` raises."""
        ...

    def wait_closed(self, deadline: Deadline) -> CloseInfo | None:
        """Wait until the connection is closed; return ``None`` when it is not within the deadline."""
        ...

    def closing_error(self) -> SocketConnectionError | None:
        """Return a new error when the connection is closed, else ``None``."""
        ...

    def schedule_wakeup(self, at: float) -> None:
        """Have `CarrierEvents.run_timers` called at this moment (``time.monotonic``)."""
        ...

    def close_in_child(self) -> None:
        """Let go of the parent's descriptors without a byte to the peer; in a forked child, where locks may be held."""
        ...

    @property
    def last_failure(self) -> Exception | None:
        """The reason why there is no link: the end of the last one, or of the last attempt; ``None`` if unknown."""
        ...

    @property
    def url(self) -> str:
        """The URL of the peer, without secrets."""
        ...

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        ...

    @property
    def links(self) -> int:
        """The number of links so far."""
        ...

    @property
    def latency(self) -> float | None:
        """Seconds of the last round trip."""
        ...


class CarrierEvents(Protocol):
    """Receiver of what a carrier reports; each method names the thread that it may come from. None of them blocks.

    The reader is the one thread that reads a link; it is not a worker. A carrier holds no lock during these calls. The
    core asserts the contract, except for what runs with every message: see `owlsocket_sync.core.contract`.
    """

    def receive(self, text: str | bytes, link: int) -> None:
        """A message arrived on this link; the reader."""
        ...

    def try_complete(self, text: str | bytes | memoryview) -> bool | None:
        """A message arrived that may be an answer; the thread that reads, perhaps twice with the same message.

        Returns:
            Whether a thread waits for the answer now; ``None`` for anything else, which `receive` gets then.
        """
        ...

    def count_wire(self, received: int, sent: int) -> None:
        """Count the bytes of messages as they travel, where the carrier may compress them; any thread."""
        ...

    def has_room(self) -> bool:
        """Return whether more may be read; the reader."""
        ...

    def awaits_link(self) -> bool:
        """Return whether calls wait for the next link, or for the one that has just opened; the reader."""
        ...

    def run_timers(self, now: float) -> float:
        """Do what is due; return when something is due again (``math.inf``: never); the reader."""
        ...

    def link_opened(self) -> None:
        """The link is open for every thread, and `awaits_link`; a worker, by `Workers.submit`."""
        ...

    def fail_calls(self, link: int, info: CloseInfo) -> None:
        """A link ended: its pending calls fail now; the reader, after `Carrier.current_link_id` stopped returning it.

        Before anything that may take its time, such as a log handler or a writer that is held up; `link_lost` follows.
        """
        ...

    def link_lost(self, link: int, info: CloseInfo) -> None:
        """A link ended: the rest of what waits on it fails, too, and listeners see the end; the reader, once for each.

        Calls that are still pending on it fail first, as by `fail_calls`.
        """
        ...

    def handlers_discarded(self, count: int) -> None:
        """So many handlers were not started before the end; the reader, of a connection that is closing or closed."""
        ...

    def state_changed(self, change: StateChange, number: int) -> None:
        """The state changed, for the time of this number; the thread that changed it, or that delivers an earlier one.

        One change after the other, each from the state that the last one led to; see `StateChanges`.
        """
        ...

    def closed(self, error: Callable[[], SocketConnectionError]) -> None:
        """The connection is closed for good; the reader or the thread that closes it, perhaps twice.

        The state is CLOSED by then; CLOSING if the reader has not ended at the deadline of `Carrier.close`.
        """
        ...


class BlockFlag(threading.local):
    """The flag of one thread: whether `Workers.managed_block` has anything to do there.

    A call looks at it before it waits, so that a thread that runs no handler pays for no context manager.
    """

    matter = False


class Workers(Protocol):
    """The threads that run handlers; every method may be called from any thread."""

    def submit(self, key: Any, function: Callable[..., object], *arguments: Any) -> bool:
        """Have a function run, in order with those of the same key (``None``: no order); false after the end."""
        ...

    @property
    def blocks(self) -> BlockFlag:
        """The flag of the thread that looks."""
        ...

    def is_worker(self) -> bool | None:
        """Return whether this thread is a worker; ``None`` if tasks run on any thread."""
        ...

    def managed_block(self) -> AbstractContextManager[None]:
        """Context manager around a wait: another handler may run in place of the one that waits."""
        ...

    def wait_idle(self, deadline: Deadline) -> bool:
        """Wait until nothing is left to run; return whether that was within the deadline."""
        ...
