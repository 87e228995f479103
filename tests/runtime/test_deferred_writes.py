"""Writes that never wait for the peer, beside those that do, interrupts, and the end of the link."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.errors import SocketConnectionError, SocketTimeout
from owlsocket_sync.runtime import link as link_module
from owlsocket_sync.runtime.deferred_writes import MAX_COALESCED_WRITES, WriteProgress
from owlsocket_sync.runtime.registration import PolledLink
from owlsocket_sync.states import CloseInfo
from owlsocket_sync.transport.selector import PortableSelector, make_selector
from support.helpers import eventually
from support.linked import Run, aside, poll_with, within
from support.sockets import CLOSE, PING, PONG, TEXT, Frame, frame
from support.strikes import struck

pytestmark = pytest.mark.slow

BUFFERS = 16_384
BIG = b"x" * 1_000_000


class Deferred:
    """The deferred frames of a link, and how many were settled."""

    def __init__(self, run: Run) -> None:
        self.frames: list[bytes] = []
        self.begun = self.settled = self.forgotten = 0
        self._left = 0
        self.writer = run.link.writer
        self.writer.defer_to(self)

    def begin(self, size: int) -> None:
        """Count a begun message."""
        self.begun += 1

    def forget_first(self) -> None:
        """Remove the first."""
        del self.frames[0]
        self.forgotten += 1

    def settle(self) -> None:
        """Note that nothing which was begun is unsent."""
        assert not self.writer._write_lock._is_owned()  # type: ignore[attr-defined]
        self.settled += 1

    def send(self, message: bytes) -> WriteProgress:
        """Send without waiting, as a broadcast does."""
        data = self.writer.frame(message)[0]
        progress = self.writer.write_now(data, len(message))
        if progress is WriteProgress.NOTHING:
            self.frames.append(data)
        if progress is not WriteProgress.SENT:
            self.writer.attend()
        return progress


Start = Callable[[], tuple[Run, Deferred]]


@pytest.fixture(params=["epoll", "portable"])
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts links whose reader looks for unsent frames only when it is woken."""
    monkeypatch.setattr(link_module, "FLUSH_RETRY", 600.0)
    poll_with(PortableSelector if request.param == "portable" else make_selector, monkeypatch)
    runs: list[Run] = []

    def start_link() -> tuple[Run, Deferred]:
        runs.append(Run(buffers=BUFFERS))
        return runs[-1], Deferred(runs[-1])

    yield start_link
    for run in runs:
        run.stop()


def test_a_peer_that_reads_gets_it_at_once(start: Start) -> None:
    """The whole frame, on this thread."""
    run, deferred = start()
    assert deferred.send(b"now") is WriteProgress.SENT
    assert run.peer.read_frame().payload == b"now"
    assert (deferred.begun, list(deferred.frames)) == (0, [])


def test_the_reader_finishes_what_was_begun_and_deferred(start: Start) -> None:
    """As soon as the peer accepts data again, in order, without a writer and without polling."""
    run, deferred = start()
    assert deferred.send(BIG) is WriteProgress.BEGUN
    for number in range(200):
        assert deferred.send(b"%d" % number) is WriteProgress.NOTHING
    assert (deferred.begun, len(deferred.frames), deferred.settled) == (1, 200, 0)
    assert run.peer.read_frame().payload == BIG
    assert [run.peer.read_frame().payload for _ in range(200)] == [b"%d" % number for number in range(200)]
    eventually(lambda: deferred.settled and not deferred.frames)
    assert deferred.send(b"now") is WriteProgress.SENT


def test_a_peer_that_is_behind_costs_a_look(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the reader waits for such a peer, nothing is tried by those who defer: the reader sends it."""
    run, deferred = start()
    deferred.send(BIG)
    eventually(lambda: deferred.writer._is_watched)
    tried: list[threading.Thread] = []
    real = run.link._stream.send_some

    def send_some(view: memoryview | bytes, until: float, sent: list[int]) -> None:
        tried.append(threading.current_thread())
        real(view, until, sent)

    monkeypatch.setattr(type(run.link._stream), "send_some", staticmethod(send_some))
    for _ in range(100):
        deferred.send(b"later")
    assert threading.current_thread() not in tried
    assert run.peer.read_frame().payload == BIG
    assert {run.peer.read_frame().payload for _ in range(100)} == {b"later"}


def test_the_reader_watches_again_and_again(start: Start) -> None:
    """Each time that the peer falls behind."""
    run, deferred = start()
    for _ in range(3):
        assert deferred.send(BIG) is WriteProgress.BEGUN
        assert run.peer.read_frame().payload == BIG
        eventually(lambda: not deferred.writer.has_unsent)


def test_without_a_descriptor_to_watch_the_reader_polls(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer gets the rest all the same."""
    monkeypatch.setattr(link_module, "FLUSH_RETRY", 0.01)
    run, deferred = start()
    monkeypatch.setattr(PolledLink, "watch_writable", lambda registration: False)
    deferred.send(BIG)
    deferred.send(b"after")
    assert run.peer.read_frame().payload == BIG
    assert run.peer.read_frame().payload == b"after"


def test_while_the_peer_is_muted_by_a_leader_the_reader_goes_on_sending(start: Start) -> None:
    """A thread that reads in place of the reader takes nothing from what is to be sent."""
    run, deferred = start()
    deferred.send(BIG)
    outcome = aside(lambda: run.link.read_for(lambda: bool(run.got.items), within()))
    deferred.send(b"after")
    assert run.peer.read_frame().payload == BIG
    assert run.peer.read_frame().payload == b"after"
    run.peer.send(frame(TEXT, b"done"))
    assert outcome.wait(1) == [None]


def test_a_writer_sends_what_was_deferred_before_its_own(start: Start) -> None:
    """So the messages of one thread keep their order, whether they wait for the peer or not."""
    run, deferred = start()
    with deferred.writer._write_lock:  # another thread writes
        assert aside(lambda: deferred.send(b"first")).wait(1) == [WriteProgress.NOTHING]
        outcome = aside(lambda: run.link.write([b"second"], within()))
        eventually(lambda: deferred.writer._queued_writes)
        assert aside(lambda: deferred.send(b"third")).wait(1) == [WriteProgress.NOTHING]
    assert outcome.wait(1) == [None]
    payloads = [run.peer.read_frame().payload for _ in range(3)]
    assert payloads.index(b"first") < payloads.index(b"second")
    assert payloads.index(b"first") < payloads.index(b"third")
    eventually(lambda: deferred.settled)


def test_frames_are_removed_together(start: Start) -> None:
    """A long queue moves up with each removal: one for each frame would take the square of its length."""
    run, deferred = start()
    removals: list[Any] = []

    class Frames(list[bytes]):
        """Notes each removal."""

        def __delitem__(self, place: Any) -> None:
            removals.append(place)
            super().__delitem__(place)

    deferred.frames = Frames()
    deferred.writer.defer_to(deferred)
    count = 10 * MAX_COALESCED_WRITES
    deferred.frames.extend(deferred.writer.frame(b"%d" % number)[0] for number in range(count))
    deferred.writer.attend()
    assert [run.peer.read_frame().payload for _ in range(count)] == [b"%d" % number for number in range(count)]
    eventually(lambda: not deferred.frames)
    assert 0 < len(removals) <= 10 + 1


def test_frames_that_are_moved_while_another_thread_settles_are_settled_later(start: Start) -> None:
    """It finds nothing to count yet; once they are sent, they are counted."""
    run, deferred = start()

    class Frames(list[bytes]):
        """Another thread settles between the decision to take a frame and its taking."""

        def __getitem__(self, place: Any) -> Any:
            if isinstance(place, slice):
                assert aside(deferred.writer._settle).wait(1) == [None]
                settled.append(deferred.settled)
            return super().__getitem__(place)

    settled: list[int] = []
    deferred.frames = Frames()
    deferred.writer.defer_to(deferred)
    deferred.frames.append(deferred.writer.frame(b"deferred")[0])
    deferred.writer.attend()
    assert run.peer.read_frame().payload == b"deferred"
    assert settled[0] == 1
    eventually(lambda: deferred.settled > settled[-1])


def test_a_frame_that_is_deferred_while_others_are_taken_follows_them(start: Start) -> None:
    """Between any two looks at the deferred frames."""
    run, deferred = start()

    class Frames(list[bytes]):
        """Another thread defers once a writer looks at the frames."""

        def _defer(self) -> None:
            if len(self) < 4:
                self.append(deferred.writer.frame(b"%d" % len(self))[0])

        def __iter__(self) -> Iterator[bytes]:
            found = super().__iter__()
            self._defer()
            return found

        def __getitem__(self, index: Any) -> Any:
            self._defer()
            return super().__getitem__(index)

    deferred.frames = Frames()
    deferred.writer.defer_to(deferred)
    deferred.frames.append(deferred.writer.frame(b"0")[0])
    deferred.writer.attend()
    deferred.send(b"last")
    got: list[Frame] = []
    _read_until(run, b"last", got)
    payloads = [each.payload for each in got]
    assert payloads == sorted(payloads)
    assert len(payloads) > 2


def test_frames_deferred_while_another_thread_writes_are_sent_by_it(start: Start) -> None:
    """It looks after its release."""
    run, deferred = start()
    outcome = aside(lambda: run.link.write([BIG], within()))
    eventually(lambda: deferred.writer._writing)
    assert deferred.send(b"meanwhile") is WriteProgress.NOTHING
    assert run.peer.read_frame().payload == BIG
    assert run.peer.read_frame().payload == b"meanwhile"
    assert outcome.wait(1) == [None]


def test_a_writer_that_times_out_behind_deferred_frames_sends_nothing(start: Start) -> None:
    """Its own frames were not begun: its message is not sent, and says so; the deferred ones are sent later."""
    run, deferred = start()
    deferred.send(BIG)
    deferred.send(b"deferred")
    with pytest.raises(SocketTimeout) as caught:
        run.link.write([b"own"], Deadline(0.05))
    assert caught.value.sent is False
    assert deferred.send(b"last") is WriteProgress.NOTHING
    assert run.peer.read_frame().payload == BIG
    assert [run.peer.read_frame().payload for _ in range(2)] == [b"deferred", b"last"]


def test_a_peer_that_accepts_nothing_has_few_frames_begun(start: Start) -> None:
    """However often the reader tries: what is not begun can still be dropped."""
    _, deferred = start()
    deferred.send(BIG)
    for _ in range(500):
        deferred.send(b"y" * 1000)
        deferred.writer.flush()
    assert len(deferred.frames) == 500


def test_the_first_deferred_frame_can_be_dropped(start: Start) -> None:
    """While no thread writes, and only as long as it is the first."""
    run, deferred = start()
    deferred.send(BIG)
    for message in (b"first", b"second"):
        deferred.send(message)
    first, second = deferred.frames
    assert not deferred.writer.drop_deferred(second)
    with deferred.writer._write_lock:
        assert aside(lambda: deferred.writer.drop_deferred(first)).wait(1) == [False]
    deferred.writer.flush_or_wake()  # as each thread does that had the lock
    assert deferred.writer.drop_deferred(first)
    assert deferred.forgotten == 1
    assert run.peer.read_frame().payload == BIG
    assert run.peer.read_frame().payload == b"second"


@pytest.mark.parametrize("by_writer", [True, False])
def test_a_close_frame_follows_what_the_peer_accepts_at_once(start: Start, by_writer: bool) -> None:
    """Frames that another thread's write held up are not lost with a peer that reads, whichever thread sends them."""
    run, deferred = start()
    with deferred.writer._write_lock:
        aside(lambda: [deferred.send(b"%d" % number) for number in range(200)]).wait(1)
        aside(lambda: run.link.send_close(1000, "")).wait(1)
        if by_writer:  # the last step of a write
            deferred.writer._writing = True
            deferred.writer._send_control_frames()
            deferred.writer._writing = False
    deferred.writer.flush()
    assert [run.peer.read_frame().payload for _ in range(200)] == [b"%d" % number for number in range(200)]
    assert run.peer.read_frame().opcode == CLOSE
    with pytest.raises(SocketConnectionError):
        deferred.send(b"too late")


def test_a_close_frame_does_not_wait_for_a_peer_that_is_behind(start: Start) -> None:
    """It follows what was begun, and what the peer accepts at once then; the rest is never sent."""
    run, deferred = start()
    sent = [deferred.writer.frame(b"%d" % number + BIG)[0] for number in range(5)]
    assert deferred.writer.write_now(sent[0], len(BIG)) is WriteProgress.BEGUN
    deferred.frames.extend(sent[1:])
    run.link.send_close(1000, "")
    got = [run.peer.read_frame()]
    while got[-1].opcode != CLOSE:
        got.append(run.peer.read_frame())
    assert [each.payload[:1] for each in got[:-1]] == [b"%d" % number for number in range(len(got) - 1)]
    eventually(lambda: not deferred.writer.has_unsent)  # noted by the thread that sent it, just now
    assert 1 <= len(got) - 1 == 5 - len(deferred.frames) < 5


def test_pongs_do_not_wait_for_what_is_deferred(start: Start) -> None:
    """A peer that is behind is not taken for dead."""
    run, deferred = start()
    deferred.send(BIG)
    for _ in range(100):
        deferred.send(b"y" * 10_000)
    run.peer.send(frame(PING, b"1") + frame(TEXT, b"read"))
    assert run.got.wait(1) == ["read"]
    sent = [run.peer.read_frame() for _ in range(102)]
    place = [each.opcode for each in sent].index(PONG)
    assert place < 101
    assert sent[place].payload == b"1"


def test_the_end_of_the_link(start: Start) -> None:
    """Nothing waits, and the caller learns that it is over."""
    run, deferred = start()
    deferred.send(BIG)
    deferred.send(b"deferred")
    run.link.abort(CloseInfo(1006, "enough"))
    run.ended()
    with pytest.raises(SocketConnectionError):
        deferred.send(b"too late")


def test_a_broken_link_is_reported_once_the_system_knows(start: Start) -> None:
    """The error of the system becomes one of the connection, and ends the link."""
    run, deferred = start()
    run.peer.reset()
    with pytest.raises(SocketConnectionError):
        for _ in itertools.repeat(None, 1000):
            deferred.send(b"y" * 10_000)
    assert run.ended().code == 1006


# -- interrupts --------------------------------------------------------------------------------------------------------


def _read_until(run: Run, last: bytes, got: list[Frame]) -> None:
    while not got or got[-1].payload != last:
        got.append(run.peer.read_frame())


@pytest.mark.parametrize("size", [4, len(BIG)], ids=["at once", "in parts"])
def test_an_interrupt_anywhere_leaves_frames_whole(start: Start, size: int) -> None:
    """Interrupted once at each point: the lock is free, frames are whole, in order, and sent once."""
    run, deferred = start()
    number, came_to_it = 0, True
    while came_to_it and number < 200:
        message = b"%d" % number + b"." * size
        came_to_it = struck(number, partial(deferred.send, message))
        outcome = aside(lambda: run.link.write([b"over"], within()))
        got: list[Frame] = []
        _read_until(run, b"over", got)
        assert outcome.wait(1) == [None]
        assert [each.payload for each in got[:-1]] in ([], [message])
        number += 1
    assert got[0].payload == message
    assert number > 15
    assert run.link.close_info is None


@pytest.mark.parametrize("outer", ["a write", "a broadcast"])
def test_a_signal_handler_broadcasts_while_its_thread_sends(start: Start, outer: str) -> None:
    """Wherever it arrives: all frames arrive whole, and what the handler sends keeps its order."""
    run, deferred = start()
    number, came_to_it = 0, True

    def handle() -> None:
        deferred.send(b"handler %d first" % number)
        run.link.write([b"handler %d second" % number], within())
        deferred.send(b"handler %d third" % number)

    while came_to_it:
        message = b"thread %d" % number
        send = partial(run.link.write, [message], within()) if outer == "a write" else partial(deferred.send, message)
        came_to_it = struck(number, send, handle)
        got = [run.peer.read_frame().payload for _ in range(4 if came_to_it else 1)]
        assert message in got
        handled = [b"handler %d %b" % (number, word) for word in (b"first", b"second", b"third")]
        assert [each for each in got if each != message] == (handled if came_to_it else [])
        number += 1
    assert number > 15


def test_a_signal_handler_that_finds_its_thread_stuck_loses_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its frames follow what its thread has begun, though the peer accepts nothing before its deadline."""
    run, deferred = start()
    real = run.link._stream.send_some
    handled: list[bool] = []

    def send_some(view: memoryview | bytes, until: float, sent: list[int]) -> None:
        if len(view) < len(BIG) and not handled:  # within the message of the thread
            handled.append(True)
            deferred.send(b"broadcast")
            run.link.write([b"written"], Deadline(0.0))
            outcomes.append(aside(lambda: [run.peer.read_frame().payload for _ in range(3)]))
        real(view, until, sent)

    outcomes: list[object] = []
    monkeypatch.setattr(type(run.link._stream), "send_some", staticmethod(send_some))
    run.link.write([BIG], within())
    assert outcomes[0].wait(1) == [[BIG, b"broadcast", b"written"]]  # type: ignore[attr-defined]
