"""The life of a server: whether it accepts clients, closes their links, or is closed."""

from __future__ import annotations

from enum import Enum


class ServerPhase(Enum):
    """The stages in the life of a server, in order."""

    SERVING = "serving"
    CLOSING = "closing"
    """No client is accepted any more; links end."""
    CLOSED = "closed"


PHASES: dict[ServerPhase, frozenset[ServerPhase]] = {
    ServerPhase.SERVING: frozenset({ServerPhase.CLOSING}),
    ServerPhase.CLOSING: frozenset({ServerPhase.CLOSED}),
    ServerPhase.CLOSED: frozenset(),
}
