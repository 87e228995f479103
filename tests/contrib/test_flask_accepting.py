"""Clients that come to a route of an app: under Flask's own server, with the promises of the embedded one."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask, current_app, request
from helpers import Collector, eventually, scaled
from sockets import CLOSE, TEXT, RawPeer, client_context, frame, knock, server_context
from werkzeug.debug import DebuggedApplication
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from owlsocket_sync import (
    AuthFailedError,
    AuthForbidden,
    Connection,
    Heartbeat,
    Limits,
    ResilientError,
    SocketConnectionError,
    SocketInitializationError,
    SocketTimeout,
    connect,
)
from owlsocket_sync.auth import Authority, Guard, KeyPair
from owlsocket_sync.auth.proof import Claim
from owlsocket_sync.contrib.flask import NoAppContext, OwlSocket
from owlsocket_sync.errors import ConfigError
from owlsocket_sync.server import Request


@pytest.fixture
def owl() -> OwlSocket:
    """An extension."""
    return OwlSocket()


@pytest.fixture
def app(owl: OwlSocket) -> Flask:
    """An app that knows it."""
    app = Flask("shop")
    owl.init_app(app)
    return app


@pytest.fixture
def complaints() -> Collector:
    """What the web server has to complain of."""
    return Collector()


Run = Callable[..., BaseWSGIServer]


@pytest.fixture
def run(app: Flask, owl: OwlSocket, complaints: Collector) -> Iterator[Run]:
    """Serve the app as ``flask run`` does, with threads; at the end its clients are bidden farewell."""

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            if type != "info":
                complaints(message % args)

    started: list[tuple[BaseWSGIServer, threading.Thread]] = []

    def begin(wsgi: Any = None, **options: Any) -> BaseWSGIServer:
        http = make_server("127.0.0.1", 0, wsgi or app, threaded=True, request_handler=Quiet, **options)
        http.log = lambda type, message, *args: complaints(message % args)  # type: ignore[method-assign]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        started.append((http, thread))
        return http

    yield begin
    owl.close_clients(scaled(1))
    for http, thread in started:
        http.shutdown()
        thread.join(scaled(5))
        http.server_close()
    assert complaints.items == []


@contextmanager
def client(http: BaseWSGIServer, path: str = "/ws", **options: Any) -> Iterator[Connection]:
    """A client that is connected."""
    with connect(f"ws://127.0.0.1:{http.server_port}{path}", reconnect=None, **options) as conn:
        yield conn


def test_a_client_and_a_route_talk_both_ways(run: Run, owl: OwlSocket) -> None:
    """With the verbs of every connection, whoever begins."""

    @owl.accept("/ws")
    def handle(conn: Connection, visit: Request) -> None:
        conn.perform("double", lambda number: 2 * number)
        conn.perform("ask", lambda method: conn.call(method))
        conn.acknowledge(lambda id, payload: [conn.reply(id, one) for one in payload] != [])
        conn.observe("ping", lambda message: conn.notify("pong", message.payload))
        conn.enqueue("a letter")

    with client(run()) as conn:
        assert conn.call("double", 21) == 42
        conn.perform("name", lambda: "Ada")
        assert conn.call("ask", "name") == "Ada"
        with conn.stream(["x", "y"], timeout=scaled(5)) as responses:
            assert [next(responses), next(responses)] == ["x", "y"]
        with conn.events("pong", limit=200, timeout=scaled(5)) as events:
            for number in range(200):
                conn.notify("ping", number)
            assert [event.payload for event in events] == list(range(200))
        assert conn.consume(timeout=scaled(5)) == ("a letter", None, 0)
        assert conn.ping() > 0


def test_the_handler_gets_the_request_and_the_values_of_the_rule(run: Run, owl: OwlSocket) -> None:
    """Within the request, as a view; what it registers runs in the context of the app."""
    seen = Collector()

    @owl.accept("/rooms/<int:number>")
    def room(conn: Connection, visit: Request, number: int) -> None:
        seen(number, visit.path, dict(visit.query), visit.headers["x-WHO"], visit.remote[0], request.endpoint)
        conn.perform("where", lambda: current_app.name)
        assert conn.call("ready") == "yes"  # it is read beside the handler

    with client(run(), "/rooms/7?a=1&b=2&a=3", headers={"X-Who": "Ada"}, wait=False) as conn:
        conn.perform("ready", lambda: "yes")
        assert conn.call("where") == "shop"
    (told,) = seen.wait(1)
    assert told == (7, "/rooms/7", {"a": "3", "b": "2"}, "Ada", "127.0.0.1", "owlsocket:/rooms/<int:number>")


def test_routes_may_come_before_and_after_the_app(owl: OwlSocket) -> None:
    """And belong to each app that knows the extension."""
    owl.accept("/early")(lambda conn, visit: None)
    apps = [Flask(name) for name in ("one", "two")]
    for app in apps:
        owl.init_app(app)
    owl.accept("/late", endpoint="late")(lambda conn, visit: None)
    for app in apps:
        rules = {rule.rule: rule.endpoint for rule in app.url_map.iter_rules() if rule.websocket}
        assert rules == {"/early": "owlsocket:/early", "/late": "late"}
        with app.app_context():
            assert owl.clients("/early").connections == []
    with pytest.raises(NoAppContext):
        owl.clients("/early")
    with apps[0].app_context(), pytest.raises(ConfigError, match="'/x', but at '/early', '/late'"):
        owl.clients("/x")


def test_broadcasts_reach_those_who_came_to_this_app(run: Run, app: Flask, owl: OwlSocket) -> None:
    """From a view, or from wherever the app is current."""
    owl.accept("/ws")(lambda conn, visit: None)

    @app.post("/news")
    def news() -> Any:
        owl.clients("/ws").broadcast("news", "all is well")
        return "", 204

    http = run()
    with client(http) as one, client(http) as two:
        each = [conn.events("news", 1, scaled(5)) for conn in (one, two)]
        with app.app_context():
            eventually(lambda: len(owl.clients("/ws").connections) == 2)
        assert app.test_client().post("/news").status_code == 204
        assert [event.payload for events in each for event in events] == ["all is well"] * 2
    with app.app_context():
        eventually(lambda: owl.clients("/ws").connections == [])


def test_a_worker_that_ends_says_goodbye(run: Run, owl: OwlSocket) -> None:
    """To all at once, with 1001; who comes later is told to try elsewhere."""
    owl.accept("/ws")(lambda conn, visit: None)
    http = run()
    with client(http) as one, client(http) as two:
        owl.close_clients()
        assert [conn.wait_closed(scaled(5)).code for conn in (one, two)] == [1001, 1001]
    with pytest.raises(SocketConnectionError, match="HTTP 503") as refused, client(http):
        pass
    assert refused.value.status == 503


# -- who may come ------------------------------------------------------------------------------------------------------


def test_a_guard_lets_in_and_refuses(run: Run, owl: OwlSocket) -> None:
    """Before the upgrade, with HTTP's words; who it is, is known to the handler."""

    def guard(visit: Request) -> str:
        token = visit.query.get("token")
        if token is None:
            raise AuthFailedError("a token is required")
        if token == "bad":
            raise AuthForbidden("not you")
        if token == "odd":
            raise LookupError("the book of names is lost")
        return token

    @owl.accept("/ws", authenticate=guard)
    def handle(conn: Connection, visit: Request) -> None:
        conn.perform("who", lambda: [visit.auth, conn.auth_info])

    http = run()
    with client(http, token="ada") as conn:
        assert conn.call("who") == ["ada", "ada"]
    with pytest.raises(AuthFailedError, match="a token is required"), client(http):
        pass
    status, answer = knock_and_leave(http, "/ws")
    assert (status, "WWW-Authenticate: ED25519-BASIC-TOKEN" in answer) == (401, True)
    with pytest.raises(AuthForbidden, match="not you"), client(http, token="bad"):
        pass
    assert knock_and_leave(http, "/ws?token=bad")[0] == 403
    with pytest.raises(ResilientError, match="the guard failed"), client(http, token="odd"):
        pass
    assert knock_and_leave(http, "/ws?token=odd")[0] == 500


def test_a_guard_of_ours_knows_who_comes_and_until_when(run: Run, owl: OwlSocket) -> None:
    """By the token in the header as well, in whatever case that is; when its time is over the link is closed."""
    key, issuer = KeyPair.generate(), KeyPair.generate()
    authority = Authority(issuer, [key], token_ttl=scaled(1.0))
    claim = Claim(key)
    token = authority.log_in(claim.answer(authority.init(claim.ask())["challenge"]))["token"]

    @owl.accept("/ws", authenticate=Guard(issuer))
    def handle(conn: Connection, visit: Request) -> None:
        conn.perform("who", lambda: conn.auth_info.user_id)

    http = run()
    with client(http, headers={"aUTHORIZATION": f"ED25519-BASIC-TOKEN {token}"}) as conn:
        assert conn.call("who") == key.address
        ending = conn.wait_closed(scaled(10))
        assert (ending.code, ending.reason) == (1008, "the token has expired")


def knock_and_leave(http: BaseWSGIServer, resource: str, headers: str = "") -> tuple[int, str]:
    """What is answered to a request for an upgrade."""
    peer, answer = knock(http.server_port, resource, headers)
    peer.sock.close()
    return int(answer.split()[1]), answer


def test_only_pages_of_known_origins_may_connect(run: Run, owl: OwlSocket) -> None:
    """Clients that are no browsers always may."""
    owl.accept("/ws", origins=["https://shop.example.com"])(lambda conn, visit: None)
    http = run()
    assert knock_and_leave(http, "/ws", "Origin: https://evil.example.com\r\n")[0] == 403
    assert knock_and_leave(http, "/ws", "Origin: https://shop.example.com\r\n")[0] == 101
    assert knock_and_leave(http, "/ws")[0] == 101


def test_no_compression_is_agreed_on(run: Run, owl: OwlSocket) -> None:
    """A browser offers it; messages come as they are, whatever flask-sock would have said."""
    owl.accept("/ws")(lambda conn, visit: conn.notify("hello", "x"))
    status, answer = knock_and_leave(run(), "/ws", "Sec-WebSocket-Extensions: permessage-deflate\r\n")
    assert status == 101
    assert "extensions" not in answer.lower()


def test_what_is_no_websocket_is_refused(run: Run, app: Flask, owl: OwlSocket) -> None:
    """With 400, before anything else happens to it."""
    owl.accept("/ws")(lambda conn, visit: None)
    assert app.test_client().get("/ws").status_code == 400
    http = run()
    with socket.create_connection(("127.0.0.1", http.server_port)) as sock:
        peer = RawPeer(sock)
        peer.send(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert " 400 " in peer.read_header().splitlines()[0]


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_handler_that_raises_closes_the_link(run: Run, owl: OwlSocket, caplog: pytest.LogCaptureFixture) -> None:
    """With 1011; errors of what it registered go to those who called."""

    @owl.accept("/ws")
    def handle(conn: Connection, visit: Request) -> None:
        conn.on_error(lambda error, context: None)
        conn.perform("fail", lambda: int("x"))
        if "bad" in visit.query:
            raise LookupError("no such room")

    http = run()
    with client(http) as conn, pytest.raises(ResilientError, match="ValueError"):
        conn.call("fail")
    with caplog.at_level(logging.ERROR, "owlsocket_sync"), client(http, "/ws?bad=1") as conn:
        ending = conn.wait_closed(scaled(5))
        assert (ending.code, ending.reason) == (1011, "LookupError: no such room")


def test_a_message_beyond_the_limit_ends_the_link(run: Run, owl: OwlSocket) -> None:
    """With 1009, before it was taken in."""
    owl.accept("/ws", limits=Limits(message_size=1000))(lambda conn, visit: None)
    with client(run()) as conn:
        with pytest.raises(SocketConnectionError):
            conn.call("x", "y" * 2000)
        assert conn.wait_closed(scaled(5)).code == 1009


def test_a_client_that_takes_nothing_keeps_nobody(run: Run, owl: OwlSocket) -> None:
    """A send ends within its deadline, and what was begun is not torn: the next one follows it whole."""
    got = Collector()

    @owl.accept("/ws")
    def handle(conn: Connection, visit: Request) -> None:
        with pytest.raises(SocketTimeout), conn.deadline(0.1):
            while True:
                conn.notify("much", "x" * 500_000)
        got(conn)

    peer, _ = knock(run().server_port, "/ws")
    (conn,) = got.wait(1, 10)
    conn_thread = threading.Thread(target=conn.notify, args=("last", "word"))
    conn_thread.start()
    events: list[str] = []
    while not events or events[-1] != "last":
        one = peer.read_frame(masked=False)
        assert one.opcode == TEXT
        events.append(json.loads(one.payload)["event"])
    conn_thread.join(scaled(5))
    assert set(events[:-1]) == {"much"}
    peer.sock.close()


def test_a_slow_handler_slows_the_client_down(run: Run, owl: OwlSocket) -> None:
    """What comes is read no faster than it is handled: nothing piles up here."""
    free, arrived = threading.Event(), Collector()

    @owl.accept("/ws", limits=Limits(dispatch_messages=20), workers=1)
    def handle(conn: Connection, visit: Request) -> None:
        conn.observe("x", lambda message: free.wait(scaled(20)))
        arrived(conn)

    peer, _ = knock(run().server_port, "/ws")
    (conn,) = arrived.wait(1)
    message = frame(TEXT, b'{"type":"event","event":"x","payload":1}', masked=True)
    peer.sock.setblocking(False)
    sent = 0
    with pytest.raises(BlockingIOError):
        while True:
            sent += peer.sock.send(message * 1000)
    eventually(lambda: conn.stats.messages_in >= 20)
    assert conn.stats.messages_in < sent // len(message)
    assert conn._backlog.has_room() is False
    free.set()
    peer.sock.close()
    conn.close(timeout=0.1)


def test_a_silent_client_is_given_up(run: Run, owl: OwlSocket) -> None:
    """It is asked for a sign of life, and does not answer; one that does may be silent for long."""
    conns = Collector()
    owl.accept("/ws", heartbeat=Heartbeat(interval=0.05, timeout=scaled(0.5)))(lambda conn, visit: conns(conn))
    http = run()
    peer, _ = knock(http.server_port, "/ws")
    with client(http, heartbeat=None) as lively:
        silent, other = conns.wait(2)
        assert silent.wait_closed(scaled(10)).reason == "no sign of life"
        assert lively.state == other.state == "open"
    peer.sock.close()


def test_a_goodbye_is_answered(run: Run, owl: OwlSocket) -> None:
    """In kind, and then the stream ends; no word of HTTP comes behind it."""
    owl.accept("/ws")(lambda conn, visit: None)
    peer, _ = knock(run().server_port, "/ws")
    peer.send(frame(CLOSE, b"\x0f\xa1bye", masked=True))
    answer = peer.read_frame(masked=False)
    assert (answer.opcode, answer.code) == (CLOSE, 4001)
    assert peer.at_end()
    peer.sock.close()


@pytest.mark.parametrize("leave", ["goodbye", "gone", "broken"])
@pytest.mark.parametrize("kind", ["plain", "debugged", "tls"])
def test_the_web_server_has_nothing_to_complain_of(run: Run, app: Flask, owl: OwlSocket, kind: str, leave: str) -> None:
    """However a client leaves; also behind Flask's debugger, and over TLS."""
    conns = Collector()
    owl.accept("/ws")(lambda conn, visit: conns(conn))
    if kind == "tls":
        http = run(ssl_context=server_context())
        url = f"wss://localhost:{http.server_port}/ws"
        conn = connect(url, ssl_context=client_context(), reconnect=None)
    else:
        http = run(DebuggedApplication(app) if kind == "debugged" else app)
        conn = connect(f"ws://127.0.0.1:{http.server_port}/ws", reconnect=None)
    conns.wait(1)
    if leave == "broken":
        conns.items[0].close(4002, "enough")
    elif leave == "gone":
        link: Any = conn._carrier
        link._link._stream.interrupt()
    conn.close()
    conns.items[0].wait_closed(scaled(5))
    with app.app_context():
        eventually(lambda: not owl.clients("/ws")._visitors)


def test_a_web_server_that_lends_no_socket_is_told(app: Flask, owl: OwlSocket) -> None:
    """What would: the test client of Flask has none either."""
    owl.accept("/ws")(lambda conn, visit: None)
    app.testing = True
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "x" * 24,
        "Sec-WebSocket-Version": "13",
    }
    with pytest.raises(SocketInitializationError, match="accept connections under 'flask run', or gunicorn"):
        app.test_client().get("/ws", headers=headers)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"workers": 0}, "workers must be a whole number"),
        ({"limits": 5}, "limits must be Limits"),
        ({"heartbeat": 5}, "heartbeat must be a Heartbeat"),
        ({"origins": "https://x"}, "origins must be a list"),
        ({"authenticate": 5}, "authenticate must be a Guard or a callable"),
        ({"call_timeout": -1}, "call_timeout"),
    ],
)
def test_an_option_that_cannot_be_used_is_told_at_once(owl: OwlSocket, options: dict[str, Any], told: str) -> None:
    """When the route is made, not when the first client comes."""
    with pytest.raises(ValueError, match=told):
        owl.accept("/ws", **options)(lambda conn, visit: None)
    with pytest.raises(ValueError, match="handler must be callable"):
        owl.accept("/ws")(3)  # type: ignore[type-var]


@pytest.mark.parametrize("missing", ["simple_websocket", "websockets", "flask"])
def test_a_missing_package_is_named(missing: str) -> None:
    """With the command that installs it."""
    script = f"""
import sys
sys.modules[{missing!r}] = None
from owlsocket_sync import SocketInitializationError
try:
    from owlsocket_sync.contrib.flask import OwlSocket
    OwlSocket().accept("/ws")
except SocketInitializationError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=scaled(30), check=True)
    assert "python -m pip install 'owlsocket-sync[" in ran.stdout
