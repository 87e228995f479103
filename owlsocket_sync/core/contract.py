"""The contract of a carrier with its core, checked: order, numbers, states and, as far as that costs nothing, threads.

Only what happens a few times in the life of a link is checked here. `CarrierEvents.receive` and
`CarrierEvents.try_complete` run for every message, and check nothing.
"""

from __future__ import annotations

import threading

from ..protocol.carrier import Carrier, Workers
from ..states import ENDING_STATES, STATE_TRANSITIONS, ConnectionState, StateChange


class CarrierContract:
    """Checks the events of one carrier; each method raises `AssertionError` if the carrier breaks the contract.

    Args:
        carrier: the carrier.
        workers: run handlers; a worker is never the reader.

    Attributes:
        change: the change of the state that is delivered now, or ``None``.
    """

    __slots__ = ("_carrier", "_delivering", "_lost", "_state", "_workers", "change")

    def __init__(self, carrier: Carrier, workers: Workers) -> None:
        self._carrier = carrier
        self._workers = workers
        self._lost = 0
        self._state: ConnectionState | None = None
        self.change: StateChange | None = None
        self._delivering: int | None = None

    def link_opened(self) -> None:
        """Check the thread: held calls are sent there, which may wait for the write lock, so it is not the reader."""
        assert self._workers.is_worker() is not False, "link_opened: call it on a worker, by Workers.submit"

    def link_lost(self, link: int) -> None:
        """Check that each link is lost once, in order, by the reader, after the carrier stopped offering it."""
        assert not self._workers.is_worker(), "link_lost: call it on the reader, not on a worker"
        assert self._lost < link <= self._carrier.links, (
            f"link_lost: link {link} was lost before, or never opened (last lost: {self._lost}, "
            f"links: {self._carrier.links})"
        )
        # A caller that retries at once, because its call failed, must not be given the same link again.
        assert self._carrier.current_link_id() != link, f"link_lost: current_link_id() still returns link {link}"
        self._lost = link

    def handlers_discarded(self, count: int) -> None:
        """Check that handlers are discarded only by a connection that ends, and by the reader."""
        assert not self._workers.is_worker(), "handlers_discarded: call it on the reader, not on a worker"
        assert count >= 0, f"handlers_discarded: {count} is negative"
        assert self._carrier.state in ENDING_STATES, (
            f"handlers_discarded: the connection is {self._carrier.state.value}"
        )

    def closed(self) -> None:
        """Check the state: threads that are freed now must not find the connection open."""
        assert self._carrier.state in ENDING_STATES, f"closed: the connection is {self._carrier.state.value}"

    def begin_state_change(self, change: StateChange) -> None:
        """Check that changes follow one another as the table allows, and do not overlap; the core ends it."""
        assert self.change is None, (
            f"state_changed: {change.state.value} is delivered during another change"
            f" ({'by the same thread' if self._delivering == threading.get_ident() else 'by another thread'})"
        )
        assert change.state in STATE_TRANSITIONS[change.previous], (
            f"state_changed: {change.state.value} cannot follow {change.previous.value}"
        )
        assert self._state in (None, change.previous), (
            f"state_changed: the previous state is {self._state and self._state.value}, not {change.previous.value}"
        )
        self._delivering = threading.get_ident()
        self.change, self._state = change, change.state

    def interrupt_state_change(self) -> None:
        """Let the next change begin at any state: the carrier does not know how far an interrupt let this one come."""
        self._state = None
