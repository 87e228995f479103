"""What a connection asks of whatever carries its messages: a link that may come, go and come again.

Links are numbered from 1. Whoever sends names the link it means; a message that was meant for a link that is gone is
not sent on the next one by mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ..deadline import Deadline
from ..errors import SocketConnectionError
from ..stages import ConnectionState, Ending


class Carrier(Protocol):
    """Carries encoded messages; every method may be called from any thread."""

    def open_link(self) -> int | None:
        """The number of the link that this thread may send on now, or ``None``."""
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
        answer: bool = False,
        answered: Callable[[], bool] | None = None,
    ) -> bool:
        """Send messages on this link, in as few writes as possible.

        Args:
            frames: the messages.
            link: the number of the link.
            deadline: until when they are to be written.
            answer: they may leave before the link is open for all.
            answered: do what `read_for` does once they are written.

        Returns:
            False when this link is not, or no longer, open; then nothing was sent.

        Raises:
            SocketTimeout: they could not be written within the deadline.
            SocketConnectionError: the link broke while they were written.
        """
        ...

    def read_for(self, answered: Callable[[], bool], deadline: Deadline) -> None:
        """Take in answers in place of whoever reads, until this is so or the time is over.

        For a while at most: whoever waits has to look afterwards, and wait on.
        """
        ...

    def ping(self, deadline: Deadline) -> float:
        """Seconds of one round trip on the open link; raises as `transmit` does."""
        ...

    def reconnect(self) -> None:
        """Give up the link that there is and make a new one, now."""
        ...

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """End for good, with this close code, within the deadline."""
        ...

    def wait_open(self, deadline: Deadline) -> None:
        """Wait until the connection is open; raises what `await_link` raises."""
        ...

    def wait_closed(self, deadline: Deadline) -> Ending | None:
        """Wait until it is over for good; ``None`` when it is not within the deadline."""
        ...

    def closing_error(self) -> SocketConnectionError | None:
        """A fresh error when it is over for good, else ``None``."""
        ...

    def wake_at(self, at: float) -> None:
        """Have the connection look at its clock (``time.monotonic``) at this moment."""
        ...

    @property
    def url(self) -> str:
        """Where it leads, fit to be shown."""
        ...

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        ...

    @property
    def links(self) -> int:
        """How many links there were so far."""
        ...

    @property
    def latency(self) -> float | None:
        """Seconds of the last round trip."""
        ...
