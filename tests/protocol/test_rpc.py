"""Calls: each comes back to who made it, with a result, an error, or a deadline."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed, wait
from typing import Any
from unittest.mock import Mock

import pytest

from owlsocket_sync import (
    Connection,
    ErrorContext,
    Limits,
    Message,
    ResilientError,
    SocketConnectionError,
    SocketError,
    SocketMessageMalformed,
    SocketTimeout,
    SocketUnsupported,
)
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.protocol.call_timeouts import MAX_GIVEN_UP
from owlsocket_sync.protocol.pending import CallFuture
from owlsocket_sync.protocol.services import Services
from owlsocket_sync.runtime.workers import WorkerPool
from support.helpers import eventually
from support.pair import RecordingCarrier, make_pair


class Ends:
    """Two ends that talk, and what their carriers saw."""

    left: Connection
    right: Connection
    left_carrier: RecordingCarrier
    right_carrier: RecordingCarrier

    def __init__(self, **options: Any) -> None:
        self.left, self.right, self.left_carrier, self.right_carrier = make_pair(**options)
        self.wrong: list[tuple[Exception, ErrorContext]] = []
        for end in (self.left, self.right):
            end.on_error(lambda error, context: self.wrong.append((error, context)))

    def sent(self, carrier: RecordingCarrier | None = None) -> list[dict[str, Any]]:
        """The messages that an end sent."""
        return [json.loads(frame) for frame in (carrier or self.left_carrier).sent]


@pytest.fixture
def ends() -> Ends:
    """Two ends, whose right one echoes, adds and fails."""
    both = Ends()
    both.right.perform("echo", lambda *values: values[0] if len(values) == 1 else list(values))

    @both.right.perform("add")
    def add(a: int, b: int) -> int:
        return a + b

    @both.right.perform("fail")
    def fail(message: str) -> None:
        raise RuntimeError(message)

    return both


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    """Real workers."""
    workers = WorkerPool(2, "test")
    yield workers
    workers.end(Deadline(5))


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}, [None], "żółć 🦉", {"a": [1, 2.5]}, 2**53 + 1, -0.0])
def test_a_result_is_what_the_handler_returned(ends: Ends, value: Any) -> None:
    """Whatever JSON can carry, falsehoods included."""
    assert ends.left.call("echo", value) == value


def test_arguments_travel_as_a_list(ends: Ends) -> None:
    """None, one or many."""
    assert ends.left.call("add", 2, 3) == 5
    assert ends.left.call("echo") == []
    assert [message["payload"] for message in ends.sent()] == [[2, 3], []]


def test_a_failing_handler_fails_the_call(ends: Ends) -> None:
    """Type and message come over, the traceback stays; both ends are told."""
    with pytest.raises(ResilientError) as failed:
        ends.left.call("fail", "no owls")
    assert (failed.value.type, failed.value.message, failed.value.original_stack) == ("RuntimeError", "no owls", None)
    [(error, context)] = ends.wrong
    assert isinstance(error, RuntimeError)
    assert str(context) == "perform fail"


def test_a_traceback_travels_only_when_it_is_exposed(ends: Ends) -> None:
    """`expose_tracebacks` is for one's own machine."""
    ends.right.expose_tracebacks = True
    with pytest.raises(ResilientError) as failed:
        ends.left.call("fail", "no owls")
    assert "in fail" in (failed.value.original_stack or "")


@pytest.mark.parametrize("error", [SocketTimeout("x"), SocketUnsupported("y"), SyntaxError("s"), SystemExit(3)])
def test_whatever_a_handler_raises_is_answered(ends: Ends, error: BaseException) -> None:
    """Registered errors as what they are, everything else by name; nobody waits in vain."""

    def fail() -> None:
        raise error

    ends.right.perform("failTyped", fail)
    with pytest.raises(ResilientError) as failed:
        ends.left.call("failTyped")
    assert failed.value.type == getattr(error, "type", type(error).__name__)
    assert failed.value.remote


def test_an_error_that_came_from_elsewhere_loses_its_stack(ends: Ends) -> None:
    """A relay shows its own peer nothing of another one's inside."""

    def relay() -> None:
        raise ResilientError.unmarshal("Their|||words|||their secret stack")

    ends.right.perform("relay", relay)
    with pytest.raises(ResilientError):
        ends.left.call("relay")
    assert b"secret" not in b"".join(ends.right_carrier.sent)


def test_an_unknown_method_is_answered(ends: Ends) -> None:
    """Unlike at the reference."""
    with pytest.raises(SocketUnsupported, match="no handler registered for method 'nope'"):
        ends.left.call("nope")


@pytest.mark.parametrize("name", ["toString", "constructor", "__proto__", "__class__", ""])
def test_a_name_is_a_key_and_nothing_else(ends: Ends, name: str) -> None:
    """No name reaches what nobody registered."""
    with pytest.raises(SocketUnsupported):
        ends.left.call(name)
    ends.right.perform(name, lambda: "mine")
    assert ends.left.call(name) == "mine"


def test_the_last_performer_wins_and_gives_way_again(ends: Ends) -> None:
    """Giving up a subscription brings the one before it back."""
    with ends.right.perform("echo", lambda *values: "second") as second:
        assert ends.left.call("echo", 1) == "second"
        assert second.active
    assert not second.active
    assert ends.left.call("echo", 1) == 1
    second()


@pytest.mark.parametrize(
    "frame",
    [
        '{"type":"call","method":"add","id":"c1"}',
        '{"type":"call","method":"add","id":"c1","payload":{"a":1}}',
        '{"type":"call","method":5,"id":"c1","payload":[]}',
    ],
)
def test_a_call_that_cannot_be_performed_is_answered_where_it_has_an_id(ends: Ends, frame: str) -> None:
    """With `SocketMessageMalformed`."""
    ends.right.receive(frame)
    [answer] = ends.sent(ends.right_carrier)
    assert (answer["id"], answer["type"]) == ("c1", "error")
    assert answer["payload"].startswith("SocketErrorMessageMalformed|||socket:message:malformed:")


def test_a_call_without_id_is_performed_and_answered_by_nothing(ends: Ends) -> None:
    """No frame without an id ever leaves."""
    performed: list[int] = []
    ends.right.perform("note", performed.append)
    ends.right.receive('{"type":"call","method":"note","payload":[1]}')
    ends.right.receive('{"type":"call","method":"nope","payload":[1]}')
    assert performed == [1]
    assert ends.right_carrier.sent == []


@pytest.mark.parametrize("id", ["c1", "", 7, 7.5, 0])
def test_an_id_is_echoed_as_it_came(ends: Ends, id: Any) -> None:
    """Numbers too."""
    ends.right.receive(json.dumps({"type": "call", "method": "echo", "payload": [1], "id": id}))
    assert ends.sent(ends.right_carrier) == [{"id": id, "type": "result", "payload": 1}]


@pytest.mark.parametrize(("timeout", "carried"), [(None, 60_000), (1.5, 1500), (math.inf, 0), (3e6, 0), (0.0004, 1)])
def test_the_timeout_travels_with_the_call(ends: Ends, timeout: float | None, carried: int) -> None:
    """In milliseconds, 0 for what is endless."""
    ends.left.call("echo", 1, timeout=timeout)
    assert ends.sent()[0]["timeout"] == pytest.approx(carried, abs=1)


def test_the_default_timeout_can_be_set(ends: Ends) -> None:
    """In seconds."""
    ends.left.default_call_timeout = 2.0
    ends.left.call("echo", 1)
    assert ends.sent()[0]["timeout"] == pytest.approx(2000, abs=1)


def test_a_call_that_is_not_answered_times_out_and_is_forgotten(ends: Ends) -> None:
    """A late answer is counted, and neither given to anybody nor reported; a second one is nobody's."""
    ends.left_carrier.silent = True
    with pytest.raises(TimeoutError, match=r"call 'echo' was not answered within 0\.05 s"):
        ends.left.call("echo", 1, timeout=0.05)
    assert ends.left.stats.pending == 0
    late = ends.sent()[0]["id"]
    for unmatched in (0, 1):
        ends.left.receive(json.dumps({"type": "result", "id": late, "payload": 1}))
        assert (ends.left.stats.dropped, ends.left.stats.unmatched) == (1, unmatched)
        assert len(ends.wrong) == unmatched


def test_an_answer_after_the_deadline_is_not_sent(ends: Ends) -> None:
    """The caller has given up; sending it could end a reference peer."""
    ends.right.perform("slow", lambda: threading.Event().wait(0.03))
    ends.right.receive('{"type":"call","method":"slow","payload":[],"id":"x","timeout":10}')
    assert ends.right_carrier.sent == []
    assert ends.right.stats.dropped == 1


def test_a_call_without_timeout_has_the_performers_own(ends: Ends) -> None:
    """``default_call_timeout`` of the end that performs."""
    ends.right.default_call_timeout = 0.01
    ends.right.perform("slow", lambda: threading.Event().wait(0.03))
    ends.right.receive('{"type":"call","method":"slow","payload":[],"id":"x"}')
    assert ends.right_carrier.sent == []


def test_submitted_calls_come_back_each_to_its_own(ends: Ends) -> None:
    """A thousand at once, answered in another order."""
    ends.left_carrier.silent = True
    futures = [ends.left.submit("echo", number) for number in range(1000)]
    assert ends.left.stats.pending == 1000
    for frame in reversed(ends.left_carrier.sent):
        ends.right.receive(frame)
    done = wait(futures, timeout=5).done
    assert len(done) == 1000
    assert [future.result(0) for future in futures] == list(range(1000))
    assert ends.left.stats.pending == 0


def test_a_cancelled_call_is_forgotten(ends: Ends) -> None:
    """Its answer is dropped without a report, and it can be cancelled once."""
    ends.left_carrier.silent = True
    future = ends.left.submit("echo", 1)
    assert future.cancel()
    assert ends.left.stats.pending == 0
    ends.right.receive(ends.left_carrier.sent[0])
    assert (ends.left.stats.dropped, ends.left.stats.unmatched, ends.wrong) == (1, 0, [])
    with pytest.raises(CancelledError):
        future.result(0)


def test_calls_that_were_given_up_are_remembered_up_to_a_bound(ends: Ends) -> None:
    """The answers to older ones are those to unknown calls."""
    ends.left_carrier.silent = True
    for _ in range(MAX_GIVEN_UP + 1):
        ends.left.submit("echo", 1).cancel()
    for sent in ends.left_carrier.sent:
        ends.right.receive(sent)
    assert (ends.left.stats.dropped, ends.left.stats.unmatched) == (MAX_GIVEN_UP, 1)


def test_the_report_of_an_unknown_answer_has_its_id_and_not_its_payload(ends: Ends) -> None:
    """It is logged where nobody handles it, and results are not for logs."""
    ends.left.receive('{"type":"result","id":"nobody","payload":"private"}')
    [(error, context)] = ends.wrong
    assert str(error) == "received result for an unknown or timed-out call: id 'nobody'"
    assert context.message is not None
    assert context.message.payload == "private"


def test_the_timeout_of_a_submitted_call_holds_without_anybody_waiting(ends: Ends) -> None:
    """The clock is looked at when its alarm says so."""
    ends.left_carrier.silent = True
    first, second = ends.left.submit("echo", 1, timeout=5), ends.left.submit("echo", 2, timeout=9)
    at = ends.left_carrier.wakeups
    assert ends.left._core.run_timers(at[0] - 1) == at[0]
    assert ends.left._core.run_timers(at[0]) == at[1]
    assert isinstance(first.exception(0), SocketTimeout)
    assert not second.done()
    assert ends.left._core.run_timers(at[1]) == math.inf
    assert isinstance(second.exception(0), SocketTimeout)


def test_a_submitted_call_fails_in_time_under_whatever_id(ends: Ends) -> None:
    """``prepare`` may have put a number in place of ours."""

    def number(message: Message, is_request: bool) -> Message:
        message.id = 7
        return message

    ends.left_carrier.silent = True
    ends.left.prepare = number
    future = ends.left.submit("echo", 1, timeout=5)
    assert ends.left._core.run_timers(ends.left_carrier.wakeups[0]) == math.inf
    assert isinstance(future.exception(0), SocketTimeout)


def test_alarms_of_answered_calls_do_not_pile_up(ends: Ends) -> None:
    """Memory follows what is pending, not what was."""
    for number in range(1000):
        ends.left.submit("echo", number).result(0)
    assert len(ends.left._core.calls.table._timeouts) <= 65


def test_a_callback_runs_where_it_may_call(pool: WorkerPool) -> None:
    """On a worker, not on the thread that reads; at once when the answer is there."""
    both = Ends(left_workers=pool)
    both.right.perform("echo", lambda value: value)
    both.left_carrier.silent = True
    threads: list[str] = []
    future = both.left.submit("echo", 1)
    future.add_done_callback(lambda done: threads.append(threading.current_thread().name))
    both.right.receive(both.left_carrier.sent[0])
    eventually(lambda: threads)
    assert threads == ["test-worker"]
    future.add_done_callback(lambda done: threads.append(threading.current_thread().name))
    assert threads[1:] == [threading.current_thread().name]


def test_so_many_calls_may_be_pending_and_no_more() -> None:
    """The limit raises; an answer makes room."""
    both = Ends(limits=Limits(pending_calls=2))
    both.right.perform("echo", lambda value: value)
    both.left_carrier.silent = True
    futures = [both.left.submit("echo", 1), both.left.submit("echo", 2)]
    with pytest.raises(SocketError, match=r"2 calls wait for an answer \(Limits.pending_calls\)"):
        both.left.submit("echo", 3)
    futures[0].cancel()
    both.left.submit("echo", 4)


def test_a_lost_link_fails_what_was_in_flight_at_once(ends: Ends) -> None:
    """With what happened as its cause."""
    ends.left_carrier.silent = True
    future = ends.left.submit("echo", 1)
    ends.left_carrier.lose()
    error = future.exception(0)
    assert isinstance(error, SocketConnectionError)
    assert (error.code, error.retryable) == ("CONNECTION_LOST", True)
    assert "1006 lost" in error.message


def test_a_call_that_may_run_twice_is_sent_again_with_the_same_id(ends: Ends) -> None:
    """And answered once."""
    ends.left_carrier.silent = True
    future = ends.left.submit("echo", 1, retry=True)
    ends.left_carrier.lose()
    assert not future.done()
    ends.left_carrier.silent = False
    ends.left_carrier.restore()
    assert future.result(0) == 1
    first, second = ends.sent()
    assert first["id"] == second["id"]


def test_a_call_made_while_there_is_no_link_waits_for_one(ends: Ends) -> None:
    """It leaves when the link comes, and is sent once."""
    ends.left_carrier.lose()
    future = ends.left.submit("echo", 1)
    assert ends.left_carrier.sent == []
    ends.left_carrier.restore()
    assert future.result(0) == 1
    assert len(ends.left_carrier.sent) == 1
    ends.left_carrier.lose()
    with pytest.raises(SocketTimeout, match="waiting for a connection"):
        ends.left.call("echo", 1, timeout=0.02)


def test_an_answer_goes_to_the_link_that_asked(ends: Ends) -> None:
    """On the next link it would be an answer to nobody, which ends a reference peer."""

    def answer_late() -> str:
        ends.right_carrier.reconnect(Deadline(0))
        return "late"

    ends.right.perform("late", answer_late)
    ends.right.receive('{"type":"call","method":"late","payload":[],"id":"x"}')
    assert ends.right_carrier.sent == []
    assert ends.right.stats.dropped == 1


def test_a_closed_connection_takes_no_calls(ends: Ends) -> None:
    """What was pending fails, what comes raises."""
    ends.left_carrier.silent = True
    future = ends.left.submit("echo", 1)
    ends.left.close()
    assert isinstance(future.exception(0), SocketConnectionError)
    for call in (ends.left.call, ends.left.submit):
        with pytest.raises(SocketConnectionError):
            call("echo", 1)


def test_a_result_that_cannot_be_sent_fails_the_call(ends: Ends) -> None:
    """The caller learns it at once."""
    ends.right.perform("set", lambda: {1j})
    with pytest.raises(ResilientError, match="cannot be sent as JSON"):
        ends.left.call("set")


def test_a_call_may_be_made_inside_a_handler_inside_a_call(ends: Ends) -> None:
    """To any depth."""
    ends.left.perform("down", lambda n: ends.left.call("down", n - 1) + 1 if n else 0)
    ends.right.perform("down", lambda n: ends.right.call("down", n - 1) + 1 if n else 0)
    assert ends.left.call("down", 20) == 20


@pytest.mark.parametrize("method", [None, 5, b"m"])
def test_a_method_is_text(ends: Ends, method: Any) -> None:
    """Anything else is a mistake of the program."""
    with pytest.raises(TypeError, match="method must be text"):
        ends.left.call(method)


def test_a_handler_must_be_callable(ends: Ends) -> None:
    """Said where it is registered."""
    with pytest.raises(TypeError, match="must be callable"):
        ends.left.perform("x", 5)  # type: ignore[call-overload]


def test_an_answer_counts_once(ends: Ends) -> None:
    """A second one is nobody's: counted, reported, and nothing changes."""
    future = ends.left.submit("echo", 1)
    ends.left.receive(ends.right_carrier.sent[0])
    ends.left.receive(ends.right_carrier.sent[0].replace(b"1}", b"2}"))
    assert future.result(0) == 1
    assert ends.left.stats.unmatched == 2
    assert [str(context).split()[0] for _, context in ends.wrong] == ["receive", "receive"]


def test_who_waits_for_a_cancelled_call_is_freed(ends: Ends) -> None:
    """``wait`` and ``as_completed`` count it as done; a call that is answered cannot be cancelled."""
    ends.left_carrier.silent = True
    first, second = ends.left.submit("echo", 1), ends.left.submit("echo", 2)
    assert first.cancel()
    assert first.cancel()
    assert wait([first], timeout=0).done == {first}
    ends.right.receive(ends.left_carrier.sent[1])
    assert list(as_completed([first, second], timeout=0)) in ([first, second], [second, first])
    assert not second.cancel()
    assert second.result(0) == 2


def test_cancelling_from_many_threads_is_one_cancelling(ends: Ends) -> None:
    """None of them fails, all of them are told yes."""
    ends.left_carrier.silent = True
    future = ends.left.submit("echo", 1)
    outcomes: list[bool] = []
    threads = [threading.Thread(target=lambda: outcomes.append(future.cancel())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert outcomes == [True] * 8


@pytest.mark.parametrize("timeout", [1e10, 10**400, math.inf])
def test_a_call_may_wait_for_centuries(ends: Ends, timeout: float) -> None:
    """On the wire that is no limit."""
    ends.left_carrier.silent = True
    got: list[Any] = []
    waiter = threading.Thread(target=lambda: got.append(ends.left.call("echo", 1, timeout=timeout)))
    waiter.start()
    eventually(lambda: ends.left_carrier.sent)
    assert ends.sent()[0]["timeout"] == 0
    ends.right.receive(ends.left_carrier.sent[0])
    waiter.join(5)
    assert got == [1]


@pytest.mark.parametrize(
    "handler",
    [lambda: "y" * 400, lambda: 1 / int("0" * 400), lambda: int("x" * 400)],
    ids=["result", "error", "long error"],
)
def test_an_answer_too_large_to_send_is_an_error_that_is_not(handler: Any) -> None:
    """The caller learns it at once, and need not wait for its timeout."""
    both = Ends(limits=Limits(message_size=350))
    both.right.perform("big", handler)
    with pytest.raises(ResilientError) as failed:
        both.left.call("big", timeout=5)
    assert not isinstance(failed.value, SocketTimeout)


def test_an_error_that_cannot_be_told_is_answered(ends: Ends) -> None:
    """By its name."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even this")

    def fail() -> None:
        raise Broken

    ends.right.perform("broken", fail)
    with pytest.raises(ResilientError, match="Broken"):
        ends.left.call("broken", timeout=5)


def test_a_link_lost_twice_sends_a_retried_call_thrice(ends: Ends) -> None:
    """One that is answered is not sent again."""
    ends.left_carrier.silent = True
    future = ends.left.submit("echo", 1, retry=True)
    for _ in range(2):
        ends.left_carrier.lose()
        ends.left_carrier.restore()
    ends.right.receive(ends.left_carrier.sent[2])
    assert future.result(0) == 1
    ends.left_carrier.lose()
    ends.left_carrier.restore()
    assert len({message["id"] for message in ends.sent()}) == 1
    assert len(ends.sent()) == 3


def test_closing_fails_a_call_that_may_run_twice_too(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no link to come; also when it closed just before the call was registered."""
    ends.left_carrier.silent = True
    future = ends.left.submit("echo", 1, retry=True)
    ends.left.close()
    assert isinstance(future.exception(0), SocketConnectionError)
    monkeypatch.setattr(Services, "check_open", lambda services: None)
    late = ends.left.submit("echo", 2, retry=True)
    assert late.done()
    assert ends.left.stats.pending == 0


def test_a_call_in_flight_on_an_older_link_is_not_sent_on_the_next(ends: Ends) -> None:
    """What may not run twice does not."""
    ends.left_carrier.silent = True
    future = ends.left.submit("echo", 1)
    ends.left_carrier.lose()
    ends.left_carrier.restore()
    assert len(ends.left_carrier.sent) == 1
    assert isinstance(future.exception(0), SocketConnectionError)


def test_a_submitted_result_that_does_not_fit_its_type_is_the_futures_error(ends: Ends) -> None:
    """Raised by ``result``, and by nothing before."""
    future = ends.left.submit("echo", "x", result_type=int)
    assert isinstance(future.exception(0), SocketMessageMalformed)


def test_calls_nest_fifty_deep_with_one_worker() -> None:
    """A handler that waits lends its place."""
    pool = WorkerPool(1, "test")
    left, right, *_ = make_pair(pool, pool)
    left.perform("down", lambda n: left.call("down", n - 1, timeout=10) + 1 if n else 0)
    right.perform("down", lambda n: right.call("down", n - 1, timeout=10) + 1 if n else 0)
    assert left.call("down", 50, timeout=20) == 50
    pool.end(Deadline(5))


def test_closing_frees_who_waits_for_an_answer(ends: Ends) -> None:
    """At once, on whatever thread it waits."""
    ends.left_carrier.silent = True
    outcome: list[BaseException] = []

    def call() -> None:
        try:
            ends.left.call("echo", 1, timeout=60)
        except SocketConnectionError as error:
            outcome.append(error)

    waiter = threading.Thread(target=call)
    waiter.start()
    eventually(lambda: ends.left_carrier.sent)
    ends.left.close()
    waiter.join(5)
    assert [type(error) for error in outcome] == [SocketConnectionError]


@pytest.mark.parametrize("timeout", [-1, math.nan, "1", True])
def test_a_timeout_that_cannot_be_waited_for_is_refused(ends: Ends, timeout: Any) -> None:
    """Before anything is sent or pending."""
    for call in (ends.left.call, ends.left.submit):
        with pytest.raises(ValueError, match="timeout must be a number of seconds"):
            call("echo", 1, timeout=timeout)
    assert ends.left.stats.pending == ends.left.stats.messages_out == 0


def test_an_outcome_that_is_there_leaves_no_work_to_a_worker() -> None:
    """A thread that was interrupted as it set the outcome has the lock: a handler may wait for the workers to end."""
    owner = Mock()
    future: CallFuture[Any] = CallFuture(owner)
    future.complete(1)
    with ThreadPoolExecutor(1) as threads:
        threads.submit(future._lazy_condition.acquire).result()
        future.complete(error=SocketConnectionError("closed"))
        threads.submit(future._lazy_condition.release).result()
    assert owner.run_callback.call_count == 0
    assert future.result(0) == 1


def test_the_future_of_a_call_has_all_that_a_future_has() -> None:
    """Whatever the standard library keeps in one, ours keeps as well, in the same state."""
    theirs, (left, *_) = vars(Future()), make_pair()
    future: CallFuture[Any] = CallFuture(left._core.calls)
    ours = vars(future)
    assert ours.keys() == theirs.keys() - {"_condition"} | {"_lazy_condition", "_owner"}
    assert future._condition is future._lazy_condition
    same = theirs.keys() - {"_condition"}
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}


def test_a_call_that_leaves_as_the_link_opens_is_sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker sends what waits for a link, and may do so right before the thread that makes the call."""
    left, right, carrier, _ = make_pair()
    performed: list[int] = []
    right.perform("note", performed.append)
    carrier.lose()
    table = left._core.calls.table
    add = type(table).add

    def add_and_open(*arguments: Any, **options: Any) -> None:
        add(*arguments, **options)
        carrier.restore()

    monkeypatch.setattr(type(table), "add", add_and_open)
    left.call("note", 1, timeout=5)
    carrier.lose()
    left.submit("note", 2, timeout=5).result(5)
    assert performed == [1, 2]
    assert (left.stats.messages_out, left.stats.unmatched) == (2, 0)


def test_a_call_whose_link_is_replaced_before_it_leaves_is_sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be sent again, so a worker sends it on the next link, before its own thread finds the first one gone."""
    left, right, carrier, answers = make_pair()
    performed: list[int] = []
    right.perform("note", performed.append)
    answers.message_filter = lambda message: False  # it is still pending when its own thread goes on
    table = left._core.calls.table
    add = type(table).add

    def add_and_reconnect(*arguments: Any, **options: Any) -> None:
        add(*arguments, **options)
        carrier.lose()
        carrier.restore()

    monkeypatch.setattr(type(table), "add", add_and_reconnect)
    future = left.submit("note", 1, timeout=5, retry=True)
    assert performed == [1]
    assert left.stats.messages_out == 1
    future.cancel()
