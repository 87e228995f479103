"""States of a connection, of its authentication, and how a link ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from .values import FieldwiseEq, escape_for_log


class AuthenticationStage(str, Enum):
    """The stage of authentication; the values are those of the wire, with its two misspellings."""

    ERROR = "error"
    INIT = "init"
    ALLOWENCE = "allowence"
    AUTHENTICATE = "authenticate"
    AUTHENTICATION = "auhtentication"
    AUTHENTICATED = "authenticated"

    @classmethod
    def parse(cls, value: str) -> AuthenticationStage | str:
        """Return the stage for a value of the wire; an unknown value stays text, since a newer peer may have more."""
        try:
            return cls(value)
        except ValueError:
            return value

    def _is_reached_by(self, stage: AuthenticationStage | str | None) -> bool:
        """Return whether a connection at ``stage`` has passed or reached this stage.

        A connection at `ERROR` or at an unknown stage has reached none.
        """
        order = REACHABLE_STAGES
        return stage in order and order.index(AuthenticationStage(stage)) >= order.index(self)


# In the order of authentication, which is the order of the members; ERROR is not a part of it.
REACHABLE_STAGES = tuple(stage for stage in AuthenticationStage if stage is not AuthenticationStage.ERROR)


@dataclass(frozen=True, eq=False, repr=False)
class AuthStepResult(FieldwiseEq):
    """Result of one authentication step on a socket, as a guard returns it.

    Attributes:
        stage: the stage that the connection has reached.
        response: the payload that is sent to the peer.
        auth: the identity of the peer from now on; ``None`` leaves it as it was.
    """

    stage: AuthenticationStage
    response: Any
    auth: Any = None


class Anonymous(Enum):
    """The type of `ANONYMOUS`."""

    ANONYMOUS = "anonymous"

    def __repr__(self) -> str:
        return self.name


ANONYMOUS = Anonymous.ANONYMOUS
"""The return value of an ``authenticate`` callable that admits a client without an identity."""


class ConnectionState(str, Enum):
    """The state of a connection; only `CLOSED` is final."""

    CONNECTING = "connecting"
    OPEN = "open"
    RECONNECTING = "reconnecting"
    CLOSING = "closing"
    CLOSED = "closed"


STATE_TRANSITIONS: dict[ConnectionState, frozenset[ConnectionState]] = {
    ConnectionState.CONNECTING: frozenset({ConnectionState.OPEN, ConnectionState.CLOSING, ConnectionState.CLOSED}),
    ConnectionState.OPEN: frozenset({ConnectionState.RECONNECTING, ConnectionState.CLOSING, ConnectionState.CLOSED}),
    ConnectionState.RECONNECTING: frozenset({ConnectionState.OPEN, ConnectionState.CLOSING, ConnectionState.CLOSED}),
    # A link that opens, or is lost, after close() does not change the state any more.
    ConnectionState.CLOSING: frozenset({ConnectionState.CLOSED}),
    ConnectionState.CLOSED: frozenset(),
}
"""The states that may follow each state of a connection: on a client, on a server, and in memory."""

ENDING_STATES = (ConnectionState.CLOSING, ConnectionState.CLOSED)
"""Those from which a connection does not open again."""


@dataclass(frozen=True, eq=False, repr=False)
class CloseInfo(FieldwiseEq):
    """The end of a link, or of a connection.

    Attributes:
        code: the close code (RFC 6455, section 7.4); 1006 if no close frame was received.
        reason: the reason in the close frame, or a description of what happened.
        error: the cause, ``None`` after a requested close.
    """

    code: int
    reason: str = ""
    error: Exception | None = None

    @property
    def summary(self) -> str:
        """Code and reason in one printable line: the reason may be the peer's."""
        return escape_for_log(f"{self.code} {self.reason}".strip())


@dataclass(frozen=True, eq=False, repr=False)
class StateChange(FieldwiseEq):
    """A transition, as ``on_state`` handlers receive it; equal to its new state, so that ``change == OPEN`` works.

    Attributes:
        state: the new state.
        previous: the state before.
        code: the close code of the link that ended, or ``None``.
        reason: the reason for the change, or an empty text.
        error: the cause, or ``None``.
    """

    state: ConnectionState
    previous: ConnectionState
    code: int | None = None
    reason: str = ""
    error: Exception | None = None

    def __eq__(self, other: object) -> bool:
        # Two changes to the same state are two events, and not equal.
        if isinstance(other, StateChange):
            return self is other
        return self.state is other

    def __hash__(self) -> int:
        # Equal objects need equal hashes, and a change is equal to its state.
        return hash(self.state)
