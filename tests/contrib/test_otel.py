"""Spans and metrics of OpenTelemetry, in exporters and readers of its SDK, for real connections."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from opentelemetry import context, trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY
from opentelemetry.trace import SpanKind, StatusCode

from owlsocket_sync import CallMessage, Connection, ResilientError, SocketConnectionError, SocketTimeout, connect
from owlsocket_sync.contrib.otel import OwlSocketInstrumentor
from owlsocket_sync.server import Request, Server, serve
from support.handlers import drop_link
from support.helpers import Collector, eventually, scaled
from support.telemetry import Telemetry, follows


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Instrument all connections."""
    with Telemetry().installed() as telemetry:
        yield telemetry


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that answers, calls back, fails, and does not answer."""
    enough = threading.Event()

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("echo", lambda value=None: value)
        conn.perform("ask back", lambda: conn.call("name", timeout=scaled(5)))
        conn.perform("fail", lambda: 1 / 0)
        conn.perform("wait", lambda: enough.wait(scaled(5)))
        conn.perform("drop", lambda: drop_link(conn))
        conn.observe("news", lambda message: conn.call("echo", message.payload, timeout=scaled(5)))
        conn.observe("*", lambda message: None)

    with serve(handler, name="shop") as running:
        yield running
        enough.set()


def test_a_call_is_a_client_span_and_its_handler_a_server_span(server: Server, telemetry: Telemetry) -> None:
    """With the attributes of the conventions; the second is a child of the first."""
    with connect(server.url, name="till") as conn, telemetry.tracers.get_tracer("app").start_as_current_span("sale"):
        assert conn.call("echo", 1) == 1
    theirs, ours = telemetry.span(SpanKind.SERVER, "echo"), telemetry.span(SpanKind.CLIENT, "echo")
    sale = telemetry.span(SpanKind.INTERNAL, "sale")
    assert ours.attributes == {
        "rpc.system.name": "owlsocket",
        "rpc.method": "echo",
        "rpc.response.status_code": "OK",
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "owlsocket.connection.name": "till",
    }
    assert ours.parent is not None
    assert ours.parent.span_id == sale.context.span_id
    assert theirs.attributes is not None
    assert theirs.attributes["rpc.method"] == "echo"
    assert theirs.attributes["client.address"] == "127.0.0.1"
    assert str(theirs.attributes["owlsocket.connection.name"]).startswith("shop#")
    assert follows(theirs, ours)
    assert ours.status.status_code is theirs.status.status_code is StatusCode.UNSET
    assert ours.instrumentation_scope is not None
    assert ours.instrumentation_scope.name == "owlsocket_sync.contrib.otel"


def test_calls_of_a_handler_are_children_of_its_span(server: Server, telemetry: Telemetry) -> None:
    """At any depth, on both ends; the span ends with the handler."""
    with connect(server.url) as conn:
        current = Collector()
        conn.perform("name", lambda: current(trace.get_current_span()) or "Ada")
        assert conn.call("ask back") == "Ada"
        assert conn.call("echo", 1) == 1
    asked = telemetry.span(SpanKind.SERVER, "ask back")
    back = telemetry.span(SpanKind.CLIENT, "name")
    assert back.parent is not None
    assert back.parent.span_id == asked.context.span_id
    name = telemetry.span(SpanKind.SERVER, "name")
    assert current.items[0].get_span_context() == name.context
    assert follows(name, back)
    assert telemetry.span(SpanKind.SERVER, "echo").context.trace_id != asked.context.trace_id


def test_events_are_producer_and_consumer_spans(server: Server, telemetry: Telemetry) -> None:
    """One span for each handler; handlers of all events share a name."""
    with connect(server.url) as conn:
        conn.perform("echo", lambda value: value)
        conn.notify("news", 1)
        sent = telemetry.span(SpanKind.PRODUCER, "send news")
        news, every = (telemetry.span(SpanKind.CONSUMER, f"process {name}") for name in ("news", "*"))
        call = telemetry.span(SpanKind.CLIENT, "echo")
    assert sent.attributes is not None
    assert sent.attributes["messaging.destination.name"] == "news"
    assert sent.attributes["messaging.operation.type"] == "send"
    assert sent.attributes["messaging.system"] == "owlsocket"
    assert news.attributes is not None
    assert every.attributes is not None
    assert news.attributes["messaging.destination.name"] == every.attributes["messaging.destination.name"] == "news"
    assert call.parent is not None
    assert call.parent.span_id == news.context.span_id
    assert telemetry.values("messaging.client.sent.messages", messaging_destination_name="news") == [1]
    names = {point.attributes["messaging.destination.name"] for point in telemetry.points("messaging.process.duration")}
    assert names == {"news", "*"}


def test_errors_are_recorded_by_class(server: Server, telemetry: Telemetry) -> None:
    """In the span of the handler, the span of the call, and the metrics."""
    with connect(server.url, reconnect=None) as conn:
        with pytest.raises(ResilientError):
            conn.call("fail")
        with pytest.raises(SocketTimeout):
            conn.call("wait", timeout=0.01)
        with pytest.raises(SocketConnectionError):
            conn.call("drop", timeout=scaled(5))
    theirs, ours = telemetry.span(SpanKind.SERVER, "fail"), telemetry.span(SpanKind.CLIENT, "fail")
    for span, kind in ((theirs, "ZeroDivisionError"), (ours, "ZeroDivisionError")):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is not None
        assert "division by zero" in span.status.description
        assert span.attributes is not None
        assert span.attributes["error.type"] == kind
        assert span.attributes["rpc.response.status_code"] == "ERROR"
        assert [event.name for event in span.events] == ["exception"]
    for name, code in (("wait", "TIMEOUT"), ("drop", "CONNECTION_LOST")):
        attributes = telemetry.span(SpanKind.CLIENT, name).attributes
        assert attributes is not None
        assert attributes["rpc.response.status_code"] == code
    kinds = {
        (point.attributes["rpc.method"], point.attributes.get("error.type"))
        for point in telemetry.points("rpc.client.call.duration")
    }
    assert kinds == {("fail", "ResilientError"), ("wait", "SocketTimeout"), ("drop", "SocketConnectionError")}


def test_a_late_answer_is_an_error_of_the_handler(server: Server, telemetry: Telemetry) -> None:
    """The handler itself raised nothing."""
    with connect(server.url) as conn:
        [theirs] = server.connections
        conn.perform("slow", lambda: threading.Event().wait(0.1))
        theirs.send(CallMessage(payload=[], id="late", method="slow", timeout=0.02))
        span = telemetry.span(SpanKind.SERVER, "slow")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "the result was dropped: the deadline of the call had passed"
    assert span.attributes is not None
    assert span.attributes["error.type"] == "late"


def test_a_submitted_call_is_a_span_until_its_answer(server: Server, telemetry: Telemetry) -> None:
    """A cancelled call is not an error."""
    with connect(server.url) as conn:
        assert conn.submit("echo", 1).result(scaled(5)) == 1
        span = telemetry.span(SpanKind.CLIENT, "echo")
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time < span.end_time
        assert conn.submit("wait").cancel()
        span = telemetry.span(SpanKind.CLIENT, "wait")
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes is not None
    assert span.attributes["rpc.response.status_code"] == "CANCELLED"
    assert "error.type" not in span.attributes


def test_durations_are_in_seconds(server: Server, telemetry: Telemetry) -> None:
    """At both ends; a server is named by its address, a client is not."""
    with connect(server.url) as conn:
        conn.perform("name", lambda: "Ada")
        for number in range(3):
            assert conn.call("echo", number) == number
        assert conn.call("ask back") == "Ada"
        eventually(lambda: len(telemetry.spans(SpanKind.SERVER)) == 5)
    [echo, back, name] = sorted(
        telemetry.points("rpc.client.call.duration"),
        key=lambda point: ["echo", "ask back", "name"].index(point.attributes["rpc.method"]),
    )
    assert echo.count == 3
    assert 0 < echo.sum < scaled(5)
    assert echo.explicit_bounds[:2] == (0.005, 0.01)
    assert echo.attributes == {
        "rpc.system.name": "owlsocket",
        "rpc.method": "echo",
        "server.address": "127.0.0.1",
        "server.port": server.port,
    }
    assert back.count == 1
    assert name.attributes == {"rpc.system.name": "owlsocket", "rpc.method": "name"}
    performed = {point.attributes["rpc.method"]: point.count for point in telemetry.points("rpc.server.call.duration")}
    assert performed == {"echo": 3, "ask back": 1, "name": 1}


@pytest.mark.slow
def test_connections_are_observed(server: Server, telemetry: Telemetry) -> None:
    """Their number, waiting calls and counters."""
    name = {"owlsocket_connection_name": "observed"}
    with connect(server.url, name="observed") as conn:
        conn.on_error(lambda error, context: None)
        conn.receive("garbage")
        conn.ping(scaled(5))
        future = conn.submit("wait")
        assert telemetry.values("owlsocket.connection.count", state="open", **name) == [1]
        assert telemetry.values("owlsocket.connection.pending_calls", **name) == [1]
        assert telemetry.values("owlsocket.connection.queued", **name) == [0]
        assert telemetry.values("owlsocket.connection.backlog", **name) == [0]
        assert telemetry.values("owlsocket.connection.latency", **name) == [conn.latency]
        assert telemetry.values("owlsocket.connection.malformed", **name) == [1]
        future.cancel()
        for metric, attribute in (("messages", "messages_out"), ("io", "bytes_out"), ("wire_io", "wire_bytes_out")):
            values = telemetry.values(f"owlsocket.connection.{metric}", network_io_direction="transmit", **name)
            assert values == [getattr(conn.stats, attribute)]
        conn.submit("drop")
        eventually(lambda: telemetry.values("owlsocket.connection.reconnects", **name) == [1])
    assert telemetry.values("owlsocket.connection.reconnects", **name) == [1]
    assert telemetry.values("owlsocket.connection.count", state="open", **name) == []


def test_the_instrumentor_is_a_singleton_and_can_be_uninstrumented(server: Server, telemetry: Telemetry) -> None:
    """A second instrument() has no effect; uninstrument() stops the metrics; a third call starts again."""
    instrumentor = OwlSocketInstrumentor()
    assert instrumentor is OwlSocketInstrumentor()
    assert instrumentor.is_instrumented_by_opentelemetry
    telemetry.instrument()
    with connect(server.url) as conn:
        conn.call("echo")
        assert len(telemetry.spans(SpanKind.CLIENT)) == 1
        instrumentor.uninstrument()
        instrumentor.uninstrument()
        assert not instrumentor.is_instrumented_by_opentelemetry
        conn.call("echo")
        assert len(telemetry.spans(SpanKind.CLIENT)) == 1
        assert telemetry.points("owlsocket.connection.count") == []
        telemetry.instrument()
        conn.call("echo")
        assert len(telemetry.spans(SpanKind.CLIENT)) == 2
        assert telemetry.points("owlsocket.connection.count") != []
        [point] = telemetry.points("rpc.client.call.duration")
        assert point.count == 2


def test_suppressed_calls_make_no_spans(server: Server, telemetry: Telemetry) -> None:
    """Exporters suppress their own calls."""
    with connect(server.url) as conn:
        token = context.attach(context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        try:
            conn.call("echo")
            conn.notify("other")
        finally:
            context.detach(token)
    assert telemetry.spans(SpanKind.CLIENT) == telemetry.spans(SpanKind.PRODUCER) == []


def test_calls_work_without_an_sdk(server: Server) -> None:
    """Calls work with the API alone."""
    OwlSocketInstrumentor().instrument()
    try:
        with connect(server.url) as conn:
            assert conn.call("echo", 1) == 1
    finally:
        OwlSocketInstrumentor().uninstrument()


@pytest.mark.slow
def test_the_error_without_the_package_names_the_extra() -> None:
    """In the last line of the traceback; only the API is imported."""
    script = "import sys; sys.modules['opentelemetry'] = None; import owlsocket_sync.contrib.otel"
    seen = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert "python -m pip install 'owlsocket-sync[otel]'" in seen.stderr.splitlines()[-1]
    script = "import sys, owlsocket_sync.contrib.otel; print([name for name in sys.modules if '.sdk' in name])"
    seen = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert seen.stdout.strip() == "[]", seen.stderr
