"""Django clients: one lazy connection per process for each entry of the settings, and events after the commit."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from owlsocket_sync import AuthenticationStage, Connection, EventMessage, SocketMessageMalformed, SocketTimeout
from owlsocket_sync.auth import Authority, Guard, KeyPair, Login, login_app
from owlsocket_sync.server import Request, Server, serve
from support import django_project
from support.helpers import Collector, eventually, scaled
from support.sockets import free_port

django_project.set_up()

from django.core.exceptions import ImproperlyConfigured  # noqa: E402
from django.db import transaction  # noqa: E402
from django.test import override_settings  # noqa: E402

from owlsocket_sync.contrib.django import ClientDoesNotExist, Clients, client, clients  # noqa: E402


class Backend:
    """A handler of the server that records requests, events and calls."""

    def __init__(self) -> None:
        self.requests = Collector()
        self.events = Collector()

    def __call__(self, conn: Connection, request: Request) -> None:
        self.requests(request)
        conn.perform("echo", lambda value: value)
        conn.observe("*", lambda message: self.events((message.event, message.payload)))


@pytest.fixture
def backend() -> Backend:
    """The records of the server."""
    return Backend()


@pytest.fixture
def server(backend: Backend) -> Iterator[Server]:
    """The server of both aliases of the settings."""
    with (
        serve(backend) as server,
        django_project.owlsocket(
            default={"URL": server.url, "TOKEN": "contrib.project.shop.tokens.read"},
            stock={"URL": f"{server.url}/stock", "TIMEOUTS": {"CONNECT": 5, "CALL": 7}, "OPTIONS": {"sender": "shop"}},
        ),
    ):
        yield server


def test_a_client_connects_when_it_is_first_used(server: Server, backend: Backend) -> None:
    """Access to the client and its repr do not connect."""
    assert repr(clients["default"]) == "<Client 'default': not connected>"
    assert not client.connected
    assert client.current is None
    assert backend.requests.items == []
    assert client.call("echo", 1) == 1
    assert client.connected
    assert repr(client._connections["default"]) == f"<Client 'default': {client.connection!r}>"
    assert [request.query["token"] for request in backend.requests.items] == ["c2hvcA"]


def test_all_threads_share_one_connection(server: Server, backend: Backend) -> None:
    """Unlike Django's database handlers, which have one connection per thread."""
    ready = threading.Barrier(16)

    def ask(number: int) -> Any:
        ready.wait(scaled(5))
        return client.call("echo", number)

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(ask, range(16))) == list(range(16))
    assert len(backend.requests.items) == 1


def test_a_client_has_the_methods_of_a_connection(server: Server) -> None:
    """The client forwards the methods of the connection, and rejects unknown names."""
    assert client.submit("echo", 2).result(scaled(5)) == 2
    assert client.ping() > 0
    with pytest.raises(AttributeError, match="Client has no attribute 'nothing'; settable attributes are on client"):
        _ = client.nothing
    with pytest.raises(AttributeError):
        client.prepare = None  # type: ignore[attr-defined]


def test_each_alias_has_its_own_connection_and_options(server: Server, backend: Backend) -> None:
    """The alias is the name of the connection in logs."""
    stock = clients["stock"].connection
    assert (stock.name, stock.default_call_timeout) == ("stock", 7)
    assert backend.requests.wait(1)[0].path == "/stock"
    assert "token" not in backend.requests.items[0].query
    assert set(clients) == {"default", "stock"}
    assert client.connection is not stock


def test_an_unknown_alias_names_the_known_ones(server: Server) -> None:
    """The error is a `ConnectionDoesNotExist` of Django."""
    with pytest.raises(ClientDoesNotExist, match="OWLSOCKET has no alias 'stok'; known aliases: 'default', 'stock'"):
        _ = clients["stok"]


def test_a_closed_client_connects_again(server: Server, backend: Backend) -> None:
    """As a database connection does; closing a client that is not connected has no effect."""
    client.close()
    assert client.call("echo", 1) == 1
    first = client.connection
    clients.close_all()
    assert first.state == "closed"
    assert not client.connected
    assert client.call("echo", 2) == 2
    assert len(backend.requests.items) == 2


def test_changed_settings_connect_to_the_new_url(server: Server, backend: Backend) -> None:
    """Connections with the previous settings are closed."""
    before = client.connection
    with serve(Backend()) as other, override_settings(OWLSOCKET={"default": {"URL": other.url}}):
        assert before.state == "closed"
        assert client.call("echo", 1) == 1
        assert client.connection.url.startswith(other.url)
        assert list(clients) == ["default"]
    assert client.call("echo", 2) == 2
    assert len(backend.requests.items) == 2


def test_invalid_settings_raise() -> None:
    """The access to a client raises; a `Clients` object may have settings of its own."""
    with override_settings(OWLSOCKET={}), pytest.raises(ImproperlyConfigured, match="OWLSOCKET has no default URL"):
        client.call("echo", 1)
    own = Clients({"default": {"URL": "wss://a", "OPTIONS": {"worker": 3}}})
    with pytest.raises(ImproperlyConfigured, match=r"unknown name 'worker'. Did you mean 'workers'"):
        _ = own["default"]
    own = Clients({"default": {"URL": "wss://a", "TOKEN": "contrib.project.shop.tokens.LETTERS"}})
    with pytest.raises(ImproperlyConfigured, match="must be a callable, or the dotted path of a callable, not str"):
        _ = own["default"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_process_has_its_own_connection(server: Server, backend: Backend) -> None:
    """Closing the child's connection does not close the parent's."""
    assert client.call("echo", 1) == 1
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            before = client.connected
            answer = client.call("echo", 2)
            clients.close_all()
            os.write(writer, f"{before} {answer}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        assert answer.read() == "False 2"
    os.waitpid(child, 0)
    assert client.call("echo", 3) == 3
    assert len(backend.requests.items) == 2
    assert client.connection.stats.reconnects == 0


def test_the_error_without_django_names_the_extra() -> None:
    """The last line of the traceback has the command."""
    script = "import sys; sys.modules['django'] = None; import owlsocket_sync.contrib.django"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=scaled(30))
    assert "MissingExtra" in ran.stderr.splitlines()[-1]
    assert "python -m pip install 'owlsocket-sync[django]'" in ran.stderr.splitlines()[-1]


def test_the_import_needs_no_settings() -> None:
    """The import loads no models and does not connect."""
    script = (
        "import sys; from owlsocket_sync.contrib.django import client, clients, observe; print(clients._connections)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=scaled(30),
        env=environment,
    )
    assert (ran.stdout, ran.stderr) == ("namespace()\n", "")


# -- who we are --------------------------------------------------------------------------------------------------------


class Quiet(WSGIRequestHandler):
    """A request handler without a log."""

    def log_message(self, format: str, *args: Any) -> None:
        """Discard the line."""


USER = KeyPair.generate()


def read_key() -> str:
    """The private key of the shop."""
    return USER.private


@pytest.mark.slow
@pytest.mark.parametrize("way", ["a dict", "a callable for the key", "a login", "the path of a login"])
def test_a_login_supplies_the_tokens(way: str) -> None:
    """The login is a dict or an object; the key is read from a callable or a dotted path."""
    issuer = KeyPair.generate()

    def guarded(conn: Connection, request: Request) -> None:
        conn.perform("whoAmI", lambda: conn.auth_info.user_id, stage=AuthenticationStage.AUTHENTICATED)

    service = make_server("127.0.0.1", 0, login_app(Authority(issuer, users=[USER.public])), handler_class=Quiet)
    thread = threading.Thread(target=service.serve_forever)
    thread.start()
    base = f"http://127.0.0.1:{service.server_port}"
    auth: Any = {"URL": base, "KEY": USER.private, "OPTIONS": {"timeout": 5}}
    if way == "a callable for the key":
        auth["KEY"] = read_key
    elif way != "a dict":
        auth = Login(base, USER)
    if way == "the path of a login":
        from contrib.project.shop import tokens

        tokens.login, auth = auth, "contrib.project.shop.tokens.login"  # type: ignore[attr-defined]
    try:
        with (
            serve(guarded, authenticate=Guard(issuer.public)) as server,
            django_project.owlsocket(default={"URL": server.url, "AUTH": auth}),
        ):
            assert client.call("whoAmI") == USER.address
    finally:
        service.shutdown()
        thread.join()
        service.server_close()


def test_a_callable_authenticates_each_link(server: Server) -> None:
    """A callable runs on each new link before anything else is sent."""
    entry = {"URL": lambda: server.url, "AUTH": lambda conn: conn.call("echo", 1)}
    with override_settings(OWLSOCKET={"default": entry}):
        assert client.call("echo", 2) == 2
        eventually(lambda: client.connection.stats.messages_in == 2)


# -- after the commit --------------------------------------------------------------------------------------------------


def test_an_event_is_sent_after_the_commit(server: Server, backend: Backend) -> None:
    """The event is sent after the commit, with the payload at the time of the call."""
    payload = {"order": 7}
    with transaction.atomic():
        client.notify_on_commit("order.paid", payload)
        payload["order"] = 8
        client.notify("before")
        assert backend.events.wait(1) == [("before", None)]
    assert backend.events.wait(2) == [("before", None), ("order.paid", {"order": 7})]


@pytest.mark.slow
def test_an_event_of_a_rolled_back_transaction_is_not_sent(server: Server, backend: Backend) -> None:
    """Outside of a transaction the event is sent at once."""
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        client.notify_on_commit("order.paid", 1)
        _ = 1 / 0
    client.notify_on_commit("order.seen", 2, using="default")
    assert backend.events.wait(1) == [("order.seen", 2)]
    client.call("echo", 0)
    assert len(backend.events.items) == 1


def test_an_invalid_payload_raises_before_the_commit(server: Server, backend: Backend) -> None:
    """The error is raised while the transaction can be rolled back."""
    with pytest.raises(SocketMessageMalformed, match=r"'order.paid' cannot be sent as JSON"), transaction.atomic():
        client.notify_on_commit("order.paid", object())
    with pytest.raises(TypeError, match="event must be text, not int"):
        client.notify_on_commit(7)  # type: ignore[arg-type]
    assert backend.requests.items == []


@pytest.mark.parametrize(
    "verb",
    [
        lambda client: client.call("echo", 1),
        lambda client: client.call("echo", 1, timeout=0.15),
        lambda client: client.notify("tick"),
        lambda client: client.submit("echo", 1),
    ],
)
def test_a_verb_connects_within_the_timeout_of_a_call(verb: Any) -> None:
    """Not within that of connecting, which may be longer; the error says why there is no connection."""
    nowhere = {"URL": f"ws://127.0.0.1:{free_port()}/", "TIMEOUTS": {"CONNECT": scaled(60), "CALL": 0.2}}
    with django_project.owlsocket(default=nowhere):
        with pytest.raises(SocketTimeout, match=r"after 0\.(15|2) s waiting for a connection.*refused") as raised:
            verb(clients["default"])
        assert raised.value.sent is False
        clients["default"].close()


def test_a_failed_send_after_the_commit_raises_or_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """As for any function of ``transaction.on_commit``."""
    nowhere = {"URL": "ws://127.0.0.1:1/", "TIMEOUTS": {"CONNECT": 0.3}, "OPTIONS": {"reconnect": None}}
    with django_project.owlsocket(default=nowhere):
        with pytest.raises(ConnectionError), transaction.atomic():
            client.notify_on_commit("order.paid")
        with transaction.atomic():
            client.notify_on_commit("order.paid", robust=True)
    assert "Error calling" in caplog.text


def test_events_yields_event_messages(server: Server) -> None:
    """The iterator of events yields `EventMessage` objects."""
    with client.events("ready", limit=1, timeout=scaled(5)) as events:
        server.broadcast("ready", 1)
        assert [(type(event), event.payload) for event in events] == [(EventMessage, 1)]
