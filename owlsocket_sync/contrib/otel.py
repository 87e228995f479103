"""Spans and metrics of OpenTelemetry, by its semantic conventions for RPC and messaging.

Needs the extra ``otel``, which installs the API only; the program sets up an SDK that exports spans and metrics. One
line instruments every connection of the process, existing and future, clients and servers::

    from owlsocket_sync.contrib.otel import OwlSocketInstrumentor

    OwlSocketInstrumentor().instrument()

A call is a CLIENT span, a handler of a call is a SERVER span, sending an event is a PRODUCER span, and a handler of an
event is a CONSUMER span. The context of the trace travels as further keys of the message, those of the propagator that
the program has set (``traceparent`` by default): the span of the handler is a child of the span of the sender, and the
calls that the handler makes are children of its span.

Locks: ``_instrumentor_lock`` guards the singleton and the subscription; it is held while metrics are created and while
the instrument is registered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from .. import __version__
from ..connection import Connection
from ..errors import MissingExtra, ResilientError
from ..errors.safe_text import safe_str
from ..fork import PerProcess
from ..protocol.connection_registry import instrument
from ..protocol.extra_keys import read_keys
from ..protocol.hooks import Instrument, Operation, Outcome
from ..protocol.subscriptions import Subscription
from .otel_attributes import (
    address_attributes,
    error_attributes,
    error_class,
    has_failed,
    messaging_attributes,
    rpc_attributes,
    server_attributes,
    status_code,
)

try:
    from opentelemetry import context, metrics, propagate, trace
    from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
    from opentelemetry.trace import Link, Span, SpanKind, StatusCode

    from .otel_metrics import Meters
except ImportError as error:
    raise MissingExtra(
        "opentelemetry-api is not installed, which spans and metrics need: "
        "python -m pip install 'owlsocket-sync[otel]'",
        error.name,
    ) from error

__all__ = ["OwlSocketInstrumentor", "Telemetry"]

SCOPE = "owlsocket_sync.contrib.otel"
SCHEMA = "https://opentelemetry.io/schemas/1.40.0"
# Status of a handler whose result was dropped: the caller had stopped waiting when the handler returned.
LATE = "the result was dropped: the deadline of the call had passed"


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
    """Instrument that records operations as spans and measurements; its methods run on the thread of the operation.

    Attributes:
        tracer: starts the spans.
        meters: take the measurements.
        accepts: returns whether the peer of a connection may set the context of its handlers' spans.
    """

    tracer: trace.Tracer
    meters: Meters
    accepts: Callable[[Connection], bool]

    # -- calls ---------------------------------------------------------------------------------------------------------

    def on_call_start(self, call: Operation) -> ActiveSpan | None:
        """Start a CLIENT span, a child of the current span; of the caller's, if another server handed the call over."""
        # str(): an operation begins before its method is checked, so a mistaken call may pass any type.
        attributes = {**rpc_attributes(call), **address_attributes("server", call.connection)}
        return self._begin(SpanKind.CLIENT, str(call.name), attributes, call.extra)

    def on_call_end(self, call: Operation, outcome: Outcome, token: ActiveSpan | None) -> None:
        """End the span and record the duration."""
        if token is not None:
            attributes = {**rpc_attributes(call), **server_attributes(call.connection), **error_attributes(outcome)}
            self.meters.calls.record(outcome.seconds, attributes, context=trace.set_span_in_context(token.span))
            token.span.set_attribute("rpc.response.status_code", status_code(outcome))
            _end(token, outcome)

    def on_perform_start(self, call: Operation) -> ActiveSpan | None:
        """Start a SERVER span, the current span of the handler."""
        attributes = {**rpc_attributes(call), **address_attributes("client", call.connection)}
        return self._begin_current(SpanKind.SERVER, call.name, attributes, self._context_of(call))

    def on_perform_end(self, call: Operation, outcome: Outcome, token: ActiveSpan | None) -> None:
        """End the span and record the duration."""
        if token is not None:
            attributes = {**rpc_attributes(call), **error_attributes(outcome)}
            self.meters.performed.record(outcome.seconds, attributes, context=trace.set_span_in_context(token.span))
            token.span.set_attribute("rpc.response.status_code", status_code(outcome))
            _end(token, outcome)

    # -- requests ------------------------------------------------------------------------------------------------------

    def on_request_start(self, request: Operation) -> ActiveSpan | None:
        """Start a CLIENT span, a child of the current span; it ends when the request is sent."""
        attributes = {**rpc_attributes(request), **address_attributes("server", request.connection)}
        return self._begin(SpanKind.CLIENT, request.name, attributes, request.extra)

    def on_request_end(self, request: Operation, outcome: Outcome, token: ActiveSpan | None) -> None:
        """End the span."""
        if token is not None:
            _end(token, outcome)

    def on_acknowledge_start(self, request: Operation) -> ActiveSpan | None:
        """Start a SERVER span, the current span of the handler."""
        attributes = {**rpc_attributes(request), **address_attributes("client", request.connection)}
        return self._begin_current(SpanKind.SERVER, request.name, attributes, self._context_of(request))

    def on_acknowledge_end(self, request: Operation, outcome: Outcome, token: ActiveSpan | None) -> None:
        """End the span."""
        if token is not None:
            _end(token, outcome)

    # -- events --------------------------------------------------------------------------------------------------------

    def on_notify_start(self, event: Operation) -> ActiveSpan | None:
        """Start a PRODUCER span, a child of the current span."""
        attributes = {**messaging_attributes("send", event.name), **address_attributes("server", event.connection)}
        return self._begin(SpanKind.PRODUCER, f"send {event.name}", attributes, event.extra)

    def on_notify_end(self, event: Operation, outcome: Outcome, token: ActiveSpan | None) -> None:
        """End the span and count the event."""
        if token is not None:
            attributes = {
                **messaging_attributes("send", event.name),
                **server_attributes(event.connection),
                **error_attributes(outcome),
            }
            self.meters.sent.add(1, attributes, context=trace.set_span_in_context(token.span))
            _end(token, outcome)

    def on_observe_start(self, event: Operation) -> ActiveSpan | None:
        """Start a CONSUMER span, the current span of the handler."""
        # A handler of "*" is named after its pattern; the attribute has the event itself.
        name = getattr(event.message, "event", event.name)
        attributes = {**messaging_attributes("process", name), **address_attributes("server", event.connection)}
        sent = self._context_of(event)
        # A parent, because one handler has one event, so that all of it is one trace; and the link that the conventions
        # ask for, by which a tool finds the message where a batch is handled.
        sender = trace.get_current_span(sent).get_span_context()
        links = [Link(sender)] if sender.is_valid else None
        return self._begin_current(SpanKind.CONSUMER, f"process {event.name}", attributes, sent, links)

    def on_observe_end(self, event: Operation, outcome: Outcome, token: ActiveSpan | None) -> None:
        """End the span and record the duration."""
        if token is not None:
            attributes = {
                **messaging_attributes("process", event.name),
                **server_attributes(event.connection),
                **error_attributes(outcome),
            }
            self.meters.processed.record(outcome.seconds, attributes, context=trace.set_span_in_context(token.span))
            _end(token, outcome)

    # -- hubs ----------------------------------------------------------------------------------------------------------

    def on_hand_over(self, operation: Operation) -> None:
        """Have the current context travel with what a hub takes over."""
        propagate.inject(operation.extra)

    # -- spans ---------------------------------------------------------------------------------------------------------

    def _begin(
        self, kind: SpanKind, name: str, attributes: Mapping[str, Any], extra: dict[str, str]
    ) -> ActiveSpan | None:
        # Exporters set this key around their own traffic: a span about sending spans would never end.
        if context.get_value(_SUPPRESS_INSTRUMENTATION_KEY):
            return None
        start, parent = time.time_ns(), propagate.extract(extra) if extra else None
        span = self.tracer.start_span(name, parent, kind=kind, attributes=attributes, start_time=start)
        extra.clear()
        propagate.inject(extra, trace.set_span_in_context(span, parent))
        return ActiveSpan(span, start)

    def _context_of(self, operation: Operation) -> Context:
        """Return the context that came with a message of the peer; an empty one without it."""
        # Not the context of this thread: the peer asked for this operation, whatever the thread worked on before.
        message = operation.message
        if message is None or not self.accepts(operation.connection):
            return Context()
        keys = read_keys(message.raw, propagate.get_global_textmap().fields)
        return propagate.extract(keys, Context()) if keys else Context()

    def _begin_current(
        self,
        kind: SpanKind,
        name: str,
        attributes: Mapping[str, Any],
        parent: Context,
        links: Sequence[Link] | None = None,
    ) -> ActiveSpan:
        start = time.time_ns()
        span = self.tracer.start_span(name, parent, kind, attributes, links, start)
        return ActiveSpan(span, start, context.attach(trace.set_span_in_context(span, parent)))


def _end(active: ActiveSpan, outcome: Outcome) -> None:
    span, start, context_token = active
    error = outcome.error
    # First, so that recording the error, which may run code of an SDK, is not part of the handler's context.
    if context_token is not None:
        context.detach(context_token)
    if has_failed(outcome):
        span.set_attribute("error.type", error.type if isinstance(error, ResilientError) else error_class(outcome))
        if error is not None:
            span.record_exception(error)
        span.set_status(StatusCode.ERROR, LATE if error is None else safe_str(error))
    # The duration of the outcome, not the time of now: spans and histograms must agree.
    span.end(start + int(outcome.seconds * 1e9))


def _check_accepts(accept_context: bool | Callable[[Connection], bool]) -> Callable[[Connection], bool]:
    if isinstance(accept_context, bool):
        return lambda connection: accept_context
    if not callable(accept_context):
        what = type(accept_context).__name__
        raise TypeError(f"accept_context must be True, False or a function of the connection, not {what}")
    return accept_context


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
        accept_context: bool | Callable[[Connection], bool] = True,
    ) -> None:
        """Instrument all existing and future connections; no effect if they are instrumented already.

        The context of the trace is sent with each call, event and request, as the propagator of the program writes it
        (`opentelemetry.propagate`, environment variable ``OTEL_PROPAGATORS``).

        Args:
            tracer_provider: creates the spans; the default is the global provider, even if it is set later.
            meter_provider: creates the metrics; the default is the global provider.
            accept_context: whether spans of handlers become children of the span that a peer names. A peer that may do
                so chooses the trace, its sampling and its baggage: pass ``False`` where clients are not trusted, or a
                function that gets the connection, as ``lambda conn: not conn.accepted``, which trusts servers alone. It
                is called for each message, on the worker that runs the handler.

        Raises:
            TypeError: ``accept_context`` is neither a flag nor a function.
        """
        accepts = _check_accepts(accept_context)
        with self._instrumentor_lock.get():
            if self._subscription is not None:
                return
            tracer = trace.get_tracer(SCOPE, __version__, tracer_provider, SCHEMA)
            meters = self._meters_of(meter_provider or metrics.get_meter_provider())
            meters.active = True
            self._subscription = instrument(Telemetry(tracer, meters, accepts))

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
