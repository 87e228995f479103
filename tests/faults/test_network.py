"""What a network does to a link, plain and with TLS: ends, resets, silence, stalls, slowness and pieces."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from functools import partial

import pytest

from owlsocket_sync import (
    Connection,
    ConnectionState,
    Heartbeat,
    SocketConnectionError,
    SocketError,
    SocketMessageError,
    SocketTimeout,
    connect,
)
from owlsocket_sync.server import Request
from support.behind_proxy import LATE, SOON, path
from support.figures import Figure
from support.handlers import keep_payload
from support.helpers import Collector, eventually, scaled, whole
from support.linked import Run, aside
from support.sockets import TEXT, ByteServer, Frame, RawPeer, close_frame, frame

pytestmark = pytest.mark.slow

BOTH = pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
PENDING = 100


def _never(conn: Connection, request: Request) -> None:
    conn.perform("never", lambda: conn.wait_closed(scaled(30)) and None)
    conn.perform("echo", lambda value=None: value)


# -- the link is lost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [20_000, 300_000, 4_000_000])
@pytest.mark.parametrize("verb", ["call", "notify"])
def test_the_reason_of_a_peer_that_refuses_a_message_is_known(verb: str, size: int) -> None:
    """It sends a close frame, and resets the connection, while the message is on its way."""

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        peer.sock.recv(1000)
        peer.send(close_frame(1009, "message too big"))  # with unread bytes, the end of the script resets the stream

    with ByteServer(script) as server:
        for _ in range(10):
            with connect(server.url, reconnect=None) as conn:
                if verb == "call":
                    with pytest.raises(SocketMessageError, match="larger than the peer accepts"):
                        conn.call("x", "y" * size)
                else:
                    with contextlib.suppress(SocketError):  # it may be gone before the refusal comes
                        conn.notify("x", "y" * size)
                ending = conn.wait_closed(scaled(5))
                assert (ending.code, ending.reason) == (1009, "message too big")


@pytest.mark.timing
@BOTH
@pytest.mark.parametrize("row", ["row 1: FIN", "row 2: RST"])
def test_row_01_and_02_a_lost_link_fails_its_calls_at_once(row: str, secure: bool, figure: Figure) -> None:
    """Every call, waited for or not, raises ``CONNECTION_LOST`` within 0.2 s, and none is left pending."""
    with path(_never, secure=secure, reconnect=LATE) as (conn, proxy, _):
        failures = Collector()
        for _ in range(PENDING):
            conn.submit("never").add_done_callback(lambda done: failures(time.monotonic(), done.exception()))
        waiting = aside(lambda: conn.call("never"))
        eventually(lambda: conn.stats.pending == PENDING + 1)
        began = time.monotonic()
        proxy.cut() if row.endswith("FIN") else proxy.reset()
        failed = failures.wait(PENDING)
        assert isinstance(waiting.wait(1)[0], SocketConnectionError)
        last = max(at for at, _ in failed) - began
        assert {error.code for _, error in failed} == {"CONNECTION_LOST"}
        assert conn.stats.pending == 0
        figure(f"{row}, last of 101 pending calls failed after", last, scaled(0.2), "s")


@pytest.mark.timing
@BOTH
def test_row_02_a_new_link_is_made_right_after_the_backoff(secure: bool, figure: Figure) -> None:
    """The attempt begins no later than 0.1 s after its time."""
    with path(secure=secure) as (conn, proxy, _):
        conn.call("echo", 1)
        began = time.monotonic()
        proxy.reset()
        eventually(lambda: proxy.accepted == 2)
        figure("new attempt after the backoff", time.monotonic() - began - SOON.initial, scaled(0.1), "s")
        assert conn.call("echo", 2, timeout=scaled(5)) == 2


# -- silence -----------------------------------------------------------------------------------------------------------


@pytest.mark.stress
@pytest.mark.timeout(120)
@BOTH
@pytest.mark.parametrize("beat", whole([0.2], [0.2, 20.0]))
def test_row_03_a_black_hole_is_detected(beat: float, secure: bool, figure: Figure) -> None:
    """An idle link over which nothing comes any more is down within interval + timeout + 1 s."""
    with path(secure=secure, reconnect=LATE, heartbeat=Heartbeat(beat, beat)) as (conn, proxy, _):
        states = Collector()
        conn.on_state(states)
        proxy.blackhole()
        began = time.monotonic()
        change = states.wait(1, 2 * beat + 3)[0]
        figure(f"noticed after, heartbeat {beat:g}/{beat:g} s", time.monotonic() - began, 2 * beat + scaled(1), "s")
        assert change.state is ConnectionState.RECONNECTING
        assert change.code == 1006
        proxy.blackhole(False)


@pytest.mark.timing
@BOTH
def test_row_04_a_send_into_a_black_hole_fails_at_its_deadline(secure: bool, figure: Figure) -> None:
    """A peer that reads nothing costs a sender its own deadline, and others theirs."""
    with path(secure=secure, reconnect=LATE) as (conn, proxy, _):
        proxy.blackhole()
        blob = "x" * 15_000_000

        def send() -> float:
            began = time.monotonic()
            with pytest.raises(SocketTimeout), conn.deadline(0.5):
                while True:
                    conn.notify("blob", blob)
            return time.monotonic() - began

        sender = aside(send)
        eventually(lambda: conn._core.carrier._link._writer._writing)  # type: ignore[attr-defined]
        began = time.monotonic()
        with pytest.raises(SocketTimeout):
            conn.call("echo", 1, timeout=0.6)
        figure("call beside a stuck sender, beyond its timeout", time.monotonic() - began - 0.6, scaled(0.5), "s")
        figure("stuck sender, beyond its deadline", sender.wait(1)[0] - 0.5, scaled(0.5), "s")
        proxy.blackhole(False)


@BOTH
def test_row_04_a_black_hole_is_detected_during_a_blocked_send(secure: bool, figure: Figure) -> None:
    """The heartbeat never waits for a writer: whoever is stuck is told within interval + timeout + 1 s."""
    with path(secure=secure, reconnect=LATE, heartbeat=Heartbeat(0.3, 0.3)) as (conn, proxy, _):
        states = Collector()
        conn.on_state(states)
        proxy.blackhole()
        blob = "x" * 15_000_000

        def send() -> None:
            while True:
                conn.notify("blob", blob)

        sender = aside(send)
        eventually(lambda: conn._core.carrier._link._writer._writing)  # type: ignore[attr-defined]
        began = time.monotonic()
        states.wait(1)
        figure("noticed while a send is blocked", time.monotonic() - began, 0.6 + scaled(1), "s")
        conn.close(timeout=0.5)
        assert isinstance(sender.wait(1, 1.0)[0], SocketConnectionError)
        proxy.blackhole(False)


# -- slowness ----------------------------------------------------------------------------------------------------------


@pytest.mark.timing
def test_row_06_a_late_reply_is_discarded(figure: Figure) -> None:
    """A call ends within 50 ms of its deadline; the answer that comes after it is counted and given to nobody."""
    go = threading.Event()

    def answer(peer: RawPeer, came: Frame, value: object) -> None:
        reply = {"type": "result", "id": json.loads(came.payload)["id"], "payload": value}
        peer.send(frame(TEXT, json.dumps(reply).encode()))

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        slow = peer.read_frame()
        others = [peer.read_frame() for _ in range(10)]
        go.wait(scaled(10))
        answer(peer, slow, "late")
        for number, came in enumerate(others):
            answer(peer, came, number)
        peer.read_frame()

    with ByteServer(script) as server, connect(server.url) as conn:
        errors = Collector()
        conn.on_error(lambda error, context: errors(error))
        began = time.monotonic()
        with pytest.raises(SocketTimeout):
            conn.call("slow", timeout=0.3)
        figure("time-out, away from the deadline", abs(time.monotonic() - began - 0.3), scaled(0.05), "s")
        futures = [conn.submit("count") for _ in range(10)]
        go.set()
        assert [future.result(scaled(5)) for future in futures] == list(range(10))
        assert (conn.stats.dropped, conn.stats.unmatched, conn.stats.pending) == (1, 0, 0)
        assert errors.items == []


# -- pieces ------------------------------------------------------------------------------------------------------------

EVENT = frame(TEXT, json.dumps({"type": "event", "event": "e", "payload": "x" * 200}).encode())


@pytest.mark.parametrize("end", ["finish", "reset", "silence"])
@pytest.mark.parametrize("offset", range(1, 21))
def test_row_08_a_truncated_frame_is_not_delivered(offset: int, end: str, figure: Figure) -> None:
    """At each of the first 20 bytes: the link is lost, at once or by the heartbeat, and nothing is delivered."""
    run = Run(Heartbeat(0.05, 0.05) if end == "silence" else None)
    try:
        run.peer.send(EVENT + EVENT[:offset])
        run.got.wait(1)
        if end == "finish":
            run.peer.sock.close()
        elif end == "reset":
            run.peer.reset()
        assert run.ended().code == 1006
        figure("messages delivered of a frame that broke off", len(run.got.items) - 1, 0, "messages")
    finally:
        run.stop()


@pytest.mark.stress
@pytest.mark.timeout(600)
@BOTH
def test_row_09_a_split_stream_delivers_the_same_messages(secure: bool, figure: Figure) -> None:
    """However the stream is cut, 1 to 64 bytes at a time, the same messages come in the same order."""
    sizes = [0, 1, 60, 125, 126, 127, 300, 2000]
    payloads = [[number, "é" * size] for number, size in enumerate(sizes * 3)]

    def handler(conn: Connection, request: Request) -> None:
        @conn.perform("play")
        def play() -> int:
            for payload in payloads:
                conn.notify("piece", payload)
            return len(payloads)

        conn.perform("echo", lambda value: value)

    with path(handler, secure=secure) as (conn, proxy, _):
        seeds = range(whole(6, 500))
        for seed in seeds:
            proxy.split(seed)
            conn.reconnect()
            conn.wait_open(scaled(10))
            came = Collector()
            with conn.observe("piece", partial(keep_payload, came)):
                assert conn.call("play", timeout=scaled(20)) == len(payloads)
                assert came.wait(len(payloads)) == payloads, f"seed {seed}"
            assert conn.call("echo", payloads, timeout=scaled(20)) == payloads
        figure(f"messages spoiled by {len(seeds)} ways to cut them", conn.stats.malformed, 0, "messages")


@pytest.mark.parametrize("seed", range(5))
def test_spoiled_bytes_on_tls_lose_the_link_and_nothing_else(seed: int) -> None:
    """What was changed on the way reaches nobody: calls are answered right, or told that the link was lost."""
    with path(secure=True) as (conn, proxy, _):
        conn.call("echo", 0)
        proxy.corrupt(seed, every=3000)
        right = lost = 0
        while not lost:
            try:
                assert conn.call("echo", "y" * 500, timeout=scaled(5)) == "y" * 500
                right += 1
            except SocketConnectionError:
                lost += 1
        proxy.clear()
        assert conn.call("echo", "again", timeout=scaled(10)) == "again"
