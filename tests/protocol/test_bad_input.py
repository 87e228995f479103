"""Garbage of any kind never ends a connection: it is counted, reported, and passed over."""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers import load
from hypothesis import given, settings
from hypothesis import strategies as st
from pair import make_pair

from owlsocket_sync import (
    Connection,
    ErrorContext,
    Limits,
    Message,
    ResilientError,
    SocketError,
    SocketMessageMalformed,
)

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


@settings(max_examples=2500, deadline=None)
@given(mutated())
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
        ('{"type":"message","payload":NaN}', "malformed"),
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
        ('{"type":"event","event":"\\ud800","dt":1' + "0" * 400 + "}", "malformed"),
        ('{"type":"call","method":"echo","payload":[1],"id":"x","dt":1e400}', "malformed"),
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


def test_an_unreadable_answer_fails_the_call_that_waits_for_it() -> None:
    """It does not wait for its timeout."""
    left, right, _ = watched()
    right.perform("odd", lambda: None)
    left._carrier.silent = True  # type: ignore[attr-defined]
    future = left.submit("odd")
    [id] = left._calls
    left.receive(json.dumps({"type": "result", "id": id, "dt": "yesterday"}))
    with pytest.raises(SocketMessageMalformed, match="dt that is no number"):
        future.result(0)


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
    frame = json.dumps({**WHOLE[kind], field: "@@"}).replace('"@@"', value)
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
    left._carrier.silent = True  # type: ignore[attr-defined]
    future = left.submit("echo")
    [id] = left._calls
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
    """It was read far enough to know who asks."""
    left, right, *_ = make_pair(limits=Limits(json_depth=10))
    right.on_error(lambda error, context: None)
    right.perform("echo", lambda value: value)
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    with pytest.raises(SocketMessageMalformed, match="deeper than 10 levels"):
        left.call("echo", deep, timeout=5)
    assert left.call("echo", [[1]]) == [[1]]


def test_draining_reports_garbage_too() -> None:
    """And answers nothing to it."""
    _, right, wrong = watched()
    right._draining = True
    right.receive("garbage")
    assert (right.stats.malformed, len(wrong)) == (1, 1)


CIRCLE: list[Any] = []
CIRCLE.append({"again": CIRCLE})
NESTED: Any = 1
for _ in range(300):
    NESTED = [NESTED]
UNSENDABLE: dict[str, Any] = {
    "ellipsis": ..., "object": object(), "integer": 2**65, "negative": -(2**64), "complex inside": {"deep": {1: {2j}}},
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
