"""The life of a supervisor: whether it has a thread, and in which process."""

from __future__ import annotations

from enum import Enum


class SupervisorPhase(Enum):
    """The stages in the life of a supervisor."""

    DORMANT = "dormant"
    """Connecting is postponed to the first use."""
    RUNNING = "running"
    """The thread of the supervisor connects, or does what follows from the end of a link."""
    READING = "reading"
    """The poller reads the link; the supervisor needs no thread before that link has ended."""
    FINISHED = "finished"
    """The connection is closed, and the thread has ended or never began."""
    ABANDONED = "abandoned"
    """The process is a forked child: the parent has the thread and the link."""


PHASES: dict[SupervisorPhase, frozenset[SupervisorPhase]] = {
    SupervisorPhase.DORMANT: frozenset({SupervisorPhase.RUNNING, SupervisorPhase.FINISHED}),
    # Back to DORMANT: the process was out of threads, and a later use tries again.
    SupervisorPhase.RUNNING: frozenset({SupervisorPhase.READING, SupervisorPhase.FINISHED, SupervisorPhase.DORMANT}),
    SupervisorPhase.READING: frozenset({SupervisorPhase.RUNNING}),
    SupervisorPhase.FINISHED: frozenset(),
    SupervisorPhase.ABANDONED: frozenset(),
}
"""The phases that may follow each; ABANDONED follows any, at a fork, when no other thread is there."""
