"""Receivers of one message: none sees what another one has done to its payload."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from owlsocket_sync import Connection, Message, connect
from owlsocket_sync.protocol.private_copy import copy_payload
from owlsocket_sync.server import Request, serve
from owlsocket_sync.testing import pair
from support.helpers import Collector, scaled

PAYLOAD = {"rows": [{"a": 1}], "name": "x"}


def _spoil(found: Collector) -> Callable[[Any], bool]:
    """A receiver that keeps what it gets, and then changes every part of it."""

    def receive(received: Any) -> bool:
        payload = received.payload if isinstance(received, Message) else received
        found(repr(payload))
        payload["rows"][0].clear()
        payload["rows"].append("changed")
        payload.clear()
        return False

    return receive


def test_receivers_of_an_event_share_nothing() -> None:
    """Observers of the event, of all events, listeners and iterators."""
    ours, theirs = pair()
    found = Collector()
    with theirs.events("news", timeout=5) as first, theirs.events("*", timeout=5) as second:
        for _ in range(2):
            theirs.observe("news", _spoil(found))
            theirs.observe("*", _spoil(found))
            theirs.listen(_spoil(found))
        ours.notify("news", PAYLOAD)
        for stream in (first, second):
            _spoil(found)(next(stream))
    assert found.items == [repr(PAYLOAD)] * 8


def test_iterators_of_an_event_without_observers_share_nothing() -> None:
    """Each has a payload of its own."""
    ours, theirs = pair()
    found = Collector()
    with theirs.events("news", timeout=5) as first, theirs.events("news", timeout=5) as second:
        ours.notify("news", PAYLOAD)
        for stream in (first, second):
            _spoil(found)(next(stream))
    assert found.items == [repr(PAYLOAD)] * 2


def test_a_listener_shares_nothing_with_a_performer_or_a_caller() -> None:
    """Neither the arguments of a call nor its result."""
    ours, theirs = pair()
    found = Collector()

    def perform(payload: Any) -> Any:
        _spoil(found)(payload)
        return PAYLOAD

    def listen(message: Any) -> None:
        payload = message.payload
        _spoil(found)(payload[0] if isinstance(payload, list) else payload)

    theirs.perform("call", perform)
    theirs.listen(listen)
    ours.listen(listen)
    assert ours.call("call", PAYLOAD) == PAYLOAD
    assert found.items == [repr(PAYLOAD)] * 3


def test_handlers_that_are_asked_in_turn_share_nothing() -> None:
    """Acknowledgers of a request, and observers of responses."""
    ours, theirs = pair()
    found = Collector()
    for _ in range(2):
        theirs.acknowledge(lambda id, payload: _spoil(found)(payload))
        theirs.observe_response(_spoil(found))
    ours.request(PAYLOAD)
    ours.reply("unknown", PAYLOAD)
    assert found.items == [repr(PAYLOAD)] * 4


def test_a_single_receiver_gets_the_message_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy would cost more than the event."""
    ours, theirs = pair()
    found = Collector()
    for module in ("events", "listeners"):
        monkeypatch.setattr(f"owlsocket_sync.protocol.{module}.private_copy", lambda message: pytest.fail("copied"))
    theirs.observe("news", _spoil(found))
    ours.notify("news", PAYLOAD)
    assert found.items == [repr(PAYLOAD)]


def test_hooks_of_a_broadcast_share_nothing() -> None:
    """What the hook of one client changes is neither for the others nor for the sender."""
    joined = threading.Barrier(4, timeout=scaled(5))
    payload = {"rows": [1]}
    found = Collector()

    def handler(conn: Connection, request: Request) -> None:
        def prepare(message: Message, is_incoming: bool) -> Message:
            if not is_incoming:
                found(repr(message.payload))
                message.payload["rows"].append("changed")
            return message

        conn.prepare = prepare
        joined.wait()

    with serve(handler) as server:
        clients = [connect(server.url) for _ in range(3)]
        joined.wait()
        server.broadcast("news", payload)
        for client in clients:
            client.close()
    assert found.items == [repr({"rows": [1]})] * 3
    assert payload == {"rows": [1]}


def test_a_payload_of_any_depth_and_kind_is_copied() -> None:
    """Also deeper than Python may recurse; what cannot be copied is kept as it is."""
    deep: list[Any] = []
    for _ in range(1500):
        deep = [deep]
    copied = copy_payload(deep)
    depth = 0
    while copied:
        copied, depth = copied[0], depth + 1
    assert depth == 1500
    lock, data = threading.Lock(), bytearray(b"x")
    original = {"lock": lock, "data": data}
    other = copy_payload(original)
    assert other["lock"] is lock
    assert other["data"] == data
    assert other["data"] is not data
