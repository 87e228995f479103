"""Routes that accept clients: under Flask's own server, with the guarantees of the embedded server."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from multiprocessing import resource_tracker
from typing import Any

import pytest
from flask import Flask, current_app, request
from werkzeug.debug import DebuggedApplication
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from owlsocket_sync import (
    ANONYMOUS,
    AuthFailedError,
    AuthForbidden,
    Connection,
    Heartbeat,
    Limits,
    ResilientError,
    SocketConnectionError,
    SocketInitializationError,
    SocketMessageError,
    SocketTimeout,
    connect,
)
from owlsocket_sync.auth import Authority, Guard, KeyPair
from owlsocket_sync.auth.claims import Claim
from owlsocket_sync.contracts import Contract, fetch_description
from owlsocket_sync.contrib.flask import NoAppContext, OwlSocket
from owlsocket_sync.errors import ConfigError
from owlsocket_sync.hub import MemoryHub
from owlsocket_sync.server import Request
from support.helpers import Collector, eventually, scaled
from support.sockets import CLOSE, TEXT, UPGRADE, RawPeer, client_context, frame, header_of, knock, server_context

if sys.version_info >= (3, 14):
    # Werkzeug's debugger counts in memory of several processes, for which this Python starts a helper process.
    resource_tracker.ensure_running()


@pytest.fixture
def owl() -> OwlSocket:
    """An extension."""
    return OwlSocket()


@pytest.fixture
def app(owl: OwlSocket) -> Flask:
    """An app with the extension."""
    app = Flask("shop")
    owl.init_app(app)
    return app


@pytest.fixture
def complaints() -> Collector:
    """The errors that the web server reports."""
    return Collector()


Run = Callable[..., BaseWSGIServer]


@pytest.fixture
def run(app: Flask, owl: OwlSocket, complaints: Collector) -> Iterator[Run]:
    """Serve the app as ``flask run`` does, with threads; closes the clients at the end."""

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
    """Connect a client."""
    with connect(f"ws://127.0.0.1:{http.server_port}{path}", reconnect=None, **options) as conn:
        yield conn


def test_client_and_route_have_all_verbs(run: Run, owl: OwlSocket) -> None:
    """Both ends have all verbs of a connection."""

    @owl.accept("/ws")
    def handle(conn: Connection, visit: Request) -> None:
        conn.perform("double", lambda number: 2 * number)
        conn.perform("ask", lambda method: conn.call(method))
        conn.acknowledge(lambda id, payload: [conn.reply(id, item) for item in payload] != [])
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


def test_the_handler_receives_the_request_and_the_values_of_the_rule(run: Run, owl: OwlSocket) -> None:
    """It runs inside the request, as a view; its handlers run in the context of the app."""
    seen = Collector()

    @owl.accept("/rooms/<int:number>")
    def room(conn: Connection, visit: Request, number: int) -> None:
        seen(number, visit.path, dict(visit.query), visit.headers["x-WHO"], visit.remote[0], request.endpoint)
        conn.perform("where", lambda: current_app.name)
        assert conn.call("ready") == "yes"  # it is read beside the handler

    with client(run(), "/rooms/7?a=1&b=2&a=3", headers={"X-Who": "Ada"}, wait=False) as conn:
        conn.perform("ready", lambda: "yes")
        assert conn.call("where") == "shop"
    (visit,) = seen.wait(1)
    assert visit == (7, "/rooms/7", {"a": "3", "b": "2"}, "Ada", "127.0.0.1", "owlsocket:/rooms/<int:number>")


def test_routes_may_be_added_before_and_after_the_app(owl: OwlSocket) -> None:
    """Each app of the extension gets the route."""
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
    with apps[0].app_context(), pytest.raises(ConfigError, match="'/x'; routes: '/early', '/late'"):
        owl.clients("/x")


def test_broadcasts_reach_the_clients_of_this_app(run: Run, app: Flask, owl: OwlSocket) -> None:
    """From a view, or from any application context."""
    owl.accept("/ws")(lambda conn, visit: None)

    @app.post("/news")
    def news() -> Any:
        owl.clients("/ws").broadcast("news", "all is well")
        return "", 204

    http = run()
    with client(http) as first, client(http) as second:
        each = [conn.events("news", 1, scaled(5)) for conn in (first, second)]
        with app.app_context():
            eventually(lambda: len(owl.clients("/ws").connections) == 2)
        assert app.test_client().post("/news").status_code == 204
        assert [event.payload for events in each for event in events] == ["all is well"] * 2
    with app.app_context():
        eventually(lambda: owl.clients("/ws").connections == [])


def test_close_clients_sends_going_away(run: Run, owl: OwlSocket) -> None:
    """All clients receive 1001; later clients are rejected with HTTP 503."""
    owl.accept("/ws")(lambda conn, visit: None)
    http = run()
    with client(http) as first, client(http) as second:
        owl.close_clients()
        assert [conn.wait_closed(scaled(5)).code for conn in (first, second)] == [1001, 1001]
    with pytest.raises(SocketConnectionError, match="HTTP 503") as refused, client(http):
        pass
    assert refused.value.status == 503


# -- who may come ------------------------------------------------------------------------------------------------------


def test_a_guard_accepts_and_rejects(run: Run, owl: OwlSocket) -> None:
    """Before the upgrade, with an HTTP status; the handler knows the identity."""

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
    with pytest.raises(ResilientError, match="the server failed to authenticate"), client(http, token="odd"):
        pass
    assert knock_and_leave(http, "/ws?token=odd")[0] == 500


@pytest.mark.slow
def test_a_guard_sets_identity_and_expiry(run: Run, owl: OwlSocket) -> None:
    """The token may be in the header, in any case; the link is closed when the token expires."""
    key, issuer = KeyPair.generate(), KeyPair.generate()
    authority = Authority(issuer, [key], token_ttl=scaled(1.0))
    claim = Claim(key)
    token = authority.log_in(claim.sign_challenge(authority.init(claim.init_request())["challenge"]))["token"]

    @owl.accept("/ws", authenticate=Guard(issuer))
    def handle(conn: Connection, visit: Request) -> None:
        conn.perform("who", lambda: conn.auth_info.user_id)

    http = run()
    with client(http, headers={"aUTHORIZATION": f"ED25519-BASIC-TOKEN {token}"}) as conn:
        assert conn.call("who") == key.address
        ending = conn.wait_closed(scaled(10))
        assert (ending.code, ending.reason) == (1008, "the token has expired")


def knock_and_leave(http: BaseWSGIServer, resource: str, headers: str = "") -> tuple[int, str]:
    """Return the response to an upgrade request."""
    peer, answer = knock(http.server_port, resource, headers)
    # Unread bytes would make close() a reset, at which the development server forgets to close a selector.
    peer.sock.shutdown(socket.SHUT_WR)
    while peer.sock.recv(65_536):
        pass
    peer.sock.close()
    return int(answer.split()[1]), answer


def test_only_allowed_origins_connect(run: Run, owl: OwlSocket) -> None:
    """Clients other than browsers are always allowed."""
    owl.accept("/ws", origins=["https://shop.example.com"])(lambda conn, visit: None)
    http = run()
    assert knock_and_leave(http, "/ws", "Origin: https://evil.example.com\r\n")[0] == 403
    assert knock_and_leave(http, "/ws", "Origin: https://shop.example.com\r\n")[0] == 101
    assert knock_and_leave(http, "/ws")[0] == 101


def test_only_pages_of_the_app_itself_connect_by_default(run: Run, owl: OwlSocket) -> None:
    """A page of another origin would bring the session cookie of the user along."""
    owl.accept("/ws")(lambda conn, visit: None)
    owl.accept("/open", origins="*")(lambda conn, visit: None)
    http = run()
    assert knock_and_leave(http, "/ws", "Origin: http://evil.example")[0] == 403
    assert knock_and_leave(http, "/ws", "Origin: http://localhost")[0] == 101
    assert knock_and_leave(http, "/ws")[0] == 101
    assert knock_and_leave(http, "/open", "Origin: http://evil.example")[0] == 101


def test_a_development_server_on_loopback_answers_to_loopback_names_only(run: Run, owl: OwlSocket) -> None:
    """A page may make its own name resolve to 127.0.0.1 (DNS rebinding); its origin is the Host header then."""
    owl.accept("/ws")(lambda conn, visit: None)
    peer = RawPeer(socket.create_connection(("127.0.0.1", run().server_port)))
    host = "Host: evil.example\r\nOrigin: http://evil.example"
    peer.send(UPGRADE.replace("GET / ", "GET /ws ").replace("Host: localhost", host).encode())
    assert peer.read_header().startswith("HTTP/1.1 403 ")
    peer.sock.close()


@pytest.mark.parametrize("returned", [None, False])
def test_a_callable_that_returns_no_identity_rejects_the_client(run: Run, owl: OwlSocket, returned: Any) -> None:
    """With 401; ``ANONYMOUS`` admits a client without an identity."""
    owl.accept("/ws", authenticate=lambda visit: returned)(lambda conn, visit: None)
    owl.accept("/open", authenticate=lambda visit: ANONYMOUS)(lambda conn, visit: None)
    http = run()
    assert knock_and_leave(http, "/ws")[0] == 401
    assert knock_and_leave(http, "/open")[0] == 101


def test_routes_share_a_hub(run: Run, owl: OwlSocket) -> None:
    """Their clients are in the same rooms, with who has authenticated."""
    with MemoryHub() as hub:

        def enter(conn: Connection, visit: Request) -> None:
            conn.join("owls")
            conn.perform("id", lambda: conn.id)

        owl.accept("/ws", hub=hub, authenticate=lambda request: "ann")(enter)
        owl.accept("/other", hub=hub)(enter)
        http = run()
        with client(http) as ann, client(http, "/other") as bob:
            assert [ann.call("id"), bob.call("id")] == [member.id for member in hub.members("owls")]
            assert [member.user for member in hub.members("owls")] == ["ann", None]
            with bob.events("news", timeout=scaled(5)) as news:
                hub.publish("news", 1, room="owls")
                assert next(news).payload == 1
        eventually(lambda: hub.count("owls") == 0)


def test_no_compression_is_negotiated(run: Run, owl: OwlSocket) -> None:
    """A browser offers compression; frames are not compressed, whatever flask-sock supports."""
    owl.accept("/ws")(lambda conn, visit: conn.notify("hello", "x"))
    status, answer = knock_and_leave(run(), "/ws", "Sec-WebSocket-Extensions: permessage-deflate\r\n")
    assert status == 101
    assert "extensions" not in answer.lower()


def test_a_route_describes_its_methods(run: Run, owl: OwlSocket) -> None:
    """As a server does, if it is told to."""

    @owl.accept("/ws", describe=Contract(events={"tick": int}))
    def handle(conn: Connection, visit: Request) -> None:
        conn.perform("double", lambda number: 2 * number)

    with client(run()) as conn:
        description = fetch_description(conn, scaled(5))
    assert [each["name"] for each in description["methods"]["double"]["parameters"]] == ["number"]
    assert description["events"] == {"tick": {"payload": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate; client_max_window_bits", "server_no_context_takeover; client_no_context_takeover"),
        ("permessage-deflate; server_max_window_bits=8", ""),
    ],
)
def test_a_compression_that_is_offered_is_negotiated(run: Run, owl: OwlSocket, offer: str, answer: str) -> None:
    """By a route that has one; a client that offers something else is served without it."""
    owl.accept("/ws", compression="deflate")(lambda conn, visit: conn.perform("echo", lambda value: value))
    http = run()
    status, head = knock_and_leave(http, "/ws", f"Sec-WebSocket-Extensions: {offer}")
    assert status == 101
    expected = f"permessage-deflate; {answer}" if answer else ""
    assert header_of(head, "Sec-WebSocket-Extensions") == expected
    with client(http, compression="deflate") as compressed, client(http) as plain:
        for conn in (compressed, plain):
            assert conn.call("echo", "x" * 5000) == "x" * 5000
        sent, received = compressed.stats.wire_bytes_out, compressed.stats.wire_bytes_in
        assert max(sent, received) < 1000
        assert plain.stats.wire_bytes_in == plain.stats.bytes_in > 5000


@pytest.mark.parametrize(
    ("known", "offer", "selected"),
    [(None, "a, b", "a"), (None, "", ""), (["b"], "a, b", "b"), (["c"], "a, b", ""), ("b", "a, b", "b")],
)
def test_a_subprotocol_is_selected(run: Run, app: Flask, owl: OwlSocket, known: Any, offer: str, selected: str) -> None:
    """The first one, as `serve` does, or what the options of flask-sock allow."""
    if known:
        app.config["SOCK_SERVER_OPTIONS"] = {"subprotocols": known}
    owl.accept("/ws")(lambda conn, visit: None)
    headers = f"Sec-WebSocket-Protocol: {offer}" if offer else ""
    status, head = knock_and_leave(run(), "/ws", headers)
    assert (status, header_of(head, "Sec-WebSocket-Protocol")) == (101, selected)


@pytest.mark.parametrize(
    ("offered", "selected"), [(["v1", "v2"], "v2"), (["v1"], "v1"), (None, None), (["v3"], HTTPStatus.BAD_REQUEST)]
)
def test_a_route_may_list_its_subprotocols(
    run: Run, app: Flask, owl: OwlSocket, offered: list[str] | None, selected: Any
) -> None:
    """In place of those of flask-sock; both ends know the one that was selected."""
    app.config["SOCK_SERVER_OPTIONS"] = {"subprotocols": ["v1", "v3"]}
    seen = Collector()
    owl.accept("/ws", subprotocols=["v2", "v1"])(lambda conn, visit: seen(conn.subprotocol))
    http = run()
    if selected is HTTPStatus.BAD_REQUEST:
        with (
            pytest.raises(SocketConnectionError, match="no common subprotocol; this server has v2, v1") as caught,
            client(http, subprotocols=offered),
        ):
            pass
        assert caught.value.status == selected
        return
    with client(http, subprotocols=offered) as conn:
        assert conn.subprotocol == selected
        assert seen.wait(1) == [selected]


def test_a_plain_http_request_is_rejected(run: Run, app: Flask, owl: OwlSocket) -> None:
    """With HTTP 400, before anything else."""
    owl.accept("/ws")(lambda conn, visit: None)
    assert app.test_client().get("/ws").status_code == 400
    http = run()
    with socket.create_connection(("127.0.0.1", http.server_port)) as sock:
        peer = RawPeer(sock)
        peer.send(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert " 400 " in peer.read_header().splitlines()[0]


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_raising_handler_closes_the_link(run: Run, owl: OwlSocket, caplog: pytest.LogCaptureFixture) -> None:
    """With 1011; errors of its handlers go to the callers."""

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


def test_a_message_beyond_the_limit_closes_the_link(run: Run, owl: OwlSocket) -> None:
    """With 1009, before the message is buffered."""
    owl.accept("/ws", limits=Limits(message_size=1000))(lambda conn, visit: None)
    with client(run()) as conn:
        with pytest.raises(SocketMessageError):
            conn.call("x", "y" * 2000)
        assert conn.wait_closed(scaled(5)).code == 1009


def test_a_client_that_does_not_read_blocks_no_thread(run: Run, owl: OwlSocket) -> None:
    """A send ends within its deadline, and an unfinished frame is completed before the next one."""
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
        frame = peer.read_frame(masked=False)
        assert frame.opcode == TEXT
        events.append(json.loads(frame.payload)["event"])
    conn_thread.join(scaled(5))
    assert set(events[:-1]) == {"much"}
    peer.sock.close()


def test_a_slow_handler_slows_the_client_down(run: Run, owl: OwlSocket) -> None:
    """Messages are read only as fast as they are handled."""
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
    assert conn._core.backlog.has_room() is False
    free.set()
    peer.sock.close()
    conn.close(timeout=0.1)


@pytest.mark.slow
def test_a_silent_client_is_closed(run: Run, owl: OwlSocket) -> None:
    """A client without a pong is closed; a client with one may be silent for long."""
    conns = Collector()
    owl.accept("/ws", heartbeat=Heartbeat(interval=0.05, timeout=scaled(0.5)))(lambda conn, visit: conns(conn))
    http = run()
    peer, _ = knock(http.server_port, "/ws")
    with client(http, heartbeat=None) as lively:
        silent, other = conns.wait(2)
        assert silent.wait_closed(scaled(10)).reason == "heartbeat timeout"
        assert lively.state == other.state == "open"
    peer.sock.close()


def test_a_close_frame_is_answered(run: Run, owl: OwlSocket) -> None:
    """A close frame is answered by a close frame, and no HTTP response follows it."""
    owl.accept("/ws")(lambda conn, visit: None)
    peer, _ = knock(run().server_port, "/ws")
    peer.send(frame(CLOSE, b"\x0f\xa1bye", masked=True))
    answer = peer.read_frame(masked=False)
    assert (answer.opcode, answer.code) == (CLOSE, 4001)
    assert peer.at_end()
    peer.sock.close()


@pytest.mark.parametrize("leave", ["goodbye", "gone", "broken"])
@pytest.mark.parametrize("kind", ["plain", "debugged", "tls"])
def test_the_web_server_logs_no_error(run: Run, app: Flask, owl: OwlSocket, kind: str, leave: str) -> None:
    """However a client leaves; also with Flask's debugger, and over TLS."""
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
        link: Any = conn._core.carrier
        link._link._stream.interrupt()
    conn.close()
    conns.items[0].wait_closed(scaled(5))
    with app.app_context():
        eventually(lambda: not owl.clients("/ws")._clients_left)


def test_a_web_server_without_sockets_is_an_error(app: Flask, owl: OwlSocket) -> None:
    """The test client of Flask has no sockets; the error names servers that have."""
    owl.accept("/ws")(lambda conn, visit: None)
    app.testing = True
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "x" * 24,
        "Sec-WebSocket-Version": "13",
    }
    with pytest.raises(SocketInitializationError, match="use 'flask run', or gunicorn"):
        app.test_client().get("/ws", headers=headers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be a whole number"),
        ({"limits": 5}, "limits must be Limits"),
        ({"heartbeat": 5}, "heartbeat must be a Heartbeat"),
        ({"origins": "https://x"}, "origins must be a list"),
        ({"authenticate": 5}, "authenticate must be a Guard or a callable"),
        ({"call_timeout": -1}, "call_timeout"),
    ],
)
def test_an_invalid_option_fails_at_once(owl: OwlSocket, options: dict[str, Any], message: str) -> None:
    """At the declaration of the route, not at the first client."""
    with pytest.raises(ValueError, match=message):
        owl.accept("/ws", **options)(lambda conn, visit: None)
    with pytest.raises(ValueError, match="handler must be callable"):
        owl.accept("/ws")(3)  # type: ignore[type-var]


@pytest.mark.slow
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
