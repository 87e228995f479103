"""The Flask extension: one connection per process and app, and handlers that run in the app's context."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask, current_app, g, jsonify

from owlsocket_sync import (
    Connection,
    ConnectionState,
    EventMessage,
    Limits,
    SocketConnectionError,
    SocketInitializationError,
    SocketTimeout,
    StateChange,
)
from owlsocket_sync.contrib.flask import NoAppContext, OwlSocket
from owlsocket_sync.errors import ConfigError
from owlsocket_sync.server import Request, Server, serve
from support.helpers import Collector, eventually, scaled
from support.sockets import free_port


@pytest.fixture
def came() -> Collector:
    """The connections of the server."""
    return Collector()


@pytest.fixture
def server(came: Collector) -> Iterator[Server]:
    """A server that knows users and records its connections."""

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
    """Create an app with the extension and one view."""
    app = Flask(name)
    app.config.update(OWLSOCKET_URL=url, **config)
    owl.init_app(app)

    @app.get("/users/<int:number>")
    def user(number: int) -> Any:
        return jsonify(owl.call("getUser", number))

    return app


@pytest.fixture
def owl() -> OwlSocket:
    """An extension without apps."""
    return OwlSocket()


@pytest.fixture
def app(owl: OwlSocket, server: Server) -> Iterator[Flask]:
    """An app that connects to the server when it is used."""
    app = make_app(owl, server.url)
    yield app
    with app.app_context():
        owl.close()


def test_a_view_calls_the_server(app: Flask, owl: OwlSocket) -> None:
    """The state is in ``app.extensions`` only."""
    assert app.test_client().get("/users/7").json == {"id": 7}
    assert app.extensions["owlsocket"].owner is owl
    assert not hasattr(owl, "app")


def test_the_constructor_accepts_an_app(server: Server) -> None:
    """``OwlSocket(app)`` calls `init_app`."""
    app = Flask("quick")
    app.config["OWLSOCKET_URL"] = server.url
    owl = OwlSocket(app)
    with app.app_context():
        assert owl.call("getUser", 1) == {"id": 1}
        owl.close()


def test_nothing_connects_before_the_first_call(app: Flask, came: Collector) -> None:
    """Reloaders, forking masters and commands without a server must not connect."""
    with app.app_context():
        pass
    assert app.test_client().get("/nowhere").status_code == 404
    assert came.items == []


def test_requests_and_threads_share_one_connection(app: Flask, came: Collector, owl: OwlSocket) -> None:
    """The connection outlives requests."""

    def visit(number: int) -> Any:
        return app.test_client().get(f"/users/{number}").json

    with ThreadPoolExecutor(8) as visitors:
        assert list(visitors.map(visit, range(80))) == [{"id": number} for number in range(80)]
    assert len(came.items) == 1
    with app.app_context():
        assert owl.connection.state is ConnectionState.OPEN


def test_each_app_has_its_own_connection(owl: OwlSocket, server: Server, came: Collector) -> None:
    """One extension serves all apps, each with its own configuration."""
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


def test_the_extension_has_the_methods_of_a_connection(app: Flask, owl: OwlSocket, came: Collector) -> None:
    """All methods of a connection are available in a view."""
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
    """Handlers registered before `init_app` and after the connection; each run tears its context down."""
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


def test_handlers_of_events_requests_messages_and_states(app: Flask, owl: OwlSocket) -> None:
    """All verbs that register handlers."""
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


def test_an_async_handler_completes_or_is_rejected(app: Flask, owl: OwlSocket) -> None:
    """As an async view: with asgiref, or with Flask's error about the missing package."""
    pytest.importorskip("asgiref")

    @owl.perform("soon")
    async def soon() -> str:
        return current_app.name

    with app.app_context():
        assert owl.call("ask", "soon") == "shop"


def test_a_handler_is_registered_once_on_each_connection(app: Flask, owl: OwlSocket) -> None:
    """Each new connection has each handler once, whenever it was registered."""
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


def test_errors_of_handlers_are_logged_by_the_app(app: Flask, owl: OwlSocket, caplog: pytest.LogCaptureFixture) -> None:
    """With a traceback, as errors of views; unless the app has a handler of errors."""

    @owl.observe("bad")
    def fails(message: EventMessage) -> None:
        raise LookupError("no such shelf")

    with caplog.at_level(logging.ERROR), app.app_context():
        owl.call("emit", "bad")
        eventually(lambda: [entry for entry in caplog.records if entry.name == "shop"])
    (record,) = [entry for entry in caplog.records if entry.name == "shop"]
    assert "observe bad: no such shelf" in record.getMessage()
    assert record.exc_info is not None
    caplog.clear()
    reported = Collector()

    @owl.on_error
    def tell(error: Exception, context: Any) -> None:
        reported(current_app.name, str(error), context.source)

    with app.app_context():
        owl.call("emit", "bad")
    assert reported.wait(1) == [("shop", "no such shelf", "observe")]
    assert [entry for entry in caplog.records if entry.name == "shop"] == []


def test_handlers_must_be_callable(owl: OwlSocket) -> None:
    """The registration raises."""
    with pytest.raises(TypeError, match="the handler of listen must be callable, not int"):
        owl.listen(3)  # type: ignore[type-var]


@pytest.mark.parametrize("verb", ["observe", "perform", "accept"])
def test_a_decorator_without_its_name_raises(verb: str) -> None:
    """A bare decorator passes the handler as the name; it would register nothing."""
    with pytest.raises(TypeError, match=rf'{verb} needs a name, as in {verb}\("name"\), not function'):
        getattr(OwlSocket(), verb)(lambda message: None)


# -- named services ----------------------------------------------------------------------------------------------------


def test_an_app_has_several_services(server: Server) -> None:
    """Each service has its own options and handlers; a default service is not required."""
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
            with pytest.raises(
                ConfigError, match="no service 'order' in OWLSOCKET_SERVICES; configured services: 'orders', 'users'"
            ):
                owl["order"].call("x")
            with pytest.raises(ConfigError, match="has no URL to connect to"):
                owl.call("x")
            owl.close()


def test_a_service_that_is_configured_too_late_is_an_error(app: Flask, owl: OwlSocket, server: Server) -> None:
    """After close(), all services are created from the current configuration."""
    with app.app_context():
        owl.ping()
        app.config["OWLSOCKET_SERVICES"] = {"late": {"URL": server.url}}
        with pytest.raises(ConfigError, match=r"'late' was configured after another service was used.*owl\.close\(\)"):
            owl["late"].ping()
        owl.close()
        assert owl["late"].call("getUser", 4) == {"id": 4}
        assert repr(owl["late"]) == "<OwlSocket service 'late'>"


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_use_outside_of_a_context_raises(owl: OwlSocket, app: Flask) -> None:
    """The error is a RuntimeError, as Flask's, and one of ours."""
    with pytest.raises(NoAppContext, match=r"inside 'with app\.app_context\(\):'") as caught:
        owl.call("getUser", 1)
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, SocketInitializationError)
    with Flask("stranger").app_context(), pytest.raises(ConfigError, match=r"'stranger'.*init_app\(app\)"):
        _ = owl.connection


def test_an_app_rejects_a_second_extension(owl: OwlSocket, app: Flask) -> None:
    """The error names the alternatives; the second extension is not initialised for the app."""
    second = OwlSocket()
    with pytest.raises(ConfigError, match=r"has an OwlSocket already: use owl\['name'\]"):
        second.init_app(app)
    with app.app_context(), pytest.raises(ConfigError, match="not initialised for app"):
        second.call("x")


@pytest.mark.parametrize(
    "verb",
    [
        lambda owl: owl.call("getUser", 7),
        lambda owl: owl.call("getUser", 7, timeout=0.15),
        lambda owl: owl.submit("getUser", 7),
        lambda owl: owl.notify("tick"),
        lambda owl: owl.ping(0.15),
        lambda owl: owl.deadline(0.15),
        lambda owl: owl.wait_idle(),
    ],
)
def test_a_verb_connects_within_the_timeout_of_a_call(owl: OwlSocket, verb: Any) -> None:
    """Not within that of connecting, which may be longer; the error says why there is no connection."""
    app = make_app(owl, f"ws://127.0.0.1:{free_port()}", OWLSOCKET_TIMEOUT=scaled(60), OWLSOCKET_CALL_TIMEOUT=0.2)
    with app.app_context():
        with pytest.raises(SocketTimeout, match=r"after 0\.(15|2) s waiting for a connection.*refused") as raised:
            verb(owl)
        assert raised.value.sent is False
        owl.close()


def test_an_unreachable_server_fails_the_first_call(owl: OwlSocket) -> None:
    """The first call raises and leaves nothing behind; a later call may succeed."""
    app = make_app(owl, "ws://127.0.0.1:1", OWLSOCKET_TIMEOUT=0.2, OWLSOCKET_RECONNECT=None)
    with app.app_context():
        for _ in range(2):
            with pytest.raises(SocketConnectionError):
                owl.call("getUser", 1)


def test_many_first_requests_make_one_connection(owl: OwlSocket, server: Server, came: Collector) -> None:
    """Threads that race for the first use share the services."""
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
    with app.app_context():
        assert owl.connection._core.options.limits == Limits(pending_calls=100)
        owl.close()
    came.wait(1)
    eventually(lambda: not server.connections)
    assert len(came.items) == 1


@pytest.mark.parametrize(
    ("register", "error", "words"),
    [
        (
            lambda owl: owl.observe("tick", lambda: None),
            TypeError,
            r"of observe .tick. .*def handler\(message\)",
        ),
        (lambda owl: owl.observe("tick")(lambda: None), TypeError, r"def handler\(message\)"),
        (lambda owl: owl.observe("tick*"), ValueError, "names are exact"),
        (lambda owl: owl.perform("*"), ValueError, "names are exact"),
        (lambda owl: owl.perform("m", _generator), TypeError, "must not be a generator function"),
        (lambda owl: owl.acknowledge(lambda id: None), TypeError, r"def handler\(id, payload\)"),
        (lambda owl: owl.listen(lambda: None), TypeError, r"def handler\(message\)"),
        (lambda owl: owl.on_state(lambda: None), TypeError, r"def handler\(change\)"),
        (lambda owl: owl.on_error(lambda error: None), TypeError, r"def handler\(error, context\)"),
        (lambda owl: owl.observe_response(lambda: None), TypeError, r"def handler\(payload\)"),
    ],
)
def test_a_mistake_in_a_handler_raises_where_it_is_registered(
    owl: OwlSocket, register: Any, error: type[Exception], words: str
) -> None:
    """Not when the app connects."""
    with pytest.raises(error, match=words):
        register(owl)


def _generator(*payload: Any) -> Iterator[None]:
    yield


def test_a_handler_can_be_added_after_the_connection_was_closed(app: Flask, owl: OwlSocket) -> None:
    """The next connection has it."""
    with app.app_context():
        closed = owl.connection
        closed.close()
        owl.observe("tick", lambda message: None)
        assert owl.connection is not closed
