"""Writers of one `Link`: concurrent ones, a stalled peer, and interrupts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.errors import SocketConnectionError, SocketTimeout
from owlsocket_sync.options import Heartbeat
from owlsocket_sync.runtime.chunks import CHUNK_SIZE
from owlsocket_sync.states import CloseInfo
from support.helpers import eventually, scaled
from support.linked import Run, aside, within
from support.sockets import PING, PONG, TEXT, Frame, frame
from support.strikes import struck

BIG = b"x" * 8_000_000
PIECE = b"p" * CHUNK_SIZE

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
    """Frames of several threads arrive whole, and those of each thread in order."""
    run = start()

    def write(mark: bytes) -> None:
        for _ in range(30):
            run.link.write([mark * 5000, mark], within())

    writers = [aside(partial(write, mark)) for mark in (b"a", b"b")]
    frames = [run.peer.read_frame() for _ in range(120)]
    assert {sent.payload for sent in frames} == {b"a" * 5000, b"a", b"b" * 5000, b"b"}
    pairs = list(zip(frames[::2], frames[1::2], strict=True))
    assert all(first.payload == second.payload * 5000 for first, second in pairs)
    for writer in writers:
        assert writer.wait(1) == [None]


def test_a_peer_that_does_not_read(start: Start) -> None:
    """A write times out; the frame that it began is finished later, one that was not begun is never sent."""
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
    assert run.link.close_info is None


def test_an_unfinished_frame_is_finished_without_another_writer(start: Start) -> None:
    """Once the peer reads again it gets the rest, though no thread writes any more."""
    run = start()
    with pytest.raises(SocketTimeout):
        run.link.write([BIG], Deadline(0.1))
    assert len(run.peer.read_frame().payload) == len(BIG)
    run.peer.send(frame(TEXT, b"still here"))
    assert run.got.wait(1) == ["still here"]


def test_an_unfinished_frame_of_a_call_is_finished_by_the_reader(start: Start) -> None:
    """The same after a row of calls: the wake-up of the writer that timed out makes the reader look for the rest."""
    run = start()
    for _ in range(10):
        run.link.read_for(lambda: True, within())
    with pytest.raises(SocketTimeout):
        run.link.send_and_read([BIG], Deadline(0.1), lambda: False)
    assert len(run.peer.read_frame().payload) == len(BIG)


def test_a_chunk_of_a_batch_is_sent_while_the_next_is_encoded(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer can work on it meanwhile."""
    run = start()
    make, came = run.link._framing.frame, threading.Event()

    def make_frame(opcode: int, data: bytes) -> bytes:
        assert data != b"last" or came.wait(scaled(5)), "the last message was encoded before the first arrived"
        return make(opcode, data)

    monkeypatch.setattr(type(run.link._framing), "frame", staticmethod(make_frame))
    outcome = aside(lambda: run.link.write([PIECE, b"last"], within()))
    assert run.peer.read_frame().payload == PIECE
    came.set()
    assert run.peer.read_frame().payload == b"last"
    assert outcome.wait(1) == [None]


def test_a_small_batch_is_one_write(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred short messages are sent together."""
    run = start()
    real, sizes = run.link._stream.send_some, []

    def send_some(view: memoryview | bytes, until: float, taken: list[int]) -> None:
        sizes.append(len(view))
        real(view, until, taken)

    monkeypatch.setattr(type(run.link._stream), "send_some", staticmethod(send_some))
    run.link.write([b"x" * 100] * 100, within())
    assert [run.peer.read_frame().payload for _ in range(100)] == [b"x" * 100] * 100
    assert len(sizes) == 1


def test_a_batch_that_was_begun_is_sent_to_its_end(start: Start) -> None:
    """The write timed out within the first message: the others follow it, before anything else."""
    run = start()
    with pytest.raises(SocketTimeout):
        run.link.write([BIG, PIECE, b"last"], Deadline(0.2))
    outcome = aside(lambda: run.link.write([b"after"], within()))
    assert [len(run.peer.read_frame().payload) for _ in range(3)] == [len(BIG), len(PIECE), len(b"last")]
    assert run.peer.read_frame().payload == b"after"
    assert outcome.wait(1) == [None]


def test_a_batch_that_was_not_begun_is_not_sent(start: Start) -> None:
    """Not one message of it, if the peer accepted nothing in time."""
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
    """Interrupted once at each point: what arrives is whole, in order, and without a gap."""
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
    arrived = [sent.payload for sent in got if sent.opcode == TEXT][:-1]
    assert {payload.lstrip(b"0123456789 ") for payload in arrived} == {PIECE}
    for batch_number in range(number):
        places = [payload.split(PIECE)[0] for payload in arrived if payload.startswith(b"%d " % batch_number)]
        assert places == [b"%d %d" % (batch_number, place) for place in range(len(places))]
    assert len(places) == 3, "the last was not struck"
    assert run.link.close_info is None


def test_an_interrupt_breaks_no_frame(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C within a long message: the next writer sends its rest, and the link goes on."""
    run = start()
    real = run.link._stream.send_some

    def send_some(view: memoryview | bytes, until: float, taken: list[int]) -> None:
        if len(view) < len(BIG):
            monkeypatch.undo()
            raise KeyboardInterrupt
        real(view, until, taken)

    monkeypatch.setattr(type(run.link._stream), "send_some", staticmethod(send_some))
    with pytest.raises(KeyboardInterrupt):
        run.link.write([BIG], within())
    assert run.peer.read_frame().payload == BIG
    run.link.write([b"after"], within())
    assert run.peer.read_frame().payload == b"after"


def test_pongs_do_not_wait_for_a_stuck_writer(start: Start) -> None:
    """While a writer is stuck the reader reads on, and the pong is sent with the next bytes."""
    run = start()
    outcome = aside(lambda: run.link.write([BIG], within()))
    eventually(lambda: run.link._writer._writing)
    run.peer.send(frame(PING, b"1") + frame(PING, b"2") + frame(TEXT, b"read"))
    assert run.got.wait(1) == ["read"]
    frames: list[Frame] = [run.peer.read_frame(), run.peer.read_frame()]
    assert [sent.opcode for sent in frames] == [TEXT, PONG]
    assert frames[1].payload == b"2"
    assert outcome.wait(1) == [None]


def test_a_pong_does_not_get_lost_behind_a_write_that_another_thread_did(start: Start) -> None:
    """A writer whose frames were sent along with others holds the lock for a moment: it sends what came meanwhile."""
    run = start()
    writer = run.link._writer

    class Queue(list[bytes]):
        """The queued writes; a pong comes in while the thread that queued them holds the lock."""

        def remove(self, value: bytes) -> None:
            assert aside(lambda: writer.send_pong(b"late")).wait(1) == [None]
            super().remove(value)

    writer._queued_writes = Queue()
    with writer._write_lock:
        outcome = aside(lambda: run.link.write([b"mine"], within()))
        eventually(lambda: writer._queued_writes)
        # Not `flush`, which would look for the pong again after its own release.
        writer._writing = True
        writer._flush_unfinished(within().at)
        writer._writing = False
    assert outcome.wait(1) == [None]
    assert [run.peer.read_frame().payload for _ in range(2)] == [b"mine", b"late"]


def test_a_pong_that_the_peer_does_not_take_is_sent_later(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a heartbeat and without another message, the reader tries again."""
    run = start()

    def refuse(view: memoryview | bytes, until: float, sent: list[int]) -> None:
        monkeypatch.undo()
        raise TimeoutError

    monkeypatch.setattr(type(run.link._stream), "send_some", staticmethod(refuse))
    run.peer.send(frame(PING, b"1"))
    assert run.peer.read_frame().payload == b"1"


@pytest.mark.parametrize("how", ["die", "close", "reset"])
def test_a_stuck_writer_is_freed_by_the_end(start: Start, how: str) -> None:
    """However the link ends, the write fails at once and not at its deadline."""
    run = start()
    outcome = aside(lambda: run.link.write([BIG], Deadline(60)))
    eventually(lambda: run.link._writer._writing)
    if how == "die":
        run.link.abort(CloseInfo(1006, "enough"))
    elif how == "close":
        run.link.close(1000, "", Deadline(0.4))
    else:
        run.peer.reset()
    assert isinstance(outcome.wait(1, 2.0)[0], SocketConnectionError)
    assert run.ended().code == 1006


def test_writes_that_time_out_do_not_accumulate(start: Start) -> None:
    """Ten messages that timed out before their first byte are dropped, and take no memory."""
    run = start()
    with pytest.raises(SocketTimeout):
        run.link.write([BIG], Deadline(0.1))
    kept = len(b"".join(run.link._writer._unfinished))
    for _ in range(10):
        with pytest.raises(SocketTimeout):
            run.link.write([b"y" * 1_000_000], Deadline(0.01))
    assert len(b"".join(run.link._writer._unfinished)) <= kept


@pytest.mark.parametrize("size", [4, 300_000], ids=["at once", "in parts"])
def test_an_interrupt_anywhere_in_a_write_loses_nothing_of_others(start: Start, size: int) -> None:
    """Interrupted once at each point: frames stay whole, queued writes are sent once, the lock is free."""
    run = start()
    got: list[Frame] = []
    over = aside(lambda: _read_until(run, b"over", got))
    number, came_to_it = 0, True
    while came_to_it:
        run.link._writer._queued_writes.append(run.link._framing.frame(TEXT, b"other %d" % number))
        run.link._writer._control_frames[PONG] = b"%d" % number
        mine = b"mine %d" % number + b"." * size
        came_to_it = struck(number, partial(run.link.write, [mine], within()))
        number += 1
        if number == 400:
            break  # a slow peer makes for any number of waits
    assert number > 30
    run.link.write([b"over"], within())
    assert over.wait(1) == [None]
    words = [sent.payload.split(b".")[0] for sent in got if sent.opcode == TEXT]
    assert [word for word in words if word.startswith(b"other")] == [b"other %d" % index for index in range(number)]
    assert {len(sent.payload.partition(b".")[2]) for sent in got if sent.payload.startswith(b"mine")} == {size - 1}
    assert len(words) == len(set(words))
    assert run.link.close_info is None


def test_a_signal_handler_writes_while_its_thread_does(start: Start) -> None:
    """Wherever the signal arrives, the frames of both arrive whole, and neither waits for the other."""
    run = start()
    number, came_to_it = 0, True
    while came_to_it:
        handler = partial(run.link.write, [b"handler %d" % number], Deadline(0.0))
        came_to_it = struck(number, partial(run.link.write, [b"thread %d" % number], within()), handler)
        payloads = {run.peer.read_frame().payload for _ in range(2 if came_to_it else 1)}
        assert payloads == {b"thread %d" % number} | ({b"handler %d" % number} if came_to_it else set())
        number += 1
    assert number > 15


def _read_until(run: Run, last: bytes, got: list[Frame]) -> None:
    while not got or got[-1].payload != last:
        got.append(run.peer.read_frame())
