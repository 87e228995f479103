"""The life of a peer: whether frames may be sent, and whether a thread reads."""

from __future__ import annotations

from enum import Enum


class PeerPhase(Enum):
    """The stages in the life of a peer."""

    HANDSHAKE = "handshake"
    """The response to the upgrade has not been sent, and goes before any frame."""
    ACCEPTED = "accepted"
    """Frames may be sent, and no thread reads yet."""
    READING = "reading"
    """One thread reads until the link ends."""
    ENDED = "ended"
    """The link is released, and the connection closed."""
    ABANDONED = "abandoned"
    """The process is a forked child: the parent has the client."""


PHASES: dict[PeerPhase, frozenset[PeerPhase]] = {
    # READING without ACCEPTED: the handshake failed, and only the reader closes the descriptor.
    PeerPhase.HANDSHAKE: frozenset({PeerPhase.ACCEPTED, PeerPhase.READING}),
    PeerPhase.ACCEPTED: frozenset({PeerPhase.READING}),
    # Back to ACCEPTED: the process was out of threads, so the client's own thread reads later.
    PeerPhase.READING: frozenset({PeerPhase.ENDED, PeerPhase.ACCEPTED}),
    PeerPhase.ENDED: frozenset(),
    PeerPhase.ABANDONED: frozenset(),
}
