"""Counters of the connections of this process, summed by name: the source of all metrics.

Connections of an embedded server are summed under the name of the server, unnamed connections under ``owlsocket``, and
names with a ``#`` under the text before the ``#``: the number of names stays small.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import cast

from ..connection import Connection
from ..protocol.connection_registry import REGISTRY, metric_group
from ..states import ConnectionState

TRAFFIC = [f"{counted}_{way}" for counted in ("messages", "bytes", "wire_bytes") for way in ("in", "out")]
COUNTERS = {
    "malformed": "Invalid messages, and links lost because of frames that violate RFC 6455.",
    "unmatched": "Answers without a waiting call or request.",
    "dropped": "Answers, messages and handler invocations that were discarded.",
    "reconnects": "Links opened after the first one.",
}


@dataclass
class Summary:
    """The connections of one name.

    Attributes:
        counters: counters of `owlsocket_sync.Stats`, closed connections included.
        states: connections by state; closed connections are not counted.
        pending: calls waiting for an answer.
        queued: messages in queues.
        backlog: messages waiting for a handler or being handled.
        latency: last round-trip time of the slowest connection in seconds; ``None`` before the first measurement.
    """

    counters: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    pending: int = 0
    queued: int = 0
    backlog: int = 0
    latency: float | None = None

    def add(self, connection: Connection) -> None:
        """Add the counters of a connection."""
        stats = connection.stats
        for name in (*TRAFFIC, *COUNTERS):
            self.counters[name] += getattr(stats, name)
        state = connection.state
        if state is ConnectionState.CLOSED:  # its counters stay in the sums, which never decrease; its gauges do not
            return
        self.states[state.value] += 1
        self.pending += stats.pending
        self.queued += stats.queued
        self.backlog += stats.backlog
        if stats.latency is not None:
            self.latency = max(stats.latency, self.latency or 0.0)


def summarise() -> dict[str, Summary]:
    """Return the summaries of all connections of this process by name; from any thread."""
    # Counters of closed connections are sums already: the connections themselves are gone.
    live, closed = REGISTRY.snapshot()
    summaries = {name: Summary(counters) for name, counters in closed.items()}
    for connection in cast("list[Connection]", live):
        summaries.setdefault(metric_group(connection.name), Summary()).add(connection)
    return summaries


def label(connection: Connection) -> str:
    """Return the name under which a connection is summed."""
    return metric_group(connection.name)
