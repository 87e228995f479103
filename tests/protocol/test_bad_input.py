"""Garbage of any kind never ends a connection: it is counted, reported, and passed over."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from owlsocket_sync import (
    Connection,
    ErrorContext,
    Limits,
    Message,
    ResilientError,
    SocketError,
    SocketMessageMalformed,
)
from owlsocket_sync.protocol.json_parser import find_fields
from support.helpers import examples, load, scaled
from support.pair import make_pair

FRAMES = load("frames.json")
VALID = [text for side in ("c2s", "s2c") for text in FRAMES[side].values()]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn) -> str | bytes:
    """A valid frame after an accident: bytes lost, changed or added, fields replaced, dropped or renamed."""
    text = draw(st.sampled_from(VALID))
    if draw(st.booleans()):
        fields: dict[str, Any] = json.loads(text)
        for key in draw(st.lists(st.sampled_from(sorted(fields)), max_size=3)):
            if draw(st.booleans()):
                fields[key] = draw(anything)
            else:
                fields.pop(key, None)
        return json.dumps(fields)
    data = bytearray(text.encode())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                del data[at : at + draw(st.integers(1, 20))]
            case 1:
                data[at:at] = draw(st.binary(max_size=8))
            case 2:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case _:
                del data[at:]
    return bytes(data) if draw(st.booleans()) else data.decode("utf-8", "replace")


def watched() -> tuple[Connection, Connection, list[tuple[Exception, ErrorContext]]]:
    """A pair, and what goes wrong on its right end."""
    left, right, *_ = make_pair()
    wrong: list[tuple[Exception, ErrorContext]] = []
    right.on_error(lambda error, context: wrong.append((error, context)))
    left.on_error(lambda error, context: None)
    right.perform("echo", lambda *values: values[0] if values else None)
    return left, right, wrong


@pytest.mark.slow
@settings(max_examples=examples(500, 5_000))
@given(mutated())
@example('{"type":"","payload":1,"dt":[]}')  # wrong twice, counted once
def test_no_mutated_message_ends_anything(frame: str | bytes) -> None:
    """What is wrong with it is reported as an error of ours, and the next call works."""
    left, right, wrong = watched()
    right.receive(frame)
    assert all(isinstance(error, SocketError) for error, _ in wrong)
    assert right.stats.malformed <= 1
    for error, _ in wrong:
        assert len(getattr(error, "text", None) or "") <= 200
    assert left.call("echo", "alive") == "alive"


@pytest.mark.parametrize(
    ("frame", "counter"),
    [
        ("{bad", "malformed"),
        ("hello there", "malformed"),
        ("", "malformed"),
        ("[" * 100_000, "malformed"),
        (b"\xff\xfe", "malformed"),
        (b"{\xff}", "malformed"),
        ('{"type":"zzz","payload":1}', "malformed"),
        ('{"type":["call"],"payload":1}', "malformed"),
        ('{"type":"event","payload":1}', "malformed"),
        ('{"type":"request","payload":1}', "malformed"),
        ('{"type":"call","method":{"a":1},"payload":[],"id":"x"}', "malformed"),
        ('{"type":"result","payload":1}', "malformed"),
        ('{"type":"result","id":"nobody","payload":1}', "unmatched"),
        ('{"type":"error","id":"nobody","payload":"x"}', "unmatched"),
        ('{"type":"auth","stage":null,"payload":{}}', "unmatched"),
        ("x" * 100_000, "malformed"),
        ("{" * 100_000, "malformed"),
        ('{"a":' * 100_000, "malformed"),
        ('["\\ud800",' + "[" * 5000 + "]" * 5001, "malformed"),
        ("\x00", "malformed"),
        ("\ud800", "malformed"),
        ('{"type":"message","payload":"\ud800"}', "malformed"),
        (' {"type":"message"}', "malformed"),
        ("null", "malformed"),
        (bytes(range(256)), "malformed"),
        (b"", "malformed"),
        ('{"type":"auth","stage":"","payload":{}}', "unmatched"),
        ('{"type":"system","event":[]}', "malformed"),
        *((f'{{"type":"{kind}","payload":1}}', "malformed") for kind in ("result", "error", "request", "response")),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_garbage_is_counted_and_reported_with_its_beginning(frame: str | bytes, counter: str) -> None:
    """Once each, as `SocketMessageMalformed`, cut to 200 characters."""
    left, right, wrong = watched()
    right.receive(frame)
    assert getattr(right.stats, counter) == 1
    [(error, context)] = wrong
    assert isinstance(error, SocketMessageMalformed)
    text = frame.decode("utf-8", "replace") if isinstance(frame, bytes) else frame
    assert error.text == text[:200]
    assert context.source == "receive"
    assert left.call("echo", 1) == 1


@pytest.mark.parametrize(
    "template",
    [
        '{"id":"%s","type":"result","payload":[1,2',
        '{"id":"%s","type":"result","payload":nope}',
        '{"type":"result","payload":[' + "[" * 1100 + "]" * 1100 + '],"id":"%s"}',
        '{"id":"%s","type":"error","payload":"cut',
        '{"id":"%s","type":"result","payload":' + "9" * 5000 + "}",
    ],
    ids=lambda text: text[:40],
)
def test_an_unreadable_answer_fails_the_call_that_waits_for_it(template: str) -> None:
    """It does not wait for its timeout."""
    left, right, _ = watched()
    right.perform("odd", lambda: None)
    left._core.carrier.silent = True  # type: ignore[attr-defined]
    future = left.submit("odd")
    [id] = left._core.calls.table.pending
    left.receive(template % id)
    with pytest.raises(SocketMessageMalformed, match="received"):
        future.result(0)
    assert left.stats.malformed == 1


@pytest.mark.parametrize(
    "text",
    [
        '{"method":"echo","payload":[nope],"type":"call","id":"c1","timeout":5000}',
        '{"method":"echo","payload":[' + "[" * 1100 + "]" * 1100 + '],"type":"call","id":"c1","dt":1}',
        '{"id":"c1","type":"call","method":"echo","payload":["cut',
    ],
    ids=lambda text: text[:40],
)
def test_a_call_that_cannot_be_parsed_is_answered(text: str) -> None:
    """Its id says whom to answer, wherever it is in the text."""
    left, right, wrong = watched()
    answers: list[Any] = []
    left.listen(answers.append)
    right.receive(text)
    [answer] = answers
    assert (answer.id, answer.type) == ("c1", "error")
    assert answer.payload.startswith("SocketErrorMessageMalformed")
    assert len(wrong) == 1


@pytest.mark.parametrize(
    "text", ["[" * 5_000_000, '{"' + '\\"' * 2_000_000, '{"a":' * 1_000_000, '{"a":"' + "x" * 5_000_000]
)
def test_the_fields_of_a_text_that_is_not_json_are_found_at_once(text: str) -> None:
    """However it was made: a peer must not choose how long the reader looks for an id."""
    started = time.perf_counter()
    find_fields(text)
    assert time.perf_counter() - started < scaled(1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("sender", "{}"), ("sender", "true"), ("recipient", "[]"), ("dt", '"now"'), ("dt", "1e400"), ("dt", "NaN"),
     ("timeout", '"100"'), ("timeout", "{}")],
)  # fmt: skip
def test_an_unexpected_field_that_nothing_depends_on_is_passed_over(field: str, value: str) -> None:
    """The message counts, as if the field were missing; ``stats.malformed`` tells."""
    left, right, wrong = watched()
    left._core.carrier.silent = True  # type: ignore[attr-defined]
    future = left.submit("echo")
    [id] = left._core.calls.table.pending
    left.receive(f'{{"id":"{id}","type":"result","payload":7,"{field}":{value}}}')
    assert future.result(0) == 7
    assert left.stats.malformed == (field != "timeout")
    answers: list[Any] = []
    right.listen(answers.append)
    right.receive(f'{{"method":"echo","payload":[8],"type":"call","id":"c","{field}":{value}}}')
    assert right.stats.malformed == 1
    assert [getattr(message, field) for message in answers if field not in ("dt",)] in ([], [None])
    assert not wrong


def test_a_sender_may_be_a_number() -> None:
    """The reference stamps what the token names as the profile."""
    left, right, wrong = watched()
    heard: list[Any] = []
    right.observe("e", lambda message: heard.append((message.sender, message.recipient)))
    right.receive('{"type":"event","event":"e","payload":1,"sender":5,"recipient":7.5}')
    assert heard == [(5, 7.5)]
    assert right.stats.malformed == 0
    assert not wrong


DEEP = "[" * 1000 + "]" * 1000
FIELDS = [
    *(("event", field) for field in ("type", "event", "id", "sender", "recipient", "dt")),
    *(("call", field) for field in ("method", "timeout", "payload")),
    ("auth", "stage"),
    ("result", "id"),
]
WHOLE = {
    "event": {"type": "event", "event": "e", "payload": 1},
    "call": {"type": "call", "method": "echo", "payload": [1], "id": "x", "timeout": 5},
    "auth": {"type": "auth", "stage": "init", "payload": 1},
    "result": {"type": "result", "id": "x", "payload": 1},
}


@pytest.mark.parametrize(("kind", "field"), FIELDS)
@pytest.mark.parametrize(
    "value",
    ["1e400", "-1e400", "1" + "0" * 400, "1" + "0" * 5000, "1e5", "-1", "true", "{}", "[]", '"\\ud800"', DEEP,
     '{"a":' * 1000 + "1" + "}" * 1000],
    ids=lambda value: value[:12],
)  # fmt: skip
def test_no_value_of_any_field_ends_anything(kind: str, field: str, value: str) -> None:
    """Numbers beyond all bounds, halves of characters, nesting that Python cannot show."""
    left, right, wrong = watched()
    frame = json.dumps({**WHOLE[kind], field: "_core._carrier"}).replace('"_core._carrier"', value)
    for text in (frame, frame.encode(), frame[:-1] + ',"x":"\\ud83e"}'):
        right.receive(text)
    for error, _ in wrong:
        assert isinstance(error, SocketError)
        assert len(getattr(error, "text", None) or "") <= 200
        assert len(error.message) < 700
    assert left.call("echo", "alive") == "alive"


@pytest.mark.parametrize(
    "payload", [DEEP, '{"a":' * 900 + "1" + "}" * 900, "5", "null", "{}", '"|||"', '"' + "|||Error: " * 50_000 + '"']
)
def test_an_error_of_any_shape_fails_the_call_that_waits_for_it(payload: str) -> None:
    """With an error of ours, however it was marshalled."""
    left, *_ = watched()
    left._core.carrier.silent = True  # type: ignore[attr-defined]
    future = left.submit("echo")
    [id] = left._core.calls.table.pending
    left.receive(f'{{"type":"error","id":"{id}","payload":{payload}}}')
    assert isinstance(future.exception(0), ResilientError)


@pytest.mark.parametrize("id", ["1e400", "1" + "0" * 400, "true", "[]", "{}"])
def test_no_answer_leaves_without_an_id(id: str) -> None:
    """An id that cannot be written again is none."""
    left, right, _ = watched()
    right.receive(f'{{"type":"call","method":"echo","payload":[1],"id":{id}}}')
    right.receive(f'{{"type":"call","method":"echo","payload":["\\ud800"],"id":{id}}}')
    right.receive(f'{{"type":"call","method":5,"payload":[1],"id":{id}}}')
    assert right.stats.messages_out == 0
    assert left.stats.messages_in == 0


def test_a_call_nested_too_deep_is_answered() -> None:
    """It was read far enough to know who asks; and the limit holds for what is sent as well."""
    left, right, *_ = make_pair(limits=Limits(json_depth=10))
    right.on_error(lambda error, context: None)
    right.perform("echo", lambda value: value)
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    for send in (left.call, left.notify):
        with pytest.raises(SocketMessageMalformed, match="deeper than 10 levels"):
            send("echo", deep)
    with pytest.raises(SocketMessageMalformed, match="deeper than 10 levels"):
        left.enqueue(deep)
    answers: list[Any] = []
    left.listen(answers.append)
    right.receive(json.dumps({"type": "call", "id": "c1", "method": "echo", "payload": [deep]}))
    [answer] = answers
    assert "deeper than 10 levels" in answer.payload
    assert left.call("echo", [[1]]) == [[1]]


def test_draining_reports_garbage_too() -> None:
    """And answers nothing to it."""
    _, right, wrong = watched()
    right._core.dispatcher.draining = True
    right.receive("garbage")
    assert (right.stats.malformed, len(wrong)) == (1, 1)


CIRCLE: list[Any] = []
CIRCLE.append({"again": CIRCLE})
NESTED: Any = 1
for _ in range(1100):
    NESTED = [NESTED]
UNSENDABLE: dict[str, Any] = {
    "ellipsis": ..., "object": object(), "integer": 10**5000, "complex inside": {"deep": {1: {2j}}},
    "circle": CIRCLE, "nested": NESTED, "range": range(3), "class": dict, "function": len, "key": {(1, 2): 3},
    "complex": 1j, "iterator": iter([1]),
}  # fmt: skip


@pytest.mark.parametrize("payload", UNSENDABLE.values(), ids=UNSENDABLE)
def test_arguments_that_cannot_be_sent_raise_before_anything_is_pending(payload: Any) -> None:
    """On the thread that calls."""
    left, _, wrong = watched()
    for send in (
        lambda: left.call("echo", payload),
        lambda: left.submit("echo", payload),
        lambda: left.notify("x", payload),
        lambda: left.enqueue(payload),
        lambda: left.stream(payload),
        lambda: left.request(payload, lambda response: True),
        lambda: left.reply("x", payload),
        lambda: left.auth("init", payload),
        lambda: left.send(Message(payload=payload)),
    ):
        with pytest.raises(SocketMessageMalformed):
            send()
    assert left.stats.pending == left.stats.messages_out == 0
    assert not wrong
