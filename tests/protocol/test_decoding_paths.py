"""The short paths of decoding: they return what the long path returns, for every text."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from owlsocket_sync import Message, MessageType, SocketMessageMalformed
from owlsocket_sync.protocol import codec
from owlsocket_sync.protocol.codec import decode, decode_answer
from support.helpers import examples, load
from wire.recorded import SCENARIOS

RECORDED = sorted(
    {row.text for rows in SCENARIOS.values() for row in rows if row.text.startswith("{")}
    | {text for side in ("c2s", "s2c") for text in load("frames.json")[side].values()}
)

LONG = "9" * 4400
"""An integer of more digits than Python converts, and than orjson reads as a float."""
DEEP = "[" * 1020 + "]" * 1020
"""A value that orjson reads, and for which the stack of json is not deep enough before Python 3.12."""

NUMBERS = ["0", "-0", "1", "1764506000123", "1.5", "true", "-5", "60000", "2147483647", "2147483648", "1e400", "-1e400"]
LONG_NUMBERS = [
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "1" * 400,
]
TEXTS = [
    '""',
    '"a"',
    '"toString"',
    '"12345678901234567890123"',
    r'"\ud800"',
    r'"\ud83e\udd89"',
    '"żółć 🦉"',
    r'"\u0000"',
]
LARGE = [
    json.dumps("x" * 600),
    json.dumps("\n" * 600),
    json.dumps("[" + "9" * 30 + "]" + "y" * 900),
    "7" * 300,
    LONG,
    DEEP,
]
SCALARS = [*NUMBERS, *LONG_NUMBERS, *TEXTS, "null", "NaN", "[]", "{}"]
NESTED = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(st.sampled_from(TEXTS), inner), max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{key} :{item}" for key, item in pairs) + "}"
        )
    ),
    max_leaves=8,
)
ANY = NESTED | st.sampled_from(LARGE)
FIELDS: dict[str, st.SearchStrategy[str]] = {
    "payload": ANY,
    "event": st.sampled_from(TEXTS) | ANY,
    "method": st.sampled_from(TEXTS) | ANY,
    "id": st.sampled_from(TEXTS) | ANY,
    "dt": st.sampled_from(NUMBERS) | ANY,
    "timeout": st.sampled_from(NUMBERS) | ANY,
    "sender": st.sampled_from(TEXTS) | ANY,
    "recipient": ANY,
    "stage": ANY,
    "toString": ANY,
}
KINDS: dict[str, list[str]] = {
    "event": ["event"],
    "call": ["method", "id", "timeout"],
    "result": ["id"],
    "error": ["id"],
    "request": ["id"],
    "message": [],
    "system": ["event"],
    "auth": ["stage"],
    "unknown": [],
}


@st.composite
def _texts(draw: st.DrawFn) -> str:
    """Draw the text of a message: mostly an ordinary one, with keys and values that are missing, wrong or twice."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    ordinary: dict[str, st.SearchStrategy[str]] = {
        "payload": NESTED.map(lambda item: f"[{item}]") if kind == "call" else NESTED,
        "event": st.sampled_from(TEXTS),
        "method": st.sampled_from(TEXTS),
        "id": st.sampled_from(TEXTS),
        "timeout": st.sampled_from(NUMBERS),
        "dt": st.sampled_from(NUMBERS),
        "sender": st.sampled_from(TEXTS),
        "stage": st.sampled_from(TEXTS),
    }
    names = ["payload", *KINDS[kind], *draw(st.sampled_from([[], ["dt"], ["dt", "sender"], ["sender"]]))]
    pairs = [("type", f'"{kind}"'), *((name, draw(ordinary[name])) for name in names)]
    for change in draw(st.lists(st.sampled_from(["drop", "spoil", "add", "type", "again"]), max_size=2)):
        place = draw(st.integers(0, len(pairs) - 1)) if pairs else 0
        name = pairs[place][0] if pairs else "type"
        if change == "drop":
            pairs[place : place + 1] = []
        elif change == "spoil":
            pairs[place : place + 1] = [(name, draw(ANY))]
        elif change == "type":
            pairs.append(("type", draw(ANY)))
        else:
            added = name if change == "again" else draw(st.sampled_from(sorted(FIELDS)))
            pairs.insert(place, (added, draw(ANY if added == "type" else FIELDS[added])))
    if draw(st.booleans()):
        pairs = draw(st.permutations(pairs))
    colon, comma = draw(st.sampled_from([(":", ","), (" :\n", " , ")]))
    # A key may be written with an escape, and be the same key.
    spelled = draw(st.sampled_from(["{}", r"\u00{:x}{}"]))
    keys = [spelled.format(ord(name[0]), name[1:]) if spelled != "{}" else name for name, _ in pairs]
    body = comma.join(f'"{key}"{colon}{item}' for key, (_, item) in zip(keys, pairs, strict=True))
    return (
        draw(st.sampled_from(["", "", "", "", " ", "\ufeff", "x"]))
        + "{"
        + body
        + "}"
        + draw(st.sampled_from(["", " "]))
    )


def outcome(text: str, depth: int) -> tuple[Any, ...]:
    """Return everything that `decode` returns or raises, with the types of all values."""
    ignored: list[str] = []
    try:
        message = decode(text, depth, ignored)
    except SocketMessageMalformed as error:
        return "malformed", str(error), error.text, repr(error.fields), ignored
    if isinstance(message, str):
        return "text", message, ignored
    return type(message), type(message.type), repr(message), ignored


def by_the_long_path(text: str, depth: int) -> tuple[Any, ...]:
    """Return the outcome of the long path alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "_decode_ordinary", lambda value, text: None)
        return outcome(text, depth)


ORDINARY = [
    '{"event":"e","payload":"p","type":"event"}',
    '{"event":"e","payload":[1,"a",null,true],"type":"event","dt":1764506000123}',
    '{"event":"e","payload":{"a":[1.5]},"type":"event","dt":1764506000123,"sender":"s"}',
    '{"event":"e","payload":"' + "p" * 10_000 + '","type":"event"}',
    '{"method":"m","payload":[],"type":"call","id":"i","timeout":0}',
    '{"method":"m","payload":[1,{"a":2}],"type":"call","id":"i","dt":1764506000123,"timeout":60000}',
    '{"method":"m","payload":["' + "p" * 10_000 + '"],"type":"call","id":"i","dt":5,"timeout":60000,"sender":"s"}',
    '{"id":"i","type":"result","payload":1.5}',
    '{"id":"i","type":"result","payload":null,"dt":1764506000123}',
    '{"id":"i","type":"error","payload":"E|||m","dt":1764506000123,"sender":"s"}',
]


@pytest.mark.parametrize("text", ORDINARY, ids=range(len(ORDINARY)))
def test_an_ordinary_message_takes_the_short_path(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The properties below compare two paths, and not one with itself."""
    expected = by_the_long_path(text, 1024)
    monkeypatch.setattr(codec, "read_message", None)
    assert outcome(text, 1024) == expected
    assert isinstance(expected[0], type)
    assert issubclass(expected[0], Message)


@pytest.mark.slow
@settings(max_examples=examples(200, 3_000))
@given(_texts())
@example('{"type":"call","method":"m","id":"i","timeout":5,"payload":[12345678901234567890123]}')
@example('{"type":"call","method":"m","id":"i","timeout":12345678901234567890123,"payload":[]}')
@example('{"type":"call","method":"m","id":5,"timeout":5,"payload":[]}')
@example('{"type":"call","method":"m","id":[],"timeout":5,"payload":[]}')
@example('{"type":"call","method":"m","id":"i","timeout":5,"payload":{}}')
@example('{"type":"call","method":"m","id":"i","timeout":5.5,"payload":[]}')
@example('{"type":"event","event":"e","payload":1,"dt":1,"sender":[]}')
@example('{"type":"event","event":"e","payload":1,"dt":1,"sender":"s","recipient":5}')
@example('{"type":"event","event":5,"payload":1}')
@example(' {"type":"event","event":"e","payload":1}')
def test_the_short_path_returns_what_the_long_path_returns(text: str) -> None:
    """Message for message, error for error, with the same ignored fields, under each limit of depth."""
    assert outcome(text, 1024) == by_the_long_path(text, 1024)
    assert outcome(text, 3) == by_the_long_path(text, 3)


@pytest.mark.slow
@settings(max_examples=examples(200, 3_000))
@given(_texts())
@example(' {"type":"result","id":"i","payload":1}')
@example('{"type":"result","id":"i","payload":1,"dt":1e400}')
@example('{"type":"result","id":"i","payload":1,"sender":"s"}')
@example('{"type":"result","id":"i","dt":true}')
@example('{"type":"result","id":"i","payload":1,"dt":1764506000123,"sender":5}')
def test_an_answer_that_a_caller_reads_is_the_message_of_the_long_path(text: str) -> None:
    """A message with an ignored field is left to the dispatcher, which counts it."""
    answer = decode_answer(text)
    if answer is None:
        return
    is_result, id, payload = answer
    kind = MessageType.RESULT if is_result else MessageType.ERROR
    ignored: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "_decode_ordinary", lambda value, text: None)
        message = decode(text, ignored=ignored)
    assert isinstance(message, Message)
    assert (message.type, message.id, repr(message.payload), ignored) == (kind, id, repr(payload), [])


@pytest.mark.slow
@settings(max_examples=examples(200, 3_000))
@given(_texts())
@example('{"type":"result","id":"i","payload":"' + "é" * 600 + '"}')
@example('{"type":"result","id":"i","payload":[' + "1," * 600 + "18446744073709551616]}")
@example('\ufeff{"type":"result","id":"i","payload":1}')
def test_an_answer_in_bytes_is_the_answer_in_text(text: str) -> None:
    """A large answer is decoded from the bytes that were received."""
    try:
        received = memoryview(text.encode())
    except UnicodeEncodeError:
        return  # no frame has such a text
    assert repr(decode_answer(received)) == repr(decode_answer(text))


@pytest.mark.parametrize(
    "text",
    [
        '{"id":"i","type":"result","payload":' + DEEP + ',"payload":"[12345678901234567890]"}',
        '{"id":' + DEEP + ',"type":"result","id":"i","payload":[1,"[12345678901234567890]"]}',
        '{"id":"[12345678901234567890]","type":"result","sender":' + DEEP + ',"sender":"s","dt":5,"payload":null}',
    ],
    ids=["payload", "id", "sender"],
)
def test_a_value_that_only_the_stack_of_json_refuses_is_refused_on_both_paths(text: str) -> None:
    """Not under hypothesis, which makes the stack larger."""
    assert by_the_long_path(text, 1024) == outcome(text, 1024)
    assert decode_answer(text) is None
    if sys.version_info < (3, 12):
        assert outcome(text, 1024)[0] == "text"


@pytest.mark.parametrize("integer", [2**64, 10**20 - 1, -(2**63) - 1, -(10**19) + 1], ids=str)
@pytest.mark.parametrize("before", range(10))
def test_a_long_integer_is_exact_wherever_it_is(before: int, integer: int) -> None:
    """At each distance from the beginning of the text, since not every character is looked at."""
    text = f'{{"id":"{"i" * before}","type":"result","payload":[{integer}]}}'
    message = decode(text)
    assert isinstance(message, Message)
    assert message.payload == [integer]
    assert decode_answer(text) is None


@pytest.mark.parametrize("text", ORDINARY[-3:], ids=["float", "null", "error"])
def test_an_ordinary_answer_is_one_that_a_caller_reads(text: str) -> None:
    """The property above looks at answers."""
    assert decode_answer(text) is not None


@pytest.mark.parametrize("text", RECORDED, ids=range(len(RECORDED)))
def test_recorded_frames_are_decoded_alike_on_both_paths(text: str) -> None:
    """All that the reference was seen to send."""
    assert outcome(text, 1024) == by_the_long_path(text, 1024)
