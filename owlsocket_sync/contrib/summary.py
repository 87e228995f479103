"""What the connections of this process have counted, summed up by name; what metrics of any kind are made of.

Sums only grow: what a connection counted stays in them when it is closed. The connections of one embedded server are
summed under its name, those that were given no name under ``owlsocket``, and names that differ behind a ``#`` under
what stands before it, so that there are few of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import cast

from ..connection import Connection
from ..protocol.instruments import PROCESS, family
from ..stages import ConnectionState

COUNTERS = {
    "malformed": "Messages that could not be used, and links lost because of frames that break RFC 6455.",
    "unmatched": "Answers that nobody waited for.",
    "dropped": "Answers, messages and handlers that were given up on.",
    "reconnects": "Links after the first.",
}


@dataclass
class Summary:
    """The connections of one name.

    Attributes:
        counters: those of `owlsocket_sync.Stats`, closed connections included.
        states: how many connections stand where; closed ones are not counted.
        pending: calls that wait for an answer.
        queued: messages in queues.
        backlog: messages that wait for a handler, or are with one.
        latency: seconds of the slowest one's last round trip, ``None`` before one was measured.
    """

    counters: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    pending: int = 0
    queued: int = 0
    backlog: int = 0
    latency: float | None = None

    def add(self, connection: Connection) -> None:
        """Count one in."""
        stats = connection.stats
        for name in ("messages_in", "messages_out", "bytes_in", "bytes_out", *COUNTERS):
            self.counters[name] += getattr(stats, name)
        state = connection.state
        if state is ConnectionState.CLOSED:
            return
        self.states[state.value] += 1
        self.pending += stats.pending
        self.queued += stats.queued
        self.backlog += stats.backlog
        if stats.latency is not None:
            self.latency = max(stats.latency, self.latency or 0.0)


def summarise() -> dict[str, Summary]:
    """The connections of this process by name; from any thread."""
    there, over = PROCESS.survey()
    summaries = {name: Summary(counters) for name, counters in over.items()}
    for one in cast("list[Connection]", there):
        summaries.setdefault(family(one.name), Summary()).add(one)
    return summaries


def label(connection: Connection) -> str:
    """The name under which a connection is summed up."""
    return family(connection.name)
