"""The Flask extension: one connection per process and app, and handlers that run in the app's context."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask, current_app, g, jsonify
from helpers import Collector, eventually, scaled

from owlsocket_sync import (
    Connection,
    ConnectionState,
    EventMessage,
    Limits,
    SocketConnectionError,
    SocketInitializationError,
    StateChange,
)
from owlsocket_sync.contrib.flask import NoAppContext, OwlSocket
from owlsocket_sync.errors import ConfigError
from owlsocket_sync.server import Request, Server, serve


@pytest.fixture
def came() -> Collector:
    """The connections that came to the server."""
    return Collector()


@pytest.fixture
def server(came: Collector) -> Iterator[Server]:
    """Knows users, and takes note of who comes."""

    def handler(conn: Connection, request: Request) -> None:
        conn.on_error(lambda error, context: None)
        conn.perform("getUser", lambda number: {"id": number})
        conn.perform("ask", lambda method, *payload: conn.call(method, *payload))
        conn.perform("emit", conn.notify)
        conn.perform("request", lambda payload: next(conn.stream(payload, timeout=scaled(5))))
        came(conn)

    with serve(handler) as running:
        yield running


def make_app(owl: OwlSocket, url: str, name: str = "shop", **config: Any) -> Flask:
    """An app that knows the extension, with one view."""
    app = Flask(name)
    app.config.update(OWLSOCKET_URL=url, **config)
    owl.init_app(app)

    @app.get("/users/<int:number>")
    def user(number: int) -> Any:
        return jsonify(owl.call("getUser", number))

    return app


@pytest.fixture
def owl() -> OwlSocket:
    """An extension of which no app knows yet."""
    return OwlSocket()


@pytest.fixture
def app(owl: OwlSocket, server: Server) -> Iterator[Flask]:
    """An app that is connected to the server when it is used."""
    app = make_app(owl, server.url)
    yield app
    with app.app_context():
        owl.close()


def test_a_view_calls_the_server(app: Flask, owl: OwlSocket) -> None:
    """Its state is in the app alone."""
    assert app.test_client().get("/users/7").json == {"id": 7}
    assert app.extensions["owlsocket"].owner is owl
    assert not hasattr(owl, "app")


def test_an_app_can_be_given_at_once(server: Server) -> None:
    """``OwlSocket(app)`` is `init_app` in one step."""
    app = Flask("quick")
    app.config["OWLSOCKET_URL"] = server.url
    owl = OwlSocket(app)
    with app.app_context():
        assert owl.call("getUser", 1) == {"id": 1}
        owl.close()


def test_nothing_connects_before_the_first_call(app: Flask, came: Collector) -> None:
    """A reloader, a master that forks, and commands that need no server leave it in peace."""
    with app.app_context():
        pass
    assert app.test_client().get("/nowhere").status_code == 404
    assert came.items == []


def test_requests_and_threads_share_one_connection(app: Flask, came: Collector, owl: OwlSocket) -> None:
    """It outlives all of them: no end of a request closes it."""

    def visit(number: int) -> Any:
        return app.test_client().get(f"/users/{number}").json

    with ThreadPoolExecutor(8) as visitors:
        assert list(visitors.map(visit, range(80))) == [{"id": number} for number in range(80)]
    assert len(came.items) == 1
    with app.app_context():
        assert owl.connection.state is ConnectionState.OPEN


def test_each_app_has_a_connection_of_its_own(owl: OwlSocket, server: Server, came: Collector) -> None:
    """One extension serves them all, each by its own configuration."""
    first, second = (make_app(owl, server.url, name, OWLSOCKET_NAME=f"link of {name}") for name in ("one", "two"))
    names = []
    for app in (first, second, first):
        assert app.test_client().get("/users/1").json == {"id": 1}
        with app.app_context():
            names.append(owl.connection.name)
    assert names == ["link of one", "link of two", "link of one"]
    assert len(came.items) == 2
    for app in (first, second):
        with app.app_context():
            owl.close()


def test_verbs_are_those_of_the_connection(app: Flask, owl: OwlSocket, came: Collector) -> None:
    """Whatever a view has to say."""
    with app.app_context():
        assert owl.submit("getUser", 2).result(scaled(5)) == {"id": 2}
        assert owl.ping() > 0
        with owl.deadline(scaled(5)), owl.batch():
            owl.notify("seen", 1)
        owl.enqueue("later", "m1")
        (peer,) = came.items
        assert peer.consume(timeout=scaled(5)).payload == "later"
        with owl.events("tick", limit=1, timeout=scaled(5)) as events:
            owl.call("emit", "tick", 5)
            assert [event.payload for event in events] == [5]
        peer.acknowledge(lambda id, payload: peer.reply(id, payload * 2) or True)
        with owl.stream(4, timeout=scaled(5)) as responses:
            assert next(responses) == 8

        class Users:
            def getUser(self, number: int) -> Any:  # noqa: N802 - the wire's name
                raise NotImplementedError

        assert owl.proxy(Users).getUser(3) == {"id": 3}


# -- handlers ----------------------------------------------------------------------------------------------------------


def test_handlers_run_in_the_context_of_their_app(owl: OwlSocket, server: Server, came: Collector) -> None:
    """Those of before `init_app` and those of after the connection was made, on each app, torn down each time."""
    ended = Collector()

    @owl.perform("early")
    def early(value: str) -> str:
        g.value = value
        return f"{current_app.name}: {value}"

    apps = [make_app(owl, server.url, name) for name in ("one", "two")]
    for app in apps:
        app.teardown_appcontext(lambda error: ended(g.pop("value", None)))
    for app in apps:
        with app.app_context():
            assert owl.call("ask", "early", "x") == f"{app.name}: x"
    assert "x" in ended.wait(2)

    @owl.perform("late")
    def late() -> str:
        return current_app.name

    for app in apps:
        with app.app_context():
            assert owl.call("ask", "late") == app.name
            owl.close()
    assert (early.__name__, late.__name__) == ("early", "late")


def test_events_requests_and_messages_have_handlers(app: Flask, owl: OwlSocket) -> None:
    """Each verb of a connection that registers one."""
    observed, listened, states = Collector(), Collector(), Collector()

    @owl.observe("greeted")
    def greeted(message: EventMessage) -> None:
        observed(current_app.name, message.payload)

    owl.observe("*", lambda message: observed(current_app.name, message.payload))

    @owl.listen
    def see(message: Any) -> None:
        listened(current_app.name)

    @owl.acknowledge
    def acknowledge(id: str, payload: Any) -> bool:
        owl.reply(id, f"{current_app.name} got {payload}")
        return True

    @owl.on_state
    def changed(change: StateChange) -> None:
        states(current_app.name, change.state)

    with app.app_context():
        assert owl.call("request", "a letter") == "shop got a letter"
        owl.call("emit", "greeted", "Ada")
    assert observed.wait(2) == [("shop", "Ada"), ("shop", "Ada")]
    assert states.wait(1) == [("shop", ConnectionState.OPEN)]
    assert listened.wait(1) == ["shop"]


def test_an_async_handler_runs_to_its_end_or_is_refused(app: Flask, owl: OwlSocket) -> None:
    """As an async view does: with asgiref, or with Flask's own word about what is missing."""
    pytest.importorskip("asgiref")

    @owl.perform("soon")
    async def soon() -> str:
        return current_app.name

    with app.app_context():
        assert owl.call("ask", "soon") == "shop"


def test_a_handler_comes_to_a_connection_once(app: Flask, owl: OwlSocket) -> None:
    """However many connections there were, and whenever it was registered."""
    seen = Collector()
    owl.observe("tick", lambda message: seen(message.payload))
    with app.app_context():
        first = owl.connection
        owl.observe("tick", lambda message: seen(message.payload))
        first.close()
        assert owl.connection is not first
        owl.call("emit", "tick", 1)
        owl.call("emit", "tick", 2)
    assert seen.wait(4) == [1, 1, 2, 2]
    assert len(seen.items) == 4


def test_errors_of_handlers_are_told_by_the_app(app: Flask, owl: OwlSocket, caplog: pytest.LogCaptureFixture) -> None:
    """As those of views, with a traceback; unless the app has a handler for them."""

    @owl.observe("bad")
    def fails(message: EventMessage) -> None:
        raise LookupError("no such shelf")

    with caplog.at_level(logging.ERROR), app.app_context():
        owl.call("emit", "bad")
        eventually(lambda: [one for one in caplog.records if one.name == "shop"])
    (record,) = [one for one in caplog.records if one.name == "shop"]
    assert "observe bad: no such shelf" in record.getMessage()
    assert record.exc_info is not None
    caplog.clear()
    told = Collector()

    @owl.on_error
    def tell(error: Exception, context: Any) -> None:
        told(current_app.name, str(error), context.source)

    with app.app_context():
        owl.call("emit", "bad")
    assert told.wait(1) == [("shop", "no such shelf", "observe")]
    assert [one for one in caplog.records if one.name == "shop"] == []


def test_handlers_must_be_callable(owl: OwlSocket) -> None:
    """That is said where they are registered."""
    with pytest.raises(TypeError, match="the handler of listen must be callable, not int"):
        owl.listen(3)  # type: ignore[type-var]


# -- named services ----------------------------------------------------------------------------------------------------


def test_there_may_be_several_services(server: Server) -> None:
    """Each with its options and its handlers; the default one needs not be among them."""
    with serve(lambda conn, request: conn.perform("name", lambda: "orders")) as other:
        owl, app = OwlSocket(), Flask("shop")
        services = {"orders": {"URL": other.url, "CALL_TIMEOUT": 7}, "users": {"url": server.url}}
        app.config["OWLSOCKET_SERVICES"] = services
        owl.init_app(app)
        users = owl["users"]

        @users.perform("hello")
        def hello() -> str:
            return "users say hello"

        with app.app_context():
            assert owl["orders"].call("name") == "orders"
            assert owl["orders"].connection.default_call_timeout == 7
            assert owl["orders"].connection.name == "orders"
            assert users.call("ask", "hello") == "users say hello"
            with pytest.raises(ConfigError, match="no service 'order' in OWLSOCKET_SERVICES, but 'orders', 'users'"):
                owl["order"].call("x")
            with pytest.raises(ConfigError, match="does not say where to connect to"):
                owl.call("x")
            owl.close()


def test_a_service_that_is_configured_too_late_is_told_so(app: Flask, owl: OwlSocket, server: Server) -> None:
    """The others are in use; once they are closed, all are made anew."""
    with app.app_context():
        owl.ping()
        app.config["OWLSOCKET_SERVICES"] = {"late": {"URL": server.url}}
        with pytest.raises(ConfigError, match=r"'late' is configured too late.*owl\.close\(\)"):
            owl["late"].ping()
        owl.close()
        assert owl["late"].call("getUser", 4) == {"id": 4}
        assert repr(owl["late"]) == "<OwlSocket service 'late'>"


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_outside_of_a_context_it_says_so(owl: OwlSocket, app: Flask) -> None:
    """In Flask's class of error, and in ours."""
    with pytest.raises(NoAppContext, match=r"inside 'with app\.app_context\(\):'") as caught:
        owl.call("getUser", 1)
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, SocketInitializationError)
    with Flask("stranger").app_context(), pytest.raises(ConfigError, match=r"'stranger'.*init_app\(app\)"):
        _ = owl.connection


def test_an_app_takes_one_extension(owl: OwlSocket, app: Flask) -> None:
    """The second is told what to use instead, and does not know the app either."""
    second = OwlSocket()
    with pytest.raises(ConfigError, match=r"has an OwlSocket already: owl\['name'\]"):
        second.init_app(app)
    with app.app_context(), pytest.raises(ConfigError, match="does not know this OwlSocket"):
        second.call("x")


def test_a_server_that_is_not_there(owl: OwlSocket) -> None:
    """The first call says so; nothing is left of it, and a later one may succeed."""
    app = make_app(owl, "ws://127.0.0.1:1", OWLSOCKET_TIMEOUT=0.2, OWLSOCKET_RECONNECT=None)
    with app.app_context():
        for _ in range(2):
            with pytest.raises(SocketConnectionError):
                owl.call("getUser", 1)


def test_many_first_requests_make_one_connection(owl: OwlSocket, server: Server, came: Collector) -> None:
    """The app's services are made once, whoever is first."""
    app = make_app(owl, server.url, OWLSOCKET_LIMITS={"pending_calls": 100})
    ready, got = threading.Barrier(12), Collector()

    def use() -> None:
        ready.wait(scaled(5))
        with app.app_context():
            got(owl.connection)

    threads = [threading.Thread(target=use) for _ in range(12)]
    for thread in threads:
        thread.start()
    assert len(set(got.wait(12))) == 1
    for thread in threads:
        thread.join(scaled(5))
    assert len(came.items) == 1
    with app.app_context():
        assert owl.connection._limits == Limits(pending_calls=100)
        owl.close()
