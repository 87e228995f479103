"""A server describes itself to those who ask, if it is told to, and harms no one who does not answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from owlsocket_sync import (
    AuthenFailed,
    AuthenticationStage,
    Connection,
    Limits,
    ResilientError,
    SocketConnectionError,
    SocketMessageMalformed,
    SocketTimeout,
    connect,
)
from owlsocket_sync.contracts import Contract, describe, fetch_description
from owlsocket_sync.contracts import description as module
from owlsocket_sync.contracts.schemas import Schemas
from owlsocket_sync.contracts.signatures import describe_method
from owlsocket_sync.server import Request, ServerOptions, serve
from owlsocket_sync.testing import pair
from support.contracts import CONTRACT, register
from support.helpers import Collector, scaled
from support.sockets import ByteServer, RawPeer


def described(handler: Callable[[Connection, Request], object] = register, contract: Any = CONTRACT) -> dict[str, Any]:
    """Return what a client is told by a server with this handler."""
    with serve(handler, describe=contract) as server, connect(server.url) as conn:
        return fetch_description(conn, scaled(5))


def test_a_client_is_told_methods_events_and_types() -> None:
    """With parameters, defaults, results and the first line of the documentation; as plain JSON."""
    description = described()
    assert (description["version"], description["left_out"]) == (1, 0)
    assert list(description["methods"]) == [
        "echo",
        "get-user.class",
        "shop.find",
        "shop.list",
        "shop.move",
        "shop.place",
    ]
    assert description["methods"]["shop.find"] == {
        "doc": "Find an article.",
        "parameters": [
            {"name": "number", "schema": {"type": "integer"}},
            {"name": "size", "schema": {"$ref": "#/types/Size"}, "optional": True, "default": "large"},
        ],
        "result": {"anyOf": [{"$ref": "#/types/Article"}, {"type": "null"}]},
    }
    place, move = description["methods"]["shop.place"]["parameters"], description["methods"]["shop.move"]["parameters"]
    assert place[2] == {"name": "notes", "schema": {"type": "string"}, "variadic": True}
    assert move[1] == {"name": "picture", "schema": {"type": "string", "contentEncoding": "base64"}, "optional": True}
    assert description["methods"]["echo"] == {
        "parameters": [{"name": "values", "schema": {}, "variadic": True}],
        "result": {},
    }
    assert description["events"]["tick"] == {"payload": {"$ref": "#/types/Tick"}}
    assert description["events"]["closing"] == {"payload": {"type": "null"}}
    assert set(description["types"]) == {"Article", "Filter", "Page_Article", "Point", "Size", "Tick"}
    assert json.loads(json.dumps(description)) == description


def test_a_server_describes_nothing_unless_it_is_told_to() -> None:
    """The question harms it no more than an end of the reference, and the error says what to do."""
    with serve(register) as server, connect(server.url) as conn:
        with pytest.raises(SocketTimeout, match=r"sent no description within .* s: .*describe=True"):
            fetch_description(conn, 0.1)
        assert conn.call("echo", 1) == [1]


def test_the_question_reaches_a_foreign_peer_as_a_system_message() -> None:
    """A call of an unknown method would end the process of a reference server."""
    asked = Collector()

    def answer(peer: RawPeer) -> None:
        peer.upgrade()
        asked(json.loads(peer.read_frame().payload))
        peer.consent()

    with ByteServer(answer) as server, connect(server.url, reconnect=None) as conn, pytest.raises(SocketTimeout):
        fetch_description(conn, 0.2)
    asked.wait(1)
    (question,) = asked.items
    assert (question["type"], question["event"], isinstance(question["payload"], dict)) == ("system", "describe", True)
    assert "method" not in question


def test_a_method_for_a_later_stage_is_listed_to_those_who_may_call_it() -> None:
    """A client that has not authenticated learns neither its name nor its types."""
    with serve(register, describe=True) as server, connect(server.url) as conn:
        assert "secret" not in fetch_description(conn, scaled(5))["methods"]
        server.connections[0].stage = AuthenticationStage.AUTHENTICATED
        secret = fetch_description(conn, scaled(5))["methods"]["secret"]
    assert secret == {
        "doc": "Tell a secret.",
        "parameters": [{"name": "code", "schema": {"type": "integer"}}],
        "result": {"type": "string"},
        "stage": "authenticated",
    }


def test_what_is_registered_counts_when_somebody_asks() -> None:
    """The handler that answers now is described; one that was unsubscribed is not."""
    left, right = pair()
    with left, right:
        subscription = right.perform("add", lambda a, b: a + b)
        assert [each["name"] for each in describe(right)["methods"]["add"]["parameters"]] == ["a", "b"]
        with right.perform("add", lambda first: first):
            assert [each["name"] for each in describe(right)["methods"]["add"]["parameters"]] == ["first"]
        subscription()
        assert describe(right)["methods"] == {}


def test_annotations_are_read_when_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registering costs nothing, and an annotation for type checkers alone is any value."""

    def handler(conn: Connection, request: Request) -> None:
        def odd(known: int, unknown: "Nowhere", callback: Callable[[], None]) -> "Nowhere":  # type: ignore[name-defined] # noqa: F821, UP037
            raise NotImplementedError

        conn.perform("odd", odd)
        conn.perform("builtin", print)

    read: list[Any] = []

    def note(handler: Any, schemas: Schemas) -> dict[str, Any]:
        read.append(handler)
        return describe_method(handler, schemas)

    monkeypatch.setattr(module, "describe_method", note)
    with serve(handler, describe=True) as server, connect(server.url) as conn:
        with pytest.raises(ResilientError):
            conn.call("odd", 1, 2, 3)
        assert read == []
        methods = fetch_description(conn, scaled(5))["methods"]
    assert len(read) == 2
    assert [each["schema"] for each in methods["odd"]["parameters"]] == [{"type": "integer"}, {}, {}]
    assert methods["odd"]["result"] == {}


def test_a_description_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is counted, with the types that it alone needs."""
    monkeypatch.setattr(module, "MAX_SIZE", 700)
    description = described()
    assert description["left_out"] > 0
    assert len(json.dumps(description)) < 1000
    kept = {**description["methods"], **description["events"]}
    assert set(description["types"]) == {
        name for name in description["types"] if f"#/types/{name}" in json.dumps([kept, description["types"]])
    }


def test_an_end_that_cannot_describe_itself_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who asks gets the error, and so does `on_error`."""
    errors = Collector()

    def handler(conn: Connection, request: Request) -> None:
        conn.on_error(lambda error, context: errors(str(context)))

    def fail(*_: Any) -> None:
        raise RuntimeError("no words")

    monkeypatch.setattr(module, "describe_core", fail)
    with pytest.raises(ResilientError, match="no words"):
        described(handler)
    errors.wait(1)
    assert errors.items == ["describe"]


def test_a_description_above_the_limits_of_the_connection_is_an_error() -> None:
    """For the one who asks, instead of a wait for its timeout."""

    def handler(conn: Connection, request: Request) -> None:
        register(conn, request)
        conn.on_error(lambda error, context: None)

    limits = Limits(message_size=1000)
    with (
        serve(handler, describe=CONTRACT, limits=limits) as server,
        connect(server.url) as conn,
        pytest.raises(ResilientError, match=r"Limits\.message_size"),
    ):
        fetch_description(conn, scaled(5))


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"version": 2}, "has version 2, and this library reads 1"),
        ({"version": 1, "methods": [], "events": {}, "types": {}}, "not in the form of version 1"),
        ("hoot", "not in the form"),
        (None, "not in the form"),
        ({"version": True, "methods": {}, "events": {}, "types": {}}, "not in the form"),
    ],
    ids=["newer", "list", "text", "null", "flag"],
)
def test_a_description_in_another_form_is_refused(description: Any, message: str) -> None:
    """It is foreign input."""
    left, right = pair()
    with left, right:

        def answer(question: Any, link: int) -> None:
            payload = {"id": question["id"], "description": description}
            right.send(json.dumps({"type": "system", "event": "description", "payload": payload}))

        right._core.dispatcher.describe = answer
        with pytest.raises(SocketMessageMalformed, match=message):
            fetch_description(left, scaled(5))


def test_an_answer_to_another_question_is_passed_over() -> None:
    """Two threads of one client may ask at once."""
    with serve(register, describe=CONTRACT) as server, connect(server.url) as conn:
        found: list[Any] = []
        threads = [threading.Thread(target=lambda: found.append(fetch_description(conn, scaled(5)))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(scaled(10))
    assert len(found) == 4
    assert all(each == found[0] for each in found)


def test_a_lost_link_ends_the_wait() -> None:
    """At once, and not at the deadline."""

    def hang_up(peer: RawPeer) -> None:
        peer.upgrade()
        peer.read_frame()
        peer.sock.close()

    with (
        ByteServer(hang_up) as server,
        connect(server.url, reconnect=None) as conn,
        pytest.raises(SocketConnectionError, match="the link was lost before the description came"),
    ):
        fetch_description(conn, scaled(20))


def test_a_close_ends_the_wait() -> None:
    """From another thread, as it ends a call."""
    asked = threading.Event()

    def handler(conn: Connection, request: Request) -> None:
        conn.listen(lambda message: asked.set())

    with serve(handler) as server, connect(server.url) as conn, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(fetch_description, conn, scaled(20))
        assert asked.wait(scaled(5))
        conn.close()
        with pytest.raises(SocketConnectionError):
            waiting.result(scaled(5))


def test_listeners_of_a_server_do_not_see_the_question() -> None:
    """It is between the two ends, as those about queues are; without the option it is any system message."""
    for option, seen_there in ((CONTRACT, False), (False, True)):
        seen = Collector()
        with serve(lambda conn, _, seen=seen: conn.listen(seen), describe=option) as server:  # type: ignore[misc]
            conn = connect(server.url)
            conn.send('{"type":"system","event":"describe","payload":{"id":"1"}}')
            conn.notify("last")
            seen.wait(1 + seen_there)
            conn.close()
        events = [each.event for each in seen.items if not each.local]
        assert events == (["describe", "last"] if seen_there else ["last"])


@pytest.mark.parametrize("question", ["5", "null", '{"id": {}}', "[]"])
def test_a_strange_question_harms_nothing(question: str) -> None:
    """It is answered, or passed over."""
    with serve(register, describe=True) as server, connect(server.url) as conn:
        conn.send(f'{{"type":"system","event":"describe","payload":{question}}}')
        assert conn.call("echo", 1) == [1]


@pytest.mark.parametrize("value", [5, "yes", None, {"tick": int}], ids=repr)
def test_the_option_takes_a_flag_or_a_contract(value: Any) -> None:
    """The error names it."""
    with pytest.raises(ValueError, match="describe must be True, False or a Contract"):
        ServerOptions(describe=value)


def test_a_contract_is_checked_where_it_is_made() -> None:
    """Not when a client asks."""
    from datetime import timedelta

    with pytest.raises(TypeError, match="payload of event 'tick': a timedelta is ambiguous"):
        Contract(events={"tick": timedelta})
    with pytest.raises(ValueError, match="events must be a mapping"):
        Contract(events=["tick"])  # type: ignore[arg-type]


def test_a_rejected_client_gets_no_description() -> None:
    """Only those who are let in can ask."""

    def refuse(request: Request) -> None:
        raise AuthenFailed("no owl")

    with serve(register, authenticate=refuse, describe=True) as server, pytest.raises(AuthenFailed):
        connect(server.url, reconnect=None)
