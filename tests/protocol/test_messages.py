"""Messages: read as the reference writes them, written as the reference reads them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import pytest

from owlsocket_sync import (
    AuthenticationStage,
    AuthMessage,
    CallMessage,
    EventMessage,
    Message,
    MessageType,
    SocketMessageMalformed,
    is_auth_message,
    is_call_message,
    is_event_message,
    is_message,
)
from owlsocket_sync.protocol.codec import decode, encode, timeout_ms
from owlsocket_sync.protocol.messages import IDS
from support.helpers import load

FRAMES = load("frames.json")
RECORDED = [(side, name) for side in ("c2s", "s2c") for name in FRAMES[side]]
CONSTS = load("consts.json")


@pytest.mark.parametrize(("side", "name"), RECORDED)
def test_a_recorded_frame_is_decoded_and_encoded_key_by_key(side: str, name: str) -> None:
    """Each frame of the reference is reproduced, except for a missing payload."""
    recorded = json.loads(FRAMES[side][name])
    if recorded["type"] in ("ping", "pong"):
        return
    message = decode(FRAMES[side][name])
    assert isinstance(message, Message)
    written = json.loads(encode(message))
    assert written == {"payload": None, **recorded}
    if "payload" in recorded:
        assert [key for key in written if key != "id"] == [
            key for key in recorded if key != "id"
        ] or "sender" in written


def test_types_and_stages_have_the_spelling_of_the_wire() -> None:
    """The mistakes of the reference included."""
    assert {kind.name.capitalize(): kind.value for kind in MessageType} == CONSTS["MessageType"]
    assert {stage.name.capitalize(): stage.value for stage in AuthenticationStage} == CONSTS["AuthenticationStage"]


@pytest.mark.parametrize("case", CONSTS["helpers"], ids=lambda case: json.dumps(case["msg"])[:40])
def test_the_predicates_match_those_of_the_reference(case: dict[str, Any]) -> None:
    """``is_message`` and its relatives, for mappings."""
    value = case["msg"]
    assert is_message(value) is case["isMessage"]
    assert is_message(value, True) is case["isMessage(m,true)"]
    assert is_message(value, False) is case["isMessage(m,false)"]
    assert is_event_message(value) is case["isEventMessage"]
    assert is_event_message(value, True) is case["isEventMessage(m,true)"]
    assert is_event_message(value, False) is case["isEventMessage(m,false)"]
    assert is_call_message(value) is case["isCallMessage"]
    assert is_auth_message(value) is case["isAuthMessage"]


def test_the_predicates_accept_messages() -> None:
    """Each class of message is recognized."""
    assert is_call_message(CallMessage(method="m", payload=[]))
    assert is_event_message(EventMessage(event="e"), False)
    assert is_event_message(EventMessage(MessageType.SYSTEM, event="close"), True)
    assert is_auth_message(AuthMessage())
    assert is_message(Message())
    assert not is_message(None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"hello":1}', Message(payload={"hello": 1})),
        ("{}", Message(payload={})),
        ('{"payload":"only"}', Message(payload="only")),
        ('{"type":null,"payload":"typed null"}', Message(payload="typed null")),
        ('{"payload":null,"id":"x"}', Message(payload=None, id="x")),
        ("[1,2]", Message(payload=[1, 2])),
        ('[{"type":"call","method":"echo","payload":[1],"id":"x"}]',
         Message(payload=[{"type": "call", "method": "echo", "payload": [1], "id": "x"}])),
        ('{"type":"message","payload":false}', Message(payload=False)),
        ('{"type":"result","id":7,"payload":0}', Message(MessageType.RESULT, 0, 7)),
        ('{"type":"foo","payload":1}', Message("foo", 1)),
        ('{"type":"CALL","payload":[1]}', Message("CALL", [1])),
        ('{"type":"event","event":"toString","payload":""}', EventMessage(payload="", event="toString")),
        ('{"type":"system","event":"close","payload":{}}', EventMessage(MessageType.SYSTEM, {}, event="close")),
        ('{"type":"system","payload":{"a":1}}', Message(MessageType.SYSTEM, {"a": 1})),
        ('{"type":"auth","stage":"auhtentication"}', AuthMessage(stage=AuthenticationStage.AUTHENTICATION)),
        ('{"type":"auth","stage":"unheard-of"}', AuthMessage(stage="unheard-of")),
        ('{"type":"auth","stage":null,"payload":{}}', AuthMessage(payload={}, stage=None)),
        ('{"type":"call","method":"m","payload":[],"timeout":1500}', CallMessage(payload=[], method="m", timeout=1.5)),
        ('{"type":"call","method":"m","payload":[],"timeout":0}',
         CallMessage(payload=[], method="m", timeout=math.inf)),
        ('{"type":"call","method":"m","payload":[],"timeout":-5}',
         CallMessage(payload=[], method="m", timeout=math.inf)),
        ('{"type":"event","event":"e","payload":"\\ud800","sender":"s","recipient":"r","dt":1500}',
         EventMessage(payload="\ud800", event="e", sender="s", recipient="r", dt=1.5)),
        ('{"type":"message","payload":1e400}', Message(payload=math.inf)),
        ('{"type":"message","payload":["\\ud800",12345678901234567890123]}',
         Message(payload=["\ud800", 12345678901234567890123])),
        ('{"type":"message","payload":["\\ud800",18446744073709551615,-9223372036854775808,-0]}',
         Message(payload=["\ud800", 2**64 - 1, -(2**63), 0])),
        ('{"type":"call","method":"m","payload":[],"timeout":2147483648}',
         CallMessage(payload=[], method="m", timeout=math.inf)),
        ('{"type":"call","method":"m","payload":[],"timeout":2147483647,"id":""}',
         CallMessage(payload=[], method="m", timeout=2_147_483.647, id="")),
        ('{"type":"message","payload":12345678901234567890123}', Message(payload=12345678901234567890123)),
        ('{"type":"message","payload":[-9223372036854775809, 18446744073709551616,"123456789012345678901"]}',
         Message(payload=[-(2**63) - 1, 2**64, "123456789012345678901"])),
        ('{"type":"message","payload":[Infinity,-Infinity]}', Message(payload=[math.inf, -math.inf])),
        ('{"type":"call","method":"m","payload":[],"timeout":"5"}', CallMessage(payload=[], method="m")),
        ('{"type":"message","sender":5,"payload":1}', Message(payload=1, sender=5)),
        ('{"type":"message","recipient":[],"payload":1}', Message(payload=1)),
        ('{"type":"message","dt":"now","payload":1}', Message(payload=1)),
        ('{"type":"message","dt":-1e400,"payload":1}', Message(payload=1)),
        ('{"type":"message","dt":true,"payload":1}', Message(payload=1)),
        ('{"type":"call","method":"m","payload":[],"timeout":1e400}', CallMessage(payload=[], method="m")),
    ],
)  # fmt: skip
def test_text_is_decoded_as_by_the_reference(text: str, expected: Message) -> None:
    """Objects without type, arrays, unknown types, misspelt stages, timeouts in milliseconds."""
    message = decode(text)
    assert isinstance(message, Message)
    assert message.raw == text
    message.raw = None
    assert message == expected


@pytest.mark.parametrize("text", ["{bad", "[not json", "{" * 5000, "[" * 100_000, "[" + "9" * 5000 + "]"])
def test_text_that_only_begins_like_json_is_returned(text: str) -> None:
    """Listeners receive it."""
    assert decode(text) == text


def test_bytes_are_decoded_as_utf_8() -> None:
    """Invalid UTF-8 included."""
    assert decode(b'{"type":"message","payload":1}') == Message(payload=1, raw='{"type":"message","payload":1}')
    assert decode(b"{\xff\xfe}") == "{\ufffd\ufffd}"


@pytest.mark.parametrize(
    "text",
    ["", "5", "null", '"text"', "plain", ' {"type":"message"}', '\ufeff{"type":"message"}', '{"type":5}',
     '{"type":"call","payload":[],"id":"x"}', '{"type":"call","method":5,"payload":[]}',
     '{"type":"call","method":"m"}', '{"type":"call","method":"m","payload":{"a":1}}',
     '{"type":"call","method":"m","payload":[],"id":[]}',
     '{"type":"event","payload":1}', '{"type":"event","event":null}', '{"type":"request","payload":1}',
     '{"type":"response"}', '{"type":"result","payload":1}', '{"type":"error"}', '{"type":"auth","stage":5}',
     '{"type":"message","id":1e400}', '{"type":["call"]}', '{"type":true}',
     '{"type":"message","id":true}', '{"type":"system","event":5}'],
)  # fmt: skip
def test_an_invalid_message_is_described(text: str) -> None:
    """The error shows the beginning of the text, but not of an auth message, which may hold a token."""
    with pytest.raises(SocketMessageMalformed) as refused:
        decode(text)
    assert refused.value.text == text[:200]
    assert repr("***" if '"auth"' in text else text[:200]) in refused.value.message


def test_nesting_is_bounded_by_the_limit() -> None:
    """``Limits.json_depth`` counts levels; the parser has a bound of its own."""
    assert isinstance(decode("[" * 10 + "]" * 10, depth=10), Message)
    with pytest.raises(SocketMessageMalformed, match="deeper than 9 levels"):
        decode("[" * 10 + "]" * 10, depth=9)
    assert isinstance(decode("[" * 1024 + "]" * 1024), Message)


@dataclass
class Owl:
    """A payload that is a plain dataclass."""

    name: str
    age: int


@pytest.mark.parametrize(
    ("payload", "written"),
    [
        ("żółć 🦉", '"żółć 🦉"'),
        (math.nan, "null"),
        (2**64 - 1, "18446744073709551615"),
        ([2**64, -(2**63) - 1, math.nan, 1.5, True], "[18446744073709551616,-9223372036854775809,null,1.5,true]"),
        ((1, 2), "[1,2]"),
        ({1: "a"}, '{"1":"a"}'),
        ("\ud800", '"\\ud800"'),
        (Owl("Tyto", 3), '{"name":"Tyto","age":3}'),
        (EventMessage(payload=1, event="e", dt=1.5, raw="x"), '{"event":"e","payload":1,"type":"event","dt":1500}'),
        (MessageType.CALL, '"call"'),
    ],
)
def test_json_values_are_encoded(payload: Any, written: str) -> None:
    """NaN becomes null, as in JavaScript; integers are exact."""
    assert encode(Message(payload=payload)).decode() == f'{{"type":"message","payload":{written}}}'


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)
DEEP: list[Any] = []
for _ in range(1100):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "payload",
    [{object()}, object(), 10**5000, range(3), CIRCLE, DEEP, {(1, 2): 3}, 1j, len],
    ids=["set", "object", "too-large", "range", "circle", "deep", "key", "complex", "function"],
)
def test_other_values_are_refused(payload: Any) -> None:
    """Before anything is sent, with the name of the message."""
    with pytest.raises(SocketMessageMalformed, match="the call 'm' cannot be sent as JSON"):
        encode(CallMessage(payload=[payload], method="m"))


@pytest.mark.parametrize("levels", [200, 300, 1022])
def test_what_can_be_read_can_be_sent_on(levels: int) -> None:
    """Nesting has one limit in both directions."""
    text = '{"type":"message","payload":' + "[" * levels + "]" * levels + "}"
    message = decode(text)
    assert isinstance(message, Message)
    assert encode(message).decode() == text
    with pytest.raises(SocketMessageMalformed, match="deeper than 100 levels"):
        encode(message, 100)


@pytest.mark.parametrize("payload", [{1: "a", "1": "b"}, [{"x": {None: 1, "null": 2}}], {True: 1, "true": 2}])
def test_two_keys_that_are_the_same_text_are_refused(payload: Any) -> None:
    """A reader would keep one of the two."""
    with pytest.raises(SocketMessageMalformed, match="two keys of an object are the same text"):
        encode(Message(payload=payload))


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(1.5, 1500), (0.0001, 1), (0.0, 1), (math.inf, 0), (2_147_483.647, 2_147_483_647), (2_147_483.648, 0)],
)
def test_a_timeout_is_encoded_within_the_range_of_the_reference(seconds: float, milliseconds: int) -> None:
    """Never negative, and 0 for one that is too long."""
    assert timeout_ms(seconds) == milliseconds


def test_ids_are_unique() -> None:
    """In this process, and in a forked child, which has another prefix."""
    ids = {IDS.next() for _ in range(1000)}
    assert len(ids) == 1000


@pytest.mark.parametrize(
    "message",
    [Message(dt=math.inf), Message(dt=math.nan), EventMessage(event={1}), Message(id={1})],  # type: ignore[arg-type]
)
def test_a_message_with_an_invalid_field_is_malformed(message: Message) -> None:
    """Whichever field it is."""
    with pytest.raises(SocketMessageMalformed, match="cannot be sent as JSON"):
        encode(message)


def test_a_lone_surrogate_does_not_lift_the_bound_of_nesting() -> None:
    """Both parsers have the same depth."""
    deep = "[" * 1100 + "]" * 1100
    assert decode(f'["\\ud800",{deep}]') == f'["\\ud800",{deep}]'


@pytest.mark.parametrize("limit", [1, 200, 253, 254, 255, 1023, 1024])
def test_what_is_read_can_be_sent_on(limit: int) -> None:
    """One limit of depth holds in both directions: what is one level deeper is neither read nor sent."""

    def nested(levels: int) -> str:
        return '{"type":"event","event":"e","payload":' + "[" * (levels - 1) + "1" + "]" * (levels - 1) + "}"

    def json_payload(data: bytes) -> str:
        return data.decode().partition('"payload":')[2].partition(',"type"')[0]

    message = decode(nested(limit), limit)
    assert isinstance(message, EventMessage)
    assert json_payload(encode(message, limit)) == nested(limit).partition('"payload":')[2][:-1]
    with pytest.raises(SocketMessageMalformed, match="json_depth"):
        encode(EventMessage(payload=[message.payload], event="e"), limit)
    if limit < 1024:
        with pytest.raises(SocketMessageMalformed, match="json_depth"):
            decode(nested(limit + 1), limit)
    else:
        assert decode(nested(limit + 1), limit) == nested(limit + 1), "the text itself, which nothing reads"
