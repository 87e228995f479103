"""Contexts: named services, and one connection per process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from helpers import Collector, scaled

from owlsocket_sync import (
    AuthFailedError,
    Connection,
    ConnectionState,
    SocketConnectionError,
    SocketInitializationError,
)
from owlsocket_sync.auth import Authority, Guard, KeyPair
from owlsocket_sync.auth.proof import Claim
from owlsocket_sync.context import AuthService, Context, Phase, Service, SocketService
from owlsocket_sync.errors import ConfigError
from owlsocket_sync.server import Request, Server, serve


@pytest.fixture
def came() -> Collector:
    """Who came to the server."""
    return Collector()


@pytest.fixture
def server(came: Collector) -> Iterator[Server]:
    """Answers, and takes note of who comes."""

    def handler(conn: Connection, request: Request) -> None:
        came(conn)
        conn.perform("echo", lambda value: value)
        conn.perform("greet", lambda: conn.call("name"))

    with serve(handler) as running:
        yield running


def test_a_service_connects_when_it_is_first_used(server: Server, came: Collector) -> None:
    """And not before; the context manager closes it."""
    with Context(SocketService(server.url)) as context:
        assert context.phase == "ready"
        assert came.items == []
        service = context.service("socket")
        assert service.connection.call("echo", 1) == 1
        assert service.connection is context.service("socket").connection
        assert len(came.items) == 1
    assert context.phase == "closed"
    with pytest.raises(SocketInitializationError, match=r"service 'socket' is closed|the context is closed"):
        _ = service.connection
    with pytest.raises(SocketInitializationError, match="the context is closed"):
        context.service("socket")


def test_many_threads_get_one_connection(server: Server, came: Collector) -> None:
    """Whoever is first."""
    context = Context(SocketService(server.url))
    ready, got = threading.Barrier(16), Collector()

    def use() -> None:
        ready.wait(scaled(5))
        got(context.service("socket").connection.call("echo", 2))

    threads = [threading.Thread(target=use) for _ in range(16)]
    for thread in threads:
        thread.start()
    assert got.wait(16) == [2] * 16
    for thread in threads:
        thread.join(scaled(5))
    assert len(came.items) == 1
    context.close()
    context.close()


def test_what_is_set_up_is_there_before_anything_comes(server: Server) -> None:
    """On each new connection; one that was closed is made anew."""
    made = Collector()

    def setup(conn: Connection) -> None:
        made(conn)
        conn.perform("name", lambda: "Ada")

    with Context(SocketService(server.url, alias="api", setup=setup)) as context:
        service = context.service("api")
        assert service.connection.call("greet") == "Ada"
        assert service.connection.name == "api"
        service.connection.close()
        assert service.connection.call("greet") == "Ada"
        assert len(made.items) == 2


def test_a_service_that_cannot_connect_says_so_and_may_later() -> None:
    """Nothing is left of the attempt."""
    with Context(SocketService("ws://127.0.0.1:1", timeout=0.3, reconnect=None)) as context:
        service = context.service("socket")
        for _ in range(2):
            with pytest.raises(SocketConnectionError):
                _ = service.connection


def test_a_token_comes_from_the_auth_service() -> None:
    """Who we are is said once, for all that want to know."""
    key, issuer = KeyPair.generate(), KeyPair.generate()
    authority = Authority(issuer, [key])
    claim = Claim(key)
    token = authority.log_in(claim.answer(authority.init(claim.ask())["challenge"]))["token"]

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("who", lambda: request.auth.user_id)

    with serve(handler, authenticate=Guard(issuer)) as server:
        # The order in which services are named does not matter.
        services = SocketService(server.url, auth="auth"), AuthService(token=lambda: token)
        with Context(*services) as context:
            assert context.service("socket").connection.call("who") == key.address
            assert context.service("auth").token() == token
            assert context.service("auth").auth is None
            assert token not in repr(context.service("auth")) + repr(context.service("socket"))
    login = AuthService("https://auth.example", key)
    assert list(login.credentials()) == ["auth"]
    assert login.auth is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_has_a_connection_of_its_own(server: Server, came: Collector) -> None:
    """And leaves the parent's alone."""
    with Context(SocketService(server.url)) as context:
        service = context.service("socket")
        assert service.connection.call("echo", 1) == 1
        child = os.fork()
        if child == 0:
            try:
                right = service.connection.call("echo", "child", timeout=scaled(5)) == "child"
                os._exit(0 if right else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        came.wait(2)
        assert service.connection.call("echo", 3) == 3
        assert service.connection.stats.reconnects == 0


def test_a_refusal_is_raised_as_what_it_is() -> None:
    """By whoever asks for the connection."""
    with (
        serve(lambda conn, request: None, authenticate=Guard(KeyPair.generate())) as server,
        Context(SocketService(server.url)) as context,
        pytest.raises(AuthFailedError, match="a token is required"),
    ):
        _ = context.service("socket").connection


def test_a_service_that_is_closed_while_it_connects_leaves_nothing(server: Server) -> None:
    """Whoever asked is told, and the connection ends."""
    made = Collector()

    def setup(conn: Connection) -> None:
        made(conn)
        context.close()

    context = Context(SocketService(server.url, setup=setup))
    with pytest.raises(SocketInitializationError, match="service 'socket' is closed"):
        _ = context.service("socket").connection
    assert made.items[0].state is ConnectionState.CLOSED


def test_services_have_names_of_their_own() -> None:
    """And must be there before the context is configured."""
    context = Context(Service("one"))
    with pytest.raises(ConfigError, match="there is a service 'one' already"):
        context.register(Service("one"))
    assert context.configure().phase is Phase.CONFIGURED
    with pytest.raises(ConfigError, match="'two' comes too late: the context is configured"):
        context.register(Service("two"))
    with pytest.raises(ConfigError, match="there is no service 'two', but 'one'"):
        context.service("two")
    assert repr(context) == "<Context ready: one>"


@pytest.mark.parametrize("other", [[], [Service("auth")]])
def test_a_missing_auth_service_is_told_when_the_context_is_configured(other: list[Service]) -> None:
    """Not at the first call."""
    context = Context(SocketService("ws://127.0.0.1:1", auth="auth"), *other)
    with pytest.raises(ConfigError, match="'socket' wants the AuthService 'auth'"):
        context.configure()


def test_services_are_made_ready_once_and_closed_in_the_other_order() -> None:
    """Each by its own hooks."""
    told: list[str] = []

    class Told(Service):
        def configure(self, context: Context) -> None:
            told.append(f"configure {self.alias}")

        def init(self) -> None:
            told.append(f"init {self.alias}")

        def close(self) -> None:
            told.append(f"close {self.alias}")

    with Context(Told("a"), Told("b")) as context:
        context.init()
        assert context.service("a").context is context
    assert told == ["configure a", "configure b", "init a", "init b", "close b", "close a"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AuthService(), "either base_url and key, or token"),
        (lambda: AuthService("https://x"), "either base_url and key, or token"),
        (lambda: AuthService("https://x", KeyPair.generate(), token="t"), "either base_url and key, or token"),
        (lambda: AuthService(token="t", margin=1), "margin: an option of logins"),
        (lambda: SocketService("ws://x", timeout=-1), "timeout"),
        (lambda: Service(""), "alias must be a name"),
    ],
)
def test_a_wrong_option_is_named(make: object, words: str) -> None:
    """When the service is made."""
    assert callable(make)
    with pytest.raises(ValueError, match=words):
        make()
