"""The role of reading a link: leaders, the reader, and interrupts, which lose nothing."""

from __future__ import annotations

import math
import select
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.transport.frames import Close
from owlsocket_sync.transport.framing import KEPT_SIZE, RecvBuffer
from owlsocket_sync.transport.selector import WOKEN, EpollSelector, PortableSelector
from support.helpers import eventually, scaled
from support.linked import Run, aside, poll_with, within
from support.sockets import CONTINUATION, PING, PONG, TEXT, frame
from support.strikes import struck

NEVER = "never"


class Answers:
    """Dispatches results, which begin with an A, and records the threads."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.threads: set[threading.Thread] = set()

    def __call__(self, text: str | bytes | memoryview) -> bool | None:
        text = text if isinstance(text, str) else str(text, "utf-8")
        if not text.startswith("A"):
            return None
        self.taken.append(text)
        self.threads.add(threading.current_thread())
        return True

    def has(self, text: str) -> Callable[[], bool]:
        """Return a function that tells if a result was dispatched."""
        return lambda: text in self.taken


@pytest.fixture(params=["epoll", "portable"])
def led(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Run, Answers]]:
    """A link with either kind of reader waiter, and the results of its leaders."""
    if request.param == "epoll" and not hasattr(select, "epoll"):
        pytest.skip("this system has no epoll")
    poll_with(EpollSelector if request.param == "epoll" else PortableSelector, monkeypatch)
    answers = Answers()
    run = Run(answer=answers)
    yield run, answers
    run.stop()


def _text(words: str) -> bytes:
    return frame(TEXT, words.encode())


def test_a_caller_reads_its_own_result(led: tuple[Run, Answers]) -> None:
    """The result is dispatched on the calling thread, and so are those of other callers that arrive before it."""
    run, answers = led

    def reply() -> None:
        for number in range(50):
            assert run.peer.read_frame().payload == b"Q%d" % number
            run.peer.send(_text(f"A of another {number}") + _text(f"A{number}"))

    replying = aside(reply)
    for number in range(50):
        run.link.send_and_read([b"Q%d" % number], within(), answers.has(f"A{number}"))
        eventually(answers.has(f"A{number}"))
    assert replying.wait(1) == [None]
    assert len(answers.taken) == 100
    assert run.got.items == []
    assert answers.threads == {threading.current_thread()}


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        (_text("event"), ["event"]),
        (frame(TEXT, b"A in ", fin=False) + frame(CONTINUATION, b"two"), ["A in two"]),
        (frame(PING, b"p"), []),
    ],
    ids=["an event", "fragments", "a ping"],
)
def test_everything_but_results_is_left_to_the_reader(led: tuple[Run, Answers], sent: bytes, left: list[str]) -> None:
    """All of it, in order, together with what arrived after it; the link goes on as before."""
    run, answers = led
    run.peer.send(_text("A1") + sent + _text("A2") + _text("last"))
    run.link.read_for(answers.has(NEVER), Deadline(scaled(0.2)))
    eventually(lambda: "last" in run.got.items)
    got = run.got.items
    assert [text for text in got if not text.startswith("A") or text == "A in two"] == [*left, "last"]
    assert sorted([*answers.taken, *got]) == sorted(["A1", "A2", *left, "last"])
    if sent == frame(PING, b"p"):
        assert run.peer.read_frame() == (PONG, b"p")


def test_an_event_between_two_calls_is_read_by_the_reader(led: tuple[Run, Answers]) -> None:
    """No thread has to call for it to be read."""
    run, answers = led
    for number in range(20):
        run.peer.send(_text(f"A{number}"))
        run.link.read_for(answers.has(f"A{number}"), Deadline(0.0))
        run.peer.send(_text(f"event {number}"))
    eventually(lambda: f"event {19}" in run.got.items)
    assert [text for text in run.got.items if text.startswith("event")] == [f"event {number}" for number in range(20)]


@pytest.mark.timing
def test_an_event_right_after_a_row_of_calls_is_read_at_once(
    led: tuple[Run, Answers], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes wake the reader: it looks for nothing from time to time, and an event does not wait for that."""
    run, answers = led
    registration = run.link._reader.registration
    assert registration is not None
    out_of_time, step = [], registration.step

    def note(ready: int) -> float | None:
        if not ready:
            out_of_time.append(threading.current_thread())
        return step(ready)

    registration.step = note
    waits = []
    for row in range(40):
        for number in range(5):
            run.peer.send(_text(f"A{row} {number}"))
            run.link.read_for(answers.has(f"A{row} {number}"), within())
        began = time.monotonic()
        run.peer.send(_text(f"event {row}"))
        run.got.wait(row + 1)
        waits.append(time.monotonic() - began)
    assert out_of_time == []
    assert sorted(waits)[len(waits) // 2] < scaled(0.001)


def test_a_leader_returns_the_role_after_a_while(led: tuple[Run, Answers]) -> None:
    """A thread that waits long does not read for all that time: the reader does."""
    run, answers = led
    began = time.monotonic()
    run.link.read_for(answers.has(NEVER), within(60))
    assert time.monotonic() - began < scaled(2)
    run.peer.send(_text("A late"))
    assert run.got.wait(1) == ["A late"]


@pytest.mark.parametrize(("has_waiter", "deliver_now"), [(None, True), (True, True), (False, False)])
def test_only_results_without_a_waiter_are_coalesced(
    monkeypatch: pytest.MonkeyPatch, has_waiter: bool | None, deliver_now: bool
) -> None:
    """After anything else, even the first part of a large message, the reader goes on at once."""
    run = Run(answer=lambda text: has_waiter)
    role, seen = run.link._reader, []
    read_available = role.read_available

    def note() -> tuple[Close | None, Exception | None]:
        result = read_available()
        seen.append((role._dispatched_any, role.deliver_now, bool(run.link._framing.recv_buffer)))
        return result

    monkeypatch.setattr(type(role), "read_available", staticmethod(note))
    try:
        whole = _text('{"type":"result"}')
        run.peer.send(whole)
        eventually(lambda: (True, deliver_now, False) in seen)
        assert (True, not deliver_now, False) not in seen
        seen.clear()
        run.peer.send(whole[:5])
        eventually(lambda: (False, True, True) in seen)
        assert (False, False, True) not in seen
    finally:
        run.stop()


def test_two_leaders_at_once(led: tuple[Run, Answers]) -> None:
    """One of them reads for both; the other does not wait here."""
    run, answers = led
    outcomes = [aside(lambda: run.link.read_for(answers.has("A"), within())) for _ in range(8)]
    run.peer.send(_text("A"))
    for outcome in outcomes:
        assert outcome.wait(1) == [None]
    eventually(lambda: "A" in [*answers.taken, *run.got.items])
    assert len(answers.taken) + len(run.got.items) == 1


def test_the_end_of_the_link_frees_a_leader(led: tuple[Run, Answers]) -> None:
    """The reader learns the reason, whichever thread saw it first."""
    run, answers = led
    outcome = aside(lambda: run.link.read_for(answers.has(NEVER), within()))
    run.peer.sock.close()
    assert outcome.wait(1) == [None]
    assert run.ended().code == 1006
    run.link.read_for(answers.has(NEVER), within())


def test_what_came_while_a_link_was_muted_is_handed_on(led: tuple[Run, Answers]) -> None:
    """Bytes do not wake the poller more than once while a leader is there, and do afterwards."""
    run, _ = led
    run.link._reader._leader = (0,)
    registration = run.link._reader.registration
    assert registration is not None
    registration.mute()
    run.peer.send(_text("behind"))
    run.link._stream.wake()
    eventually(lambda: run.ticks)
    assert run.got.items == []
    run.link._reader._leader = None
    registration.unmute()
    assert run.got.wait(1) == ["behind"]


class Gate:
    """Keeps the poller from a link for a while, and from nothing that it would have done afterwards."""

    def __init__(self, run: Run) -> None:
        registration = run.link._reader.registration
        assert registration is not None
        self._registration, self._step = registration, registration.step
        self._closed = self._woken = False
        registration.step = self._pass

    def _pass(self, ready: int) -> float | None:
        if not self._closed:
            return self._step(ready)
        self._woken = self._woken or bool(ready & WOKEN)
        time.sleep(0.001)
        return math.inf

    def close(self) -> None:
        """Keep the poller from the link, which stays unmuted."""
        self._closed, self._woken = True, False

    def open(self) -> None:
        """Let the poller go on."""
        self._closed = False
        if self._woken:
            self._registration.wake()


def _read_struck(run: Run, answers: Answers, at: int) -> bool:
    """Read as a leader, interrupted at a point; return whether the point was reached."""
    return struck(at, lambda: run.link.read_for(answers.has(f"A{at}"), Deadline(0.05)))


@pytest.mark.slow
def test_an_interrupt_anywhere_loses_nothing(led: tuple[Run, Answers]) -> None:
    """Interrupted once at each point: all is dispatched, events once and in order, and the link goes on."""
    run, answers = led
    gate = Gate(run)
    number, came_to_it = 0, True
    while came_to_it:
        gate.close()
        run.peer.send(_text(f"A{number}") + _text(f"event {number}"))
        assert run.link._stream.poll_readable(time.monotonic() + scaled(5))
        came_to_it = _read_struck(run, answers, number)
        gate.open()
        eventually(partial(run.got.items.__contains__, f"event {number}"))
        assert f"A{number}" in [*answers.taken, *run.got.items]
        number += 1
    assert number > 30
    assert [text for text in run.got.items if text.startswith("event")] == [f"event {index}" for index in range(number)]
    assert run.link.close_info is None


@pytest.mark.slow
def test_a_signal_handler_calls_while_its_thread_does(led: tuple[Run, Answers]) -> None:
    """Wherever the signal arrives, both calls are answered."""
    run, answers = led
    number, came_to_it, read_by_handler = 0, True, 0

    def reply() -> None:
        while True:
            question = run.peer.read_frame().payload.decode()
            if question == "over":
                return
            run.peer.send(_text(question.replace("Q", "A")))

    replying = aside(reply)
    while came_to_it:
        inner, outer = f"A inner {number}", f"A outer {number}"

        def ask(answer: str, deadline: Deadline) -> None:
            run.link.send_and_read([answer.replace("A", "Q").encode()], deadline, answers.has(answer))

        def handle(inner: str = inner, ask: Callable[[str, Deadline], None] = ask) -> None:
            nonlocal read_by_handler
            ask(inner, Deadline(0.05))
            read_by_handler += inner in answers.taken

        came_to_it = struck(number, partial(ask, outer, within()), handle)
        for text in (outer, *([inner] if came_to_it else [])):
            eventually(partial(_came, run, answers, text))
        number += 1
    assert number > 50
    assert read_by_handler > number / 3
    run.link.write([b"over"], within())
    assert replying.wait(1) == [None]
    run.peer.send(_text("event"))
    eventually(lambda: "event" in run.got.items)


def _came(run: Run, answers: Answers, text: str) -> bool:
    return text in [*answers.taken, *run.got.items]


@pytest.mark.parametrize("is_result", [True, False])
def test_the_memory_of_a_large_message_is_given_back(led: tuple[Run, Answers], is_result: bool) -> None:
    """Not with the next message, which may be long in coming; what follows is read as before."""
    run, answers = led
    recv_buffer, size = run.link._framing.recv_buffer, 100_000
    for number in range(3):
        large, small = "A" * is_result + f"{number}" * size, f"small {number}"
        run.peer.send(_text(large) + _text(small))
        run.link.read_for(answers.has(large) if is_result else answers.has(NEVER), Deadline(scaled(0.2)))
        eventually(lambda small=small: small in run.got.items)  # type: ignore[misc]
        eventually(lambda: len(recv_buffer.segment.data) <= KEPT_SIZE)
    assert {"A" * is_result + f"{number}" * size for number in range(3)} <= {*run.got.items, *answers.taken}


def test_memory_is_not_given_back_while_bytes_are_left() -> None:
    """Neither those of a message that is not complete, nor those that were received meanwhile."""
    recv_buffer = RecvBuffer(b"x" * 10)
    segment = recv_buffer.segment
    recv_buffer.give_back()
    assert recv_buffer.segment is segment
    recv_buffer.read(10)
    recv_buffer.commit()
    segment.pending.append(b"y")
    recv_buffer.give_back()
    assert recv_buffer.read(1) == b"y"
    recv_buffer.commit()
    recv_buffer.give_back()
    assert not recv_buffer
    assert recv_buffer.segment.data == b""
