"""Two connections in memory whose carriers keep a record: a whole conversation in one thread, without a socket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from owlsocket_sync.connection import Connection
from owlsocket_sync.core.core import Core, CoreOptions
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.inherited import closed_core
from owlsocket_sync.options import Limits
from owlsocket_sync.protocol.carrier import Workers
from owlsocket_sync.protocol.settings import Settings
from owlsocket_sync.states import CloseInfo
from owlsocket_sync.testing.memory import InlineWorkers, MemoryCarrier, SharedLink


class RecordingCarrier(MemoryCarrier):
    """The carrier of `owlsocket_sync.testing.pair`, with a record of what it does, and a clock that stands still.

    Attributes:
        sent: each message that was sent over a link.
        writes: how many times something was sent.
        budgets: the deadline of each send, and of each wait for a link.
        wakeups: the moments at which the connection wants to look at the clock; a test does that itself.
    """

    def __init__(self, link: SharedLink) -> None:
        super().__init__(link)
        self.sent: list[bytes] = []
        self.writes = 0
        self.budgets: list[Deadline] = []
        self.wakeups: list[float] = []

    @property
    def silent(self) -> bool:
        """Whether the other end receives nothing of what is sent."""
        return self.message_filter is not None

    @silent.setter
    def silent(self, silent: bool) -> None:
        self.message_filter = (lambda frame: False) if silent else None

    def answer_instead(self, function: Callable[[str], object]) -> None:
        """Call a function with each message, instead of the other end."""

        def divert(frame: bytes) -> bool:
            function(frame.decode())
            return False

        self.message_filter = divert

    def await_link(self, deadline: Deadline) -> int:
        """Return the link, or fail at once: the only thread cannot bring it up while it waits."""
        self.budgets.append(deadline)
        return super().await_link(Deadline(0) if self.current_link_id() is None else deadline)

    def transmit(
        self,
        frames: Sequence[bytes],
        link: int,
        deadline: Deadline,
        *,
        is_answer: bool = False,
        is_done: Callable[[], bool] | None = None,
    ) -> bool:
        """Let the other end receive these messages, and record them."""
        if link == self.current_link_id():
            self.writes += 1
            self.budgets.append(deadline)
            self.sent.extend(frames)
        return super().transmit(frames, link, deadline, is_answer=is_answer, is_done=is_done)

    def lose(self, ending: CloseInfo = CloseInfo(1006, "lost")) -> None:
        """The link goes down, for both ends."""
        super().lose(ending)

    def schedule_wakeup(self, at: float) -> None:
        """Record the moment."""
        self.wakeups.append(at)


def make_pair(
    left_workers: Workers | None = None, right_workers: Workers | None = None, **options: Any
) -> tuple[Connection, Connection, RecordingCarrier, RecordingCarrier]:
    """Return two ends, and what carries the messages of each; handlers run on the thread that sends, by default."""
    link = SharedLink()
    carriers = RecordingCarrier(link), RecordingCarrier(link)
    carriers[0].other, carriers[1].other = carriers[1], carriers[0]
    settings = {"call_timeout": options.pop("call_timeout")} if "call_timeout" in options else {}
    options = {"limits": Limits(), **options}
    left, right = (
        _connect(carrier, workers or InlineWorkers(), CoreOptions(name, **options), Settings(**settings))
        for carrier, name, workers in zip(carriers, ("left", "right"), (left_workers, right_workers), strict=True)
    )
    return left, right, *carriers


def _connect(carrier: RecordingCarrier, workers: Workers, options: CoreOptions, settings: Settings) -> Connection:
    core = Core(carrier, workers, options, settings)
    carrier.start(core)
    return Connection(core, closed_core)
