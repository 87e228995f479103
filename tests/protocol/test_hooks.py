"""Instruments: what those who watch a connection are told, when, and that they disturb nothing."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from owlsocket_sync import (
    CallMessage,
    Connection,
    ConnectionState,
    ErrorContext,
    Instrument,
    Operation,
    Outcome,
    ResilientError,
    SocketConnectionError,
    SocketMessageMalformed,
    SocketTimeout,
    SocketUnsupported,
    StateChange,
    connect,
    connections,
    instrument,
)
from owlsocket_sync.core.core import Core, CoreOptions
from owlsocket_sync.inherited import closed_core
from owlsocket_sync.options import Limits
from owlsocket_sync.protocol.connection_registry import REGISTRY
from owlsocket_sync.protocol.settings import Settings
from owlsocket_sync.server import Request, Server, serve
from owlsocket_sync.testing.memory import InlineWorkers, MemoryCarrier, SharedLink
from support.handlers import drop_link
from support.helpers import Collector, eventually, scaled
from support.pair import RecordingCarrier, make_pair

Ends = tuple[Connection, Connection, RecordingCarrier, RecordingCarrier]


class Recorder(Instrument):
    """Keeps the ends of activities, as (verb, name, status), and knows whether each got what its start returned."""

    def __init__(self) -> None:
        self.ended = Collector()
        self.outcomes: list[Outcome] = []
        self.activities: list[Operation] = []
        self.began: list[tuple[str, str]] = []
        self.threads: list[threading.Thread] = []

    def _start(self, verb: str, activity: Operation) -> object:
        self.began.append((verb, activity.name))
        return verb, activity

    def _end(self, verb: str, activity: Operation, outcome: Outcome, kept: Any) -> None:
        assert kept == (verb, activity)
        self.outcomes.append(outcome)
        self.activities.append(activity)
        self.threads.append(threading.current_thread())
        self.ended((verb, activity.name, outcome.status))

    def on_call_start(self, call: Operation) -> Any:
        return self._start("call", call)

    def on_call_end(self, call: Operation, outcome: Outcome, kept: Any) -> None:
        self._end("call", call, outcome, kept)

    def on_perform_start(self, call: Operation) -> Any:
        return self._start("perform", call)

    def on_perform_end(self, call: Operation, outcome: Outcome, kept: Any) -> None:
        self._end("perform", call, outcome, kept)

    def on_notify_start(self, event: Operation) -> Any:
        return self._start("notify", event)

    def on_notify_end(self, event: Operation, outcome: Outcome, kept: Any) -> None:
        self._end("notify", event, outcome, kept)

    def on_observe_start(self, event: Operation) -> Any:
        return self._start("observe", event)

    def on_observe_end(self, event: Operation, outcome: Outcome, kept: Any) -> None:
        self._end("observe", event, outcome, kept)


class Messages(Instrument):
    """Keeps the sizes of messages."""

    def __init__(self) -> None:
        self.sizes: list[tuple[Any, str, int]] = []

    def on_message(self, connection: Any, direction: str, size: int) -> None:
        self.sizes.append((connection, direction, size))


class States(Instrument):
    """Keeps states."""

    def __init__(self) -> None:
        self.seen = Collector()

    def on_state(self, connection: Any, change: StateChange) -> None:
        self.seen((connection.name, change.state))


def _fail(*arguments: Any) -> Any:
    raise ValueError("broken instrument")


BROKEN: Any = _fail


class Broken(Instrument):
    """Raises, whatever it is told."""

    on_call_start = on_call_end = on_perform_start = on_perform_end = BROKEN
    on_notify_start = on_notify_end = on_observe_start = on_observe_end = on_message = on_state = BROKEN


class BrokenAtTheEnd(Instrument):
    """Raises at the end of calls."""

    def on_call_end(self, call: Operation, outcome: Outcome, kept: Any) -> None:
        raise ValueError("broken instrument")


@pytest.fixture
def ends() -> Ends:
    """Two ends."""
    return make_pair()


@pytest.fixture
def server() -> Iterator[Server]:
    """Answers, fails, and keeps its callers waiting."""

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("echo", lambda value=None: value)
        conn.perform("fail", lambda: 1 / 0)
        conn.perform("drop", lambda: drop_link(conn))
        conn.perform("wait", lambda: conn.call("wait", timeout=scaled(5)))
        conn.observe("news", lambda message: conn.notify("heard", message.payload))

    with serve(handler) as running:
        yield running


def test_a_call_is_told_on_both_ends(ends: Ends) -> None:
    """Its start and its end, with the name, the connection, the time it took, and the message of the peer."""
    left, right, *_ = ends
    ours, theirs = Recorder(), Recorder()
    left.instrument(ours)
    right.instrument(theirs)
    right.perform("double", lambda value: 2 * value)
    assert left.call("double", 21) == 42
    assert ours.ended.items == [("call", "double", "ok")]
    assert theirs.ended.items == [("perform", "double", "ok")]
    assert ours.activities[0].connection is left
    assert ours.activities[0].message is None
    assert theirs.activities[0].message.payload == [21]  # type: ignore[union-attr]
    assert 0 < theirs.outcomes[0].seconds < ours.outcomes[0].seconds
    assert ours.outcomes[0].error is None


def test_an_event_is_told_on_both_ends(ends: Ends) -> None:
    """Each handler apart; one that observes all under ``*``, whatever the peer makes up."""
    left, right, *_ = ends
    ours, theirs = Recorder(), Recorder()
    left.instrument(ours)
    right.instrument(theirs)
    right.on_error(lambda error, context: None)
    right.observe("news", lambda message: None)
    right.observe("news", lambda message: 1 / 0)
    right.observe("*", lambda message: None)
    left.notify("news", 1)
    left.notify("other", 1)
    assert ours.ended.items == [("notify", "news", "ok"), ("notify", "other", "ok")]
    assert theirs.ended.items == [
        ("observe", "news", "ok"),
        ("observe", "news", "error"),
        ("observe", "*", "ok"),
        ("observe", "*", "ok"),
    ]
    assert isinstance(theirs.outcomes[1].error, ZeroDivisionError)
    assert theirs.activities[3].message.event == "other"  # type: ignore[union-attr]


def test_every_outcome_of_a_call_has_its_word(server: Server) -> None:
    """What the peer raises, what cannot be used or sent, no answer in time, a lost link, a closed connection."""
    recorder = Recorder()
    with connect(server.url, reconnect=None) as conn:
        conn.instrument(recorder)
        enough = threading.Event()
        conn.perform("wait", lambda: enough.wait(scaled(5)))
        with pytest.raises(ResilientError, match="division by zero"):
            conn.call("fail")
        with pytest.raises(SocketUnsupported):
            conn.call("nothing")
        with pytest.raises(SocketMessageMalformed):
            conn.call("echo", "text", result_type=int)
        with pytest.raises(SocketMessageMalformed):
            conn.call("echo", object())
        with pytest.raises(TypeError):
            conn.call(7)  # type: ignore[call-overload]
        with pytest.raises(SocketTimeout):
            conn.call("wait", timeout=0.01)
        enough.set()
        with pytest.raises(SocketConnectionError):
            conn.call("drop", timeout=scaled(5))
        conn.wait_closed(scaled(5))
        with pytest.raises(SocketConnectionError):
            conn.call("echo")
        with pytest.raises(SocketConnectionError):
            conn.notify("news")
    statuses = [(name, status) for _, name, status in recorder.ended.items if _ != "perform"]
    assert statuses[:4] == [("fail", "error"), ("nothing", "error"), ("echo", "error"), ("echo", "error")]
    assert statuses[4:] == [
        (7, "error"),
        ("wait", "timeout"),
        ("drop", "lost"),
        ("echo", "lost"),
        ("news", "lost"),
    ]


def test_an_answer_that_comes_too_late_is_told_apart(ends: Ends) -> None:
    """Its handler ran in vain, and its answer was dropped."""
    left, right, *_ = ends
    recorder = Recorder()
    right.instrument(recorder)
    right.perform("slow", lambda: threading.Event().wait(0.1))
    left.send(CallMessage(payload=[], id="late", method="slow", timeout=0.02))
    assert recorder.ended.items == [("perform", "slow", "late")]
    assert right.stats.dropped == 1


def test_a_result_that_cannot_be_sent_is_an_error(ends: Ends) -> None:
    """Whoever called gets it, and so does the instrument."""
    left, right, *_ = ends
    recorder = Recorder()
    right.instrument(recorder)
    right.on_error(lambda error, context: None)
    right.perform("object", lambda: object())
    with pytest.raises(ResilientError):
        left.call("object")
    assert recorder.ended.items == [("perform", "object", "error")]
    assert isinstance(recorder.outcomes[0].error, SocketMessageMalformed)


def test_a_submitted_call_ends_on_a_thread_of_the_library(server: Server) -> None:
    """With the time of its answer, whoever waits for it; a cancelled one ends as well, and one that never began."""
    recorder = Recorder()
    with connect(server.url, name="watched") as conn:
        conn.instrument(recorder)
        conn.perform("wait", lambda: threading.Event().wait(scaled(0.1)))
        assert conn.submit("echo", 1).result(scaled(5)) == 1
        assert recorder.ended.wait(1) == [("call", "echo", "ok")]
        assert recorder.threads[0].name in ("watched-worker", "owlsocket-poller")
        assert conn.submit("wait").cancel()
        assert recorder.ended.wait(2)[1] == ("call", "wait", "cancelled")
        with pytest.raises(SocketMessageMalformed):
            conn.submit("echo", object())
        assert ("call", "echo", "error") in recorder.ended.items
        failing = conn.submit("fail")
        assert failing.exception(scaled(5)) is not None
        eventually(lambda: ("call", "fail", "error") in recorder.ended.items)


def test_a_call_that_is_interrupted_is_cancelled(ends: Ends) -> None:
    """By Ctrl-C, for one."""
    left, right, *_ = ends
    recorder = Recorder()
    left.instrument(recorder)

    def interrupt(message: Any, is_request: bool) -> Any:
        raise KeyboardInterrupt

    left.prepare = interrupt
    with pytest.raises(KeyboardInterrupt):
        left.call("echo")
    assert recorder.ended.items == [("call", "echo", "cancelled")]


def test_messages_are_told_one_by_one(ends: Ends) -> None:
    """With the numbers that ``stats`` has, batches and answers included."""
    left, right, *_ = ends
    messages = Messages()
    left.instrument(messages)
    right.perform("echo", lambda value: value)
    with left.batch():
        left.notify("one")
        left.notify("two")
    left.call("echo", "hoot")
    left.submit("echo", "hoot").result(1)
    left.perform("echo", lambda value: value)
    right.call("echo", 1)
    for direction, count, size in (
        ("in", left.stats.messages_in, left.stats.bytes_in),
        ("out", left.stats.messages_out, left.stats.bytes_out),
    ):
        sizes = [bytes_ for conn, way, bytes_ in messages.sizes if way == direction and conn is left]
        assert (len(sizes), sum(sizes)) == (count, size)
        assert count >= 3


def test_over_a_real_link_messages_are_told_too(server: Server) -> None:
    """Answers that the caller would have read for itself among them."""
    messages = Messages()
    with connect(server.url) as conn:
        conn.instrument(messages)
        before = conn.stats.messages_in
        for number in range(5):
            assert conn.call("echo", number) == number
        assert conn.stats.messages_in - before == len([entry for entry in messages.sizes if entry[1] == "in"]) == 5


def test_what_an_instrument_raises_disturbs_nothing(ends: Ends) -> None:
    """It is reported, with the name of the hook, and the next instrument hears all the same."""
    left, right, *_ = ends
    wrong: list[str] = []
    recorder = Recorder()
    for end in ends[:2]:
        end.on_error(lambda error, context: wrong.append(str(context)))
        end.instrument(Broken())
        end.instrument(BrokenAtTheEnd())
        end.instrument(recorder)
    right.perform("echo", lambda value: value)
    seen: list[Any] = []
    right.observe("news", seen.append)
    assert left.call("echo", 1) == 1
    assert left.submit("echo", 2).result(1) == 2
    left.notify("news")
    assert len(seen) == 1
    assert {name for _, name, status in recorder.ended.items if status == "ok"} == {"echo", "news"}
    assert {text.removeprefix("instrument ") for text in wrong} == {
        "on_call_start",
        "on_call_end",
        "on_perform_start",
        "on_notify_start",
        "on_observe_start",
        "on_message",
    }


@pytest.mark.parametrize("error", [SystemExit(1), GeneratorExit(), KeyboardInterrupt()], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("hook", ["on_perform_start", "on_perform_end", "on_observe_start", "on_observe_end"])
def test_an_instrument_that_exits_on_a_worker_disturbs_no_handler(ends: Ends, hook: str, error: BaseException) -> None:
    """The call is answered, the observer gets its event, and the error is reported."""

    def fail(*_: Any) -> Any:
        raise error

    left, right, *_ = ends
    reports: list[ErrorContext] = []
    right.on_error(lambda error, context: reports.append(context))
    right.instrument(type("Exits", (Instrument,), {hook: fail})())
    right.perform("echo", lambda value: value)
    seen: list[Any] = []
    right.observe("news", seen.append)
    assert left.call("echo", 1, timeout=1) == 1
    left.notify("news")
    assert len(seen) == 1
    assert [(context.source, context.name) for context in reports] == [("instrument", hook)]


def test_one_for_all_watches_those_that_are_there_and_those_to_come(server: Server) -> None:
    """On both ends, until it is given up; what has begun by then is still told its end."""
    recorder = Recorder()
    with connect(server.url) as first:
        watching = instrument(recorder)
        try:
            assert first.call("echo") is None
            with connect(server.url) as second:
                assert second.call("echo") is None
            assert sorted(recorder.ended.wait(4)) == [("call", "echo", "ok")] * 2 + [("perform", "echo", "ok")] * 2
            called = threading.Event()
            first.perform("wait", lambda: called.wait(scaled(5)))
            future = first.submit("wait")
            eventually(lambda: ("perform", "wait") in recorder.began[-3:] and len(recorder.began) >= 7)
        finally:
            watching()
        called.set()
        future.result(scaled(5))
        eventually(lambda: len(recorder.ended.items) == len(recorder.began))
        count = len(recorder.began)
        assert first.call("echo") is None
        with connect(server.url) as third:
            assert third.call("echo") is None
        assert len(recorder.began) == count
    assert repr(watching) == "<Subscription of Recorder, unsubscribed>"


def test_states_are_told_of_all_connections(server: Server) -> None:
    """In order, from the first open to the last close, on both ends."""
    states = States()
    with instrument(states):
        with connect(server.url, name="mine") as conn:
            eventually(lambda: server.connections)
            (theirs,) = server.connections  # of this server: those of other tests may be about to end
            assert theirs in connections()
            assert (theirs.accepted, conn.accepted) == (True, False)
        eventually(lambda: len(states.seen.items) >= 5)
    mine = [state for name, state in states.seen.items if name == "mine"]
    assert mine == [ConnectionState.OPEN, ConnectionState.CLOSING, ConnectionState.CLOSED]
    peers = [state for name, state in states.seen.items if name == theirs.name]
    assert peers == [ConnectionState.OPEN, ConnectionState.CLOSED]


@pytest.mark.slow
def test_the_connections_of_the_process_are_known_until_they_are_closed(server: Server) -> None:
    """Those of servers too; being known keeps none alive."""
    gc.collect()
    before = set(connections())
    with connect(server.url) as conn:
        here = set(connections()) - before
        assert conn in here
        eventually(lambda: set(server.connections) <= set(connections()))
    eventually(lambda: set(connections()) <= before)
    left = weakref.ref(make_pair()[0])
    gc.collect()
    assert left() is None


def test_a_connection_that_is_being_made_is_not_known_yet() -> None:
    """Its parts are there a moment earlier; another thread that asks is not shown half of it."""
    before = set(connections())
    core = Core(MemoryCarrier(SharedLink()), InlineWorkers(), CoreOptions("half", Limits()), Settings())
    assert set(connections()) <= before
    assert None not in REGISTRY.snapshot()[0]
    conn = Connection(core, closed_core)
    assert conn in connections()


def test_only_an_instrument_can_watch(ends: Ends) -> None:
    """Something else is refused at once."""
    left, *_ = ends
    with pytest.raises(TypeError, match="instrument must be an Instrument, not function"):
        left.instrument(lambda: None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="instrument must be an Instrument, not str"):
        instrument("otel")  # type: ignore[arg-type]


def test_an_instrument_that_overrides_nothing_changes_nothing(ends: Ends) -> None:
    """Every hook may be left out."""
    left, right, *_ = ends
    left.instrument(Instrument())
    right.instrument(Instrument())
    right.perform("echo", lambda value: value)
    seen: list[Any] = []
    right.observe("news", seen.append)
    left.notify("news")
    assert left.call("echo", 1) == 1
    assert left.submit("echo", 1).result(1) == 1
    assert len(seen) == 1
    assert left._core.hooks.message_instruments == left._core.hooks.state_instruments == ()


def test_the_backlog_is_what_waits_for_handlers(server: Server) -> None:
    """Or is with one; when they are done it is empty."""
    enough = threading.Event()
    with connect(server.url) as conn:
        [theirs] = server.connections
        conn.observe("slow", lambda message: enough.wait(scaled(5)))
        for _ in range(3):
            theirs.notify("slow")
        eventually(lambda: conn.stats.backlog == 3)
        enough.set()
        eventually(lambda: conn.stats.backlog == 0)
