"""The life of a peer: whether frames may be sent, and whether the poller reads."""

from __future__ import annotations

from enum import Enum


class PeerPhase(Enum):
    """The stages in the life of a peer."""

    HANDSHAKE = "handshake"
    """The response to the upgrade has not been sent, and goes before any frame."""
    ACCEPTED = "accepted"
    """Frames may be sent, and nothing reads yet."""
    READING = "reading"
    """The poller reads until the link ends."""
    ENDING = "ending"
    """The link has ended, and one thread does what follows."""
    ENDED = "ended"
    """The link is released, and the connection closed."""
    ABANDONED = "abandoned"
    """The process is a forked child: the parent has the client."""


PHASES: dict[PeerPhase, frozenset[PeerPhase]] = {
    # ENDING without READING: the handshake failed, or the poller could not be started before the link ended.
    PeerPhase.HANDSHAKE: frozenset({PeerPhase.ACCEPTED, PeerPhase.ENDING}),
    PeerPhase.ACCEPTED: frozenset({PeerPhase.READING, PeerPhase.ENDING}),
    # Back to ACCEPTED: the process was out of threads, so the client's own thread tries again.
    PeerPhase.READING: frozenset({PeerPhase.ENDING, PeerPhase.ACCEPTED}),
    PeerPhase.ENDING: frozenset({PeerPhase.ENDED}),
    PeerPhase.ENDED: frozenset(),
    PeerPhase.ABANDONED: frozenset(),
}
