"""Garbage of any kind never ends a connection: it is counted, reported, and passed over."""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers import load
from hypothesis import given, settings
from hypothesis import strategies as st
from pair import make_pair

from owlsocket_sync import Connection, ErrorContext, SocketError, SocketMessageMalformed

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
    right.perform("echo", lambda value: value)
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


@pytest.mark.parametrize("payload", [{1}, object(), 2**65, {"deep": {1: {2}}}], ids=repr)
def test_arguments_that_cannot_be_sent_raise_before_anything_is_pending(payload: Any) -> None:
    """On the thread that calls."""
    left, _, wrong = watched()
    for send in (left.call, left.submit):
        with pytest.raises(SocketMessageMalformed):
            send("echo", payload)
    for send in (left.notify, lambda name, value: left.enqueue(value), lambda name, value: left.stream(value)):
        with pytest.raises(SocketMessageMalformed):
            send("x", payload)
    assert left.stats.pending == left.stats.messages_out == 0
    assert not wrong
