"""The life of a supervisor: whether it has a reader, and in which process."""

from __future__ import annotations

from enum import Enum


class SupervisorPhase(Enum):
    """The stages in the life of a supervisor."""

    DORMANT = "dormant"
    """Connecting is postponed to the first use."""
    RUNNING = "running"
    """The reader connects, reads and reconnects."""
    FINISHED = "finished"
    """The connection is closed, and the reader has ended or never began."""
    ABANDONED = "abandoned"
    """The process is a forked child: the parent has the reader and the link."""


PHASES: dict[SupervisorPhase, frozenset[SupervisorPhase]] = {
    SupervisorPhase.DORMANT: frozenset({SupervisorPhase.RUNNING, SupervisorPhase.FINISHED}),
    # Back to DORMANT: the process was out of threads, and a later use tries again.
    SupervisorPhase.RUNNING: frozenset({SupervisorPhase.FINISHED, SupervisorPhase.DORMANT}),
    SupervisorPhase.FINISHED: frozenset(),
    SupervisorPhase.ABANDONED: frozenset(),
}
"""The phases that may follow each; ABANDONED follows any, at a fork, when no other thread is there."""
