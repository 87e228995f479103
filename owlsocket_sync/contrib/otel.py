"""Spans and metrics of OpenTelemetry, by its semantic conventions for RPC and messaging.

Needs the extra ``otel``, which installs the API only; the program sets up an SDK that exports spans and metrics. One
line instruments every connection of the process, existing and future, clients and servers::

    from owlsocket_sync.contrib.otel import OwlSocketInstrumentor

    OwlSocketInstrumentor().instrument()

A call is a CLIENT span, a handler of a call is a SERVER span, sending an event is a PRODUCER span, and a handler of an
event is a CONSUMER span. The protocol has no headers, so no trace context crosses the wire: a handler starts a new
trace, and the calls that it makes are children of its span.

Locks: ``_instrumentor_lock`` guards the singleton and the subscription; it is held while metrics are created and while
the instrument is registered.
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
from ..errors import MissingExtra, ResilientError
from ..errors.safe_text import safe_str
from ..fork import PerProcess
from ..protocol.connection_registry import instrument
from ..protocol.hooks import Instrument, Operation, Outcome
from ..protocol.subscriptions import Subscription

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
    from opentelemetry.trace import Span, SpanKind, StatusCode

    from .otel_metrics import Meters
except ImportError as error:
    raise MissingExtra(
        "opentelemetry-api is not installed, which spans and metrics need: "
        "python -m pip install 'owlsocket-sync[otel]'",
        error.name,
    ) from error


__all__ = ["OwlSocketInstrumentor", "Telemetry"]

SYSTEM = "owlsocket"
SCOPE = "owlsocket_sync.contrib.otel"
SCHEMA = "https://opentelemetry.io/schemas/1.40.0"
# Status of a handler whose result was dropped: the caller had stopped waiting when the handler returned.
LATE = "the result was dropped: the deadline of the call had passed"
_DEFAULT_PORTS = {"ws": 80, "wss": 443}


class ActiveSpan(NamedTuple):
    """A started span, the token between the start and the end of an operation.

    Attributes:
        span: the span.
        start_time: nanoseconds since the epoch.
        context_token: restores the previous context; ``None`` if the span is not the current one.
    """

    span: Span
    start_time: int
    context_token: Any = None


@dataclass(frozen=True)
class Telemetry(Instrument):
    """Instrument that records operations as spans and measurements; its methods run on the thread of the operation."""

    tracer: trace.Tracer
    meters: Meters

    # -- calls ---------------------------------------------------------------------------------------------------------

    def on_call_start(self, call: Operation) -> ActiveSpan | None:
        """Start a CLIENT span, a child of the current span."""
        # str(): an operation begins before its method is checked, so a mistaken call may pass any type.
        return self._begin(SpanKind.CLIENT, str(call.name), {**_rpc(call), **_address("server", call.connection)})

    def on_call_end(self, call: Operation, outcome: Outcome, token: ActiveSpan | None) -> None:
        """End the span and record the duration."""
        if token is not None:
            attributes = {**_rpc(call), **_server(call.connection), **_result(outcome)}
            self.meters.calls.record(outcome.seconds, attributes, context=trace.set_span_in_context(token.span))
            token.span.set_attribute("rpc.response.status_code", _code(outcome))
            _end(token, outcome)

    def on_perform_start(self, call: Operation) -> ActiveSpan | None:
        """Start a SERVER span, the current span of the handler."""
        return self._begin_current(SpanKind.SERVER, call.name, {**_rpc(call), **_address("client", call.connection)})

    def on_perform_end(self, call: Operation, outcome: Outcome, token: ActiveSpan | None) -> None:
        """End the span and record the duration."""
        if token is not None:
            attributes = {**_rpc(call), **_result(outcome)}
            self.meters.performed.record(outcome.seconds, attributes, context=trace.set_span_in_context(token.span))
            token.span.set_attribute("rpc.response.status_code", _code(outcome))
            _end(token, outcome)

    # -- events --------------------------------------------------------------------------------------------------------

    def on_notify_start(self, event: Operation) -> ActiveSpan | None:
        """Start a PRODUCER span, a child of the current span."""
        attributes = {**_messaging("send", event.name), **_address("server", event.connection)}
        return self._begin(SpanKind.PRODUCER, f"send {event.name}", attributes)

    def on_notify_end(self, event: Operation, outcome: Outcome, token: ActiveSpan | None) -> None:
        """End the span and count the event."""
        if token is not None:
            attributes = {**_messaging("send", event.name), **_server(event.connection), **_result(outcome)}
            self.meters.sent.add(1, attributes, context=trace.set_span_in_context(token.span))
            _end(token, outcome)

    def on_observe_start(self, event: Operation) -> ActiveSpan | None:
        """Start a CONSUMER span, the current span of the handler."""
        # A handler of "*" is named after its pattern; the attribute has the event itself.
        name = getattr(event.message, "event", event.name)
        attributes = {**_messaging("process", name), **_address("server", event.connection)}
        return self._begin_current(SpanKind.CONSUMER, f"process {event.name}", attributes)

    def on_observe_end(self, event: Operation, outcome: Outcome, token: ActiveSpan | None) -> None:
        """End the span and record the duration."""
        if token is not None:
            attributes = {**_messaging("process", event.name), **_server(event.connection), **_result(outcome)}
            self.meters.processed.record(outcome.seconds, attributes, context=trace.set_span_in_context(token.span))
            _end(token, outcome)

    # -- spans ---------------------------------------------------------------------------------------------------------

    def _begin(self, kind: SpanKind, name: str, attributes: Mapping[str, Any]) -> ActiveSpan | None:
        # Exporters set this key around their own traffic: a span about sending spans would never end.
        if context.get_value(_SUPPRESS_INSTRUMENTATION_KEY):
            return None
        start = time.time_ns()
        return ActiveSpan(self.tracer.start_span(name, kind=kind, attributes=attributes, start_time=start), start)

    def _begin_current(self, kind: SpanKind, name: str, attributes: Mapping[str, Any]) -> ActiveSpan:
        # An empty context: the peer asked for this operation, whatever span this thread worked on before.
        start, root = time.time_ns(), Context()
        span = self.tracer.start_span(name, root, kind=kind, attributes=attributes, start_time=start)
        return ActiveSpan(span, start, context.attach(trace.set_span_in_context(span, root)))


def _end(active: ActiveSpan, outcome: Outcome) -> None:
    span, start, context_token = active
    error = outcome.error
    # First, so that recording the error, which may run code of an SDK, is not part of the handler's context.
    if context_token is not None:
        context.detach(context_token)
    if _failed(outcome):
        span.set_attribute("error.type", error.type if isinstance(error, ResilientError) else _error_class(outcome))
        if error is not None:
            span.record_exception(error)
        span.set_status(StatusCode.ERROR, LATE if error is None else safe_str(error))
    # The duration of the outcome, not the time of now: spans and histograms must agree.
    span.end(start + int(outcome.seconds * 1e9))


def _failed(outcome: Outcome) -> bool:
    """Return whether the operation failed; a call that its caller cancelled did not."""
    return outcome.error is not None or outcome.status not in ("ok", "cancelled")


def _result(outcome: Outcome) -> dict[str, str]:
    return {"error.type": _error_class(outcome)} if _failed(outcome) else {}


def _error_class(outcome: Outcome) -> str:
    # The class, not the wire type: a peer can invent any number of types, and each would be a new time series.
    return outcome.status if outcome.error is None else type(outcome.error).__name__


def _code(outcome: Outcome) -> str:
    error = outcome.error
    return error.code if isinstance(error, ResilientError) else outcome.status.upper()


def _rpc(call: Operation) -> dict[str, Any]:
    return {"rpc.system.name": SYSTEM, "rpc.method": str(call.name)}


def _messaging(operation: str, event: str) -> dict[str, Any]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": event,
    }


def _address(role: str, connection: Connection) -> dict[str, Any]:
    """Return the attributes of the peer in its role, and the name of the connection."""
    parts = urlsplit(connection.url)
    # The conventions want a port for each address, the default port of the scheme included.
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    address = {f"{role}.address": parts.hostname, f"{role}.port": port, "owlsocket.connection.name": connection.name}
    return {key: value for key, value in address.items() if value is not None}


def _server(connection: Connection) -> dict[str, Any]:
    """Return the attributes of the peer for metrics."""
    # Without the addresses of clients: there may be any number of them, and each would be a new time series.
    if connection.accepted:
        return {}
    address = _address("server", connection)
    # Spans tell connections apart; a time series for each name would never end where names are generated.
    del address["owlsocket.connection.name"]
    return address


class OwlSocketInstrumentor:
    """Instrumentor of all connections of this process; a singleton.

    The methods are those of the instrumentors of ``opentelemetry-instrumentation``, without that package.
    """

    _instance: OwlSocketInstrumentor | None = None
    _instrumentor_lock = PerProcess(threading.Lock)
    _subscription: Subscription | None
    _meters: WeakKeyDictionary[Any, Meters]

    def __new__(cls) -> OwlSocketInstrumentor:
        """Return the only instance."""
        with cls._instrumentor_lock.get():
            if cls._instance is None:
                cls._instance = super().__new__(cls)
                # Not in __init__, which runs at each call of the class and would reset the state.
                cls._instance._subscription = None
                cls._instance._meters = WeakKeyDictionary()
            return cls._instance

    @property
    def is_instrumented_by_opentelemetry(self) -> bool:
        """Return whether connections are instrumented now."""
        return self._subscription is not None

    def instrument(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        """Instrument all existing and future connections; no effect if they are instrumented already.

        Args:
            tracer_provider: creates the spans; the default is the global provider, even if it is set later.
            meter_provider: creates the metrics; the default is the global provider.
        """
        with self._instrumentor_lock.get():
            if self._subscription is not None:
                return
            tracer = trace.get_tracer(SCOPE, __version__, tracer_provider, SCHEMA)
            meters = self._meters_of(meter_provider or metrics.get_meter_provider())
            meters.active = True
            self._subscription = instrument(Telemetry(tracer, meters))

    def _meters_of(self, provider: metrics.MeterProvider) -> Meters:
        # One per provider: the API cannot remove an observable instrument, and a second one would count double.
        meters = self._meters.get(provider)
        if meters is None:
            meters = self._meters[provider] = Meters(provider.get_meter(SCOPE, __version__, SCHEMA))
        return meters

    def uninstrument(self) -> None:
        """Stop; spans that are started already still end. Idempotent."""
        with self._instrumentor_lock.get():
            subscription, self._subscription = self._subscription, None
            for meters in self._meters.values():
                meters.active = False
        # Outside of the lock: unsubscribing takes a lock of the registry.
        if subscription is not None:
            subscription()
