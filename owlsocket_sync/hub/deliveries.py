"""The entries of the log in one process: an event that goes to clients, and a change of presence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..protocol.messages import EventMessage
from .seat import Outlet
from .values import PresenceChange, Publication


class PublicationDelivery:
    """A publication on its way to the clients of this process.

    Args:
        publication: what is sent.
        audience: returns where to; called when it is the turn of this entry.
    """

    __slots__ = ("_audience", "_frames", "_publication", "done", "recipients")

    def __init__(self, publication: Publication, audience: Callable[[Publication], Iterable[Outlet]]) -> None:
        self._publication = publication
        self._audience = audience
        # Framed, and deflated, once for all links with the same compression.
        self._frames: dict[Any, tuple[bytes, int]] = {}
        self.recipients: Iterator[Outlet] | None = None
        self.done = False

    def run(self) -> None:
        """Send it to those that have not got it yet; no lock is held, as hooks and instruments are user code."""
        recipients = self.recipients
        if recipients is None:
            audience = iter(self._audience(self._publication))
            # No call between the two, and so no interrupt: a signal handler may have delivered this meanwhile.
            if self.recipients is None:
                self.recipients = audience
            recipients = self.recipients
        compression: Any = self  # that of no link
        frame, size = b"", 0
        for outlet in recipients:
            if outlet.settings.prepare is None:
                if outlet.compression is not compression:
                    compression = outlet.compression
                    frame, size = self._frame(outlet)
                outlet.send(frame, size)
            else:
                self._send_prepared(outlet)

    def _frame(self, outlet: Outlet) -> tuple[bytes, int]:
        """Return the frame for the compression of a link, and the size of the text."""
        frame_and_size = self._frames.get(outlet.compression)
        if frame_and_size is None:
            frame_and_size = self._frames[outlet.compression] = outlet.frame(self._publication.text)
        return frame_and_size

    def _send_prepared(self, outlet: Outlet) -> None:
        event = self._publication.event
        try:
            if not outlet.is_open:
                return
            # A payload of its own: what one hook changes is not for the others.
            data = outlet.encode(EventMessage(payload=self._publication.payload(), event=event))
        except Exception as error:  # the hook of one client must not keep the event from the others
            outlet.report(error, event)
        else:
            outlet.send(*outlet.frame(data))


class PresenceDelivery:
    """A change of presence on its way to the handlers.

    Args:
        change: the change.
        untold: has an item, which is taken when the handlers run: they run once, however often it is delivered.
        notify: has the handlers run, without waiting for them.
    """

    __slots__ = ("_change", "_notify", "_untold", "done", "recipients")

    def __init__(
        self, change: PresenceChange, untold: list[None], notify: Callable[[PresenceChange, list[None]], object]
    ) -> None:
        self._change = change
        self._untold = untold
        self._notify = notify
        self.recipients: Iterator[Any] | None = None
        self.done = False

    def run(self) -> None:
        """Have the handlers run."""
        self._notify(self._change, self._untold)
