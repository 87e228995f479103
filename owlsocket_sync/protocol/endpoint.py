"""What each family of messages may ask of the connection that it is a part of.

These are all the effects there are: to send, to answer, to have a function run, to wait, to report, to count, to be
measured, and to hold room in the backlog.
A family never touches a socket or a thread, and never looks into another family.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..deadline import Deadline
from ..errors import SocketConnectionError
from ..stages import AuthenticationStage
from ..values import ByFields
from .backlog import Backlog
from .messages import Message

if TYPE_CHECKING:
    from .instruments import Instrument, Measured


@dataclass(frozen=True, eq=False, repr=False)
class ErrorContext(ByFields):
    """Where something went wrong, for ``on_error`` handlers.

    Attributes:
        source: the verb at work: ``receive observe perform acknowledge request observe_response listen authenticate
            on_state on_error instrument``, or another word of the API.
        name: the event, method or id, where there is one.
        message: the message at hand, where there is one.
    """

    source: str
    name: str = ""
    message: Message | None = None

    def __str__(self) -> str:
        return f"{self.source} {self.name}".rstrip()


def left_to_parent() -> SocketConnectionError:
    """What is raised where somebody in a forked child waits for what was asked before the fork."""
    return SocketConnectionError("the answer goes to the parent process, which asked before this one was forked")


class Endpoint(ABC):
    """One end of a conversation, as its families see it."""

    @abstractmethod
    def _send(self, message: Message, deadline: Deadline | None = None) -> None:
        """Send once there is a link; raises when there will be none, or none within the deadline."""

    @abstractmethod
    def _send_event(self, event: str, payload: Any) -> None:
        """`_send` for an event."""

    @abstractmethod
    def _answer(self, message: Message, link: int) -> None:
        """Send on the link with this number, and on no other: an answer on a later link would be nobody's."""

    @abstractmethod
    def _submit(self, lane: Hashable, size: int, function: Callable[..., None], *arguments: Any) -> None:
        """Have a function run on a worker; those of one lane in order, ``None`` for no order.

        ``size`` is what it holds of the backlog, in bytes, until it has run.
        """

    @abstractmethod
    def _waiting(self, deadline: Deadline | None = None) -> AbstractContextManager[None]:
        """Around a wait for what the peer sends: what was batched leaves first, within this deadline; a worker lends
        its place, and a full backlog does not stop reading at once."""

    @abstractmethod
    def _gathers(self) -> bool:
        """Whether this thread has messages in a batch, which leave before it waits."""

    @abstractmethod
    def _budget(self, timeout: float | None, default: float | None = None) -> Deadline:
        """The nearer one of this timeout (default: that of calls) and the `deadline` block around it."""

    @abstractmethod
    def _report(self, error: BaseException, context: ErrorContext) -> None:
        """Tell ``on_error``; never raises."""

    @abstractmethod
    def _count(self, name: str, by: int = 1) -> None:
        """Add to a counter of ``stats``."""

    @abstractmethod
    def _count_traffic(self, direction: str, messages: int, size: int) -> None:
        """Add to the counters of what came ``"in"`` and went ``"out"``."""

    _instruments: tuple[Instrument, ...]
    """Who watches; asked before anything is measured."""

    _message_instruments: tuple[Instrument, ...]
    """Who watches each message."""

    @abstractmethod
    def _measure(self, verb: str, name: str, message: Message | None = None) -> Measured:
        """Tell them that something begins; what comes back is to be told its end."""

    @abstractmethod
    def _abandon(self, clean_up: Callable[[], None]) -> None:
        """Have this done soon, where no lock is held; takes no lock itself."""

    _backlog: Backlog
    """What was read and not yet handled; whoever keeps a message takes room in it, and gives it back."""

    _run: Callable[..., bool]
    """`_submit` for a function that looks after its errors and its room itself; false when it will not run."""

    @abstractmethod
    def _require_stage(self, stage: AuthenticationStage, what: str) -> None:
        """Raise `SocketUnauthorized` unless the peer has come so far."""

    def _check_open(self) -> None:
        """Raise what ended the connection, if it has ended."""
        error = self._closing_error()
        if error is not None:
            raise error

    @abstractmethod
    def _closing_error(self) -> SocketConnectionError | None:
        """A fresh error when the connection is over, else ``None``."""

    def _guarded(self, source: str, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a user's handler; what it raises is reported, and ``None`` returned."""
        try:
            return function(*arguments)
        except BaseException as error:
            self._report(error, ErrorContext(source, name))
            return None
