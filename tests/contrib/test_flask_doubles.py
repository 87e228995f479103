"""Testing an app: with a peer in memory, and with a real server on this machine."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from flask import Flask, current_app, jsonify
from helpers import Collector, scaled

from owlsocket_sync import (
    ConnectionState,
    EventMessage,
    ResilientError,
    SocketConnectionError,
    SocketMessageMalformed,
    SocketTimeout,
    SocketUnauthorized,
    SocketUnsupported,
)
from owlsocket_sync.contrib.flask import Double, NoAppContext, OwlSocket
from owlsocket_sync.errors import ConfigError
from owlsocket_sync.server import Request


@pytest.fixture
def owl() -> OwlSocket:
    """An extension."""
    return OwlSocket()


@pytest.fixture
def app(owl: OwlSocket) -> Flask:
    """An app whose server is nowhere near."""
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


# -- the double --------------------------------------------------------------------------------------------------------


def test_a_double_answers_and_remembers(app: Flask, owl: OwlSocket) -> None:
    """What a view calls and sends, in order."""
    client = app.test_client()
    with owl.double() as double:
        double.answer("getUser", lambda number: {"id": number})
        assert client.get("/users/7").json == {"id": 7}
        assert client.get("/users/8").json == {"id": 8}
        assert client.post("/orders/3/pay").status_code == 204
        assert double.calls == [("getUser", (7,)), ("getUser", (8,))]
        assert double.calls_of("getUser") == [(7,), (8,)]
        assert double.calls_of("nothing") == []
        assert double.events == [("order.paid", {"order": 3})]
        assert double.events_of("order.paid") == [{"order": 3}]
        assert "2 calls" in repr(double)


def test_answers_may_follow_one_another(app: Flask, owl: OwlSocket) -> None:
    """The last one goes on; a new answer takes the place of the old ones."""
    with owl.double(app) as double, app.app_context():
        double.answer("next", 1, ValueError("two is out"), lambda: 3)
        assert owl.call("next") == 1
        with pytest.raises(ResilientError, match="two is out"):
            owl.call("next")
        assert [owl.call("next"), owl.call("next")] == [3, 3]
        double.answer("next", None)
        assert owl.call("next") is None


def test_errors_are_those_of_a_server(app: Flask, owl: OwlSocket) -> None:
    """Of the same classes, with the same facts."""
    with owl.double(app) as double, app.app_context():
        with pytest.raises(SocketUnsupported, match="'nothing' is not performed here") as unsupported:
            owl.call("nothing")
        assert unsupported.value.remote
        double.answer("fail", LookupError("no such user"))
        with pytest.raises(ResilientError, match="LookupError: no such user") as failed:
            owl.call("fail")
        assert (failed.value.type, failed.value.remote) == ("LookupError", True)
        double.answer("forbid", SocketUnauthorized("not you"))
        with pytest.raises(SocketUnauthorized, match="not you"):
            owl.call("forbid")
        with pytest.raises(SocketMessageMalformed):
            owl.call("getUser", {1j})
        double.answer("odd", lambda: {1j})
        with pytest.raises(ResilientError, match="complex"):
            owl.call("odd")


def test_what_is_not_json_arrives_as_json_would(app: Flask, owl: OwlSocket) -> None:
    """Tuples become lists, as they do on a wire: no test passes because nothing travelled."""
    with owl.double(app) as double, app.app_context():
        double.answer("echo", lambda value: value)
        assert owl.call("echo", {"pair": (1, 2)}) == {"pair": [1, 2]}
        assert double.calls == [("echo", ({"pair": [1, 2]},))]


def test_no_answer_runs_out_of_time(app: Flask, owl: OwlSocket) -> None:
    """Whether somebody waits or not; a view that handles it does."""
    app.config["OWLSOCKET_CALL_TIMEOUT"] = 0.1
    with owl.double(app) as double, app.app_context():
        double.answer("getUser")
        assert app.test_client().get("/users/1").status_code == 504
        waits = [owl.submit("getUser", number, timeout=0.05 * number) for number in (4, 2, 1)]
        for future in waits:
            with pytest.raises(SocketTimeout, match="was not answered within"):
                future.result(scaled(5))
        assert double.calls_of("getUser") == [(1,), (4,), (2,), (1,)]


def test_a_double_emits_and_calls(app: Flask, owl: OwlSocket) -> None:
    """Handlers have run when it returns, in the app's context; what they raise is told as ever."""
    seen = []

    @owl.observe("greeted")
    def greeted(message: EventMessage) -> None:
        seen.append((current_app.name, message.payload))

    @owl.perform("twice")
    def twice(number: int) -> Any:
        return [number * 2, current_app.name, owl.call("half", number)]

    with owl.double(app) as double:
        double.answer("half", lambda number: number / 2)
        double.emit("greeted", "Ada")
        assert seen == [("shop", "Ada")]
        assert double.call("twice", 4) == [8, "shop", 2.0]
        with pytest.raises(SocketUnsupported):
            double.call("nothing")

        @owl.perform("late")
        def late() -> str:
            return "in time"

        assert double.call("late") == "in time"


def test_requests_and_the_queue_go_both_ways(app: Flask, owl: OwlSocket) -> None:
    """What the double has no word for, its ``peer`` does."""

    @owl.acknowledge
    def acknowledge(id: str, payload: Any) -> bool:
        owl.reply(id, payload + 1)
        return True

    with owl.double(app) as double, app.app_context():
        double.peer.acknowledge(lambda id, payload: double.peer.reply(id, payload * 2) or True)
        with owl.stream(21) as responses:
            assert next(responses) == 42
        with double.peer.stream(1) as responses:
            assert next(responses) == 2
        owl.enqueue("letter")
        double.peer.enqueue("answer")
        assert (double.requests, double.enqueued) == ([21], ["letter"])
        assert owl.connection.consume() == ("answer", None, 0)


def test_a_link_that_is_lost_fails_calls_and_comes_back(app: Flask, owl: OwlSocket) -> None:
    """What is in flight at once; what comes meanwhile waits, within its own time."""
    states = []
    owl.on_state(lambda change: states.append(change.state))
    with owl.double(app) as double, app.app_context():
        double.answer("slow")
        future = owl.submit("slow")
        double.lose()
        with pytest.raises(SocketConnectionError, match="the link was lost before the answer came") as lost:
            future.result(0)
        assert lost.value.retryable
        assert owl.connection.state is ConnectionState.RECONNECTING
        with pytest.raises(SocketTimeout):
            owl.call("getUser", 1, timeout=0.05)
        with pytest.raises(SocketTimeout), owl.deadline(0.05):
            owl.notify("x")
        double.answer("getUser", "found")
        waiting = owl.submit("getUser", 1)
        double.restore()
        assert waiting.result(scaled(5)) == "found"
        owl.connection.reconnect()
        assert owl.connection.stats.reconnects == 2
    assert states == [ConnectionState.RECONNECTING, ConnectionState.OPEN] * 2 + [ConnectionState.CLOSED]


def test_who_waits_for_a_link_is_freed_by_it(app: Flask, owl: OwlSocket) -> None:
    """And by the end of the double."""
    with owl.double(app) as double, app.app_context():
        double.answer("getUser", "found")
        double.lose()
        connection, got = owl.connection, Collector()
        thread = threading.Thread(target=lambda: got(connection.call("getUser", 1)))
        thread.start()
        double.restore()
        assert got.wait(1) == ["found"]
        thread.join(scaled(5))
    with pytest.raises(SocketConnectionError, match="is closed"):
        connection.call("getUser", 1)
    assert connection.wait_closed(scaled(1)).code == 1000


def test_a_server_that_refuses(app: Flask, owl: OwlSocket) -> None:
    """The next attempt to connect fails, and a later one does not."""
    with owl.double(app) as double, app.app_context():
        double.refuse(SocketUnauthorized("who are you"))
        with pytest.raises(SocketUnauthorized, match="who are you"):
            owl.call("x")
        double.refuse(None)
        double.answer("x", 1)
        assert owl.call("x") == 1


def test_a_double_goes_and_leaves_the_app_as_it_was(app: Flask, owl: OwlSocket) -> None:
    """They may stand in for one another, one service at a time."""
    app.config["OWLSOCKET_SERVICES"] = {"orders": {"URL": "wss://orders.example.com"}}
    with owl.double(app) as outer, app.app_context():
        outer.answer("who", "outer")
        with owl.double() as inner, owl.double(service="orders") as orders:
            inner.answer("who", "inner")
            orders.answer("who", "orders")
            assert (owl.call("who"), owl["orders"].call("who")) == ("inner", "orders")
        assert owl.call("who") == "outer"
    assert app.extensions["owlsocket"]._stand_ins == {}


def test_a_double_needs_to_know_its_app(owl: OwlSocket) -> None:
    """The current one, or the only one; with two of them it asks."""
    apps = [Flask(name) for name in ("one", "two")]
    for app in apps:
        owl.init_app(app)
    with pytest.raises(NoAppContext), owl.double():
        pass
    for app in apps:
        with owl.double(app) as double, app.app_context():
            double.answer("name", app.name)
            assert owl.call("name") == app.name
    apps[0].config["OWLSOCKET_LIMIT"] = 1
    with pytest.raises(ConfigError, match="OWLSOCKET_LIMITS"), owl.double(apps[0]):
        pass


def test_a_double_stands_alone_as_well() -> None:
    """Without an app: for whatever takes a connection."""
    with Double("bare") as double:
        double.answer("add", lambda a, b: a + b)
        assert double.connect().call("add", 1, 2) == 3
        double.connect().send("no JSON at all")
        assert double.peer.stats.malformed == 1


# -- a real server -----------------------------------------------------------------------------------------------------


def test_a_real_server_stands_in(app: Flask, owl: OwlSocket) -> None:
    """With a handler, or with what the test has its connections do."""

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


def test_who_the_app_is_matters_to_a_server_that_asks(app: Flask, owl: OwlSocket) -> None:
    """Without ``authenticate`` no token leaves the app, and no proxy is asked for the way."""
    app.config.update(OWLSOCKET_TOKEN="s3cret", OWLSOCKET_PROXY="http://127.0.0.1:1")
    seen = Collector()
    with owl.test_server(app=app, authenticate=lambda request: seen(request.query)), app.app_context():
        owl.ping()
    with owl.test_server(app, lambda conn, request: seen(request.query)), app.app_context():
        owl.ping()
    assert seen.wait(2) == [{"token": "s3cret"}, {}]
