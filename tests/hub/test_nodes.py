"""Several nodes that are one hub, as processes are: what one asks of the connections of another."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from owlsocket_sync import (
    ResilientError,
    SocketConnectionError,
    SocketMessageMalformed,
    SocketTimeout,
    SocketUnsupported,
)
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.hub import Hub, Outcome
from support.helpers import eventually, scaled
from support.linked import aside
from support.seats import FakeServer, client_of, received


def test_events_reach_the_connections_of_all_nodes(hubs: tuple[Hub, Hub]) -> None:
    """By room, by user and by id; the exclusion holds everywhere."""
    seats = [FakeServer(hub).connect(f"user {number}") for number, hub in enumerate(hubs)]
    for seat in seats:
        seat.join("owls", None)
    hubs[0].publish("n", 1, room="owls")
    hubs[0].publish("n", 2, exclude=[seats[1].id])
    hubs[0].send("n", 3, user="user 1")
    assert received(*seats) == [[1, 2], [1, 3]]
    for number in range(4, 50):
        hubs[0].send("n", number, to=seats[1].id)
    eventually(lambda: client_of(seats[1]).got == [1, 3, *range(4, 50)])
    assert [member.id for member in hubs[1].members("owls")] == [seat.id for seat in seats]
    assert sorted(hubs[0].servers()) == sorted(hubs[1].servers())
    assert len(hubs[0].servers()) == 2


def test_a_call_crosses_nodes(hubs: tuple[Hub, Hub]) -> None:
    """Its result comes back, its error with type and message, and its timeout in time."""
    there = FakeServer(hubs[1]).connect()
    client = client_of(there)
    client.perform = lambda method, *payload: {"method": method, "payload": list(payload)}
    assert hubs[0].call(there.id, "add", 1, [2]) == {"method": "add", "payload": [1, [2]]}

    def fail(method: str) -> None:
        raise ResilientError("Refused", "not you")

    client.perform = fail
    with pytest.raises(ResilientError, match="not you") as caught:
        hubs[0].call(there.id, "add")
    assert caught.value.type == "Refused"
    client.perform = None
    with pytest.raises(SocketTimeout, match=r"call 'add' was not answered within 0\.05 s"):
        hubs[0].call(there.id, "add", timeout=0.05)
    with pytest.raises(SocketMessageMalformed):
        hubs[0].call(there.id, "add", object())
    with pytest.raises(TypeError, match="method must be text"):
        hubs[0].call(there.id, 5)  # type: ignore[arg-type]
    assert hubs[0]._node.requests._pending == {}


@pytest.mark.parametrize("id", ["", "-", "x", "ffffffff-1", "no id at all"])
def test_an_unknown_id_is_named(hubs: tuple[Hub, Hub], id: str) -> None:
    """At once, by each verb."""
    hub = hubs[0]
    for use in (partial(hub.call, id, "x"), partial(hub.disconnect, id), partial(hub.send, "n", to=id)):
        with pytest.raises(SocketConnectionError, match="the hub has no connection") as caught:
            use()
        assert caught.value.code == "CONNECTION_LOST"
        assert repr(id) in str(caught.value)


def test_a_connection_that_ended_on_another_node_is_unknown(hubs: tuple[Hub, Hub]) -> None:
    """That node says so."""
    gone = FakeServer(hubs[1]).connect()
    id = gone.id
    gone.end()
    for use in (partial(hubs[0].call, id, "x"), partial(hubs[0].disconnect, id)):
        with pytest.raises(SocketConnectionError, match=id) as caught:
            use()
        assert caught.value.code == "CONNECTION_LOST"
    hubs[0].send("n", to=id)  # nobody is told: an event has no answer


def test_a_connection_is_closed_from_another_node(hubs: tuple[Hub, Hub]) -> None:
    """With the code; one that may not be sent is refused here."""
    seat = FakeServer(hubs[1]).connect()
    hubs[0].disconnect(seat.id, 4001, "go")
    assert client_of(seat).closed == [4001]
    with pytest.raises(ValueError, match="code must be"):
        hubs[0].disconnect(seat.id, 1005)


def test_row_b4_the_answers_of_the_others_come(make_hub: Callable[[], Hub]) -> None:
    """One client does not answer, one refuses, one node is gone, one is of another version: each is named."""
    here, there, dying = (make_hub() for _ in range(3))
    servers = [FakeServer(hub) for hub in (here, there, dying)]
    quick, slow, far, refuses, doomed = (servers[number].connect() for number in (0, 0, 1, 1, 2))
    for number, seat in enumerate((quick, slow, far, refuses, doomed)):
        seat.join("owls", number)

    def refuse(method: str) -> None:
        raise ValueError("no")

    client_of(quick).perform = client_of(far).perform = lambda method: method
    client_of(refuses).perform = refuse
    asked = threading.Event()
    client_of(doomed).submit_now = lambda *_: (asked.set(), type(client_of(slow)).submit_now(client_of(slow), *_))[1]  # type: ignore[method-assign]
    calling = aside(partial(here.call_all, "owls", "vote", timeout=scaled(0.5)))
    assert asked.wait(scaled(5))
    dying.close()
    (outcomes,) = calling.wait(1)
    assert list(outcomes) == [seat.id for seat in (quick, slow, far, refuses, doomed)]
    assert [outcome.status for outcome in outcomes.values()] == ["ok", "timeout", "ok", "error", "lost"]
    assert [outcome.result for outcome in outcomes.values()] == ["vote", None, "vote", None, None]
    assert all(isinstance(outcome, Outcome) for outcome in outcomes.values())
    assert str(outcomes[refuses.id].error) == "ValueError: no"
    assert here._node.requests._pending == {}


def test_a_bus_that_cannot_send_fails_that_node_alone(hubs: tuple[Hub, Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    """The others answer."""
    here, there = (FakeServer(hub).connect() for hub in hubs)
    for seat in (here, there):
        seat.join("owls", None)
        client_of(seat).perform = lambda method: "fine"

    def send(node: str, record: bytes, deadline: Deadline | None) -> bool:
        raise SocketConnectionError("the bus is down")

    monkeypatch.setattr(hubs[0].open(), "send", send)
    outcomes = hubs[0].call_all("owls", "vote")
    assert [outcomes[seat.id].status for seat in (here, there)] == ["ok", "lost"]
    with pytest.raises(SocketConnectionError, match="the bus is down"):
        hubs[0].call(there.id, "vote")


def test_call_all_of_an_empty_room_is_empty(hubs: tuple[Hub, Hub]) -> None:
    """And its arguments are checked all the same."""
    assert hubs[0].call_all("owls", "vote") == {}
    with pytest.raises(SocketMessageMalformed):
        hubs[0].call_all("owls", "vote", object())


def test_call_all_leaves_the_places_of_workers(hubs: tuple[Hub, Hub]) -> None:
    """Of each member of this node: it may call back."""
    seat = FakeServer(hubs[0]).connect()
    seat.join("owls", None)
    client_of(seat).perform = lambda method: 1
    hubs[0].call_all("owls", "vote")
    assert client_of(seat).blocks == 1


def test_a_node_that_is_gone_has_no_members_and_no_servers(hubs: tuple[Hub, Hub]) -> None:
    """What it was asked fails at once, long before the timeout; its leaves are told."""
    here, there = hubs
    seat = FakeServer(there).connect()
    seat.join("owls", None)
    left = threading.Event()
    here.on_presence(lambda change: left.set() if change.kind == "leave" else None)
    calling = aside(partial(here.call, seat.id, "x", timeout=60))
    eventually(lambda: here._node.requests._pending)
    there.close()
    (error,) = calling.wait(1)
    assert isinstance(error, SocketConnectionError)
    assert error.code == "CONNECTION_LOST"
    assert left.wait(scaled(5))
    eventually(lambda: (here.count("owls"), here.servers()) == (0, []))
    with pytest.raises(SocketConnectionError, match="has no connection"):
        here.call(seat.id, "x")


def test_a_hub_that_is_closed_fails_what_waits(hubs: tuple[Hub, Hub]) -> None:
    """At once."""
    seat = FakeServer(hubs[1]).connect()
    calling = aside(partial(hubs[0].call, seat.id, "x", timeout=60))
    eventually(lambda: hubs[0]._node.requests._pending)
    hubs[0].close()
    (error,) = calling.wait(1)
    assert "the hub was closed" in str(error)


def _record(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_garbage_is_logged_and_passed_over(hubs: tuple[Hub, Hub], caplog: pytest.LogCaptureFixture) -> None:
    """Whatever another node sends, what follows is done."""
    here, there = hubs
    seat = FakeServer(there).connect()
    id, node = seat.id, there._node
    client_of(seat).perform = lambda method: "fine"
    for record in (
        b"", b"{", b"[1]", b"5", b"null", b"\xff", _record(kind="call"), _record(kind="call", **{"from": here.node}),
        _record(kind="call", to=[id], **{"from": here.node}), _record(kind="call", to=5, **{"from": here.node}),
        _record(kind="send", to=[id], record="x", **{"from": here.node}), _record(kind="answer", **{"from": "x"}),
        _record(kind="answer", request="x", **{"from": "x"}), _record(kind=[], to=[id], **{"from": here.node}),
        _record(kind="disconnect", to=[id], code="x", **{"from": []}),
    ):  # fmt: skip
        node.receive(record)
    assert here.call(id, "x", timeout=scaled(5)) == "fine"
    assert "a record of the hub was dropped" in caplog.text


def test_a_request_of_a_later_version_is_refused(hubs: tuple[Hub, Hub]) -> None:
    """By name, so that the other side need not wait."""
    seat = FakeServer(hubs[1]).connect()
    bus = hubs[0].listen()
    number, request = hubs[0]._node.requests.begin(bus, "dance", [seat.id], {}, Deadline(scaled(5)))
    eventually(lambda: request.outcomes)
    hubs[0]._node.requests.end(number)
    error = request.outcomes[seat.id].error
    assert isinstance(error, SocketUnsupported)
    assert "'dance'" in str(error)


def test_an_answer_that_comes_twice_or_late_is_dropped(hubs: tuple[Hub, Hub]) -> None:
    """The first one holds."""
    requests = hubs[0]._node.requests
    number, request = requests.begin(hubs[0].open(), "dance", [], {}, Deadline(scaled(5)))
    request._waiting["a-1"] = None
    for result in (1, 2):
        requests.take_answer({"request": number, "id": "a-1", "result": result})
    requests.take_answer({"request": number, "id": "unasked", "result": 3})
    requests.end(number)
    requests.take_answer({"request": number, "id": "a-1", "result": 4})
    assert {id: outcome.result for id, outcome in request.outcomes.items()} == {"a-1": 1}


def test_a_server_that_the_bus_refuses_is_not_there(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is its name taken."""

    def refuse(server: str) -> None:
        raise SocketConnectionError("the bus is down")

    monkeypatch.setattr(hub.open(), "add_server", refuse)
    with pytest.raises(SocketConnectionError, match="the bus is down"):
        FakeServer(hub)
    assert hub.table.servers == {}
