"""JSON bombs: whatever a message holds, it is reported or read, the link stays up, and the next call works."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from fuzz.complaints import watched
from fuzz.drive import seeds
from fuzz.peers import Victim, client_victim, server_victim
from fuzz.texts import JSON_WORDS
from owlsocket_sync import ConnectionState, SocketError, SocketMessageMalformed
from support.figures import Figure
from support.helpers import eventually, load, scaled, whole

Sides = dict[str, Callable[[], AbstractContextManager[Victim]]]

SIDES: Sides = {"client": client_victim, "server": server_victim}
CALLS_EACH = 100
FRAMES = load("frames.json")
VALID = [json.loads(text) for side in ("c2s", "s2c") for text in FRAMES[side].values()]
FIELDS = ("type", "payload", "id", "method", "event", "stage", "timeout", "dt", "sender", "recipient")


@pytest.fixture(params=SIDES)
def victim(request: pytest.FixtureRequest) -> Iterator[Victim]:
    """A client, then a server, as the receiver."""
    with watched() as complaints, SIDES[request.param]() as side:
        yield side
        assert complaints == []


def _alive(victim: Victim) -> None:
    """All was taken in, on the link that there was; and calls work, ours and the peer's."""
    victim.settle()
    assert victim.conn.state is ConnectionState.OPEN
    assert victim.conn.stats.reconnects == 0
    assert victim.conn.call("echo", "alive", timeout=scaled(10)) == "alive"
    for error, _ in victim.told():
        assert isinstance(error, SocketError), error
        assert not isinstance(error, SocketMessageMalformed) or len(str(error)) < 3000


def _event(payload: bytes) -> bytes:
    return b'{"type":"event","event":"bomb","payload":' + payload + b"}"


MALFORMED = {
    "depth 100k, lists": b"[" * 100_000 + b"]" * 100_000,
    "depth 100k, objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "depth 100k within": _event(b"[" * 100_000 + b"]" * 100_000),
    "depth 100k, open": b"[" * 100_000,
    "10 MB integer": _event(b"9" * 10_000_000),
    "bare half": b'{"type":"event","event":"bomb","payload":1,"id":"\\ud800',
    "bare text": b"x" * 1_000_000,
    "zero": b"\0",
    "number for event": b'{"type":"event","event":' + b"9" * 10_000_000 + b"}",
    "number for id": b'{"type":"request","id":' + b"9" * 10_000_000 + b"}",
    "number for dt": b'{"type":"event","event":"bomb","dt":' + b"9" * 10_000_000 + b"}",
    "object for type": b'{"type":{"a":1}}',
    "last key counts": b'{"type":"event","event":"bomb","event":5}',
}
READ = {
    "Infinity": (_event(b"-Infinity"), float("-inf")),
    "10 MB fraction": (_event(b"0." + b"9" * 10_000_000), 1.0),
    "1e400": (_event(b"1e400"), float("inf")),
    "lone surrogates": (_event(b'"\\ud800x\\udfff"'), "\ud800x\udfff"),
    "10 MB text": (_event(b'"' + b"x" * 10_000_000 + b'"'), "x" * 10_000_000),
    "1M zeros, escaped": (_event(b'"' + b"\\u0000" * 1_000_000 + b'"'), "\0" * 1_000_000),
    "1M items": (_event(b"[" + b"1," * 999_999 + b"1]"), [1] * 1_000_000),
    "duplicate keys": (b'{"type":"call","type":"event","event":"x","event":"bomb","payload":1,"payload":2}', 2),
    "100k keys alike": (_event(b"{" + b'"a":1,' * 99_999 + b'"a":2}'), {"a": 2}),
    "100k keys": (
        _event(json.dumps(dict.fromkeys(map(str, range(100_000)), 0)).encode()),
        {str(n): 0 for n in range(100_000)},
    ),
    "depth 1000": (_event(b"[" * 1000 + b"]" * 1000), None),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_row_13_a_json_bomb_is_reported(victim: Victim, name: str) -> None:
    """Counted once, told once, and passed over."""
    victim.talker.say(MALFORMED[name])
    eventually(lambda: victim.errors.items, 20)
    [(error, context)] = victim.told()
    assert isinstance(error, SocketMessageMalformed)
    assert context.source == "receive"
    assert victim.conn.stats.malformed == 1
    _alive(victim)


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_row_13_unusual_but_valid_json_is_accepted(victim: Victim, name: str) -> None:
    """It reaches its handler as JavaScript would have read it."""
    data, value = READ[name]
    with victim.conn.events("bomb", limit=1, timeout=scaled(20)) as events:
        victim.talker.say(data)
        [message] = events
    assert value is None or message.payload == value
    assert victim.conn.stats.malformed == 0
    _alive(victim)


WRONG: list[Any] = [
    None,
    True,
    5,
    -1,
    1e308,
    "",
    "x" * 100_000,
    [],
    {},
    [[]],
    {"type": "call"},
    "\ud800",
    "constructor",
]


@pytest.mark.slow
def test_row_13_wrong_types_in_each_field(victim: Victim) -> None:
    """Of each valid message, each field replaced by a value of each kind."""
    sent = 0
    for valid in VALID:
        for field in FIELDS:
            for value in WRONG:
                victim.talker.say(json.dumps({**valid, field: value}).encode())
                sent += 1
        _alive(victim)
    assert sent > 2000
    assert victim.conn.stats.malformed > 500


numbers = st.integers() | st.floats() | st.sampled_from([2**53 + 1, 2**64, -(2**63) - 1, 10**400])
leaves = st.none() | st.booleans() | numbers | st.text(st.characters(codec=None), max_size=20)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


@st.composite
def bombs(draw: st.DrawFn) -> bytes:
    """A valid message with any values in some fields, then perhaps words of JSON put into its text."""
    message = {**draw(st.sampled_from(VALID)), **draw(st.dictionaries(st.sampled_from(FIELDS), values, max_size=3))}
    data = json.dumps(message).encode()
    for word in draw(st.lists(st.sampled_from(JSON_WORDS), max_size=2)):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + word + data[at + draw(st.integers(0, 4)) :]
    return data.decode("utf-8", "replace").encode()


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")  # other threads draw numbers too
@pytest.mark.parametrize("side", SIDES)
def test_row_13_no_generated_bomb_ends_the_link(side: str, figure: Figure) -> None:
    """20 000 in the whole form, half of them for either side."""
    count = 0
    with watched() as complaints, SIDES[side]() as victim:

        @seed(next(seeds()))
        @settings(
            max_examples=whole(400, 10_000), deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(bombs())
        def examples(data: bytes) -> None:
            nonlocal count
            count += 1
            victim.talker.say(data)
            if count % CALLS_EACH == 0:
                _alive(victim)

        examples()
        _alive(victim)
        assert victim.conn.stats.malformed > count / 20
        figure("links lost to bombs", victim.conn.stats.reconnects, 0, "links")
    figure("complaints of our own about bombs", len(complaints), 0, "lines")
