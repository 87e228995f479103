"""The metrics of OpenTelemetry: what calls and events are recorded in, and what is read off connections."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from .summary import COUNTERS, summarise

SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]
NAME = "owlsocket.connection.name"
DIRECTIONS = {"in": "receive", "out": "transmit"}


class Meters:
    """All metrics, of one meter.

    Attributes:
        active: whether what is read off connections is told; off, their metrics have no values.
        calls: the seconds that calls took.
        performed: the seconds that calls by peers took.
        sent: events that were sent.
        processed: the seconds that handlers of events took.
    """

    def __init__(self, meter: Meter) -> None:
        self.active = False
        self.calls = _seconds(meter, "rpc.client.call.duration", "How long calls of the peers' methods took.")
        self.performed = _seconds(meter, "rpc.server.call.duration", "How long calls by peers took.")
        self.processed = _seconds(meter, "messaging.process.duration", "How long handlers of events took.")
        self.sent = meter.create_counter("messaging.client.sent.messages", "{message}", "Events that were sent.")
        self._observe_states(meter)
        self._observe_traffic(meter)

    def _observe_states(self, meter: Meter) -> None:
        meter.create_observable_up_down_counter(
            "owlsocket.connection.count",
            [self._reader(lambda one: [(count, {"state": state}) for state, count in one.states.items()])],
            "{connection}",
            "Connections, by state; closed ones are not counted.",
        )
        for name, unit, told, read in (
            ("pending_calls", "{call}", "Calls that wait for an answer.", lambda one: one.pending),
            ("queued", "{message}", "Messages in queues.", lambda one: one.queued),
            ("backlog", "{message}", "Messages that wait for a handler, or are with one.", lambda one: one.backlog),
        ):
            meter.create_observable_up_down_counter(
                f"owlsocket.connection.{name}", [self._reader(lambda one, read=read: [(read(one), {})])], unit, told
            )
        meter.create_observable_gauge(
            "owlsocket.connection.latency",
            [self._reader(lambda one: [(one.latency, {})])],
            "s",
            "The last round trip, of the slowest connection.",
        )

    def _observe_traffic(self, meter: Meter) -> None:
        for what, name, unit in (("messages", "messages", "{message}"), ("bytes", "io", "By")):
            meter.create_observable_counter(
                f"owlsocket.connection.{name}",
                [
                    self._reader(
                        lambda one, what=what: [
                            (one.counters[f"{what}_{way}"], {"network.io.direction": direction})
                            for way, direction in DIRECTIONS.items()
                        ]
                    )
                ],
                unit,
                f"{what.capitalize()} that came in and went out.",
            )
        for what, told in COUNTERS.items():
            meter.create_observable_counter(
                f"owlsocket.connection.{what}",
                [self._reader(lambda one, what=what: [(one.counters[what], {})])],
                "{event}",
                told,
            )

    def _reader(self, read: Any) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            for name, summary in summarise().items() if self.active else ():
                for value, attributes in read(summary):
                    if value is not None:
                        yield Observation(value, {NAME: name, **attributes})

        return observe


def _seconds(meter: Meter, name: str, told: str) -> Any:
    return meter.create_histogram(name, "s", told, explicit_bucket_boundaries_advisory=SECONDS)
