"""An SDK of OpenTelemetry that keeps spans and metrics in memory, for tests of what connections record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from owlsocket_sync.contrib.otel import OwlSocketInstrumentor
from support.helpers import eventually


class Telemetry:
    """Providers, with the finished spans and the metrics."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    def instrument(self, **options: Any) -> None:
        """Instrument all connections."""
        OwlSocketInstrumentor().instrument(tracer_provider=self.tracers, meter_provider=self.meters, **options)

    @contextmanager
    def installed(self, **options: Any) -> Iterator[Telemetry]:
        """Instrument all connections inside of a block."""
        self.instrument(**options)
        try:
            yield self
        finally:
            OwlSocketInstrumentor().uninstrument()
            self.tracers.shutdown()
            self.meters.shutdown()

    def spans(self, kind: SpanKind) -> list[ReadableSpan]:
        """Return the finished spans of a kind."""
        return [span for span in self.exporter.get_finished_spans() if span.kind is kind]

    def span(self, kind: SpanKind, name: str) -> ReadableSpan:
        """Wait for the finished span of a name."""
        eventually(lambda: [span for span in self.spans(kind) if span.name == name])
        [span] = [span for span in self.spans(kind) if span.name == name]
        return span

    def points(self, name: str) -> list[Any]:
        """Return the data points of a metric."""
        read = self.reader.get_metrics_data()
        found = read.resource_metrics if read is not None else []
        return [
            point
            for resource in found
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def values(self, metric: str, **where: str) -> list[float]:
        """Return the values of a metric with these attributes."""
        return [point.value for point in self.points(metric) if where.items() <= plain(point.attributes).items()]


def plain(attributes: Any) -> dict[str, Any]:
    """Return attributes with names that are valid keywords."""
    return {key.replace(".", "_"): value for key, value in attributes.items()}


def follows(child: ReadableSpan, parent: ReadableSpan) -> bool:
    """Whether the parent of a span is this one, in its trace."""
    return (
        child.parent is not None
        and child.parent.span_id == parent.context.span_id
        and child.context.trace_id == parent.context.trace_id
    )
