"""Spans and metrics of OpenTelemetry, by its conventions for remote procedure calls and for messaging.

Needs the extra ``otel``, which is the API alone; what becomes of spans and metrics is the business of the SDK that the
program sets up. One line watches every connection of the process, on both ends, the ones to come included::

    from owlsocket_sync.contrib.otel import OwlSocketInstrumentor

    OwlSocketInstrumentor().instrument()

A call is a span of the kind CLIENT, the handler of a peer's call one of the kind SERVER, an event that is sent one of
the kind PRODUCER, and a handler of an event one of the kind CONSUMER. The protocol has no headers, so no context
crosses the wire: a handler begins a trace of its own, and the calls that it makes are children of its span.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from .. import __version__
from ..connection import Connection
from ..errors import ResilientError, SocketInitializationError
from ..protocol.instruments import Activity, Instrument, Outcome, instrument
from ..protocol.subscription import Subscription

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
    from opentelemetry.trace import Span, SpanKind, StatusCode

    from .otel_metrics import Meters
except ImportError as error:
    raise SocketInitializationError(
        "spans and metrics need the package opentelemetry-api: python -m pip install 'owlsocket-sync[otel]'"
    ) from error


__all__ = ["OwlSocketInstrumentor", "Telemetry"]

SYSTEM = "owlsocket"
SCOPE = "owlsocket_sync.contrib.otel"
SCHEMA = "https://opentelemetry.io/schemas/1.40.0"
LATE = "the answer was dropped, it came after the deadline of the call"
_PORTS = {"ws": 80, "wss": 443}


class Begun(NamedTuple):
    """A span that has begun.

    Attributes:
        span: the span.
        since: when, in nanoseconds since the epoch.
        token: what gives the context back that there was before; ``None`` where it was not changed.
    """

    span: Span
    since: int
    token: Any = None


@dataclass(frozen=True)
class Telemetry(Instrument):
    """Makes spans and measurements of what it watches."""

    tracer: trace.Tracer
    meters: Meters

    # -- calls ---------------------------------------------------------------------------------------------------------

    def on_call_start(self, call: Activity) -> Begun | None:
        """A span of the kind CLIENT, a child of where the call is made."""
        return self._begin(SpanKind.CLIENT, str(call.name), {**_rpc(call), **_address("server", call.connection)})

    def on_call_end(self, call: Activity, outcome: Outcome, kept: Begun | None) -> None:
        """End it, and measure it."""
        if kept is not None:
            measured = {**_rpc(call), **_server(call.connection), **_result(outcome)}
            self.meters.calls.record(outcome.seconds, measured, context=trace.set_span_in_context(kept.span))
            kept.span.set_attribute("rpc.response.status_code", _code(outcome))
            _end(kept, outcome)

    def on_perform_start(self, call: Activity) -> Begun | None:
        """A span of the kind SERVER, which is the current one of the handler."""
        return self._begin_current(SpanKind.SERVER, call.name, {**_rpc(call), **_address("client", call.connection)})

    def on_perform_end(self, call: Activity, outcome: Outcome, kept: Begun | None) -> None:
        """End it, and measure it."""
        if kept is not None:
            measured = {**_rpc(call), **_result(outcome)}
            self.meters.performed.record(outcome.seconds, measured, context=trace.set_span_in_context(kept.span))
            kept.span.set_attribute("rpc.response.status_code", _code(outcome))
            _end(kept, outcome)

    # -- events --------------------------------------------------------------------------------------------------------

    def on_notify_start(self, event: Activity) -> Begun | None:
        """A span of the kind PRODUCER, a child of where the event is sent."""
        attributes = {**_messaging("send", event.name), **_address("server", event.connection)}
        return self._begin(SpanKind.PRODUCER, f"send {event.name}", attributes)

    def on_notify_end(self, event: Activity, outcome: Outcome, kept: Begun | None) -> None:
        """End it, and count the event."""
        if kept is not None:
            measured = {**_messaging("send", event.name), **_server(event.connection), **_result(outcome)}
            self.meters.sent.add(1, measured, context=trace.set_span_in_context(kept.span))
            _end(kept, outcome)

    def on_observe_start(self, event: Activity) -> Begun | None:
        """A span of the kind CONSUMER, which is the current one of the handler."""
        name = getattr(event.message, "event", event.name)
        attributes = {**_messaging("process", name), **_address("server", event.connection)}
        return self._begin_current(SpanKind.CONSUMER, f"process {event.name}", attributes)

    def on_observe_end(self, event: Activity, outcome: Outcome, kept: Begun | None) -> None:
        """End it, and measure it."""
        if kept is not None:
            measured = {**_messaging("process", event.name), **_server(event.connection), **_result(outcome)}
            self.meters.processed.record(outcome.seconds, measured, context=trace.set_span_in_context(kept.span))
            _end(kept, outcome)

    # -- spans ---------------------------------------------------------------------------------------------------------

    def _begin(self, kind: SpanKind, name: str, attributes: Mapping[str, Any]) -> Begun | None:
        if context.get_value(_SUPPRESS_INSTRUMENTATION_KEY):
            return None
        since = time.time_ns()
        return Begun(self.tracer.start_span(name, kind=kind, attributes=attributes, start_time=since), since)

    def _begin_current(self, kind: SpanKind, name: str, attributes: Mapping[str, Any]) -> Begun:
        """What the peer asked for: whatever this thread did before, it is the beginning of a trace."""
        since, nothing = time.time_ns(), Context()
        span = self.tracer.start_span(name, nothing, kind=kind, attributes=attributes, start_time=since)
        return Begun(span, since, context.attach(trace.set_span_in_context(span, nothing)))


def _end(begun: Begun, outcome: Outcome) -> None:
    span, since, token = begun
    error = outcome.error
    if token is not None:
        context.detach(token)
    if _failed(outcome):
        span.set_attribute("error.type", error.type if isinstance(error, ResilientError) else _kind(outcome))
        if error is not None:
            span.record_exception(error)
        span.set_status(StatusCode.ERROR, LATE if error is None else str(error))
    span.end(since + int(outcome.seconds * 1e9))


def _failed(outcome: Outcome) -> bool:
    """Whether it is an error, and not only a call that its caller gave up."""
    return outcome.error is not None or outcome.status not in ("ok", "cancelled")


def _result(outcome: Outcome) -> dict[str, str]:
    return {"error.type": _kind(outcome)} if _failed(outcome) else {}


def _kind(outcome: Outcome) -> str:
    """The class of the error: of those there are few, whatever peers make up."""
    return outcome.status if outcome.error is None else type(outcome.error).__name__


def _code(outcome: Outcome) -> str:
    error = outcome.error
    return error.code if isinstance(error, ResilientError) else outcome.status.upper()


def _rpc(call: Activity) -> dict[str, Any]:
    return {"rpc.system.name": SYSTEM, "rpc.method": str(call.name)}


def _messaging(operation: str, event: str) -> dict[str, Any]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": event,
    }


def _address(role: str, connection: Connection) -> dict[str, Any]:
    """The peer, in its role, and the connection."""
    parts = urlsplit(connection.url)
    port = parts.port or _PORTS.get(parts.scheme)
    address = {f"{role}.address": parts.hostname, f"{role}.port": port, "owlsocket.connection.name": connection.name}
    return {key: value for key, value in address.items() if value is not None}


def _server(connection: Connection) -> dict[str, Any]:
    """The peer, in metrics: where we connected to it. Of those that connect to us there may be any number."""
    if connection.accepted:
        return {}
    address = _address("server", connection)
    del address["owlsocket.connection.name"]
    return address


class OwlSocketInstrumentor:
    """Watches all connections of this process; there is one, however often it is made.

    It has the methods of the instrumentors of ``opentelemetry-instrumentation``, without that package.
    """

    _one: OwlSocketInstrumentor | None = None
    _instrumentor_lock = threading.Lock()
    _watching: Subscription | None
    _meters: WeakKeyDictionary[Any, Meters]

    def __new__(cls) -> OwlSocketInstrumentor:
        """The one that there is."""
        with cls._instrumentor_lock:
            if cls._one is None:
                cls._one = super().__new__(cls)
                cls._one._watching = None
                cls._one._meters = WeakKeyDictionary()
            return cls._one

    @property
    def is_instrumented_by_opentelemetry(self) -> bool:
        """Whether connections are watched now."""
        return self._watching is not None

    def instrument(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        """Watch every connection from now on, those that are there included; nothing new when that is so already.

        Args:
            tracer_provider: makes the spans; the default is that of the process, whenever that is set.
            meter_provider: likewise for metrics.
        """
        with self._instrumentor_lock:
            if self._watching is not None:
                return
            tracer = trace.get_tracer(SCOPE, __version__, tracer_provider, SCHEMA)
            meters = self._meters_of(meter_provider or metrics.get_meter_provider())
            meters.active = True
            self._watching = instrument(Telemetry(tracer, meters))

    def _meters_of(self, provider: metrics.MeterProvider) -> Meters:
        """The same ones for one provider: what is observed cannot be taken back from it."""
        meters = self._meters.get(provider)
        if meters is None:
            meters = self._meters[provider] = Meters(provider.get_meter(SCOPE, __version__, SCHEMA))
        return meters

    def uninstrument(self) -> None:
        """Watch no more; spans that have begun are still ended. Idempotent."""
        with self._instrumentor_lock:
            watching, self._watching = self._watching, None
            for meters in self._meters.values():
                meters.active = False
        if watching is not None:
            watching()
