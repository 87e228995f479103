"""The Flask extension in use: calls from views, handlers in the app's context, commands, fake peers and routes."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Blueprint, Flask, current_app, jsonify
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
from owlsocket_sync.contrib.flask.fake import Call, Event
from owlsocket_sync.errors import ConfigError
from owlsocket_sync.server import Request, Server, serve
from support.child_processes import Child, environment, listening
from support.helpers import Collector, eventually, scaled


def users(conn: Connection, request: Request) -> None:
    """A handler of a server that knows users."""
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
    """Create an app with a view of users."""
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


def test_a_view_uses_the_connection_of_its_app(server: Server) -> None:
    """The first use connects; requests and threads share the connection; after close() the next use connects again."""
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


def test_each_app_has_its_own_connection(server: Server) -> None:
    """An extension serves several apps, and an app may have two extensions with different prefixes."""
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
        with second.app_context(), pytest.raises(ConfigError, match=r"not initialised for app 'second'.*init_app"):
            _ = other.connection


def test_the_configuration_is_read_at_the_first_use(server: Server) -> None:
    """Tests may change it before; options are those of `connect`, and a token may be an import path."""
    owl = OwlSocket()
    app = make_app(owl, OWLSOCKET_CALL_TIMEOUT=7, OWLSOCKET_NAME="till", OWLSOCKET_TOKEN="os:getcwd")
    app.config["OWLSOCKET_URL"] = lambda: server.url
    with closing(owl, app), app.app_context():
        assert (owl.connection.default_call_timeout, owl.connection.name) == (7, "till")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, r'has no URL to connect to: set app.config\["OWLSOCKET_URL"\]'),
        ({"OWLSOCKET_URL": "ws://h", "OWLSOCKET_CALL_TIMEOU": 1}, "did you mean OWLSOCKET_CALL_TIMEOUT"),
        ({"OWLSOCKET_URL": "ws://h", "OWLSOCKET_TOKEN": "nowhere.at.all:token"}, "OWLSOCKET_TOKEN cannot be imported"),
        ({"OWLSOCKET_URL": "ws://h", "OWLSOCKET_TOKEN": "os:sep"}, "must be the import path of a callable"),
    ],
)
def test_an_invalid_configuration_raises(config: dict[str, Any], words: str) -> None:
    """The error names the key and the remedy."""
    owl = OwlSocket()
    with pytest.raises(ConfigError, match=words):
        app = make_app(owl, **config)
        with app.app_context():
            _ = owl.connection


def test_errors_of_setup_name_the_remedy(server: Server) -> None:
    """No application context, an app initialised twice, an unknown attribute."""
    owl = OwlSocket()
    app = make_app(owl, OWLSOCKET_URL=server.url)
    with pytest.raises(RuntimeError, match=r"with app.app_context\(\):"):
        owl.call("getUser", 1)
    with pytest.raises(ConfigError, match="another prefix for a second extension"):
        owl.init_app(app)
    with pytest.raises(AttributeError, match=r"owl\.connection"):
        _ = owl.cal


# -- handlers --------------------------------------------------------------------------------------------------------


def test_handlers_run_in_the_context_of_their_app(server: Server) -> None:
    """Handlers may be registered before the app exists, and after it has connected."""
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


def test_a_fake_peer_replaces_the_server() -> None:
    """The fake peer answers, raises, emits events and records calls; arguments travel as JSON."""
    owl, seen = OwlSocket(), []

    @owl.observe("paid")
    def paid(message: Any) -> None:
        seen.append((current_app.name, message.payload))

    app = make_app(owl)
    with owl.fake_peer(app) as fake:
        fake.answer("getUser", {"id": "of a fake"})
        assert app.test_client().get("/users/3").json == {"id": "of a fake"}
        fake.answer("getUser", LookupError("no such user"))
        with app.app_context():
            with pytest.raises(ResilientError, match="no such user"):
                owl.call("getUser", 4)
            with pytest.raises(ResilientError, match="unknown"):
                owl.call("unknown")
            with pytest.raises(SocketMessageMalformed):
                owl.call("getUser", object())
            owl.notify("seen", [1])
        fake.emit("paid", 5)
        fake.remote.perform("double", lambda number: 2 * number)
        with app.app_context():
            assert owl.submit("double", 4).result(0) == 8
    assert fake.calls[:3] == [Call("getUser", (3,)), Call("getUser", (4,)), Call("unknown", ())]
    assert fake.events == [Event("seen", [1])]
    assert seen == [("shop", 5)]
    with app.app_context(), pytest.raises(ConfigError):
        _ = owl.connection
    with pytest.raises(SocketConnectionError):
        fake.connection.call("getUser", 1)


def test_the_app_connects_to_a_test_server(server: Server) -> None:
    """The configuration is restored after the block."""
    owl = OwlSocket()
    app = make_app(owl, OWLSOCKET_URL=server.url)
    with closing(owl, app):
        with owl.test_server(app, lambda conn, request: conn.perform("getUser", lambda number: -number)):
            assert app.test_client().get("/users/3").json == -3
        assert app.test_client().get("/users/3").json == {"id": 3}


# -- the commands ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "output"),
    [
        (["call", "getUser", "9"], 0, '{"id": 9}\n'),
        (["call", "getUser", "404"], 1, "no such user\n"),
        (["call", "never", "--timeout", "0.05"], 4, "within 0.05 s\n"),
        (["listen", "tick", "--limit", "1"], 0, '{"event": "tick", "payload": 1}\n'),
    ],
)
def test_commands_print_json_and_exit_with_a_code(arguments: list[str], code: int, output: str) -> None:
    """The output is that of the `owlsocket` command."""

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


def test_the_ping_command(server: Server) -> None:
    """One line for each ping."""
    owl = OwlSocket()
    app = make_app(owl, OWLSOCKET_URL=server.url)
    with closing(owl, app):
        ran = app.test_cli_runner().invoke(args=["owlsocket", "ping", "-c", "2"])
    lines = [json.loads(line) for line in ran.output.splitlines()]
    assert (ran.exit_code, len(lines)) == (0, 2)
    assert all(0 <= line["seconds"] < scaled(5) for line in lines)


def test_a_command_without_a_server() -> None:
    """The exit code is 3 without a connection, and 2 without a URL."""
    owl = OwlSocket()
    app = make_app(owl, OWLSOCKET_URL="ws://127.0.0.1:9", OWLSOCKET_TIMEOUT=scaled(5))
    assert app.test_cli_runner().invoke(args=["owlsocket", "ping"]).exit_code == 3
    bare = make_app(owl, "bare")
    assert bare.test_cli_runner().invoke(args=["owlsocket", "ping"]).exit_code == 2


# -- accepting -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def werkzeug(app: Flask) -> Iterator[str]:
    """Serve the app with Werkzeug's threads; yields the address for WebSockets."""
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


@pytest.mark.slow
def test_a_route_accepts_connections() -> None:
    """The handler runs inside its request, its handlers inside the app; both ends call, and see the close."""
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


@pytest.mark.slow
def test_a_route_of_a_blueprint_authenticates_clients() -> None:
    """Clients are rejected by HTTP before the upgrade; the identity of others is known."""
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


def test_invalid_options_raise() -> None:
    """Invalid options raise at the declaration of the route."""
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


@pytest.mark.slow
@pytest.mark.parametrize("options", ["--threads 4", "--worker-class gevent"])
def test_a_route_accepts_under_gunicorn(tmp_path: Any, options: str) -> None:
    """With threads and greenlets; a client that has left leaves nothing behind."""
    (tmp_path / "accepting.py").write_text(APP)
    with listening() as sock:
        bind = ["--bind", f"fd://{sock.fileno()}", "--chdir", str(tmp_path), "--log-level", "error"]
        command = [sys.executable, "-m", "gunicorn", *options.split(), *bind, "accepting:app"]
        with Child(command, environment(""), [sock.fileno()]):
            url = f"ws://127.0.0.1:{sock.getsockname()[1]}/ws"
            for number in range(3):
                with connect(url, timeout=scaled(20)) as conn:
                    assert conn.call("double", number, timeout=scaled(5)) == 2 * number
