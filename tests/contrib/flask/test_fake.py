"""Tests of an app: with a fake peer in memory, and with a real server on this machine."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from flask import Flask, current_app, jsonify

from owlsocket_sync import (
    ANONYMOUS,
    ConnectionState,
    EventMessage,
    ResilientError,
    SocketConnectionError,
    SocketMessageMalformed,
    SocketTimeout,
    SocketUnauthorized,
    SocketUnsupported,
)
from owlsocket_sync.contrib.flask import FakePeer, NoAppContext, OwlSocket
from owlsocket_sync.errors import ConfigError
from owlsocket_sync.server import Request
from support.helpers import Collector, scaled


@pytest.fixture
def owl() -> OwlSocket:
    """An extension."""
    return OwlSocket()


@pytest.fixture
def app(owl: OwlSocket) -> Flask:
    """An app whose server is out of reach."""
    app = Flask("shop")
    app.config.update(OWLSOCKET_URL="wss://api.example.com/ws", OWLSOCKET_CALL_TIMEOUT=scaled(5))
    owl.init_app(app)

    @app.get("/users/<int:number>")
    def user(number: int) -> Any:
        return jsonify(owl.call("getUser", number))

    @app.post("/orders/<int:number>/pay")
    def pay(number: int) -> Any:
        owl.notify("order.paid", {"order": number})
        return "", 204

    @app.errorhandler(SocketTimeout)
    def slow(error: SocketTimeout) -> Any:
        return "", 504

    return app


# -- the fake peer -----------------------------------------------------------------------------------------------------


def test_a_fake_peer_answers_and_records(app: Flask, owl: OwlSocket) -> None:
    """Calls and events of a view are recorded in order."""
    client = app.test_client()
    with owl.fake_peer() as fake:
        fake.answer("getUser", lambda number: {"id": number})
        assert client.get("/users/7").json == {"id": 7}
        assert client.get("/users/8").json == {"id": 8}
        assert client.post("/orders/3/pay").status_code == 204
        assert fake.calls == [("getUser", (7,)), ("getUser", (8,))]
        assert fake.calls_of("getUser") == [(7,), (8,)]
        assert fake.calls_of("nothing") == []
        assert fake.events == [("order.paid", {"order": 3})]
        assert fake.events_of("order.paid") == [{"order": 3}]
        assert "2 calls" in repr(fake)


def test_answers_are_given_in_order(app: Flask, owl: OwlSocket) -> None:
    """The last answer repeats; new answers replace the old ones."""
    with owl.fake_peer(app) as fake, app.app_context():
        fake.answer("next", 1, ValueError("two is out"), lambda: 3)
        assert owl.call("next") == 1
        with pytest.raises(ResilientError, match=r"two is out"):
            owl.call("next")
        assert [owl.call("next"), owl.call("next")] == [3, 3]
        fake.answer("next", None)
        assert owl.call("next") is None


def test_errors_are_the_same_as_from_a_server(app: Flask, owl: OwlSocket) -> None:
    """The classes and the attributes are the same."""
    with owl.fake_peer(app) as fake, app.app_context():
        with pytest.raises(SocketUnsupported, match=r"no handler registered for method 'nothing'") as unsupported:
            owl.call("nothing")
        assert unsupported.value.remote
        fake.answer("fail", LookupError("no such user"))
        with pytest.raises(ResilientError, match=r"LookupError: no such user") as failed:
            owl.call("fail")
        assert (failed.value.type, failed.value.remote) == ("LookupError", True)
        fake.answer("forbid", SocketUnauthorized("not you"))
        with pytest.raises(SocketUnauthorized, match=r"not you"):
            owl.call("forbid")
        with pytest.raises(SocketMessageMalformed):
            owl.call("getUser", {1j})
        fake.answer("odd", lambda: {1j})
        with pytest.raises(ResilientError, match=r"complex"):
            owl.call("odd")


def test_payloads_travel_as_json(app: Flask, owl: OwlSocket) -> None:
    """Tuples become lists, as on a wire."""
    with owl.fake_peer(app) as fake, app.app_context():
        fake.answer("echo", lambda value: value)
        assert owl.call("echo", {"pair": (1, 2)}) == {"pair": [1, 2]}
        assert fake.calls == [("echo", ({"pair": [1, 2]},))]


def test_a_call_without_an_answer_times_out(app: Flask, owl: OwlSocket) -> None:
    """A call times out, with a waiting thread or without; a view can handle the error."""
    app.config["OWLSOCKET_CALL_TIMEOUT"] = 0.1
    with owl.fake_peer(app) as fake, app.app_context():
        fake.answer("getUser")
        assert app.test_client().get("/users/1").status_code == 504
        waits = [owl.submit("getUser", number, timeout=0.05 * number) for number in (4, 2, 1)]
        for future in waits:
            with pytest.raises(SocketTimeout, match=r"was not answered within"):
                future.result(scaled(5))
        assert fake.calls_of("getUser") == [(1,), (4,), (2,), (1,)]


def test_a_fake_peer_emits_and_calls(app: Flask, owl: OwlSocket) -> None:
    """Handlers have run when the method returns, in the app's context; their errors are marshalled."""
    seen = []

    @owl.observe("greeted")
    def greeted(message: EventMessage) -> None:
        seen.append((current_app.name, message.payload))

    @owl.perform("twice")
    def twice(number: int) -> Any:
        return [number * 2, current_app.name, owl.call("half", number)]

    with owl.fake_peer(app) as fake:
        fake.answer("half", lambda number: number / 2)
        fake.emit("greeted", "Ada")
        assert seen == [("shop", "Ada")]
        assert fake.call("twice", 4) == [8, "shop", 2.0]
        with pytest.raises(SocketUnsupported):
            fake.call("nothing")

        @owl.perform("late")
        def late() -> str:
            return "in time"

        assert fake.call("late") == "in time"


def test_an_event_that_the_app_does_not_observe_fails_the_test(app: Flask, owl: OwlSocket) -> None:
    """A misspelled name, with those that there are."""
    with owl.fake_peer(app) as fake:
        with pytest.raises(AssertionError, match=r"no handler observes the event 'order.pay'; no event is observed"):
            fake.emit("order.pay")
        owl.observe("order.paid", lambda message: None)
        with pytest.raises(AssertionError, match=r"'order.pay'; observed: 'order.paid'"):
            fake.emit("order.pay")
    with owl.fake_peer(app, strict=False) as fake:
        fake.emit("order.pay")


def test_a_handler_of_the_app_that_raises_fails_the_test(app: Flask, owl: OwlSocket) -> None:
    """Wherever it runs, and although the app handles errors."""
    errors = []

    @owl.observe("order.paid")
    def paid(message: EventMessage) -> None:
        raise LookupError("no such order")

    @owl.on_state
    def changed(change: Any) -> None:
        raise ZeroDivisionError(change.state.value)

    owl.on_error(lambda error, context: errors.append(type(error)))
    with owl.fake_peer(app) as fake:
        with pytest.raises(
            AssertionError, match=r"the event 'order.paid' failed in observe order.paid: LookupError: no"
        ):
            fake.emit("order.paid")
        with pytest.raises(AssertionError, match=r"the loss of the link failed in on_state: .*: reconnecting"):
            fake.drop_link()
        with pytest.raises(AssertionError, match=r"the new link failed in on_state: .*: open"):
            fake.restore_link()
    with owl.fake_peer(app, strict=False) as fake:
        fake.emit("order.paid")
    assert errors[:4] == [LookupError, ZeroDivisionError, ZeroDivisionError, ZeroDivisionError]


@pytest.mark.parametrize("use", ["answer", "emit", "calls_of", "events_of"])
def test_a_name_that_is_no_text_is_refused(use: str) -> None:
    """At once, and not by an event that nothing observes or a call that is never found."""
    with FakePeer("bare") as fake, pytest.raises(TypeError, match=f"{use} needs a name"):
        getattr(fake, use)(7)


def test_an_answer_whose_body_would_not_run_is_refused() -> None:
    """An async function, and a generator function."""

    async def later() -> None: ...

    def each() -> Any:
        yield 1

    with FakePeer("bare") as fake:
        with pytest.raises(TypeError, match=r"an answer to 'x' must not be an async function"):
            fake.answer("x", later)
        with pytest.raises(TypeError, match=r"an answer to 'x' must not be a generator function"):
            fake.answer("x", each)


def test_requests_and_queues_work_in_both_directions(app: Flask, owl: OwlSocket) -> None:
    """``remote`` does everything that the fake peer has no method for."""

    @owl.acknowledge
    def acknowledge(id: str, payload: Any) -> bool:
        owl.reply(id, payload + 1)
        return True

    with owl.fake_peer(app) as fake, app.app_context():
        fake.remote.acknowledge(lambda id, payload: fake.remote.reply(id, payload * 2) or True)
        with owl.stream(21) as responses:
            assert next(responses) == 42
        with fake.remote.stream(1) as responses:
            assert next(responses) == 2
        owl.enqueue("letter")
        fake.remote.enqueue("answer")
        assert (fake.requests, fake.enqueued) == ([21], ["letter"])
        assert owl.connection.consume() == ("answer", None, 0)


def test_a_lost_link_fails_calls_and_can_be_restored(app: Flask, owl: OwlSocket) -> None:
    """Pending calls fail at once; new calls wait within their timeout."""
    states = []
    owl.on_state(lambda change: states.append(change.state))
    with owl.fake_peer(app) as fake, app.app_context():
        fake.answer("slow")
        future = owl.submit("slow")
        fake.drop_link()
        with pytest.raises(SocketConnectionError, match=r"the link was lost before the answer came") as lost:
            future.result(0)
        assert lost.value.retryable
        assert owl.connection.state is ConnectionState.RECONNECTING
        with pytest.raises(SocketTimeout):
            owl.call("getUser", 1, timeout=0.05)
        with pytest.raises(SocketTimeout), owl.deadline(0.05):
            owl.notify("x")
        fake.answer("getUser", "found")
        waiting = owl.submit("getUser", 1)
        fake.restore_link()
        assert waiting.result(scaled(5)) == "found"
        owl.connection.reconnect()
        assert owl.connection.stats.reconnects == 2
    assert states == [ConnectionState.RECONNECTING, ConnectionState.OPEN] * 2 + [ConnectionState.CLOSED]


def test_restoring_or_closing_wakes_waiting_calls(app: Flask, owl: OwlSocket) -> None:
    """Restoring the link and closing the fake peer both wake a waiting call."""
    with owl.fake_peer(app) as fake, app.app_context():
        fake.answer("getUser", "found")
        fake.drop_link()
        connection, got = owl.connection, Collector()
        thread = threading.Thread(target=lambda: got(connection.call("getUser", 1)))
        thread.start()
        fake.restore_link()
        assert got.wait(1) == ["found"]
        thread.join(scaled(5))
    with pytest.raises(SocketConnectionError, match=r"is closed"):
        connection.call("getUser", 1)
    assert connection.wait_closed(scaled(1)).code == 1000


def test_a_refused_connection_raises(app: Flask, owl: OwlSocket) -> None:
    """The next attempt to connect fails, and a later one succeeds."""
    with owl.fake_peer(app) as fake, app.app_context():
        fake.refuse(SocketUnauthorized("who are you"))
        with pytest.raises(SocketUnauthorized, match=r"who are you"):
            owl.call("x")
        fake.refuse(None)
        fake.answer("x", 1)
        assert owl.call("x") == 1


def test_a_fake_peer_leaves_the_app_as_it_was(app: Flask, owl: OwlSocket) -> None:
    """Overrides nest, one service at a time."""
    app.config["OWLSOCKET_SERVICES"] = {"orders": {"URL": "wss://orders.example.com"}}
    with owl.fake_peer(app) as outer, app.app_context():
        outer.answer("who", "outer")
        with owl.fake_peer() as inner, owl.fake_peer(service="orders") as orders:
            inner.answer("who", "inner")
            orders.answer("who", "orders")
            assert (owl.call("who"), owl["orders"].call("who")) == ("inner", "orders")
        assert owl.call("who") == "outer"
    assert app.extensions["owlsocket"]._source_overrides == {}


def test_a_fake_peer_needs_an_app(owl: OwlSocket) -> None:
    """The default is the current app, or the only app; with two apps it is an error."""
    apps = [Flask(name) for name in ("one", "two")]
    for app in apps:
        owl.init_app(app)
    with pytest.raises(NoAppContext), owl.fake_peer():
        pass
    for app in apps:
        with owl.fake_peer(app) as fake, app.app_context():
            fake.answer("name", app.name)
            assert owl.call("name") == app.name
    apps[0].config["OWLSOCKET_LIMIT"] = 1
    with pytest.raises(ConfigError, match=r"OWLSOCKET_LIMITS"), owl.fake_peer(apps[0]):
        pass


def test_a_fake_peer_works_without_an_app() -> None:
    """For code that takes a connection."""
    with FakePeer("bare") as fake:
        fake.answer("add", lambda a, b: a + b)
        assert fake.connect().call("add", 1, 2) == 3
        fake.connect().send("no JSON at all")
        assert fake.remote.stats.malformed == 1


# -- a real server -----------------------------------------------------------------------------------------------------


def test_a_test_server_replaces_the_server(app: Flask, owl: OwlSocket) -> None:
    """With a handler, or with the connections of the server."""

    def handler(conn: Any, request: Request) -> None:
        conn.perform("getUser", lambda number: {"id": number})

    with owl.test_server(handler=handler) as server:
        assert app.test_client().get("/users/5").json == {"id": 5}
        assert len(server.connections) == 1
    with owl.test_server(app=app) as server, app.app_context():
        connection = owl.connection
        assert connection.url.startswith(server.url)
        server.connections[0].perform("late", lambda: "yes")
        assert owl.call("late") == "yes"
    assert connection.state is ConnectionState.CLOSED


def test_credentials_are_used_only_if_the_server_authenticates(app: Flask, owl: OwlSocket) -> None:
    """Without ``authenticate``, neither the token nor the proxy of the configuration is used."""
    app.config.update(OWLSOCKET_TOKEN="s3cret", OWLSOCKET_PROXY="http://127.0.0.1:1")
    seen = Collector()
    with owl.test_server(app=app, authenticate=lambda request: seen(request.query) or ANONYMOUS), app.app_context():
        owl.ping()
    with owl.test_server(app, lambda conn, request: seen(request.query)), app.app_context():
        owl.ping()
    assert seen.wait(2) == [{"token": "s3cret"}, {}]
