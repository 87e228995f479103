"""At home in Flask: calls from views, handlers in the app's context, commands, doubles, and routes that accept."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from child_processes import Child, environment, listening
from flask import Blueprint, Flask, current_app, jsonify
from helpers import Collector, eventually, scaled
from werkzeug.serving import make_server

from owlsocket_sync import (
    AuthError,
    Connection,
    ResilientError,
    SocketConnectionError,
    SocketMessageMalformed,
    SocketUnauthorized,
    connect,
)
from owlsocket_sync.contrib.flask import OwlSocket
from owlsocket_sync.contrib.flask.double import Call, Event
from owlsocket_sync.errors import ConfigError
from owlsocket_sync.server import Request, Server, serve


def users(conn: Connection, request: Request) -> None:
    """Knows users."""
    conn.on_error(lambda error, context: None)

    @conn.perform("getUser")
    def get_user(number: int) -> dict[str, int]:
        if number == 404:
            raise LookupError("no such user")
        return {"id": number}


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that knows users."""
    with serve(users) as running:
        yield running


def make_app(owl: OwlSocket, name: str = "shop", **config: Any) -> Flask:
    """An app that shows users."""
    app = Flask(name)
    app.config.update(config)
    owl.init_app(app)

    @app.get("/users/<int:number>")
    def user(number: int) -> Any:
        return jsonify(owl.call("getUser", number, timeout=scaled(5)))

    return app


@contextlib.contextmanager
def closing(owl: OwlSocket, *apps: Flask) -> Iterator[None]:
    """Close the connections of these apps at the end."""
    try:
        yield
    finally:
        for app in apps:
            with app.app_context():
                owl.close()


# -- calling ---------------------------------------------------------------------------------------------------------


def test_a_view_calls_on_the_connection_of_its_app(server: Server) -> None:
    """Made when it is first used, kept by requests, one for all threads; closed, the next use makes another."""
    owl = OwlSocket()
    app = make_app(owl, OWLSOCKET_URL=server.url)
    assert server.connections == []
    with closing(owl, app):
        threads = [threading.Thread(target=lambda: app.test_client().get("/users/3")) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(scaled(10))
        assert app.test_client().get("/users/4").json == {"id": 4}
        assert len(server.connections) == 1
        with app.app_context():
            assert owl.connection is owl.connection
            assert owl.submit("getUser", 5).result(scaled(5)) == {"id": 5}
            owl.close()
            assert owl.call("getUser", 6) == {"id": 6}


def test_each_app_has_a_connection_of_its_own(server: Server) -> None:
    """One extension serves several, and two extensions one app, under prefixes of their own."""
    owl, other = OwlSocket(), OwlSocket(prefix="BILLING_")
    first = make_app(owl, "first", OWLSOCKET_URL=server.url, BILLING_URL=server.url)
    second = make_app(owl, "second", OWLSOCKET_URL=server.url)
    other.init_app(first)
    with closing(owl, first, second), closing(other, first):
        for app in (first, second):
            with app.app_context():
                assert owl.connection.name == app.name
        with first.app_context():
            assert other.call("getUser", 1) == {"id": 1}
        assert len(server.connections) == 3
        with second.app_context(), pytest.raises(ConfigError, match=r"'second' does not know this OwlSocket.*init_app"):
            _ = other.connection


def test_configuration_is_read_when_it_is_first_needed(server: Server) -> None:
    """So that tests may change it; options are those of `connect`, and a token may be named by its path."""
    owl = OwlSocket()
    app = make_app(owl, OWLSOCKET_CALL_TIMEOUT=7, OWLSOCKET_NAME="till", OWLSOCKET_TOKEN="os:getcwd")
    app.config["OWLSOCKET_URL"] = lambda: server.url
    with closing(owl, app), app.app_context():
        assert (owl.connection.default_call_timeout, owl.connection.name) == (7, "till")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, r'does not say where to connect to: app.config\["OWLSOCKET_URL"\]'),
        ({"OWLSOCKET_URL": "ws://h", "OWLSOCKET_CALL_TIMEOU": 1}, "did you mean OWLSOCKET_CALL_TIMEOUT"),
        ({"OWLSOCKET_URL": "ws://h", "OWLSOCKET_TOKEN": "nowhere.at.all:token"}, "OWLSOCKET_TOKEN leads nowhere"),
        ({"OWLSOCKET_URL": "ws://h", "OWLSOCKET_TOKEN": "os:sep"}, "must lead to a callable"),
    ],
)
def test_a_configuration_that_cannot_be_used(config: dict[str, Any], words: str) -> None:
    """The error names what is wrong, and what to write."""
    owl = OwlSocket()
    with pytest.raises(ConfigError, match=words):
        app = make_app(owl, **config)
        with app.app_context():
            _ = owl.connection


def test_mistakes_of_a_beginner(server: Server) -> None:
    """No app's context, the same app twice, a word that nobody knows."""
    owl = OwlSocket()
    app = make_app(owl, OWLSOCKET_URL=server.url)
    with pytest.raises(RuntimeError, match=r"with app.app_context\(\):"):
        owl.call("getUser", 1)
    with pytest.raises(ConfigError, match="a prefix of its own"):
        owl.init_app(app)
    with pytest.raises(AttributeError, match=r"owl\.connection"):
        _ = owl.cal


# -- handlers --------------------------------------------------------------------------------------------------------


def test_handlers_run_in_the_context_of_their_app(server: Server) -> None:
    """Registered before or after the app is there, and after it connected; for each app in its own."""
    owl, seen = OwlSocket(), Collector()

    @owl.observe("paid")
    def paid(message: Any) -> None:
        seen(current_app.name, message.payload)

    app = make_app(owl, OWLSOCKET_URL=server.url)
    with closing(owl, app), app.app_context():
        assert owl.call("getUser", 1) == {"id": 1}

        @owl.perform("whoAreYou")
        def who() -> str:
            return current_app.name

        (peer,) = server.connections
        peer.notify("paid", 7)
        assert seen.wait(1) == [("shop", 7)]
        assert peer.call("whoAreYou", timeout=scaled(5)) == "shop"


# -- tests of apps ---------------------------------------------------------------------------------------------------


def test_a_double_stands_in_for_the_server() -> None:
    """It answers, raises, tells events, and keeps what it was asked; arguments travel as JSON."""
    owl, seen = OwlSocket(), []

    @owl.observe("paid")
    def paid(message: Any) -> None:
        seen.append((current_app.name, message.payload))

    app = make_app(owl)
    with owl.double(app) as double:
        double.answer("getUser", {"id": "of a double"})
        assert app.test_client().get("/users/3").json == {"id": "of a double"}
        double.answer("getUser", LookupError("no such user"))
        with app.app_context():
            with pytest.raises(ResilientError, match="no such user"):
                owl.call("getUser", 4)
            with pytest.raises(ResilientError, match="unknown"):
                owl.call("unknown")
            with pytest.raises(SocketMessageMalformed):
                owl.call("getUser", object())
            owl.notify("seen", [1])
        double.emit("paid", 5)
        double.peer.perform("double", lambda number: 2 * number)
        with app.app_context():
            assert owl.submit("double", 4).result(0) == 8
    assert double.calls[:3] == [Call("getUser", (3,)), Call("getUser", (4,)), Call("unknown", ())]
    assert double.events == [Event("seen", [1])]
    assert seen == [("shop", 5)]
    with app.app_context(), pytest.raises(ConfigError):
        _ = owl.connection
    with pytest.raises(SocketConnectionError):
        double.connection.call("getUser", 1)


def test_a_server_of_the_test_is_what_the_app_connects_to(server: Server) -> None:
    """Inside the block; behind it, what was configured holds again."""
    owl = OwlSocket()
    app = make_app(owl, OWLSOCKET_URL=server.url)
    with closing(owl, app):
        with owl.test_server(app, lambda conn, request: conn.perform("getUser", lambda number: -number)):
            assert app.test_client().get("/users/3").json == -3
        assert app.test_client().get("/users/3").json == {"id": 3}


# -- the commands ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "output"),
    [
        (["call", "getUser", "9"], 0, '{"id": 9}\n'),
        (["call", "getUser", "404"], 1, "no such user\n"),
        (["call", "never", "--timeout", "0.05"], 4, "within 0.05 s\n"),
        (["listen", "tick", "--limit", "1"], 0, '{"event": "tick", "payload": 1}\n'),
    ],
)
def test_the_commands_print_json_and_end_with_a_code(arguments: list[str], code: int, output: str) -> None:
    """As the `owlsocket` command does."""

    def handler(conn: Connection, request: Request) -> None:
        users(conn, request)
        conn.perform("never", lambda: conn.wait_closed())
        threading.Thread(target=_tick, args=(conn,), daemon=True).start()

    owl = OwlSocket()
    app = make_app(owl)
    with owl.test_server(app, handler):
        ran = app.test_cli_runner().invoke(args=["owlsocket", *arguments])
    assert (ran.exit_code, ran.output.endswith(output)) == (code, True), ran.output


def _tick(conn: Connection) -> None:
    with contextlib.suppress(SocketConnectionError):
        while True:
            conn.notify("tick", 1)
            if threading.Event().wait(0.05):
                return


def test_the_ping_of_the_commands(server: Server) -> None:
    """One line for each."""
    owl = OwlSocket()
    app = make_app(owl, OWLSOCKET_URL=server.url)
    with closing(owl, app):
        ran = app.test_cli_runner().invoke(args=["owlsocket", "ping", "-c", "2"])
    lines = [json.loads(line) for line in ran.output.splitlines()]
    assert (ran.exit_code, len(lines)) == (0, 2)
    assert all(0 <= line["seconds"] < scaled(5) for line in lines)


def test_a_command_without_a_server() -> None:
    """No connection is 3, no URL is 2."""
    owl = OwlSocket()
    app = make_app(owl, OWLSOCKET_URL="ws://127.0.0.1:9", OWLSOCKET_TIMEOUT=scaled(5))
    assert app.test_cli_runner().invoke(args=["owlsocket", "ping"]).exit_code == 3
    bare = make_app(owl, "bare")
    assert bare.test_cli_runner().invoke(args=["owlsocket", "ping"]).exit_code == 2


# -- accepting -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def werkzeug(app: Flask) -> Iterator[str]:
    """The app, served by Werkzeug's threads; the address for WebSockets."""
    http = make_server("127.0.0.1", 0, app, threaded=True)
    http.RequestHandlerClass.log = lambda *arguments: None  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        thread.join(scaled(5))
        http.server_close()


def test_a_route_accepts_connections() -> None:
    """Its handler is within its request, what that registers within the app; both ends call, and know the end."""
    owl, closed = OwlSocket(), Collector()
    app = Flask("shop")
    owl.init_app(app)

    @owl.accept("/rooms/<name>")
    def room(conn: Connection, request: Request, name: str) -> None:
        conn.perform("where", lambda: [current_app.name, name, request.query["seat"]])
        conn.perform("ask", lambda: conn.call("answer", timeout=scaled(5)))
        conn.on_state(closed)
        conn.notify("welcome", name)

    with werkzeug(app) as url:
        welcome = Collector()
        with connect(f"{url}/rooms/attic?seat=7", wait=False) as conn:
            conn.observe("welcome", lambda message: welcome(message.payload))
            conn.perform("answer", lambda: 42)
            assert conn.call("where", timeout=scaled(5)) == ["shop", "attic", "7"]
            assert conn.call("ask", timeout=scaled(5)) == 42
            assert conn.ping(scaled(5)) >= 0
            assert welcome.wait(1) == ["attic"]
            big = "x" * 1_000_000
            conn.perform("answer", lambda: big)
            assert conn.call("ask", timeout=scaled(10)) == big
        eventually(lambda: "closed" in [change.state.value for change in closed.items])


def test_a_route_of_a_blueprint_lets_in_whom_it_should() -> None:
    """Refusals are HTTP's, before anything is upgraded; who came in is known."""
    owl = OwlSocket()
    app, blueprint = Flask("shop"), Blueprint("doors", __name__)

    def guard(request: Request) -> str:
        if request.query.get("token") != "sesame":
            raise AuthError("nobody knows you")
        return "Ali"

    @owl.accept("/door", blueprint=blueprint, authenticate=guard, origins=["https://shop.example"])
    def door(conn: Connection, request: Request) -> None:
        conn.perform("who", lambda: [request.auth, conn.auth_info])

    owl.init_app(app)
    app.register_blueprint(blueprint, url_prefix="/in")
    with werkzeug(app) as url:
        with pytest.raises(AuthError, match="nobody knows you"):
            connect(f"{url}/in/door", reconnect=None)
        with pytest.raises(SocketUnauthorized):
            connect(f"{url}/in/door", token="sesame", headers={"Origin": "https://evil.example"}, reconnect=None)
        with connect(f"{url}/in/door", token="sesame") as conn:
            assert conn.call("who", timeout=scaled(5)) == ["Ali", "Ali"]


def test_options_that_cannot_be_used() -> None:
    """Are told at once."""
    owl = OwlSocket()
    with pytest.raises(ValueError, match="origins"):
        owl.accept("/ws", origins="https://shop.example")(lambda conn, request: None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="call_timeout"):
        owl.accept("/ws", call_timeout=-1)(lambda conn, request: None)


APP = """
from flask import Flask
from owlsocket_sync.contrib.flask import OwlSocket

app = Flask("shop")
owl = OwlSocket(app)

@owl.accept("/ws")
def accept(conn, request):
    conn.perform("double", lambda number: 2 * number)
"""


@pytest.mark.parametrize("options", ["--threads 4", "--worker-class gevent"])
def test_a_route_accepts_under_gunicorn(tmp_path: Any, options: str) -> None:
    """Threads and greenlets; a client that left leaves nothing."""
    (tmp_path / "accepting.py").write_text(APP)
    with listening() as sock:
        bind = ["--bind", f"fd://{sock.fileno()}", "--chdir", str(tmp_path), "--log-level", "error"]
        command = [sys.executable, "-m", "gunicorn", *options.split(), *bind, "accepting:app"]
        with Child(command, environment(""), [sock.fileno()]):
            url = f"ws://127.0.0.1:{sock.getsockname()[1]}/ws"
            for number in range(3):
                with connect(url, timeout=scaled(20)) as conn:
                    assert conn.call("double", number, timeout=scaled(5)) == 2 * number
