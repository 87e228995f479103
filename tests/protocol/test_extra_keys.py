"""Further keys of a message: what instruments add to it, and that this disturbs nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from owlsocket_sync import Instrument, Operation, SocketMessageError, connect, instrument
from owlsocket_sync.hub import MemoryHub
from owlsocket_sync.options import Limits
from owlsocket_sync.protocol.extra_keys import MAX_VALUE, RESERVED, read_keys, write_keys
from owlsocket_sync.server import serve
from support.helpers import Collector, eventually
from support.pair import make_pair
from support.seats import FakeServer, client_of


class Adds(Instrument):
    """Adds keys to everything that is sent."""

    def __init__(self, keys: dict[Any, Any]) -> None:
        self.keys = keys
        self.seen: list[Operation] = []

    def on_call_start(self, call: Operation) -> None:
        self.seen.append(call)
        call.extra.update(self.keys)

    on_notify_start = on_request_start = on_hand_over = on_call_start  # type: ignore[assignment]


def test_keys_are_written_at_the_end_and_read_again() -> None:
    """Beside those of the protocol, which stay as they were."""
    message = write_keys(b'{"type":"event","event":"x","payload":1}', {"a": "1", "b": "\u00e9"})
    assert message == '{"type":"event","event":"x","payload":1,"a":"1","b":"\u00e9"}'.encode()
    assert read_keys(message.decode(), ["a", "b", "c"]) == {"a": "1", "b": "\u00e9"}
    assert read_keys(message.decode(), ["c"]) == read_keys(None, ["a"]) == {}


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_key_of_the_protocol_is_neither_written_nor_read(name: str) -> None:
    """An instrument cannot change what a message says."""
    with pytest.raises(ValueError, match=f"the key '{name}' of a message is one of the protocol"):
        write_keys(b'{"type":"event"}', {name: "x"})
    assert read_keys(json.dumps({name: "x"}), [name]) == {}


@pytest.mark.parametrize("keys", [{"a": 1}, {1: "a"}, {"a": None}, {"a": "\ud800"}], ids=repr)
def test_only_text_is_written(keys: Any) -> None:
    """Of keys and of values."""
    with pytest.raises(TypeError):
        write_keys(b'{"type":"event"}', keys)


@pytest.mark.parametrize("value", [1, None, ["x"], {"a": "x"}, True, "x" * (MAX_VALUE + 1)], ids=lambda v: repr(v)[:9])
def test_only_text_of_bounded_length_is_read(value: Any) -> None:
    """The value of a peer is anything."""
    assert read_keys(json.dumps({"a": value, "b": "x" * MAX_VALUE}), ["a", "b"]) == {"b": "x" * MAX_VALUE}


@pytest.mark.parametrize("text", ['["a"]', '"a"', '{"a"', '{"a":"x"}{', '{"payload":{"a":"x"}}'])
def test_what_is_no_object_or_has_the_key_elsewhere_has_none(text: str) -> None:
    """Only the keys of the message itself count."""
    assert read_keys(text, ["a"]) == {}


def test_an_instrument_adds_keys_to_calls_events_and_requests() -> None:
    """The peer that knows nothing of them answers as ever."""
    left, right, carrier, _ = make_pair()
    left.instrument(Adds({"x-trace": "7"}))
    right.perform("echo", lambda payload: payload)
    right.observe("news", lambda message: None)
    right.acknowledge(lambda id, payload: True)
    assert left.call("echo", 1) == left.submit("echo", 1).result() == 1
    left.notify("news", 1)
    left.request(1)
    assert [json.loads(frame)["x-trace"] for frame in carrier.sent] == ["7"] * 4
    assert left.stats.bytes_out == sum(map(len, carrier.sent))


@pytest.mark.parametrize("keys", [{"payload": "x"}, {"x-trace": 1}], ids=repr)
def test_keys_that_are_refused_are_reported_and_the_message_goes_without(keys: dict[str, Any]) -> None:
    """As any other error of an instrument."""
    left, right, carrier, _ = make_pair()
    errors: list[tuple[str, str, str]] = []
    left.on_error(lambda error, context: errors.append((context.source, context.name, type(error).__name__)))
    left.instrument(Adds(keys))
    right.perform("echo", lambda payload: payload)
    assert left.call("echo", 1) == 1
    assert set(json.loads(carrier.sent[0])) == {"method", "payload", "type", "id", "timeout"}
    kind = "ValueError" if "payload" in keys else "TypeError"
    assert errors == [("instrument", "on_call_start", kind)]


def test_a_message_that_would_be_too_large_with_its_keys_goes_without() -> None:
    """Those who observe make nothing fail; a message that is too large by itself is refused as ever."""
    left, right, carrier, _ = make_pair(limits=Limits(message_size=300))
    left.instrument(Adds({"x-trace": "7" * 280}))
    right.perform("echo", lambda payload: len(payload))
    assert left.call("echo", "x" * 100) == 100
    assert "x-trace" not in json.loads(carrier.sent[0])
    with pytest.raises(SocketMessageError):
        left.call("echo", "x" * 300)


@pytest.mark.parametrize(("keys", "expected"), [({"x-trace": "7"}, {"x-trace"}), ({"payload": "x"}, set())], ids=repr)
def test_an_instrument_of_the_process_adds_keys_to_what_a_hub_publishes(
    keys: dict[str, str], expected: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    """There is no connection; keys that are refused are one line of the log."""
    adds, heard = Adds(keys), Collector()
    with (
        MemoryHub() as hub,
        serve(lambda conn, request: None, hub=hub) as server,
        connect(server.url) as conn,
        instrument(adds),
    ):
        conn.observe("news", heard)
        eventually(lambda: server.connections)
        hub.publish("news", 1)
        [message] = heard.wait(1)
    assert set(json.loads(message.raw)) == {"event", "payload", "type"} | expected
    assert [(each.connection, each.name) for each in adds.seen] == [(None, "news")]
    assert ("an instrument failed (on_hand_over)" in caplog.text) == (not expected)


def test_an_instrument_that_fails_keeps_nothing_from_being_published(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged."""

    class Broken(Instrument):
        """Raises."""

        def on_hand_over(self, operation: Operation) -> None:
            raise ValueError("broken instrument")

    with MemoryHub() as hub, instrument(Broken()):
        client = client_of(FakeServer(hub).connect())
        hub.publish("news", 1)
    assert client.got == [1]
    assert "an instrument failed (on_hand_over): broken instrument" in caplog.text
