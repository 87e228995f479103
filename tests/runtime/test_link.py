"""`Link` over a real socket: heartbeat, and closing in both directions."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.errors import SocketConnectionError, SocketTimeout
from owlsocket_sync.options import Heartbeat
from support.helpers import eventually, scaled
from support.linked import Run, aside, within
from support.sockets import CLOSE, PING, PONG, TEXT, close_frame, frame

Start = Callable[..., Run]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts links, and ends them."""
    runs: list[Run] = []

    def start_one(heartbeat: Heartbeat | None = None, buffers: int | None = None) -> Run:
        runs.append(Run(heartbeat, buffers))
        return runs[-1]

    yield start_one
    for run in runs:
        run.stop()


# -- heartbeat ---------------------------------------------------------------------------------------------------------


def test_a_ping_measures_the_round_trip(start: Start) -> None:
    """The pong with the payload of the ping ends it; an empty pong before it does not."""
    run = start()
    outcome = aside(lambda: run.link.ping(within()))
    ping = run.peer.read_frame()
    assert ping.opcode == PING
    run.peer.send(frame(PONG) + frame(PONG, ping.payload))
    seconds = outcome.wait(1)[0]
    assert 0 < seconds < scaled(5)
    assert run.link.latency == pytest.approx(seconds, abs=0.05)


def test_a_pong_answers_every_ping_that_left_before(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a ping that was registered later: the peer need only answer the last one that it received."""
    run = start()
    write, overtaken, begun = run.link._writer.write, threading.Event(), threading.Event()

    def write_in_turn(data: bytes, deadline: Deadline, ping: bytes) -> None:
        if not begun.is_set():
            begun.set()
            assert overtaken.wait(scaled(5))
        write(data, deadline, ping)
        overtaken.set()

    monkeypatch.setattr(type(run.link._writer), "write", staticmethod(write_in_turn))
    outcomes = [aside(lambda: run.link.ping(within()))]
    assert begun.wait(scaled(5))
    outcomes.append(aside(lambda: run.link.ping(within())))
    run.peer.read_frame()
    last = run.peer.read_frame()
    run.peer.send(frame(PONG, last.payload))
    assert all(isinstance(outcome.wait(1)[0], float) for outcome in outcomes)


def test_a_ping_without_pong(start: Start) -> None:
    """It times out at its deadline, and the link goes on."""
    run = start()
    with pytest.raises(SocketTimeout):
        run.link.ping(Deadline(0.1))
    run.peer.send(frame(TEXT, b"alive"))
    assert run.got.wait(1) == ["alive"]


def test_a_ping_ends_with_the_link(start: Start) -> None:
    """A thread that waits for a pong fails at once if the link ends."""
    run = start()
    outcome = aside(lambda: run.link.ping(within()))
    run.peer.read_frame()
    run.peer.reset()
    assert isinstance(outcome.wait(1, 1.0)[0], SocketConnectionError)


def test_a_ping_of_the_peer_is_answered(start: Start) -> None:
    """With its payload, within a fragmented message as well."""
    run = start()
    run.peer.send(frame(TEXT, b"a", fin=False) + frame(PING, b"life?"))
    assert run.peer.read_frame() == (PONG, b"life?")
    run.peer.send(frame(0, b"b"))
    assert run.got.wait(1) == ["ab"]


def test_a_silent_peer_times_out(start: Start) -> None:
    """A ping after the interval, and the end after the timeout without a byte."""
    began = time.monotonic()
    run = start(Heartbeat(0.2, 0.2))
    assert run.peer.read_frame().opcode == PING
    ending = run.ended()
    assert ending.code == 1006
    assert isinstance(ending.error, SocketConnectionError)
    assert 0.4 <= time.monotonic() - began < scaled(1)


def test_pongs_keep_a_silent_link_alive(start: Start) -> None:
    """The link of a peer that only answers pings stays open."""
    run = start(Heartbeat(0.05, scaled(0.3)))
    for _ in range(6):
        ping = run.peer.read_frame()
        run.peer.send(frame(PONG, ping.payload))
    assert run.link.close_info is None
    eventually(lambda: run.link.latency is not None)


def test_a_pause_in_reading_is_not_held_against_the_peer(start: Start) -> None:
    """While the backlog is full nothing is read and nothing times out; then all messages arrive, in order."""
    run = start(Heartbeat(0.05, 0.1))
    run.room.clear()
    outcome = threading.Event()
    run.peer.send(b"".join(frame(TEXT, str(number).encode()) for number in range(3)))
    outcome.wait(0.4)
    assert run.link.close_info is None
    held = list(run.got.items)
    run.room.set()
    assert run.got.wait(3) == ["0", "1", "2"]
    assert len(held) <= 1


def test_a_peer_is_pinged_while_reading_is_paused(start: Start) -> None:
    """While the backlog is full it gets a ping for each interval, so that it does not time out on its side."""
    run = start(Heartbeat(scaled(0.05), 0.1))
    run.room.clear()
    run.link.schedule_wakeup(0.0)
    assert [run.peer.read_frame().opcode for _ in range(4)] == [PING] * 4
    assert run.link.close_info is None


@pytest.mark.parametrize("end", ["reset", "finish"])
def test_an_end_behind_a_full_backlog_is_seen_at_once(start: Start, end: str) -> None:
    """What was sent before it is read, whether or not there is room."""
    run = start(None)
    run.room.clear()
    run.peer.send(b"".join(frame(TEXT, str(number).encode()) for number in range(300)))
    run.peer.reset() if end == "reset" else run.peer.sock.shutdown(socket.SHUT_WR)
    assert run.endings.wait(1, 1.0)[0].code == 1006
    assert run.got.items == [str(number) for number in range(len(run.got.items))]
    assert len(run.got.items) == 300 or end == "reset"


def test_the_reader_does_not_spin_while_a_leader_is_held_up(start: Start) -> None:
    """An error of the socket wakes it, and is left to the thread that reads, which is busy with something else."""
    run = start()
    steps: list[float] = []
    registration = run.link._reader.registration
    assert registration is not None
    real = registration.step

    def step(ready: int) -> float | None:
        steps.append(time.monotonic())
        return real(ready)

    registration.step = step
    leading, over = threading.Event(), threading.Event()

    def begin() -> None:
        leading.set()
        over.wait(scaled(10))

    leader = aside(lambda: run.link._reader.lead(lambda: False, within(), begin))
    assert leading.wait(scaled(5))
    run.peer.reset()
    eventually(lambda: steps)
    before = len(steps)
    threading.Event().wait(0.2)
    over.set()
    assert leader.wait(1) == [None]
    assert run.ended().code == 1006
    assert len(steps) - before < 100


def test_a_signal_handler_that_reads_while_its_thread_begins_to_leaves_the_reader_awake(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the moment in which a leader is noted and the one in which the reader is muted."""
    run = start()
    reader = run.link._reader
    mute = reader._mute

    def interrupted() -> None:
        monkeypatch.setattr(reader, "_mute", mute)
        reader.lead(lambda: True, within())
        mute()

    monkeypatch.setattr(reader, "_mute", interrupted)
    reader.lead(lambda: True, within())
    run.peer.send(frame(TEXT, b"awake"))
    assert run.got.wait(1) == ["awake"]


@pytest.mark.slow
@pytest.mark.timing
def test_a_slow_upload_is_a_sign_of_life(start: Start) -> None:
    """A peer that accepts a long message slowly does not time out, although the ping waits behind that message."""
    run = start(Heartbeat(0.2, 0.3), buffers=65_536)
    outcome = aside(lambda: run.link.write([b"x" * 8_000_000], within(20)))
    end, tick = time.monotonic() + 1.2, threading.Event()
    while time.monotonic() < end:
        run.peer.read(20_000)
        tick.wait(0.005)
    assert run.link.close_info is None
    assert not outcome.items
    assert run.ended().reason == "heartbeat timeout"


def test_a_wakeup_runs_the_timers(start: Start) -> None:
    """`schedule_wakeup` makes a waiting reader run its timers."""
    run = start()
    run.peer.send(frame(TEXT, b"x"))
    run.got.wait(1)
    eventually(lambda: len(run.ticks) >= 1)
    seen = len(run.ticks)

    def looked() -> bool:
        run.link.schedule_wakeup(0.0)
        return len(run.ticks) > seen

    eventually(looked)


# -- the end -----------------------------------------------------------------------------------------------------------


def test_we_close(start: Start) -> None:
    """Our close frame, the peer's, and the end with the peer's code."""
    run = start()
    outcome = aside(lambda: run.link.close(4000, "done", within()))
    assert run.peer.read_frame() == (CLOSE, struct.pack("!H", 4000) + b"done")
    run.peer.send(close_frame(4000, "done"))
    assert outcome.wait(1) == [None]
    assert (run.ended().code, run.ended().error) == (4000, None)
    assert run.peer.at_end()


@pytest.mark.parametrize(
    ("sent", "body", "code"),
    [
        (close_frame(1001, "going"), b"\x03\xe9", 1001),
        (frame(CLOSE), b"", 1005),
        (close_frame(4321), b"\x10\xe1", 4321),
    ],
)
def test_the_peer_closes_while_the_reader_idles(start: Start, sent: bytes, body: bytes, code: int) -> None:
    """The peer's code is echoed, and the link ends with it and no error."""
    run = start()
    run.peer.send(sent)
    assert run.peer.read_frame() == (CLOSE, body)
    assert (run.ended().code, run.ended().error) == (code, None)


def test_both_close_at_once(start: Start) -> None:
    """Close frames that cross are one close; no second one is sent."""
    run = start()
    outcome = aside(lambda: run.link.close(1000, "", within()))
    run.peer.send(close_frame(1001))
    assert outcome.wait(1) == [None]
    assert run.peer.read_frame().opcode == CLOSE
    assert run.peer.read(2) == b""


def test_closing_twice_and_at_once(start: Start) -> None:
    """Closing is idempotent, from any number of threads; the first code holds."""
    run = start()
    outcomes = [aside(lambda: run.link.close(4000, "", within())) for _ in range(4)]
    assert run.peer.read_frame().code == 4000
    run.peer.send(close_frame(4000))
    for outcome in outcomes:
        assert outcome.wait(1) == [None]
    began = time.monotonic()
    run.link.close(4001, "", within())
    assert time.monotonic() - began < scaled(0.5)
    assert run.ended().code == 4000


@pytest.mark.timing
def test_a_peer_that_does_not_consent(start: Start) -> None:
    """Closing ends within its deadline without the peer's close frame."""
    run = start()
    began = time.monotonic()
    run.link.close(1000, "", Deadline(0.4))
    assert time.monotonic() - began < scaled(0.4) + 0.3
    assert run.ended().code == 1006


def test_the_peer_resets(start: Start) -> None:
    """A reset ends the link with its error, and later writes fail."""
    run = start()
    run.peer.reset()
    ending = run.ended()
    assert ending.code == 1006
    assert isinstance(ending.error, OSError)
    with pytest.raises(SocketConnectionError):
        run.link.write([b"x"], within())


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"x", rsv=4), 1002),
        (b"\x81\x7f" + b"\0\0\0\1" + b"\0" * 4, 1009),
    ],
)
def test_a_protocol_violation(start: Start, sent: bytes, code: int) -> None:
    """The peer gets the right close code, although it goes on sending, and the link ends with it."""
    run = start()
    run.peer.send(frame(TEXT, b"good") + sent + bytes(50_000))
    assert run.peer.read_frame().code == code
    assert run.got.wait(1) == ["good"]
    assert run.ended().code == code


def test_an_exception_of_the_receiver_ends_only_the_link(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and closes the link with 1011."""
    run = start()
    run.link._receive = lambda text, link: [][0]
    run.peer.send(frame(TEXT, b"x"))
    assert run.peer.read_frame().code == 1011
    assert run.ended().code == 1011
    assert "the reader failed" in caplog.text
