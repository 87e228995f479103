"""A connection as a whole: what all verbs share, and what is seen of it from outside."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from owlsocket_sync import (
    Connection,
    ConnectionState,
    EventMessage,
    Limits,
    Message,
    MessageType,
    SocketConnectionError,
    SocketMessageError,
    SocketMessageMalformed,
    SocketTimeout,
    StateChange,
)
from owlsocket_sync.connection import cut_reason
from owlsocket_sync.states import CloseInfo
from support.helpers import scaled
from support.pair import RecordingCarrier, make_pair

Ends = tuple[Connection, Connection, RecordingCarrier, RecordingCarrier]


@pytest.fixture
def ends() -> Ends:
    """Two ends, whose right one echoes."""
    left, right, *carriers = make_pair()
    right.perform("echo", lambda *values: values[0] if len(values) == 1 else list(values))
    return left, right, *carriers  # type: ignore[return-value]


def sent(carrier: RecordingCarrier) -> list[Any]:
    """What an end sent."""
    return [json.loads(frame) for frame in carrier.sent]


# -- listeners, states, errors, statistics


def test_listeners_see_every_message(ends: Ends) -> None:
    """Of any kind, text that is no JSON as text; what ping and pong say is no business of theirs."""
    left, right, *_ = ends
    seen: list[Any] = []
    right.on_error(lambda error, context: None)
    subscription = right.listen(lambda message: seen.append(message if isinstance(message, str) else message.type))
    left.call("echo", 1)
    left.notify("e", 1)
    left.enqueue(1)
    for text in (
        '{"type":"foo"}',
        "{bad",
        "plain",
        '{"type":"ping"}',
        '{"type":"pong"}',
        '{"type":"system","event":"x"}',
    ):
        right.receive(text)
    subscription()
    left.notify("e", 2)
    assert seen == ["call", "event", "message", "foo", "{bad", "system"]


def test_listeners_hear_of_the_end_of_each_link(ends: Ends) -> None:
    """Once for each, as a system message with the close code."""
    left, _, carrier, _ = ends
    seen: list[Any] = []
    left.listen(seen.append)
    carrier.lose(CloseInfo(4001, "bye"))
    carrier.restore()
    left.close()
    left.close()
    assert [(message.type, message.event, message.payload) for message in seen] == [
        (MessageType.SYSTEM, "close", {"code": 4001}),
        (MessageType.SYSTEM, "close", {"code": 1000}),
    ]
    assert [message.local for message in seen] == [True, True]  # the peer's have false


def test_a_close_message_of_the_peer_closes_nothing(ends: Ends) -> None:
    """Only the link itself ends the link."""
    left, right, *_ = ends
    seen: list[Any] = []
    right.listen(seen.append)
    right.receive('{"type":"system","event":"close","local":true,"payload":{"code":4999}}')
    assert (seen[0].payload, seen[0].local) == ({"code": 4999}, False)
    assert right.state is ConnectionState.OPEN
    assert left.call("echo", 1) == 1


def test_a_soft_ping_is_answered_by_a_soft_pong(ends: Ends) -> None:
    """As the reference does, and a pong by nothing."""
    _, right, _, carrier = ends
    right.receive('{"type":"ping","payload":{"n":1},"id":"p1"}')
    right.receive('{"type":"pong"}')
    assert carrier.sent == [b'{"type":"pong"}']


def test_state_handlers_get_the_change(ends: Ends) -> None:
    """With its reason and close code; it equals the state it leads to."""
    left, *_ = ends
    changes: list[StateChange] = []
    left.on_state(changes.append)
    left.close(4000, "done")
    [change] = changes
    assert (change.state, change.previous, change.code, change.reason) == (
        ConnectionState.CLOSED, ConnectionState.OPEN, 4000, "done"
    )  # fmt: skip
    assert change == ConnectionState.CLOSED
    assert change != ConnectionState.OPEN
    assert ConnectionState.CLOSED in changes
    assert left.state is ConnectionState.CLOSED


def test_errors_are_logged_when_nobody_asks_for_them(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    """And handled by those who do; a handler of errors that fails is logged too."""
    _, right, *_ = ends
    right.receive("garbage")
    assert "text that is not a JSON object: 'garbage'" in caplog.text
    caplog.clear()

    def fail(error: Exception, context: Any) -> None:
        raise RuntimeError("even this")

    right.on_error(fail)
    right.receive("more garbage")
    assert "even this" in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_statistics_are_exact(ends: Ends) -> None:
    """Messages and their bytes, in both directions."""
    left, right, carrier, other = ends
    left.call("echo", "żółć")
    left.notify("e")
    right.on_error(lambda error, context: None)
    right.receive("garbage ż")
    size = sum(map(len, carrier.sent))
    stats = left.stats
    assert (stats.messages_out, stats.bytes_out) == (2, size)
    assert (stats.messages_in, stats.bytes_in) == (1, len(other.sent[0]))
    stats = right.stats
    assert (stats.messages_in, stats.bytes_in, stats.malformed) == (3, size + len("garbage ż".encode()), 1)
    with pytest.raises(AttributeError):
        stats.pending = 5  # type: ignore[misc]


def test_reconnects_are_counted(ends: Ends) -> None:
    """Links after the first."""
    left, *_ = ends
    left.reconnect()
    left.reconnect()
    assert left.stats.reconnects == 2


# -- batches, deadlines, hooks, raw ends


def test_a_batch_leaves_in_one_write(ends: Ends) -> None:
    """In order, at the end of the block; nested ones join it."""
    left, _, carrier, _ = ends
    with left.batch():
        left.notify("a")
        future = left.submit("echo", 1)
        with left.batch():
            left.enqueue("b")
        assert carrier.writes == 0
        assert not future.done()
    assert carrier.writes == 1
    assert [message["type"] for message in sent(carrier)] == ["event", "call", "message"]
    assert future.result(0) == 1


def test_what_waits_inside_a_batch_sends_it_first(ends: Ends) -> None:
    """A call would wait for ever otherwise."""
    left, _, carrier, _ = ends
    with left.batch():
        left.notify("a")
        assert left.call("echo", 1) == 1
        left.notify("b")
        assert [message["type"] for message in sent(carrier)] == ["event", "call"]
    assert carrier.writes == 2


def test_a_batch_that_fails_sends_what_it_has(ends: Ends) -> None:
    """What was said was said."""
    left, _, carrier, _ = ends
    with pytest.raises(ValueError, match="no"), left.batch():
        left.notify("a")
        raise ValueError("no")
    assert len(carrier.sent) == 1


def test_the_end_of_a_connection_is_told_within_a_batch(ends: Ends) -> None:
    """What was gathered, and cannot be sent any more, is told where the batch ends, not by who asks for the reason."""
    left = ends[0]
    waited: list[CloseInfo] = []

    def close_in_a_batch() -> None:
        with left.batch():
            left.notify("told")
            left.close(reason="done")
            waited.append(left.wait_closed(scaled(5)))
            left.notify("told")

    with pytest.raises(SocketConnectionError, match="closed") as caught:
        close_in_a_batch()
    assert caught.value.sent is False
    assert [info.code for info in waited] == [1000]


def test_a_batch_without_a_link_raises(ends: Ends) -> None:
    """Where it leaves the block."""
    left, *_ = ends
    with pytest.raises(SocketConnectionError), left.batch():
        left.notify("a")
        left.close()


def test_one_deadline_holds_over_several_calls(ends: Ends) -> None:
    """The nearer one of it and each call's own; a wider one inside loosens nothing."""
    left, _, carrier, _ = ends
    with left.deadline(1.0), left.deadline(50):
        left.call("echo", 1, timeout=30)
        left.call("echo", 1, timeout=0.5)
        left.call("echo", 1, timeout=math.inf)
        carrier.silent = True
        with left.deadline(0.02), pytest.raises(SocketTimeout):
            left.call("echo", 1)
    first, second, third, fourth = (message["timeout"] for message in sent(carrier))
    assert 900 < first <= 1000
    assert 400 < second <= 500
    assert 900 < third <= 1000
    assert fourth <= 20


def test_prepare_is_asked_both_ways(ends: Ends) -> None:
    """Before sending, and after receiving."""
    left, right, carrier, _ = ends

    def sign(message: Message, is_request: bool) -> Message:
        if not is_request:
            message.sender = "my-service"
        return message

    def check(message: Message, is_request: bool) -> Message:
        if is_request and isinstance(message, EventMessage):
            message.payload = f"{message.sender}: {message.payload}"
        return message

    left.prepare, right.prepare = sign, check
    seen: list[Any] = []
    right.observe("e", lambda message: seen.append(message.payload))
    left.notify("e", "hello")
    assert seen == ["my-service: hello"]
    assert sent(carrier)[0]["sender"] == "my-service"


def test_a_hook_that_fails_on_the_way_in_loses_one_message(ends: Ends) -> None:
    """And is reported."""
    left, right, *_ = ends
    wrong: list[str] = []
    right.on_error(lambda error, context: wrong.append(f"{context}: {error!r}"))
    right.prepare = lambda message, is_request: 1 / 0  # type: ignore[assignment, return-value]
    left.notify("e")
    right.prepare = None
    assert wrong == ["prepare: ZeroDivisionError('division by zero')"]
    assert left.call("echo", 1) == 1


@pytest.mark.parametrize("side", ["caller", "callee"])
def test_a_hook_that_returns_no_message_fails_the_call(ends: Ends, side: str) -> None:
    """Such as one whose ``return`` was forgotten, at once, on either way."""
    left, right, *_ = ends

    def hook(message: Message, is_incoming: bool) -> Any:
        return None if is_incoming else message

    (left if side == "caller" else right).prepare = hook
    failure = left.submit("echo", 1).exception(timeout=1)
    assert "the hook prepare must return the message, not NoneType" in str(failure)
    left.prepare = lambda message, is_incoming: {}  # type: ignore[assignment, return-value]
    with pytest.raises(TypeError, match="must return the message, not dict"):
        left.notify("e")


@pytest.mark.parametrize("error", [LookupError("no key"), SystemExit(1)], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("side", ["caller", "callee"])
def test_a_hook_that_fails_on_the_way_in_fails_the_call(ends: Ends, side: str, error: BaseException) -> None:
    """At once, on either way: of the call, and of its answer."""
    left, right, *_ = ends

    def fail(message: Message, is_incoming: bool) -> Message:
        if is_incoming:
            raise error
        return message

    (left if side == "caller" else right).prepare = fail
    failure = left.submit("echo", 1).exception(timeout=1)
    assert type(error).__name__ in repr(failure)
    assert left.stats.pending == 0


def test_a_hook_that_fails_on_the_way_out_raises_where_it_was_said(ends: Ends) -> None:
    """With nothing pending and nothing sent."""
    left, _, carrier, _ = ends
    left.prepare = lambda message, is_request: 1 / 0  # type: ignore[assignment, return-value]
    for send in (left.call, left.submit, left.notify):
        with pytest.raises(ZeroDivisionError):
            send("echo")
    assert carrier.sent == []
    assert left.stats.pending == 0


def test_what_is_prepared_on_the_way_in_is_what_arrives(ends: Ends) -> None:
    """A hook may put another message in its place, answers too."""
    left, right, *_ = ends
    seen: list[Any] = []
    left.listen(lambda message: seen.append(message.payload))

    def double(message: Message, is_request: bool) -> Message:
        if is_request and message.type is MessageType.RESULT:
            return Message(MessageType.RESULT, message.payload * 2, message.id)
        return message

    left.prepare = double
    assert left.call("echo", 21) == 42
    assert seen == [42]


def test_a_hook_is_asked_for_every_message_once(ends: Ends) -> None:
    """Calls and answers, events, requests, responses, the queue, authentication."""
    left, right, *_ = ends
    asked: list[tuple[str, bool]] = []

    def note(message: Message, is_request: bool) -> Message:
        asked.append((str(getattr(message.type, "value", message.type)), is_request))
        return message

    left.prepare = note
    right.acknowledge(lambda id, payload: right.reply(id, 1) or True)
    right.authenticate = lambda stage, payload: (stage, payload)
    left.call("echo", 1)
    left.notify("e")
    left.request(1, lambda payload: False)
    left.enqueue(1)
    left.auth("init")
    assert asked == [
        ("call", False), ("result", True), ("event", False), ("request", False), ("response", True),
        ("message", False), ("auth", False), ("auth", True),
    ]  # fmt: skip


def test_messages_say_who_sends_and_when() -> None:
    """Where the end was told to, as the reference client does."""
    left, right, carrier, _ = make_pair(sender="me", stamps=True)
    right.perform("echo", lambda value: value)
    left.call("echo", 1)
    [message] = sent(carrier)
    assert message["sender"] == "me"
    assert list(message) == ["method", "payload", "type", "id", "dt", "timeout", "sender"]
    assert message["dt"] == pytest.approx(1e12, rel=0.9)


def test_the_raw_ends_take_anything(ends: Ends) -> None:
    """Messages as they are, and any text."""
    left, right, carrier, _ = ends
    right.on_error(lambda error, context: None)
    left.send(EventMessage(payload=1, event="e"))
    left.send("anything ż")
    assert carrier.sent == [b'{"event":"e","payload":1,"type":"event"}', "anything ż".encode()]
    assert right.stats.malformed == 1


def test_a_message_may_be_so_large_and_no_larger() -> None:
    """The limit names itself; nothing is pending after."""
    left, *_ = make_pair(limits=Limits(message_size=100))
    for send in (left.call, left.notify):
        with pytest.raises(SocketMessageError, match=r"Limits\.message_size"):
            send("x", "y" * 100)
    assert left.stats.pending == 0


# -- proxies


@dataclass
class User:
    """A typed result."""

    id: int
    name: str


class Users(Protocol):
    """What a peer can do."""

    def get(self, id: int) -> User:
        """One of them."""

    def add(self, name: str, age: int = 7) -> int:
        """One more."""

    def all(self, *names: str) -> list[str]:
        """Some of them."""


class Implementation:
    """And how it does it."""

    public = "no method"

    def get(self, id: int) -> User:
        """One of them."""
        return User(id, "Ada")

    def add(self, name: str, age: int) -> int:
        """One more."""
        return len(name) + age

    def all(self, *names: str) -> list[str]:
        """Some of them."""
        return sorted(names)

    def _private(self) -> None:
        """Nobody's business."""

    @property
    def secret(self) -> str:
        """Never read."""
        raise AssertionError


def test_an_interface_has_two_ends(ends: Ends) -> None:
    """Methods in place of names: positions, keywords and defaults, typed results."""
    left, right, *_ = ends
    exposed = right.expose(Implementation(), prefix="users.")
    users = left.proxy(Users, prefix="users.")
    assert users.get(5) == User(5, "Ada")
    assert users.add("Bob") == 10
    assert users.add(age=1, name="Bob") == 4
    assert users.all("b", "a") == ["a", "b"]
    with pytest.raises(TypeError):
        users.add()  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        users.secret  # type: ignore[attr-defined]  # noqa: B018
    exposed()
    with pytest.raises(SocketConnectionError, match=r"users\.get"):
        users.get(5)
    assert "proxy of Users" in repr(users)


def test_an_interface_that_calls_cannot_carry_is_refused(ends: Ends) -> None:
    """Arguments travel by position."""

    class Keywords:
        def get(self, *, id: int) -> None:
            """Only by keyword."""

    with pytest.raises(ValueError, match="get: a call carries positional arguments only"):
        ends[0].proxy(Keywords)
    with pytest.raises(ValueError, match="no public methods"):
        ends[0].expose(object())


def test_results_are_made_what_was_asked_for(ends: Ends) -> None:
    """A dataclass, or what any callable makes of it; what cannot be made raises."""
    left, *_ = ends
    assert left.call("echo", {"id": 1, "name": "a"}, result_type=User) == User(1, "a")
    assert left.submit("echo", "5", result_type=lambda text: int(text)).result(0) == 5
    with pytest.raises(
        SocketMessageMalformed, match="the result of 'echo' is not a User: TypeError: expected an object"
    ):
        left.call("echo", 5, result_type=User)
    with pytest.raises(SocketMessageMalformed, match="is not an int: TypeError: expected int, got str"):
        left.submit("echo", "5", result_type=int).result(0)


# -- the end


@pytest.mark.parametrize("code", [999, 1004, 1005, 1006, 1015, 2999, 5000, "1000", True])
def test_a_close_code_must_be_one_that_may_be_sent(ends: Ends, code: Any) -> None:
    """RFC 6455, section 7.4."""
    with pytest.raises(ValueError, match="code must be"):
        ends[0].close(code)


@pytest.mark.parametrize(("reason", "size"), [("x" * 200, 123), ("ż" * 100, 122), ("🦉" * 31, 120), ("short", 5)])
def test_a_close_reason_is_cut_to_what_its_frame_holds(reason: str, size: int) -> None:
    """At whole characters."""
    assert len(cut_reason(reason).encode()) == size
    assert reason.startswith(cut_reason(reason))


@pytest.mark.parametrize(
    "verb",
    [
        lambda conn: conn.notify("e"),
        lambda conn: conn.enqueue(1),
        lambda conn: conn.reply("r", 1),
        lambda conn: conn.request(1),
        lambda conn: conn.request(1, lambda payload: True),
        lambda conn: conn.stream(1),
        lambda conn: conn.auth("init"),
        lambda conn: conn.ping(),
        lambda conn: conn.send("text"),
        lambda conn: conn.wait_open(0),
        lambda conn: conn.reconnect(),
        lambda conn: conn.call("echo"),
        lambda conn: conn.call("echo", retry=True),
        lambda conn: conn.submit("echo"),
        lambda conn: conn.send(Message(payload=1)),
    ],
)
def test_a_closed_connection_says_so(ends: Ends, verb: Any) -> None:
    """Whatever it is asked for."""
    left, *_ = ends
    left.close()
    with pytest.raises(SocketConnectionError):
        verb(left)


def test_closing_again_changes_nothing(ends: Ends) -> None:
    """The first ending holds, and is told once."""
    left, *_ = ends
    changes: list[StateChange] = []
    left.on_state(changes.append)
    left.close(4001, "first")
    left.close(4002, "second")
    assert (left.wait_closed(0).code, left.wait_closed(0).reason, len(changes)) == (4001, "first", 1)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1014, 3000, 4999])
def test_a_close_code_that_may_be_sent_is_sent(ends: Ends, code: int) -> None:
    """As it is."""
    left, *_ = ends
    left.close(code)
    assert left.wait_closed(0).code == code


@pytest.mark.parametrize(
    "register",
    [
        lambda conn: conn.perform("x", lambda: 1),
        lambda conn: conn.perform("x")(lambda: 1),
        lambda conn: conn.observe("x", lambda message: None),
        lambda conn: conn.observe("x")(lambda message: None),
        lambda conn: conn.expose(Closing()),
        lambda conn: conn.acknowledge(lambda id, payload: True),
        lambda conn: conn.observe_response(lambda payload: True),
        lambda conn: conn.listen(lambda message: None),
        lambda conn: conn.request(1, lambda payload: True),
    ],
)
def test_nothing_can_be_registered_after_the_end(ends: Ends, register: Any) -> None:
    """It would hear nothing, without a word."""
    left, *_ = ends
    left.close()
    with pytest.raises(SocketConnectionError, match="closed") as raised:
        register(left)
    assert raised.value.sent is False


class Closing:
    """An object whose method answers a call."""

    def x(self) -> int:
        """Answer."""
        return 1


def test_what_comes_in_after_the_end_is_passed_over(ends: Ends) -> None:
    """It is counted, and not answered."""
    left, right, *_ = ends
    left.perform("x", lambda: 1)
    left.close()
    left.receive('{"type":"call","method":"x","payload":[],"id":"late"}')
    assert left.stats.dropped == 1
    assert right.stats.messages_in == 0


def test_a_with_block_closes(ends: Ends) -> None:
    """Also when it fails; the ending can be had."""
    left, *_ = ends
    with pytest.raises(ValueError, match="no"), left:
        raise ValueError("no")
    assert left.wait_closed(0).code == 1000
    assert "closed" in repr(left)


def test_waiting_for_what_does_not_come_times_out(ends: Ends) -> None:
    """By the deadline it was given."""
    with pytest.raises(SocketTimeout, match=r"left was not closed within 0\.02 s"):
        ends[0].wait_closed(0.02)


def test_draining_takes_nothing_new(ends: Ends) -> None:
    """Calls are refused, the rest is counted; then the connection is closed."""
    left, right, carrier, _ = ends
    right._core.dispatcher.draining = True
    with pytest.raises(SocketConnectionError, match="draining"):
        left.call("echo", 1)
    left.notify("e")
    assert right.stats.dropped == 2
    left.drain(5)
    assert left.state is ConnectionState.CLOSED
    assert carrier.closing_error() is not None


def test_draining_waits_for_its_answers(ends: Ends) -> None:
    """No longer than it was told, and closes all the same."""
    left, right, carrier, _ = ends
    carrier.silent = True
    left.submit("echo", 1)
    with pytest.raises(SocketTimeout, match="did not finish"):
        left.drain(0.02)
    assert left.state is ConnectionState.CLOSED


def test_raw_text_that_cannot_be_sent_is_refused() -> None:
    """Half an emoji has no UTF-8, and the limit of a message holds for text too."""
    left, _, carrier, _ = make_pair(limits=Limits(message_size=100))
    with pytest.raises(SocketMessageMalformed, match="UTF-8"):
        left.send("\ud800")
    with pytest.raises(SocketMessageError, match=r"Limits\.message_size"):
        left.send("x" * 101)
    assert carrier.sent == []


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind_are_received(ends: Ends, kind: Any) -> None:
    """As their text."""
    seen: list[Any] = []
    ends[1].observe("e", lambda message: seen.append(message.payload))
    ends[1].receive(kind(b'{"type":"event","event":"e","payload":1}'))
    assert seen == [1]


def test_whatever_a_hook_raises_is_reported(ends: Ends) -> None:
    """The wish to exit too."""
    left, right, *_ = ends
    wrong: list[str] = []
    right.on_error(lambda error, context: wrong.append(repr(error)))

    def leave(message: Message, is_request: bool) -> Message:
        raise SystemExit(3)

    right.prepare = leave
    left.notify("e")
    assert wrong == ["SystemExit(3)"]
