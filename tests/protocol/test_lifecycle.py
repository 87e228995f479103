"""What is seen from outside: listeners, states, errors with their contexts, and numbers."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from owlsocket_sync import Connection, ConnectionState, ErrorContext, Message, SocketError, StateChange
from support.pair import RecordingCarrier, make_pair

Ends = tuple[Connection, Connection, RecordingCarrier, RecordingCarrier]


@pytest.fixture
def ends() -> Ends:
    """Two ends."""
    return make_pair()


def fail(*arguments: Any) -> Any:
    """What goes wrong in these tests."""
    raise ValueError("no")


def leave(*arguments: Any) -> Any:
    """Another thing that goes wrong: a handler wants to end the process."""
    raise SystemExit(3)


@pytest.mark.parametrize("handler", [fail, leave], ids=["error", "exit"])
@pytest.mark.parametrize(
    ("register", "cause", "context"),
    [
        (lambda right, handler: right.observe("e", handler), lambda left: left.notify("e"), "observe e"),
        (lambda right, handler: right.observe("*", handler), lambda left: left.notify("e"), "observe e"),
        (lambda right, handler: right.perform("m", handler), lambda left: left.submit("m"), "perform m"),
        (lambda right, handler: right.acknowledge(handler), lambda left: left.request(1), "acknowledge"),
        (lambda right, handler: right.listen(handler), lambda left: left.notify("e"), "listen"),
        (lambda right, handler: setattr(right, "authenticate", handler),
         lambda left: left.send('{"type":"auth","stage":"init","payload":1}'), "authenticate init"),
        (lambda right, handler: right.observe_response(handler), lambda left: left.reply("r1", 1),
         "observe_response r1"),
    ],
)  # fmt: skip
def test_what_goes_wrong_in_a_handler_is_reported_with_its_place(
    ends: Ends, register: Callable[..., Any], cause: Callable[..., Any], context: str, handler: Any
) -> None:
    """Whatever it raises; nothing comes through to whoever reads, and the connection goes on."""
    left, right, *_ = ends
    wrong: list[tuple[type[BaseException], str]] = []
    right.on_error(lambda error, where: wrong.append((type(error), str(where))))
    left.on_error(lambda error, where: None)
    register(right, handler)
    cause(left)
    kind, place = wrong[0]
    assert kind is {fail: ValueError, leave: SystemExit}[handler]
    assert place.startswith(context)
    right.perform("echo", lambda value: value)
    assert left.call("echo", 1) == 1


@pytest.mark.parametrize("handler", [fail, leave], ids=["error", "exit"])
def test_an_error_handler_that_fails_does_not_keep_the_next_from_hearing(
    ends: Ends, handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged."""
    _, right, *_ = ends
    heard: list[Any] = []
    right.on_error(handler)
    right.on_error(lambda error, context: heard.append(context.source))
    right.receive("garbage")
    assert heard == ["receive"]
    assert "an on_error handler failed at receive" in caplog.text


def test_an_error_handler_that_was_given_up_hears_nothing(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    """The log takes over again."""
    _, right, *_ = ends
    heard: list[Any] = []
    with right.on_error(lambda error, context: heard.append(error)):
        right.receive("first")
        assert not caplog.records
    right.receive("second")
    assert len(heard) == 1
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_context_is_readable(ends: Ends) -> None:
    """Source, name, and the message at hand."""
    _, right, *_ = ends
    contexts: list[ErrorContext] = []
    right.on_error(lambda error, context: contexts.append(context))
    right.receive('{"type":"foo","payload":7}')
    [context] = contexts
    assert (context.source, context.name, str(context)) == ("receive", "foo", "receive foo")
    assert isinstance(context.message, Message)
    assert context.message.payload == 7


def test_listeners_share_what_comes_and_fail_alone(ends: Ends) -> None:
    """In the order registered; each until it is given up."""
    left, right, *_ = ends
    heard: list[str] = []
    right.on_error(lambda error, context: heard.append(context.source))
    right.listen(fail)
    second = right.listen(lambda message: heard.append("second"))
    left.notify("e")
    second()
    left.notify("e")
    assert heard == ["listen", "second", "listen"]


def test_a_failing_state_handler_is_reported(ends: Ends) -> None:
    """And the others hear of the change."""
    left, *_ = ends
    heard: list[Any] = []
    left.on_error(lambda error, context: heard.append(context.source))
    left.on_state(fail)
    left.on_state(lambda change: heard.append(change.state))
    left.close()
    assert sorted(map(str, heard)) == sorted(["on_state", str(ConnectionState.CLOSED)])


def test_a_state_handler_that_was_given_up_hears_nothing(ends: Ends) -> None:
    """As any subscription."""
    left, *_ = ends
    heard: list[StateChange] = []
    left.on_state(heard.append)()
    left.close()
    assert heard == []


def test_a_change_of_state_is_what_it_leads_to() -> None:
    """In comparisons and in sets; two changes are never the same one."""
    change = StateChange(ConnectionState.OPEN, ConnectionState.CONNECTING)
    assert change == ConnectionState.OPEN
    assert change in {ConnectionState.OPEN}
    assert change != StateChange(ConnectionState.OPEN, ConnectionState.CONNECTING)
    assert hash(change) == hash(ConnectionState.OPEN)


def test_every_number_of_the_statistics_counts_its_own(ends: Ends) -> None:
    """One of each kind, by hand."""
    left, right, carrier, _ = ends
    left.on_error(lambda error, context: None)
    zero = left.stats
    carrier.silent = True
    left.submit("m")
    right.enqueue("q")
    garbage, nobodys = "garbage", '{"type":"result","id":"nobody","payload":1}'
    left.receive(garbage)
    left.receive(nobodys)
    left._core.dispatcher.draining = True
    left.receive('{"type":"event","event":"e"}')
    frames_in = [garbage, nobodys, '{"type":"event","event":"e"}', '{"type":"message","payload":"q"}']
    assert dataclasses.asdict(zero) == {
        **dict.fromkeys(dataclasses.asdict(zero), 0), "latency": None
    }  # fmt: skip
    assert dataclasses.asdict(left.stats) == {
        "messages_in": 4, "messages_out": 1, "bytes_in": sum(map(len, frames_in)), "bytes_out": len(carrier.sent[0]),
        "wire_bytes_in": sum(map(len, frames_in)), "wire_bytes_out": len(carrier.sent[0]),
        "pending": 1, "queued": 1, "backlog": 0, "malformed": 1, "unmatched": 1, "dropped": 1, "reconnects": 0,
        "latency": None,
    }  # fmt: skip


def test_a_request_that_nobody_takes_is_reported(ends: Ends) -> None:
    """With the message."""
    left, right, carrier, _ = ends
    wrong: list[tuple[Exception, ErrorContext]] = []
    right.on_error(lambda error, context: wrong.append((error, context)))
    left.request({"a": 1})
    [(error, context)] = wrong
    assert isinstance(error, SocketError)
    assert context.message is not None
    assert context.message.id == json.loads(carrier.sent[0])["id"]


def test_the_report_of_a_request_shows_the_beginning_of_its_id(ends: Ends) -> None:
    """The peer chooses it."""
    wrong: list[Exception] = []
    ends[1].on_error(lambda error, context: wrong.append(error))
    ends[1].receive(json.dumps({"type": "request", "id": "x" * 100_000, "payload": 1}))
    assert len(str(wrong[0])) < 300


def test_a_handler_does_not_see_changes_before_its_registration(ends: Ends) -> None:
    """Even where they are delivered later: whoever registers may have seen the state already."""
    left, _, carrier, _ = ends
    seen: list[StateChange] = []

    class Registering(logging.Handler):
        """Registers a handler while a change is delivered, when the state can be seen."""

        def emit(self, record: logging.LogRecord) -> None:
            assert left.state is ConnectionState.RECONNECTING
            left.on_state(seen.append)
            logger.removeHandler(self)

    logger = logging.getLogger("owlsocket_sync")
    logger.setLevel(logging.INFO)
    logger.addHandler(Registering())
    left.on_state(lambda change: None)
    carrier.lose()
    carrier.restore()
    left.wait_idle(5)
    assert [change.state for change in seen] == [ConnectionState.OPEN]
