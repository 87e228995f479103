"""One trace over both ends: the context of a span travels with calls, events and requests, and with a hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.trace import SpanKind

from owlsocket_sync import Connection, Message, connect
from owlsocket_sync.contrib.otel import OwlSocketInstrumentor
from owlsocket_sync.hub import Hub, MemoryBus, MemorySpace
from owlsocket_sync.server import Request, Server, serve
from support.handlers import drop_link
from support.helpers import Collector, eventually, scaled
from support.pair import make_pair
from support.telemetry import Telemetry, follows

SENDER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Instrument all connections."""
    with Telemetry().installed() as telemetry:
        yield telemetry


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that answers, asks back, and takes events and requests."""
    dropped: list[int] = []

    def drop_once(conn: Connection) -> int:
        if not dropped:
            dropped.append(1)
            drop_link(conn)
        return 1

    def handler(conn: Connection, request: Request) -> None:
        def stream(id: Any, payload: Any) -> bool:
            conn.call("name", timeout=scaled(5))
            conn.reply(id, payload)
            return True

        conn.perform("echo", lambda value=None: value)
        conn.perform("ask back", lambda: conn.call("name", timeout=scaled(5)))
        conn.perform("drop once", lambda: drop_once(conn))
        conn.observe("news", lambda message: conn.notify("heard", message.payload))
        conn.acknowledge(stream)

    with serve(handler, name="shop") as running:
        yield running


@contextmanager
def started(telemetry: Telemetry, name: str) -> Iterator[trace.Span]:
    """Work on a span of the program."""
    with telemetry.tracers.get_tracer("app").start_as_current_span(name) as span:
        yield span


def test_a_call_and_its_handler_are_one_trace(server: Server, telemetry: Telemetry) -> None:
    """Over a socket: the program, its call, the handler, what the handler calls, and the handler of that."""
    with connect(server.url) as conn, started(telemetry, "sale"):
        conn.perform("name", lambda: "Ada")
        assert conn.call("ask back") == "Ada"
    sale = telemetry.span(SpanKind.INTERNAL, "sale")
    call, performed = telemetry.span(SpanKind.CLIENT, "ask back"), telemetry.span(SpanKind.SERVER, "ask back")
    back, answered = telemetry.span(SpanKind.CLIENT, "name"), telemetry.span(SpanKind.SERVER, "name")
    assert follows(call, sale)
    assert follows(performed, call)
    assert follows(back, performed)
    assert follows(answered, back)
    assert performed.parent is not None
    assert performed.parent.is_remote


def test_an_event_and_its_handlers_are_one_trace(server: Server, telemetry: Telemetry) -> None:
    """The handler is a child of the sender, and linked to it as well, as the conventions for messages ask."""
    with connect(server.url) as conn:
        heard = Collector()
        conn.observe("heard", heard)
        conn.observe("*", lambda message: None)
        with started(telemetry, "sale"):
            conn.notify("news", 1)
        heard.wait(1)
        there = telemetry.span(SpanKind.CONSUMER, "process news")
        sent = telemetry.span(SpanKind.PRODUCER, "send news")
        back = telemetry.span(SpanKind.PRODUCER, "send heard")
        here = telemetry.span(SpanKind.CONSUMER, "process heard"), telemetry.span(SpanKind.CONSUMER, "process *")
    assert follows(sent, telemetry.span(SpanKind.INTERNAL, "sale"))
    assert follows(there, sent)
    assert [link.context.span_id for link in there.links] == [sent.context.span_id]
    assert follows(back, there)
    assert all(follows(each, back) for each in here)


def test_a_request_and_its_handler_are_one_trace(server: Server, telemetry: Telemetry) -> None:
    """By ``stream`` and by ``request``; the span of the sender ends when the request was sent."""
    with connect(server.url) as conn:
        conn.perform("name", lambda: "Ada")
        with started(telemetry, "streamed"), conn.stream(7, timeout=scaled(5)) as stream:
            assert next(stream) == 7
        with started(telemetry, "sent"):
            conn.request(8)
        eventually(lambda: len(telemetry.spans(SpanKind.SERVER)) == 4)
    by_trace = {span.context.trace_id: span for span in telemetry.spans(SpanKind.CLIENT) if span.name == "request"}
    assert len(by_trace) == 2
    for name in ("streamed", "sent"):
        sent = by_trace[telemetry.span(SpanKind.INTERNAL, name).context.trace_id]
        assert follows(sent, telemetry.span(SpanKind.INTERNAL, name))
        [handled] = [span for span in telemetry.spans(SpanKind.SERVER) if follows(span, sent)]
        assert handled.name == "request"
        [asked] = [span for span in telemetry.spans(SpanKind.CLIENT) if follows(span, handled)]
        assert asked.name == "name"


def test_a_request_that_no_handler_takes_shows_each_that_was_asked(telemetry: Telemetry) -> None:
    """One that raises has an error, which is reported as ever; the next one is asked."""
    left, right, *_ = make_pair()
    errors: list[tuple[str, str]] = []
    right.on_error(lambda error, context: errors.append((context.source, type(error).__name__)))
    right.acknowledge(lambda id, payload: 1 / 0)
    right.acknowledge(lambda id, payload: False)
    left.request(1)
    failed, passed = telemetry.spans(SpanKind.SERVER)
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "ZeroDivisionError"
    assert passed.attributes is not None
    assert "error.type" not in passed.attributes
    assert errors == [("acknowledge", "ZeroDivisionError"), ("acknowledge", "SocketError")]


def test_a_call_that_leaves_later_belongs_to_the_thread_that_made_it(server: Server, telemetry: Telemetry) -> None:
    """Not to the one that sends it: at the end of a batch, or on the next link."""
    with connect(server.url) as conn:
        with started(telemetry, "sending"), conn.batch(), started(telemetry, "making"):
            future = conn.submit("echo", 1)
            conn.notify("news", 1)
        assert future.result(scaled(5)) == 1
        with started(telemetry, "retrying"):
            assert conn.call("drop once", retry=True, timeout=scaled(5)) == 1
        eventually(lambda: len([span for span in telemetry.spans(SpanKind.SERVER) if span.name == "drop once"]) == 2)
    call = telemetry.span(SpanKind.CLIENT, "echo")
    assert follows(call, telemetry.span(SpanKind.INTERNAL, "making"))
    assert follows(telemetry.span(SpanKind.SERVER, "echo"), call)
    assert follows(telemetry.span(SpanKind.PRODUCER, "send news"), telemetry.span(SpanKind.INTERNAL, "making"))
    retried = telemetry.span(SpanKind.CLIENT, "drop once")
    twice = [span for span in telemetry.spans(SpanKind.SERVER) if span.name == "drop once"]
    assert all(follows(each, retried) for each in twice)


def test_traces_of_threads_do_not_mix(server: Server, telemetry: Telemetry) -> None:
    """Many threads use one connection, and each handler is in the trace of its own caller."""
    seen: dict[str, int] = {}

    def work(number: int) -> None:
        with started(telemetry, f"work {number}") as span:
            for turn in range(10):
                assert conn.call("keep", f"{number}.{turn}", timeout=scaled(10)) is None
                conn.submit("keep", f"{number}.{turn}s", timeout=scaled(10)).result()
            traces[number] = span.get_span_context().trace_id

    traces: dict[int, int] = {}
    with connect(server.url) as conn, ThreadPoolExecutor(8) as threads:
        eventually(lambda: server.connections)
        [peer] = server.connections
        peer.perform("keep", lambda key: seen.update({key: trace.get_current_span().get_span_context().trace_id}))
        list(threads.map(work, range(8)))
    assert len(seen) == 160
    assert len(set(traces.values())) == 8
    assert all(of == traces[int(key.partition(".")[0])] for key, of in seen.items())


def test_a_call_of_a_hub_is_one_trace(telemetry: Telemetry) -> None:
    """From this server, from another one, and of all members of a room."""
    space = MemorySpace()
    with Hub(MemoryBus(space)) as here, Hub(MemoryBus(space)) as elsewhere:
        ids: list[str] = []

        def handler(conn: Connection, request: Request) -> None:
            conn.join("owls")
            ids.append(conn.id)

        with serve(handler, hub=here) as server, connect(server.url) as conn:
            conn.perform("name", lambda: "Ada")
            eventually(lambda: ids)
            for name, hub in (("local", here), ("remote", elsewhere)):
                with started(telemetry, name):
                    assert hub.call(ids[0], "name", timeout=scaled(5)) == "Ada"
                with started(telemetry, f"{name}, all"):
                    assert hub.call_all("owls", "name", timeout=scaled(5))[ids[0]].result == "Ada"
            eventually(lambda: len(telemetry.spans(SpanKind.CLIENT)) == 4)
    assert len(telemetry.spans(SpanKind.SERVER)) == 4
    for name in ("local", "local, all", "remote", "remote, all"):
        asking = telemetry.span(SpanKind.INTERNAL, name)
        [call] = [span for span in telemetry.spans(SpanKind.CLIENT) if follows(span, asking)]
        [handled] = [span for span in telemetry.spans(SpanKind.SERVER) if follows(span, call)]
        assert handled.name == "name"


def test_what_a_hub_publishes_belongs_to_the_trace_of_the_publisher(telemetry: Telemetry) -> None:
    """To all, to one connection, from another node, and as a broadcast of a server."""
    space = MemorySpace()
    with Hub(MemoryBus(space)) as here, Hub(MemoryBus(space)) as elsewhere:
        ids: list[str] = []
        with (
            serve(lambda conn, request: ids.append(conn.id), hub=here) as server,
            connect(server.url) as conn,
        ):
            heard = Collector()
            conn.observe("*", heard)
            eventually(lambda: ids)
            publications: dict[str, Callable[[str], None]] = {
                "published": lambda name: here.publish(name, 1),
                "published elsewhere": lambda name: elsewhere.publish(name, 1),
                "sent elsewhere": lambda name: elsewhere.send(name, 1, to=ids[0]),
                "broadcast": lambda name: server.broadcast(name, 1),
            }
            for name, publish in publications.items():
                with started(telemetry, name):
                    publish(name)
            heard.wait(len(publications))
            eventually(lambda: len(telemetry.spans(SpanKind.CONSUMER)) == len(publications))
    for span in telemetry.spans(SpanKind.CONSUMER):
        assert span.attributes is not None
        name = str(span.attributes["messaging.destination.name"])
        assert follows(span, telemetry.span(SpanKind.INTERNAL, name))


HOSTILE = {
    "huge": "00-" + "a" * 1_000_000,
    "malformed": "00-xyz-01",
    "a number": 7,
    "a list": [SENDER],
    "an object": {"traceparent": SENDER},
    "null": None,
    "zeros": f"00-{'0' * 32}-{'0' * 16}-01",
    "a version that is none": SENDER.replace("00-", "ff-", 1),
    "a lone surrogate": "\ud800" + SENDER,
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=list(HOSTILE))
def test_a_context_that_is_none_is_passed_over(telemetry: Telemetry, value: Any) -> None:
    """The handler runs, its span begins a trace, and no error is reported."""
    left, right, *_ = make_pair()
    errors: list[BaseException] = []
    right.on_error(lambda error, context: errors.append(error))
    right.perform("echo", lambda payload: payload)
    call = {"type": "call", "method": "echo", "payload": [1], "id": "x", "timeout": 0, "traceparent": value}
    right.receive(json.dumps({**call, "tracestate": value}))
    span = telemetry.span(SpanKind.SERVER, "echo")
    assert span.parent is None
    assert errors == []


def test_a_context_survives_a_message_that_is_read_the_long_way(telemetry: Telemetry) -> None:
    """One with a number of more than 64 bits, which the quick parser reads differently, or refuses."""
    left, right, *_ = make_pair()
    right.perform("echo", lambda payload: payload)
    for number in ("123456789012345678901234567890", "1e400", '"\\ud800"'):
        right.receive(
            f'{{"type":"call","method":"echo","payload":[{number}],"id":"x","timeout":0,"traceparent":"{SENDER}"}}'
        )
    spans = telemetry.spans(SpanKind.SERVER)
    assert len(spans) == 3
    for span in spans:
        assert span.parent is not None
        assert (span.parent.trace_id, span.parent.span_id) == (TRACE, SPAN)


def test_state_and_baggage_travel_with_the_context(telemetry: Telemetry) -> None:
    """They are of the handler while it runs, and of what it calls."""
    left, right, carrier, answers = make_pair()
    left.perform("back", lambda: baggage.get_baggage("shop"))
    right.perform("ask", lambda: [baggage.get_baggage("shop"), right.call("back")])
    token = context.attach(baggage.set_baggage("shop", "7"))
    try:
        assert left.call("ask") == ["7", "7"]
    finally:
        context.detach(token)
    assert json.loads(carrier.sent[0])["baggage"] == "shop=7"
    right.receive(f'{{"type":"call","method":"ask","payload":[],"id":"x","traceparent":"{SENDER}","tracestate":"a=b"}}')
    assert json.loads(answers.sent[-2])["tracestate"] == "a=b"


def test_a_server_may_accept_no_context() -> None:
    """Of nobody, or of its clients only; it still sends its own."""
    for accept, expected in ((False, None), (lambda conn: not conn.accepted, None), (lambda conn: True, SPAN)):
        left, right, *_ = make_pair(accepted=True)
        right.perform("echo", lambda payload: payload)
        with Telemetry().installed(accept_context=accept) as telemetry:
            right.receive(f'{{"type":"call","method":"echo","payload":[1],"id":"x","traceparent":"{SENDER}"}}')
            span = telemetry.span(SpanKind.SERVER, "echo")
            assert (span.parent and span.parent.span_id) == expected
    with pytest.raises(TypeError, match="accept_context must be True, False or a function of the connection, not str"):
        OwlSocketInstrumentor().instrument(accept_context="no")  # type: ignore[arg-type]
    assert not OwlSocketInstrumentor().is_instrumented_by_opentelemetry


def test_without_the_instrumentation_or_a_span_no_byte_is_added() -> None:
    """Calls, events and requests are what they were; so they are with the API alone, which has no trace."""

    def sent() -> list[dict[str, Any]]:
        left, right, carrier, _ = make_pair()
        right.perform("echo", lambda payload: payload)
        right.observe("news", lambda message: None)
        right.acknowledge(lambda id, payload: True)
        left.call("echo", 1)
        left.notify("news", 1)
        left.request(1)
        return [json.loads(frame) for frame in carrier.sent]

    plain = [set(message) for message in sent()]
    OwlSocketInstrumentor().instrument()
    try:
        assert [set(message) for message in sent()] == plain
    finally:
        OwlSocketInstrumentor().uninstrument()
    with Telemetry().installed():
        assert [set(message) - {"traceparent"} for message in sent()] == plain
    assert [set(message) for message in sent()] == plain


def test_the_propagator_of_the_program_writes_and_reads_the_keys(telemetry: Telemetry) -> None:
    """Whatever their names are; none is looked for if it has none."""
    usual = propagate.get_global_textmap()

    class Shop(type(usual)):  # type: ignore[misc]
        """Writes the trace under another name."""

        fields = frozenset({"x-shop"})

        def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None:
            carrier["x-shop"] = "7"

        def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Any:
            return baggage.set_baggage("shop", carrier["x-shop"], context)

    propagate.set_global_textmap(Shop([]))
    try:
        left, right, *_ = make_pair()
        right.perform("shop", lambda: baggage.get_baggage("shop"))
        assert left.call("shop") == "7"
    finally:
        propagate.set_global_textmap(usual)


def test_a_message_that_a_hook_prepares_keeps_its_context(telemetry: Telemetry) -> None:
    """The hook sees the message without it, as it is a matter of those who observe."""
    left, right, *_ = make_pair()
    prepared: list[Message] = []

    def prepare(message: Message, is_request: bool) -> Message:
        prepared.append(message)
        return message

    left.prepare = right.prepare = prepare
    right.perform("echo", lambda payload: payload)
    right.observe("news", lambda message: None)
    assert left.call("echo", 1) == 1
    left.notify("news", 1)
    assert follows(telemetry.span(SpanKind.SERVER, "echo"), telemetry.span(SpanKind.CLIENT, "echo"))
    assert follows(telemetry.span(SpanKind.CONSUMER, "process news"), telemetry.span(SpanKind.PRODUCER, "send news"))
    assert prepared
