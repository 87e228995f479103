"""Django's clients: one lazy connection per process for each entry of the settings, and events after the commit."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django_project
import pytest
from helpers import Collector, eventually, scaled

from owlsocket_sync import AuthenticationStage, Connection, EventMessage, SocketMessageMalformed
from owlsocket_sync.auth import Authority, Guard, KeyPair, Login, login_app
from owlsocket_sync.server import Request, Server, serve

django_project.set_up()

from django.core.exceptions import ImproperlyConfigured  # noqa: E402
from django.db import transaction  # noqa: E402
from django.test import override_settings  # noqa: E402

from owlsocket_sync.contrib.django import ClientDoesNotExist, Clients, client, clients  # noqa: E402


class Backend:
    """A server's handler that keeps who came, and what they said."""

    def __init__(self) -> None:
        self.requests = Collector()
        self.events = Collector()

    def __call__(self, conn: Connection, request: Request) -> None:
        self.requests(request)
        conn.perform("echo", lambda value: value)
        conn.observe("*", lambda message: self.events((message.event, message.payload)))


@pytest.fixture
def backend() -> Backend:
    """What the server saw."""
    return Backend()


@pytest.fixture
def server(backend: Backend) -> Iterator[Server]:
    """The server of both aliases, which the settings lead to."""
    with (
        serve(backend) as server,
        django_project.owlsocket(
            default={"URL": server.url, "TOKEN": "contrib.project.shop.tokens.read"},
            stock={"URL": f"{server.url}/stock", "TIMEOUTS": {"CONNECT": 5, "CALL": 7}, "OPTIONS": {"sender": "shop"}},
        ),
    ):
        yield server


def test_a_client_connects_when_it_is_first_used(server: Server, backend: Backend) -> None:
    """Neither asking for it, nor looking at it, connects."""
    assert repr(clients["default"]) == "<Client 'default': not connected>"
    assert not client.connected
    assert client.current is None
    assert backend.requests.items == []
    assert client.call("echo", 1) == 1
    assert client.connected
    assert repr(client._connections["default"]) == f"<Client 'default': {client.connection!r}>"
    assert [request.query["token"] for request in backend.requests.items] == ["c2hvcA"]


def test_all_threads_share_one_connection(server: Server, backend: Backend) -> None:
    """Where Django's own handlers have one for each."""
    ready = threading.Barrier(16)

    def ask(number: int) -> Any:
        ready.wait(scaled(5))
        return client.call("echo", number)

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(ask, range(16))) == list(range(16))
    assert len(backend.requests.items) == 1


def test_a_client_can_do_what_a_connection_can(server: Server) -> None:
    """The verbs come from the connection; what a client has not, it does not hide."""
    assert client.submit("echo", 2).result(scaled(5)) == 2
    assert client.ping() > 0
    with pytest.raises(AttributeError, match="a client has no 'nothing'; what is set on a connection is at client"):
        _ = client.nothing
    with pytest.raises(AttributeError):
        client.prepare = None  # type: ignore[attr-defined]


def test_each_alias_has_its_own_connection_and_options(server: Server, backend: Backend) -> None:
    """And is what logs call it."""
    stock = clients["stock"].connection
    assert (stock.name, stock.default_call_timeout) == ("stock", 7)
    assert backend.requests.wait(1)[0].path == "/stock"
    assert "token" not in backend.requests.items[0].query
    assert set(clients) == {"default", "stock"}
    assert client.connection is not stock


def test_an_unknown_alias_names_those_that_are_there(server: Server) -> None:
    """As a `ConnectionDoesNotExist` of Django's."""
    with pytest.raises(ClientDoesNotExist, match="OWLSOCKET has no 'stok', but 'default', 'stock'"):
        _ = clients["stok"]


def test_a_closed_client_connects_anew(server: Server, backend: Backend) -> None:
    """As a database does: closing is not for good, and closes nothing that is not there."""
    client.close()
    assert client.call("echo", 1) == 1
    first = client.connection
    clients.close_all()
    assert first.state == "closed"
    assert not client.connected
    assert client.call("echo", 2) == 2
    assert len(backend.requests.items) == 2


def test_changed_settings_lead_elsewhere(server: Server, backend: Backend) -> None:
    """Connections of before are closed."""
    before = client.connection
    with serve(Backend()) as other, override_settings(OWLSOCKET={"default": {"URL": other.url}}):
        assert before.state == "closed"
        assert client.call("echo", 1) == 1
        assert client.connection.url.startswith(other.url)
        assert list(clients) == ["default"]
    assert client.call("echo", 2) == 2
    assert len(backend.requests.items) == 2


def test_settings_that_cannot_be_used_say_why() -> None:
    """When a client is asked for; and a handler object of one's own has settings of its own."""
    with override_settings(OWLSOCKET={}), pytest.raises(ImproperlyConfigured, match="OWLSOCKET must say where to"):
        client.call("echo", 1)
    own = Clients({"default": {"URL": "wss://a", "OPTIONS": {"worker": 3}}})
    with pytest.raises(ImproperlyConfigured, match=r"'worker', which means nothing. Did you mean 'workers'"):
        _ = own["default"]
    own = Clients({"default": {"URL": "wss://a", "TOKEN": "contrib.project.shop.tokens.LETTERS"}})
    with pytest.raises(ImproperlyConfigured, match="must be a callable, or the dotted path of one, not str"):
        _ = own["default"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_process_has_a_connection_of_its_own(server: Server, backend: Backend) -> None:
    """Whose closing is nothing to the parent's."""
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
    with os.fdopen(reader) as told:
        assert told.read() == "False 2"
    os.waitpid(child, 0)
    assert client.call("echo", 3) == 3
    assert len(backend.requests.items) == 2
    assert client.connection.stats.reconnects == 0


def test_without_django_it_says_what_to_install() -> None:
    """In one line."""
    script = "import sys; sys.modules['django'] = None; import owlsocket_sync.contrib.django"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=scaled(30))
    assert "SocketInitializationError" in ran.stderr.splitlines()[-1]
    assert "python -m pip install 'owlsocket-sync[django]'" in ran.stderr.splitlines()[-1]


def test_importing_it_needs_no_settings() -> None:
    """Nor does it load the models, or connect."""
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
    """Says nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


USER = KeyPair.generate()
LOGINS: list[Login] = []


def read_key() -> str:
    """The private key of the shop."""
    return USER.private


@pytest.mark.parametrize("way", ["a dict", "a callable for the key", "a login", "the path of a login"])
def test_a_login_gives_the_tokens(way: str) -> None:
    """Said as data, or as an object; the key is read from wherever it is."""
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


def test_a_step_of_ones_own_may_authenticate(server: Server) -> None:
    """A callable that speaks on each new link, before anything else."""
    entry = {"URL": lambda: server.url, "AUTH": lambda conn: conn.call("echo", 1)}
    with override_settings(OWLSOCKET={"default": entry}):
        assert client.call("echo", 2) == 2
        eventually(lambda: client.connection.stats.messages_in == 2)


# -- after the commit --------------------------------------------------------------------------------------------------


def test_an_event_leaves_once_the_transaction_is_committed(server: Server, backend: Backend) -> None:
    """And not before; what it says is what was known when it was said."""
    payload = {"order": 7}
    with transaction.atomic():
        client.notify_on_commit("order.paid", payload)
        payload["order"] = 8
        client.notify("before")
        assert backend.events.wait(1) == [("before", None)]
    assert backend.events.wait(2) == [("before", None), ("order.paid", {"order": 7})]


def test_an_event_of_a_transaction_that_is_rolled_back_never_leaves(server: Server, backend: Backend) -> None:
    """Outside of a transaction it leaves at once."""
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        client.notify_on_commit("order.paid", 1)
        _ = 1 / 0
    client.notify_on_commit("order.seen", 2, using="default")
    assert backend.events.wait(1) == [("order.seen", 2)]
    client.call("echo", 0)
    assert len(backend.events.items) == 1


def test_a_payload_that_cannot_travel_is_refused_before_the_commit(server: Server, backend: Backend) -> None:
    """While there is a transaction that can be rolled back."""
    with pytest.raises(SocketMessageMalformed, match=r"'order.paid' cannot be sent as JSON"), transaction.atomic():
        client.notify_on_commit("order.paid", object())
    with pytest.raises(TypeError, match="event must be text, not int"):
        client.notify_on_commit(7)  # type: ignore[arg-type]
    assert backend.requests.items == []


def test_an_event_that_cannot_be_sent_is_an_error_or_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """As ``transaction.on_commit`` has it."""
    nowhere = {"URL": "ws://127.0.0.1:1/", "TIMEOUTS": {"CONNECT": 0.3}, "OPTIONS": {"reconnect": None}}
    with django_project.owlsocket(default=nowhere):
        with pytest.raises(ConnectionError), transaction.atomic():
            client.notify_on_commit("order.paid")
        with transaction.atomic():
            client.notify_on_commit("order.paid", robust=True)
    assert "Error calling" in caplog.text


def test_the_message_that_handlers_get_is_known(server: Server) -> None:
    """Pull style works too."""
    with client.events("ready", limit=1, timeout=scaled(5)) as events:
        server.broadcast("ready", 1)
        assert [(type(one), one.payload) for one in events] == [(EventMessage, 1)]
