"""More comes than is handled: the sender is slowed down, limits hold, and whoever waits for an answer gets it."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from owlsocket_sync import (
    Connection,
    ConnectionState,
    EventMessage,
    Heartbeat,
    Limits,
    SocketConnectionError,
    SocketError,
    SocketMessageError,
    SocketMessageMalformed,
    connect,
)
from owlsocket_sync.server import Request, serve
from support.figures import Figure
from support.helpers import Collector, eventually, scaled, whole
from support.linked import within
from support.loads import MIB, heard, program, said, talking
from support.sockets import CLOSE, PONG, TEXT, RawPeer, frame

pytestmark = pytest.mark.slow

FILLER = "x" * 950
SMALL = Limits(dispatch_messages=500, dispatch_bytes=MIB)


class Flood:
    """A server's handler that sends events as fast as they are taken, and notes how long it had to wait."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.longest = 0.0
        self.noted = Collector()
        self.connections: queue.Queue[Connection] = queue.Queue()

    def __call__(self, conn: Connection, request: Request) -> None:
        conn.perform("echo", lambda value: value)
        conn.observe("noted", lambda message: self.noted(message.payload))
        self.connections.put(conn)
        next(conn.events("go"))
        for number in range(self._count):
            began = time.monotonic()
            conn.notify("flood", [number, FILLER])
            self.longest = max(self.longest, time.monotonic() - began)


# -- handlers that are behind ------------------------------------------------------------------------------------------


@pytest.mark.stress
@pytest.mark.timeout(1200)
def test_row_22_a_flood_from_another_process(figure: Figure) -> None:
    """Memory is bounded, nothing is lost or out of order, the sender waits; heartbeat, calls and events go on."""
    count, limits, pauses = whole(20_000, 1_000_000), whole(SMALL, Limits()), whole(2, 10)
    beat, pause = scaled(1.0), scaled(2.5)
    flood = Flood(count)
    held = min(limits.dispatch_bytes, limits.dispatch_messages * (len(FILLER) + 50))
    arguments = (str(count), str(pauses), str(pause), json.dumps(asdict(limits)), json.dumps([beat, beat]))
    with (
        serve(flood, heartbeat=Heartbeat(beat, beat)) as server,
        program("flooded", server.url, *arguments) as client,
    ):
        served = flood.connections.get(timeout=scaled(20))
        seen = json.loads(client.communicate(timeout=1000)[0])
        assert served.wait_closed(scaled(5)).code == 1000
    assert seen["failures"] == []
    assert (seen["whole"], seen["handled"], seen["misplaced"]) == (True, count, 0)
    assert (seen["dropped"], seen["reconnects"]) == (0, 0)
    assert flood.noted.wait(pauses) == [k * (count // pauses) for k in range(pauses)]
    assert flood.longest > pause / 5
    figure("memory of a flooded client beyond its limit", (seen["grown"] - held) / MIB, 64, "MiB")
    figure("a call from the handler of a flood", seen["longest_call"], scaled(10), "s")


@pytest.mark.stress
@pytest.mark.timeout(120)
def test_row_22_a_slow_handler(figure: Figure) -> None:
    """Calls and heartbeat go on beside 10 000 events that wait for it; those that are given up are counted."""
    seen, states, count, longest = Collector(), Collector(), 10_000, 0.0
    flood = Flood(count)

    def handle(message: EventMessage) -> None:
        seen(message.payload[0])
        over.wait(whole(0.2, 1.0))

    over = threading.Event()
    beat = Heartbeat(scaled(1.0), scaled(1.0))
    with serve(flood, heartbeat=beat) as server, connect(server.url, heartbeat=beat, workers=1) as conn:
        conn.on_state(states)
        conn.observe("flood", handle)
        conn.notify("go")
        eventually(lambda: conn.stats.messages_in >= count, 20)
        end = time.monotonic() + scaled(whole(2.5, 5.0))
        while time.monotonic() < end:
            began = time.monotonic()
            assert conn.call("echo", "still?") == "still?"
            longest = max(longest, time.monotonic() - began)
        assert conn.ping() < scaled(1)
        assert (conn.state, states.items) == (ConnectionState.OPEN, [])
        over.set()
        over.clear()
        conn.close()
        handled = len(seen.items)
        assert seen.items == list(range(handled))
        assert conn.stats.dropped == count - handled
    figure("a call beside a slow handler", longest, scaled(1), "s")


@pytest.mark.parametrize("verb", ["call", "stream", "events", "ping", "consume"])
def test_a_handler_that_waits_behind_a_flood(verb: str) -> None:
    """Whatever it waits for is behind ten times as many messages as may pile up, and comes all the same."""
    outcome: Collector = Collector()

    def wait_for(conn: Connection) -> object:
        if verb == "call":
            return conn.call("answer", timeout=scaled(5))
        if verb == "ping":
            return conn.ping(scaled(5)) and "answer"
        if verb == "consume":
            conn.notify("ready")
            taken = conn.consume(timeout=scaled(5))
            return taken and taken.payload
        if verb == "stream":
            with conn.stream("answer", timeout=scaled(5)) as stream:
                return next(stream)
        with conn.events("late", timeout=scaled(5)) as late:
            conn.notify("late")
            return next(late).payload

    def handle(conn: Connection, message: EventMessage) -> None:
        if message.payload == 0:
            outcome(wait_for(conn))

    with talking(limits=Limits(dispatch_messages=20), workers=1) as (conn, peer):
        conn.observe("flood", lambda message: handle(conn, message))
        peer.send(said("event", event="flood", payload=0))
        came = peer.read_frame()
        peer.send(b"".join(said("event", event="flood", payload=number) for number in range(1, 200)))
        answers = {
            "call": lambda: said("result", id=json.loads(came.payload)["id"], payload="answer"),
            "stream": lambda: said("response", id=json.loads(came.payload)["id"], payload="answer"),
            "events": lambda: said("event", event="late", payload="answer"),
            "consume": lambda: said("message", payload="answer"),
            "ping": lambda: frame(PONG, came.payload),
        }
        peer.send(answers[verb]())
        assert outcome.wait(1) == ["answer"]


def test_a_flood_of_garbage_waits_for_whoever_is_told_of_it() -> None:
    """A slow `on_error` slows the peer down as any handler does, and is told of each."""
    gate, reported, count = threading.Event(), Collector(), 300

    def handle(error: Exception, context: object) -> None:
        gate.wait()
        reported(error)

    with talking(limits=Limits(dispatch_messages=20)) as (conn, peer):
        conn.on_error(handle)
        peer.send(b"".join(frame(TEXT, b"garbage") for _ in range(count)))
        eventually(lambda: conn.stats.messages_in == 20)
        assert not conn._core.has_room()
        gate.set()
        reported.wait(count)
        assert (conn.stats.malformed, conn.stats.messages_in) == (count, count)


def test_answers_that_nobody_takes_are_bounded() -> None:
    """A peer that calls what is not performed and reads nothing is not read either, until it reads."""
    count, size = 1500, 20_000
    call = said("call", id="x" * size, method="unknown", payload=[])
    with talking(limits=Limits(dispatch_messages=50)) as (conn, peer):
        sender = threading.Thread(target=peer.send, args=(call * count,))
        sender.start()
        eventually(lambda: not conn._core.has_room(), 20)
        assert conn._core.backlog.totals()[0] <= 51
        assert sender.is_alive()
        for _ in range(count):
            assert heard(peer)["type"] == "error"
        sender.join(scaled(5))


@pytest.mark.timing
@pytest.mark.parametrize("end", ["finish", "reset"])
def test_a_loss_behind_a_full_backlog(end: str, figure: Figure) -> None:
    """Calls that are pending are told at once; what had come is handled all the same."""
    seen, gate, count = Collector(), threading.Event(), 300
    failed: Collector = Collector()

    def handle(message: EventMessage) -> None:
        seen(message.payload)
        gate.wait()

    with talking(limits=Limits(dispatch_messages=20)) as (conn, peer):
        conn.observe("flood", handle)
        peer.send(b"".join(said("event", event="flood", payload=number) for number in range(count)))
        eventually(lambda: not conn._core.has_room())
        future = conn.submit("silence")
        heard(peer)
        eventually(lambda: conn.stats.messages_in == count)
        thread = threading.Thread(target=lambda: failed((future.exception(scaled(5)), time.monotonic())))
        thread.start()
        began = time.monotonic()
        peer.reset() if end == "reset" else peer.sock.shutdown(2)
        error, at = failed.wait(1)[0]
        assert isinstance(error, SocketConnectionError)
        figure("a pending call fails though the backlog is full", at - began, scaled(0.2), "s")
        thread.join()
        gate.set()
        assert seen.wait(count) == list(range(count))


# -- each limit --------------------------------------------------------------------------------------------------------


@dataclass
class Limit:
    """One limit, what reaches it, and what is to be seen of that."""

    limits: dict[str, int]
    provoke: Callable[[Connection, RawPeer], object]
    raised: type[Exception] | None = None
    reported: list[type[Exception]] | None = None
    stats: dict[str, int] | None = None
    text: str = ""


def overfill(conn: Connection, peer: RawPeer) -> None:
    """Two episodes: 3 and 2 messages more than the queue holds, with room for one in between."""
    peer.send(b"".join(said("message", payload=number) for number in range(8)))
    eventually(lambda: conn.stats.messages_in == 8)
    assert conn.consume() == (0, None, 4)
    peer.send(b"".join(said("message", payload=number) for number in range(8, 11)))
    eventually(lambda: conn.stats.messages_in == 11)


def pile_up(conn: Connection, peer: RawPeer) -> None:
    """Nothing is refused, so nothing is to be told: reading pauses, and goes on."""
    gate, seen = threading.Event(), Collector()

    def handle(message: EventMessage) -> None:
        gate.wait()
        seen(message.payload[0])

    conn.observe("flood", handle)
    peer.send(b"".join(said("event", event="flood", payload=[number, FILLER]) for number in range(50)))
    eventually(lambda: conn.stats.messages_in == 5)
    assert not conn._core.has_room()
    gate.set()
    assert seen.wait(50) == list(range(50))


def nest(conn: Connection, peer: RawPeer) -> None:
    """The message is passed over, the link stays."""
    peer.send(said("event", event="deep", payload=[[[[]]]]))
    peer.send(said("event", event="flat", payload=[]))
    eventually(lambda: conn.stats.messages_in == 2)
    assert conn.state is ConnectionState.OPEN


def send_oversize(conn: Connection, peer: RawPeer) -> None:
    """One message that is too large costs the peer its link."""
    peer.send(said("event", event="large", payload="x" * 2000))
    closing = peer.read_frame()
    assert (closing.opcode, closing.code) == (CLOSE, 1009)
    eventually(lambda: conn.state is ConnectionState.CLOSED)


def call_too_often(conn: Connection, peer: RawPeer) -> None:
    """One call more than may wait."""
    for _ in range(4):
        conn.submit("silence")


LIMITS = {
    "message_size, outgoing": Limit(
        {"message_size": 1000},
        lambda conn, peer: conn.notify("large", "x" * 2000),
        raised=SocketMessageError,
        stats={"messages_out": 0},
        text="message_size",
    ),
    "message_size, incoming": Limit(
        {"message_size": 1000},
        send_oversize,
        reported=[SocketMessageError],
        stats={"malformed": 1},
        text="message_size",
    ),
    "pending_calls": Limit(
        {"pending_calls": 3}, call_too_often, raised=SocketError, stats={"pending": 3}, text="pending_calls"
    ),
    "inbox_messages": Limit(
        {"inbox_messages": 5},
        overfill,
        reported=[SocketMessageError] * 2,
        stats={"dropped": 5, "queued": 5},
        text="inbox_messages",
    ),
    "inbox_bytes": Limit(
        {"inbox_bytes": 6000},
        overfill,
        reported=[SocketMessageError] * 2,
        stats={"dropped": 5, "queued": 5},
        text="inbox_bytes",
    ),
    "dispatch_messages": Limit({"dispatch_messages": 5}, pile_up, stats={"dropped": 0, "messages_in": 50}),
    "dispatch_bytes": Limit({"dispatch_bytes": 4500}, pile_up, stats={"dropped": 0, "messages_in": 50}),
    "json_depth": Limit(
        {"json_depth": 4}, nest, reported=[SocketMessageMalformed], stats={"malformed": 1}, text="json_depth"
    ),
}


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS)
def test_a_limit_that_is_reached(limit: Limit) -> None:
    """It raises, or reaches `on_error` once per episode, or slows the peer down; the figures of `stats` are exact."""
    errors: Collector = Collector()
    options: dict[str, Any] = {"limits": Limits(**limit.limits)}
    with talking(**options) as (conn, peer):
        conn.on_error(lambda error, context: errors(error))
        if limit.raised is None:
            limit.provoke(conn, peer)
        else:
            with pytest.raises(limit.raised, match=limit.text):
                limit.provoke(conn, peer)
        reported = limit.reported or []
        errors.wait(len(reported))
        assert conn.wait_idle(within().remaining())
        assert [type(error) for error in errors.items] == reported
        assert all(limit.text in str(error) for error in errors.items)
        seen = asdict(conn.stats)
        assert {name: seen[name] for name in limit.stats or {}} == limit.stats
