"""Those who write on one `Link`: several at once, and a peer that holds them up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from helpers import eventually, scaled
from linked import Run, aside, within
from sockets import PING, PONG, TEXT, Frame, frame
from strikes import struck

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.errors import SocketConnectionError, SocketTimeout
from owlsocket_sync.options import Heartbeat
from owlsocket_sync.runtime.link import PIECE_SIZE
from owlsocket_sync.stages import Ending

BIG = b"x" * 8_000_000
PIECE = b"p" * PIECE_SIZE

Start = Callable[..., Run]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts links, and ends them."""
    runs: list[Run] = []

    def start_one(heartbeat: Heartbeat | None = None) -> Run:
        runs.append(Run(heartbeat))
        return runs[-1]

    yield start_one
    for run in runs:
        run.stop()


def test_two_writers_do_not_mix(start: Start) -> None:
    """Frames of several threads come whole, and each thread's in order."""
    run = start()

    def write(mark: bytes) -> None:
        for _ in range(30):
            run.link.write([mark * 5000, mark], within())

    writers = [aside(partial(write, mark)) for mark in (b"a", b"b")]
    frames = [run.peer.read_frame() for _ in range(120)]
    assert {one.payload for one in frames} == {b"a" * 5000, b"a", b"b" * 5000, b"b"}
    pairs = list(zip(frames[::2], frames[1::2], strict=True))
    assert all(first.payload == second.payload * 5000 for first, second in pairs)
    for writer in writers:
        assert writer.wait(1) == [None]


def test_a_peer_that_does_not_read(start: Start) -> None:
    """A writer gives up at its deadline; the frame it began is finished later, one not begun is never sent."""
    run = start()
    began = time.monotonic()
    with pytest.raises(SocketTimeout):
        run.link.write([BIG], Deadline(0.2))
    assert 0.2 <= time.monotonic() - began < scaled(1)
    with pytest.raises(SocketTimeout):
        run.link.write([b"meanwhile"], Deadline(0.05))
    outcome = aside(lambda: run.link.write([b"after"], within()))
    assert len(run.peer.read_frame().payload) == len(BIG)
    assert run.peer.read_frame().payload == b"after"
    assert outcome.wait(1) == [None]
    assert run.link.ending is None


def test_a_torn_frame_is_finished_without_another_writer(start: Start) -> None:
    """Once the peer reads again it gets the rest, though nobody writes any more."""
    run = start()
    with pytest.raises(SocketTimeout):
        run.link.write([BIG], Deadline(0.1))
    assert len(run.peer.read_frame().payload) == len(BIG)
    run.peer.send(frame(TEXT, b"still here"))
    assert run.got.wait(1) == ["still here"]


def test_the_first_of_a_batch_leave_while_the_last_are_made(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer has something to do meanwhile."""
    run = start()
    make, came = run.link._wire.frame, threading.Event()

    def make_frame(opcode: int, data: bytes) -> bytes:
        assert data != b"last" or came.wait(scaled(5)), "the last is made before the first came"
        return make(opcode, data)

    monkeypatch.setattr(run.link._wire, "frame", make_frame)
    outcome = aside(lambda: run.link.write([PIECE, b"last"], within()))
    assert run.peer.read_frame().payload == PIECE
    came.set()
    assert run.peer.read_frame().payload == b"last"
    assert outcome.wait(1) == [None]


def test_a_small_batch_is_one_write(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred short messages leave together."""
    run = start()
    real, sizes = run.link._stream.send_some, []

    def send_some(view: memoryview | bytes, until: float, taken: list[int]) -> None:
        sizes.append(len(view))
        real(view, until, taken)

    monkeypatch.setattr(run.link._stream, "send_some", send_some)
    run.link.write([b"x" * 100] * 100, within())
    assert [run.peer.read_frame().payload for _ in range(100)] == [b"x" * 100] * 100
    assert len(sizes) == 1


def test_a_batch_that_was_begun_is_sent_to_its_end(start: Start) -> None:
    """Whoever sent it gave up in the middle of the first message: the others follow that, before anything else."""
    run = start()
    with pytest.raises(SocketTimeout):
        run.link.write([BIG, PIECE, b"last"], Deadline(0.2))
    outcome = aside(lambda: run.link.write([b"after"], within()))
    assert [len(run.peer.read_frame().payload) for _ in range(3)] == [len(BIG), len(PIECE), len(b"last")]
    assert run.peer.read_frame().payload == b"after"
    assert outcome.wait(1) == [None]


def test_a_batch_that_was_not_begun_is_not_sent(start: Start) -> None:
    """Not one message of it, when the peer took nothing in time."""
    run = start()
    with pytest.raises(SocketTimeout):
        run.link.write([BIG], Deadline(0.1))
    with pytest.raises(SocketTimeout):
        run.link.write([PIECE, b"last"], Deadline(0.05))
    outcome = aside(lambda: run.link.write([b"after"], within()))
    assert run.peer.read_frame().payload == BIG
    assert run.peer.read_frame().payload == b"after"
    assert outcome.wait(1) == [None]


def test_an_interrupt_anywhere_in_a_batch_leaves_its_beginning(start: Start) -> None:
    """Each point of the way is struck once: what arrives is whole, in order, and without a gap."""
    run = start()
    got: list[Frame] = []
    over = aside(lambda: _read_until(run, b"over", got))
    number, came_to_it = 0, True
    while came_to_it and number < 400:
        batch = [b"%d %d" % (number, place) + PIECE for place in range(3)]
        came_to_it = struck(number, partial(run.link.write, batch, within()))
        number += 1
    assert number > 30
    run.link.write([b"over"], within())
    assert over.wait(1) == [None]
    arrived = [one.payload for one in got if one.opcode == TEXT][:-1]
    assert {one.lstrip(b"0123456789 ") for one in arrived} == {PIECE}
    for batch_number in range(number):
        places = [one.split(PIECE)[0] for one in arrived if one.startswith(b"%d " % batch_number)]
        assert places == [b"%d %d" % (batch_number, place) for place in range(len(places))]
    assert len(places) == 3, "the last was not struck"
    assert run.link.ending is None


def test_an_interrupt_tears_no_frame(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a long message: its rest is sent by whoever comes next, and the link lives on."""
    run = start()
    real = run.link._stream.send_some

    def send_some(view: memoryview | bytes, until: float, taken: list[int]) -> None:
        if len(view) < len(BIG):
            monkeypatch.undo()
            raise KeyboardInterrupt
        real(view, until, taken)

    monkeypatch.setattr(run.link._stream, "send_some", send_some)
    with pytest.raises(KeyboardInterrupt):
        run.link.write([BIG], within())
    assert run.peer.read_frame().payload == BIG
    run.link.write([b"after"], within())
    assert run.peer.read_frame().payload == b"after"


def test_pongs_do_not_wait_for_a_stuck_writer(start: Start) -> None:
    """While a writer is stuck the reader reads on, and the pong leaves with the next bytes that can."""
    run = start()
    outcome = aside(lambda: run.link.write([BIG], within()))
    eventually(lambda: run.link._writer._writing)
    run.peer.send(frame(PING, b"1") + frame(PING, b"2") + frame(TEXT, b"read"))
    assert run.got.wait(1) == ["read"]
    frames: list[Frame] = [run.peer.read_frame(), run.peer.read_frame()]
    assert [one.opcode for one in frames] == [TEXT, PONG]
    assert frames[1].payload == b"2"
    assert outcome.wait(1) == [None]


@pytest.mark.parametrize("how", ["die", "close", "reset"])
def test_a_stuck_writer_is_freed_by_the_end(start: Start, how: str) -> None:
    """However the link ends, whoever writes is told at once and not at a deadline."""
    run = start()
    outcome = aside(lambda: run.link.write([BIG], Deadline(60)))
    eventually(lambda: run.link._writer._writing)
    if how == "die":
        run.link.die(Ending(1006, "enough"))
    elif how == "close":
        run.link.close(1000, "", Deadline(0.4))
    else:
        run.peer.reset()
    assert isinstance(outcome.wait(1, 2.0)[0], SocketConnectionError)
    assert run.ended().code == 1006


def test_what_a_peer_does_not_take_does_not_pile_up(start: Start) -> None:
    """Ten messages that were given up before a byte of them left are gone, and take no room."""
    run = start()
    with pytest.raises(SocketTimeout):
        run.link.write([BIG], Deadline(0.1))
    kept = len(b"".join(run.link._writer._torn))
    for _ in range(10):
        with pytest.raises(SocketTimeout):
            run.link.write([b"y" * 1_000_000], Deadline(0.01))
    assert len(b"".join(run.link._writer._torn)) <= kept


@pytest.mark.parametrize("size", [4, 300_000], ids=["at once", "in parts"])
def test_an_interrupt_anywhere_in_a_write_loses_nothing_of_others(start: Start, size: int) -> None:
    """Each point of the way is struck once: frames stay whole, what others wait with is sent once, the lock is free."""
    run = start()
    got: list[Frame] = []
    over = aside(lambda: _read_until(run, b"over", got))
    number, came_to_it = 0, True
    while came_to_it:
        run.link._writer._parcels.append(run.link._wire.frame(TEXT, b"other %d" % number))
        run.link._writer._slots[PONG] = b"%d" % number
        mine = b"mine %d" % number + b"." * size
        came_to_it = struck(number, partial(run.link.write, [mine], within()))
        number += 1
        if number == 400:
            break  # a slow peer makes for any number of waits
    assert number > 30
    run.link.write([b"over"], within())
    assert over.wait(1) == [None]
    words = [one.payload.split(b".")[0] for one in got if one.opcode == TEXT]
    assert [word for word in words if word.startswith(b"other")] == [b"other %d" % one for one in range(number)]
    assert {len(one.payload.partition(b".")[2]) for one in got if one.payload.startswith(b"mine")} == {size - 1}
    assert len(words) == len(set(words))
    assert run.link.ending is None


def test_a_handler_of_a_signal_writes_while_its_thread_does(start: Start) -> None:
    """Wherever it comes: what both of them have to say arrives whole, and neither waits for the other."""
    run = start()
    number, came_to_it = 0, True
    while came_to_it:
        handler = partial(run.link.write, [b"handler %d" % number], Deadline(0.0))
        came_to_it = struck(number, partial(run.link.write, [b"thread %d" % number], within()), handler)
        said = {run.peer.read_frame().payload for _ in range(2 if came_to_it else 1)}
        assert said == {b"thread %d" % number} | ({b"handler %d" % number} if came_to_it else set())
        number += 1
    assert number > 15


def _read_until(run: Run, last: bytes, got: list[Frame]) -> None:
    while not got or got[-1].payload != last:
        got.append(run.peer.read_frame())
