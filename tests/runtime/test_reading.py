"""Who reads a link: a thread that waits for an answer, or the reader; whatever interrupts whom, nothing is lost."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from helpers import eventually, scaled
from linked import Run, aside, within
from sockets import CONTINUATION, PING, PONG, TEXT, frame
from strikes import struck

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.transport import readiness
from owlsocket_sync.transport.wire import Close

NEVER = "never"


class Answers:
    """Takes answers, which begin with an A, and notes on which thread."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.threads: set[threading.Thread] = set()

    def __call__(self, text: str) -> bool | None:
        if not text.startswith("A"):
            return None
        self.taken.append(text)
        self.threads.add(threading.current_thread())
        return True

    def has(self, text: str) -> Callable[[], bool]:
        """Whether this one came."""
        return lambda: text in self.taken


@pytest.fixture(params=["epoll", "poll"])
def led(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Run, Answers]]:
    """A link with either kind of gate, and what its leaders took."""
    if request.param == "poll":
        monkeypatch.delattr(select, "epoll", raising=False)
    elif not hasattr(select, "epoll"):
        pytest.skip("this system has no epoll")
    answers = Answers()
    run = Run(answer=answers)
    yield run, answers
    run.stop()


def _text(words: str) -> bytes:
    return frame(TEXT, words.encode())


def test_whoever_asks_reads_the_answer_itself(led: tuple[Run, Answers]) -> None:
    """The answer is taken on the thread that asked, and so are those of others that come before it."""
    run, answers = led

    def reply() -> None:
        for number in range(50):
            assert run.peer.read_frame().payload == b"Q%d" % number
            run.peer.send(_text(f"A of another {number}") + _text(f"A{number}"))

    replying = aside(reply)
    for number in range(50):
        run.link.ask([b"Q%d" % number], within(), answers.has(f"A{number}"))
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
def test_what_is_no_answer_is_left_to_the_reader(led: tuple[Run, Answers], sent: bytes, left: list[str]) -> None:
    """All of it, in order, together with what came behind it; the link goes on as before."""
    run, answers = led
    run.peer.send(_text("A1") + sent + _text("A2") + _text("last"))
    run.link.read_for(answers.has(NEVER), Deadline(scaled(0.2)))
    eventually(lambda: "last" in run.got.items)
    got = run.got.items
    assert [one for one in got if not one.startswith("A") or one == "A in two"] == [*left, "last"]
    assert sorted([*answers.taken, *got]) == sorted(["A1", "A2", *left, "last"])
    if sent == frame(PING, b"p"):
        assert run.peer.read_frame() == (PONG, b"p")


def test_an_event_between_two_asks_finds_the_reader(led: tuple[Run, Answers]) -> None:
    """Nobody has to ask for it to be read."""
    run, answers = led
    for number in range(20):
        run.peer.send(_text(f"A{number}"))
        run.link.read_for(answers.has(f"A{number}"), Deadline(0.0))
        run.peer.send(_text(f"event {number}"))
    eventually(lambda: f"event {19}" in run.got.items)
    assert [one for one in run.got.items if one.startswith("event")] == [f"event {number}" for number in range(20)]


def test_a_leader_gives_the_role_back_after_a_while(led: tuple[Run, Answers]) -> None:
    """Who waits long does not read for all that time: the reader does, and is not asked to look up for it."""
    run, answers = led
    began = time.monotonic()
    run.link.read_for(answers.has(NEVER), within(60))
    assert time.monotonic() - began < scaled(2)
    run.peer.send(_text("A late"))
    assert run.got.wait(1) == ["A late"]


@pytest.mark.parametrize(("answered", "urgent"), [(None, True), (True, True), (False, False)])
def test_only_answers_that_nobody_waits_for_are_not_urgent(
    monkeypatch: pytest.MonkeyPatch, answered: bool | None, urgent: bool
) -> None:
    """They may come together; anything else, the first part of something large too, is read on at once."""
    run = Run(answer=lambda text: answered)
    reading, seen = run.link._reading, []
    read_on = reading.read_on

    def note() -> tuple[Close | None, Exception | None]:
        came = read_on()
        seen.append((reading._taken, reading.urgent, bool(run.link._stream.unread)))
        return came

    monkeypatch.setattr(reading, "read_on", note)
    try:
        whole = _text('{"type":"result"}')
        run.peer.send(whole)
        eventually(lambda: (True, urgent, False) in seen)
        assert (True, not urgent, False) not in seen
        seen.clear()
        run.peer.send(whole[:5])
        eventually(lambda: (False, True, True) in seen)
        assert (False, False, True) not in seen
    finally:
        run.stop()


def test_two_leaders_at_once(led: tuple[Run, Answers]) -> None:
    """One of them reads for both; the other one does not wait here."""
    run, answers = led
    outcomes = [aside(lambda: run.link.read_for(answers.has("A"), within())) for _ in range(8)]
    run.peer.send(_text("A"))
    for outcome in outcomes:
        assert outcome.wait(1) == [None]
    eventually(lambda: "A" in [*answers.taken, *run.got.items])
    assert len(answers.taken) + len(run.got.items) == 1


def test_the_end_of_the_link_frees_a_leader(led: tuple[Run, Answers]) -> None:
    """The reader learns how it ended, whoever saw it first."""
    run, answers = led
    outcome = aside(lambda: run.link.read_for(answers.has(NEVER), within()))
    run.peer.sock.close()
    assert outcome.wait(1) == [None]
    assert run.ended().code == 1006
    run.link.read_for(answers.has(NEVER), within())


def test_the_gate_of_any_system_lets_through_what_came_while_it_was_shut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes wake nobody while it is shut, and somebody once it is open; the bell rings either way."""
    monkeypatch.delattr(select, "epoll", raising=False)
    run = Run()
    try:
        gate = run.link._stream.gate
        assert type(gate) is readiness.Gate
        gate.shut()
        run.link._stream.wake()  # who waits already would be let through once more
        eventually(lambda: len(run.ticks) > 1)
        run.peer.send(_text("behind"))
        gate.open()
        assert run.got.wait(1) == ["behind"]
    finally:
        run.stop()


def _read_struck(run: Run, answers: Answers, at: int) -> bool:
    """Read as a leader, and be interrupted there; whether it came to that."""
    return struck(at, lambda: run.link.read_for(answers.has(f"A{at}"), Deadline(0.05)))


def test_an_interrupt_anywhere_loses_nothing(led: tuple[Run, Answers]) -> None:
    """Each point of the way is struck once: what came is handed on, events once and in order, and the link goes on."""
    run, answers = led
    number, came_to_it = 0, True
    while came_to_it:
        run.link._reading._leader = (0,)  # keeps the reader from what is to be read here
        run.peer.send(_text(f"A{number}") + _text(f"event {number}"))
        assert run.link._stream.await_readable(time.monotonic() + scaled(5))
        run.link._reading._leader = None
        came_to_it = _read_struck(run, answers, number)
        eventually(partial(run.got.items.__contains__, f"event {number}"))
        assert f"A{number}" in [*answers.taken, *run.got.items]
        number += 1
    assert number > 30
    assert [one for one in run.got.items if one.startswith("event")] == [f"event {one}" for one in range(number)]
    assert run.link.ending is None


def test_a_handler_of_a_signal_asks_while_its_thread_does(led: tuple[Run, Answers]) -> None:
    """Wherever it comes, both are answered; but where its thread is taking something in, the handler reads itself."""
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
            run.link.ask([answer.replace("A", "Q").encode()], deadline, answers.has(answer))

        def handle(inner: str = inner, ask: Callable[[str, Deadline], None] = ask) -> None:
            nonlocal read_by_handler
            ask(inner, Deadline(0.05))
            read_by_handler += inner in answers.taken

        came_to_it = struck(number, partial(ask, outer, within()), handle)
        for one in (outer, *([inner] if came_to_it else [])):
            eventually(partial(_came, run, answers, one))
        number += 1
    assert number > 50
    assert read_by_handler > number / 3
    run.link.write([b"over"], within())
    assert replying.wait(1) == [None]
    run.peer.send(_text("event"))
    eventually(lambda: "event" in run.got.items)


def _came(run: Run, answers: Answers, text: str) -> bool:
    return text in [*answers.taken, *run.got.items]
