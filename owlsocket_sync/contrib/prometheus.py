"""Metrics for Prometheus: durations and outcomes of calls and handlers, and the counters of connections.

Needs the extra ``prometheus``. In a program that exposes metrics already, one line instruments every connection of the
process, existing and future, clients and servers::

    from owlsocket_sync.contrib.prometheus import OwlSocketMetrics

    OwlSocketMetrics()
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from ..errors import MissingExtra
from ..protocol.connection_registry import instrument
from ..protocol.hooks import Instrument, Operation, Outcome
from ..states import ConnectionState
from .summary import COUNTERS, label, summarise

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise MissingExtra(
        "prometheus-client is not installed, which metrics need: python -m pip install 'owlsocket-sync[prometheus]'",
        error.name,
    ) from error

__all__ = ["ConnectionCollector", "OwlSocketMetrics"]

# From a call on this machine to the default timeout of a call.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
OPEN_STATES = [state.value for state in ConnectionState if state is not ConnectionState.CLOSED]


class ConnectionCollector(Collector):
    """Collector that reads the counters of all connections of this process at each scrape; keeps none alive.

    Args:
        namespace: prefix of the names of all metrics.
    """

    def __init__(self, namespace: str = "owlsocket") -> None:
        self._namespace = namespace

    def describe(self) -> Iterator[Metric]:
        """Yield every metric without samples; the registry checks the names for duplicates."""
        for metric, _ in self._metrics():
            yield metric

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, with samples for each connection name."""
        # Once per scrape: all metrics show the same moment.
        summaries = summarise()
        for metric, read in self._metrics():
            for name, summary in summaries.items():
                for labels, value in read(summary):
                    metric.add_metric([name, *labels], value)
            yield metric

    def _metrics(self) -> Iterator[tuple[Any, Any]]:
        """Yield each metric with the function that reads its samples from a `Summary`."""
        yield (
            self._gauge("connections", "Connections by state; closed connections are not counted.", "state"),
            # Zeros too: a state that disappears from a scrape would keep its last value in a graph.
            lambda summary: [([state], summary.states[state]) for state in OPEN_STATES],
        )
        yield self._gauge("pending_calls", "Calls waiting for an answer."), lambda summary: [([], summary.pending)]
        yield self._gauge("queued_messages", "Messages in queues."), lambda summary: [([], summary.queued)]
        yield (
            self._gauge("backlog_messages", "Messages waiting for a handler or being handled."),
            lambda summary: [([], summary.backlog)],
        )
        yield (
            self._gauge("latency_seconds", "Last round-trip time, of the slowest connection."),
            lambda summary: [] if summary.latency is None else [([], summary.latency)],
        )
        for counter, noun in (
            ("messages", "Messages"),
            ("bytes", "Bytes of messages"),
            ("wire_bytes", "Bytes of messages, compressed or not,"),
        ):
            yield (
                self._counter(counter, f"{noun} received and sent.", "direction"),
                # The default argument binds the counter of this round: a closure would see the last one.
                lambda summary, counter=counter: [
                    ([way], summary.counters[f"{counter}_{way}"]) for way in ("in", "out")
                ],
            )
        for counter, description in COUNTERS.items():
            yield (
                self._counter(counter, description),
                lambda summary, counter=counter: [([], summary.counters[counter])],
            )

    def _gauge(self, name: str, description: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{self._namespace}_{name}", description, labels=["connection", *labels])

    def _counter(self, name: str, description: str, *labels: str) -> CounterMetricFamily:
        return CounterMetricFamily(f"{self._namespace}_{name}", description, labels=["connection", *labels])


class OwlSocketMetrics(Instrument):
    """Metrics of all connections of this process until `close`; a context manager.

    Args:
        registry: registry of the metrics.
        namespace: prefix of the names of the metrics.
        buckets: upper bounds of the histograms, in seconds.

    Raises:
        ValueError: the registry has metrics with these names already.
    """

    def __init__(
        self,
        registry: CollectorRegistry = REGISTRY,
        *,
        namespace: str = "owlsocket",
        buckets: Sequence[float] = SECONDS,
    ) -> None:
        self._registry = registry
        self._namespace = namespace
        self._buckets = buckets
        self._registered: list[Collector] = []
        try:
            self._calls = self._pair("call", "calls", "method", "Calls to peers")
            self._performed = self._pair("perform", "performed", "method", "Calls from peers")
            self._observed = self._pair("event", "events_handled", "event", "Handlers of events")
            self._notified = self._outcomes("events_sent", "event", "Events sent")
            collector = ConnectionCollector(namespace)
            registry.register(collector)
            self._registered.append(collector)
        except BaseException:  # half of the names may be free: leave none of ours in the registry
            self._unregister()
            raise
        # Last: from here on, connections of other threads call the methods below.
        self._subscription = instrument(self)

    def _pair(self, timed: str, counted: str, label: str, noun: str) -> tuple[Histogram, Counter]:
        histogram = Histogram(
            f"{timed}_seconds",
            f"{noun}: duration.",
            ["connection", label],
            namespace=self._namespace,
            buckets=self._buckets,
            registry=self._registry,
        )
        self._registered.append(histogram)
        return histogram, self._outcomes(counted, label, noun)

    def _outcomes(self, name: str, label: str, noun: str) -> Counter:
        counter = Counter(
            name,
            f"{noun}: outcomes.",
            ["connection", label, "outcome"],
            namespace=self._namespace,
            registry=self._registry,
        )
        self._registered.append(counter)
        return counter

    def close(self) -> None:
        """Stop, and remove the metrics from the registry; idempotent."""
        # In this order: no operation is recorded in a metric that has left the registry.
        self._subscription()
        self._unregister()

    def _unregister(self) -> None:
        registered, self._registered = self._registered, []
        for collector in registered:
            self._registry.unregister(collector)

    def __enter__(self) -> OwlSocketMetrics:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- operations ----------------------------------------------------------------------------------------------------

    def on_call_end(self, call: Operation, outcome: Outcome, token: Any) -> None:
        """Record a call to the peer."""
        _record(self._calls, call, outcome)

    def on_perform_end(self, call: Operation, outcome: Outcome, token: Any) -> None:
        """Record a call from the peer."""
        _record(self._performed, call, outcome)

    def on_observe_end(self, event: Operation, outcome: Outcome, token: Any) -> None:
        """Record a handler of an event."""
        _record(self._observed, event, outcome)

    def on_notify_end(self, event: Operation, outcome: Outcome, token: Any) -> None:
        """Count an event that was sent."""
        self._notified.labels(label(event.connection), event.name, outcome.status).inc()


def _record(metrics: tuple[Histogram, Counter], operation: Operation, outcome: Outcome) -> None:
    histogram, counter = metrics
    name = label(operation.connection)
    histogram.labels(name, operation.name).observe(outcome.seconds)
    counter.labels(name, operation.name, outcome.status).inc()
