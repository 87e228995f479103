"""Metrics of OpenTelemetry: histograms and counters of operations, and observable instruments for connections."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from .summary import COUNTERS, summarise

# The boundaries that the semantic conventions advise for durations.
SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]
NAME = "owlsocket.connection.name"
DIRECTIONS = {"in": "receive", "out": "transmit"}


class Meters:
    """All metrics of one meter.

    Attributes:
        active: whether observable instruments report values.
        calls: seconds of calls.
        performed: seconds of handlers of calls.
        sent: events sent.
        processed: seconds of handlers of events.
    """

    def __init__(self, meter: Meter) -> None:
        self.active = False
        self.calls = _seconds(meter, "rpc.client.call.duration", "Duration of calls to peers.")
        self.performed = _seconds(meter, "rpc.server.call.duration", "Duration of calls from peers.")
        self.processed = _seconds(meter, "messaging.process.duration", "Duration of handlers of events.")
        self.sent = meter.create_counter("messaging.client.sent.messages", "{message}", "Events sent.")
        self._observe_states(meter)
        self._observe_traffic(meter)

    def _observe_states(self, meter: Meter) -> None:
        meter.create_observable_up_down_counter(
            "owlsocket.connection.count",
            [self._reader(lambda summary: [(count, {"state": state}) for state, count in summary.states.items()])],
            "{connection}",
            "Connections by state; closed connections are not counted.",
        )
        for field, name, unit, description in (
            ("pending", "pending_calls", "{call}", "Calls waiting for an answer."),
            ("queued", "queued", "{message}", "Messages in queues."),
            ("backlog", "backlog", "{message}", "Messages waiting for a handler or being handled."),
        ):
            meter.create_observable_up_down_counter(
                f"owlsocket.connection.{name}",
                # The default argument binds the field of this round: a closure would see the last one.
                [self._reader(lambda summary, field=field: [(getattr(summary, field), {})])],
                unit,
                description,
            )
        meter.create_observable_gauge(
            "owlsocket.connection.latency",
            [self._reader(lambda summary: [(summary.latency, {})])],
            "s",
            "Last round-trip time, of the slowest connection.",
        )

    def _observe_traffic(self, meter: Meter) -> None:
        for counter, name, unit, noun in (
            ("messages", "messages", "{message}", "Messages"),
            ("bytes", "io", "By", "Bytes"),
            ("wire_bytes", "wire_io", "By", "Bytes, compressed or not,"),
        ):
            meter.create_observable_counter(
                f"owlsocket.connection.{name}",
                [
                    self._reader(
                        lambda summary, counter=counter: [
                            (summary.counters[f"{counter}_{way}"], {"network.io.direction": direction})
                            for way, direction in DIRECTIONS.items()
                        ]
                    )
                ],
                unit,
                f"{noun} received and sent.",
            )
        for counter, description in COUNTERS.items():
            meter.create_observable_counter(
                f"owlsocket.connection.{counter}",
                [self._reader(lambda summary, counter=counter: [(summary.counters[counter], {})])],
                "{event}",
                description,
            )

    def _reader(self, read: Any) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            # Observable instruments cannot be removed: uninstrumented ones stay and report nothing.
            for name, summary in summarise().items() if self.active else ():
                for value, attributes in read(summary):
                    if value is not None:  # no latency before the first ping
                        yield Observation(value, {NAME: name, **attributes})

        return observe


def _seconds(meter: Meter, name: str, description: str) -> Any:
    return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=SECONDS)
