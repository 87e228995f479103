"""Metrics for Prometheus: how long calls and handlers take and what comes of them, and what connections have counted.

Needs the extra ``prometheus``. In a program that exposes its metrics already, one line watches every connection of the
process, on both ends, from then on::

    from owlsocket_sync.contrib.prometheus import OwlSocketMetrics

    OwlSocketMetrics()
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from ..errors import SocketInitializationError
from ..protocol.instruments import Activity, Instrument, Outcome, instrument
from ..stages import ConnectionState
from .summary import COUNTERS, label, summarise

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise SocketInitializationError(
        "metrics need the package prometheus-client: python -m pip install 'owlsocket-sync[prometheus]'"
    ) from error

__all__ = ["ConnectionCollector", "OwlSocketMetrics"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
OPEN_STATES = [state.value for state in ConnectionState if state is not ConnectionState.CLOSED]


class ConnectionCollector(Collector):
    """Reads what the connections of this process have counted, when it is scraped; keeps none of them alive.

    Args:
        namespace: what the names of all metrics begin with.
    """

    def __init__(self, namespace: str = "owlsocket") -> None:
        self._namespace = namespace

    def describe(self) -> Iterator[Metric]:
        """Every metric, without samples; so that a registry sees whether a name is taken."""
        for metric, _ in self._metrics():
            yield metric

    def collect(self) -> Iterator[Metric]:
        """Every metric, with a sample for each name of connections."""
        summaries = summarise()
        for metric, read in self._metrics():
            for name, summary in summaries.items():
                for labels, value in read(summary):
                    metric.add_metric([name, *labels], value)
            yield metric

    def _metrics(self) -> Iterator[tuple[Any, Any]]:
        """Each metric, and what reads its samples off a summary."""
        yield (
            self._gauge("connections", "Connections, by state; closed ones are not counted.", "state"),
            lambda one: [([state], one.states[state]) for state in OPEN_STATES],
        )
        yield self._gauge("pending_calls", "Calls that wait for an answer."), lambda one: [([], one.pending)]
        yield self._gauge("queued_messages", "Messages in queues."), lambda one: [([], one.queued)]
        yield (
            self._gauge("backlog_messages", "Messages that wait for a handler, or are with one."),
            lambda one: [([], one.backlog)],
        )
        yield (
            self._gauge("latency_seconds", "The last round trip, of the slowest connection."),
            lambda one: [] if one.latency is None else [([], one.latency)],
        )
        for what, told in (("messages", "Messages"), ("bytes", "Bytes of messages")):
            yield (
                self._counter(what, f"{told} that came in and went out.", "direction"),
                lambda one, what=what: [([way], one.counters[f"{what}_{way}"]) for way in ("in", "out")],
            )
        for what, told in COUNTERS.items():
            yield self._counter(what, told), lambda one, what=what: [([], one.counters[what])]

    def _gauge(self, name: str, told: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{self._namespace}_{name}", told, labels=["connection", *labels])

    def _counter(self, name: str, told: str, *labels: str) -> CounterMetricFamily:
        return CounterMetricFamily(f"{self._namespace}_{name}", told, labels=["connection", *labels])


class OwlSocketMetrics(Instrument):
    """Metrics of every connection of this process, from now on until `close`; a context manager.

    Args:
        registry: where they are registered.
        namespace: what their names begin with.
        buckets: the upper bounds of the histograms, in seconds.

    Raises:
        ValueError: the registry has metrics of these names already.
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
            self._call = self._pair("call", "calls", "method", "Calls of the peers' methods")
            self._perform = self._pair("perform", "performed", "method", "Calls by peers")
            self._observe = self._pair("event", "events_handled", "event", "Handlers of events")
            self._notified = self._count("events_sent", "event", "Events that were sent")
            collector = ConnectionCollector(namespace)
            registry.register(collector)
            self._registered.append(collector)
        except BaseException:
            self._unregister()
            raise
        self._watching = instrument(self)

    def _pair(self, timed: str, counted: str, label: str, told: str) -> tuple[Histogram, Counter]:
        histogram = Histogram(
            f"{timed}_seconds",
            f"{told}: how long they took.",
            ["connection", label],
            namespace=self._namespace,
            buckets=self._buckets,
            registry=self._registry,
        )
        self._registered.append(histogram)
        return histogram, self._count(counted, label, told)

    def _count(self, name: str, label: str, told: str) -> Counter:
        counter = Counter(
            name,
            f"{told}: what came of them.",
            ["connection", label, "outcome"],
            namespace=self._namespace,
            registry=self._registry,
        )
        self._registered.append(counter)
        return counter

    def close(self) -> None:
        """Watch no more, and take the metrics out of the registry; idempotent."""
        self._watching()
        self._unregister()

    def _unregister(self) -> None:
        registered, self._registered = self._registered, []
        for one in registered:
            self._registry.unregister(one)

    def __enter__(self) -> OwlSocketMetrics:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- what is watched -----------------------------------------------------------------------------------------------

    def on_call_end(self, call: Activity, outcome: Outcome, kept: Any) -> None:
        """Time and count a call of ours."""
        _note(self._call, call, outcome)

    def on_perform_end(self, call: Activity, outcome: Outcome, kept: Any) -> None:
        """Time and count a call by the peer."""
        _note(self._perform, call, outcome)

    def on_observe_end(self, event: Activity, outcome: Outcome, kept: Any) -> None:
        """Time and count a handler."""
        _note(self._observe, event, outcome)

    def on_notify_end(self, event: Activity, outcome: Outcome, kept: Any) -> None:
        """Count an event of ours."""
        self._notified.labels(label(event.connection), event.name, outcome.status).inc()


def _note(metrics: tuple[Histogram, Counter], activity: Activity, outcome: Outcome) -> None:
    histogram, counter = metrics
    name = label(activity.connection)
    histogram.labels(name, activity.name).observe(outcome.seconds)
    counter.labels(name, activity.name, outcome.status).inc()
