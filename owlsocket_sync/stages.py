"""Where a connection, its link and its authentication can stand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .values import ByFields


class AuthenticationStage(str, Enum):
    """How far authentication has come; values as on the wire, its two misspellings included."""

    ERROR = "error"
    INIT = "init"
    ALLOWENCE = "allowence"
    AUTHENTICATE = "authenticate"
    AUTHENTICATION = "auhtentication"
    AUTHENTICATED = "authenticated"

    @classmethod
    def read(cls, value: str) -> AuthenticationStage | str:
        """The stage with this spelling; a spelling that nobody knows stays text."""
        try:
            return cls(value)
        except ValueError:
            return value

    def reached_at(self, stage: AuthenticationStage | str | None) -> bool:
        """Whether a connection at ``stage`` has come this far; one that failed, or is anywhere unknown, has not."""
        course = STAGES_TO_REACH
        return stage in course and course.index(AuthenticationStage(stage)) >= course.index(self)


STAGES_TO_REACH = tuple(stage for stage in AuthenticationStage if stage is not AuthenticationStage.ERROR)


class ConnectionState(str, Enum):
    """What a connection is doing; only `CLOSED` is for good."""

    CONNECTING = "connecting"
    OPEN = "open"
    RECONNECTING = "reconnecting"
    CLOSING = "closing"
    CLOSED = "closed"


@dataclass(frozen=True, eq=False, repr=False)
class Ending(ByFields):
    """How a link, or a whole connection, came to its end.

    Attributes:
        code: the close code (RFC 6455, section 7.4); 1006 when no close frame came.
        reason: the reason in the close frame, or what happened in our own words.
        error: what went wrong, ``None`` after a close that somebody asked for.
    """

    code: int
    reason: str = ""
    error: Exception | None = None


@dataclass(frozen=True, eq=False, repr=False)
class StateChange(ByFields):
    """What an ``on_state`` handler gets; equal to the state it leads to, so that ``change == OPEN`` reads well.

    Attributes:
        state: the state from now on.
        previous: the state until now.
        code: the close code of the link that ended, or ``None``.
        reason: why, in words; empty where there is nothing to say.
        error: what went wrong, or ``None``.
    """

    state: ConnectionState
    previous: ConnectionState
    code: int | None = None
    reason: str = ""
    error: Exception | None = None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StateChange):
            return self is other
        return self.state is other

    def __hash__(self) -> int:
        return hash(self.state)
