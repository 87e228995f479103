"""Contexts: named services, and one connection per process."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from owlsocket_sync import (
    AuthFailedError,
    Backoff,
    Connection,
    ConnectionState,
    SocketConnectionError,
    SocketInitializationError,
    SocketTimeout,
)
from owlsocket_sync.auth import Authority, Guard, KeyPair
from owlsocket_sync.auth.claims import Claim
from owlsocket_sync.context import AuthService, Context, Phase, Service, SocketService
from owlsocket_sync.errors import ConfigError
from owlsocket_sync.server import Request, Server, serve
from owlsocket_sync.stores import MemoryStore
from support.helpers import Collector, eventually, scaled
from support.sockets import free_port


@pytest.fixture
def connections() -> Collector:
    """Collect the connections of the server."""
    return Collector()


@pytest.fixture
def server(connections: Collector) -> Iterator[Server]:
    """Run a server that collects its connections."""

    def handler(conn: Connection, request: Request) -> None:
        connections(conn)
        conn.perform("echo", lambda value: value)
        conn.perform("greet", lambda: conn.call("name"))

    with serve(handler) as running:
        yield running


def test_service_connects_on_first_use(server: Server, connections: Collector) -> None:
    """Not earlier; the context manager closes it."""
    with Context(SocketService(server.url)) as context:
        assert context.phase == "ready"
        assert connections.items == []
        service = context.service("socket")
        assert service.connection.call("echo", 1) == 1
        assert service.connection is context.service("socket").connection
        assert len(connections.items) == 1
    assert context.phase == "closed"
    with pytest.raises(SocketInitializationError, match=r"service 'socket' is closed|the context is closed"):
        _ = service.connection
    with pytest.raises(SocketInitializationError, match="the context is closed"):
        context.service("socket")


def test_threads_share_one_connection(server: Server, connections: Collector) -> None:
    """The first thread connects, the others wait."""
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
    assert len(connections.items) == 1
    context.close()
    context.close()


def test_setup_runs_before_the_first_message(server: Server) -> None:
    """On each new connection; a closed connection is replaced."""
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


def test_failed_connect_can_be_repeated() -> None:
    """The failed attempt leaves no connection."""
    with Context(SocketService("ws://127.0.0.1:1", timeout=0.3, reconnect=None)) as context:
        service = context.service("socket")
        for _ in range(2):
            with pytest.raises(SocketConnectionError):
                _ = service.connection


def test_use_connects_within_its_own_timeout() -> None:
    """Not that of connecting; the error names the last failure, and nothing was sent."""
    url = f"ws://127.0.0.1:{free_port()}"
    with Context(SocketService(url, timeout=scaled(60), call_timeout=0.2)) as context:
        service = context.service("socket")
        for timeout, seconds in ((None, "0.2"), (0.1, "0.1")):
            with pytest.raises(SocketTimeout, match=rf"after {seconds} s waiting .*failure: .*refused") as raised:
                service.use(timeout)
            assert raised.value.sent is False
            assert isinstance(raised.value.__cause__, SocketConnectionError)
        with pytest.raises(ValueError, match="timeout must be"):
            service.use(-1)


def test_the_error_of_a_use_says_how_long_that_waited() -> None:
    """Not how long the connection took that an earlier use had begun."""
    with Context(SocketService(f"ws://127.0.0.1:{free_port()}", timeout=0.4)) as context:
        service = context.service("socket")
        with pytest.raises(SocketTimeout):
            service.use(0.2)
        with pytest.raises(SocketTimeout) as raised:
            service.use(scaled(60))
    waited = re.search(r"timed out after (\S+) s waiting", str(raised.value))
    assert waited is not None
    assert float(waited[1]) <= 0.2


def test_next_use_goes_on_connecting() -> None:
    """Uses shorter than a handshake do not begin it again and again."""
    requests, admitted = Collector(), threading.Event()

    def authenticate(request: Request) -> str:
        requests(request)
        admitted.wait(scaled(10))
        return "somebody"

    with (
        serve(lambda conn, request: None, authenticate=authenticate) as server,
        Context(SocketService(server.url, timeout=scaled(10))) as context,
    ):
        service = context.service("socket")
        for _ in range(3):
            with pytest.raises(SocketTimeout):
                service.use(0.05)
        assert service.current is None
        admitted.set()
        connection, left = service.use(scaled(10))
        assert connection is service.connection
        assert left is not None
        assert left < scaled(10)
        assert service.use(3) == (connection, 3)
        assert len(requests.items) == 1


def test_an_outbox_takes_messages_before_the_first_link() -> None:
    """Also while another thread waits for the link; a use that times out does not end the connecting."""
    port, taken = free_port(), Collector()
    backoff = Backoff(initial=0.02, cap=0.02)
    with MemoryStore() as store, MemoryStore() as peer:
        outbox = store.queue("outbox")
        service = SocketService(f"ws://127.0.0.1:{port}", timeout=0.3, reconnect=backoff, outbox=outbox)
        with ThreadPoolExecutor(2) as pool:
            using = [pool.submit(service.use, 0.2) for _ in range(2)]
            service.enqueue("first")
            for use in using:
                with pytest.raises(SocketTimeout):
                    use.result()
        with pytest.raises(SocketTimeout):
            service.use(0.4)  # longer than the service tries for one use
        service.enqueue("second", id="o-2")
        assert [message.payload for message in outbox.peek()] == ["first", "second"]
        inbox = peer.queue("inbox")
        with serve(lambda conn, request: taken(conn), port=port, inbox=inbox) as server:
            eventually(lambda: len(inbox) == 2)
            assert [message.payload for message in inbox.messages(timeout=0)] == ["first", "second"]
            assert len(taken.items) == 1
            service.enqueue("third")
            eventually(lambda: len(inbox) == 1)
            service.close()
            with pytest.raises(SocketInitializationError):
                service.enqueue("fourth")
            eventually(lambda: not server.connections)


def test_without_an_outbox_a_message_waits_for_the_connection(server: Server, connections: Collector) -> None:
    """As every other use does."""
    service = SocketService(server.url)
    service.enqueue("message")
    (conn,) = connections.wait(1, 5)
    message = conn.consume(timeout=5)
    assert message is not None
    assert message.payload == "message"
    service.close()


def test_close_ends_a_connection_that_is_opening() -> None:
    """The thread that waits for it fails at once."""
    service = SocketService(f"ws://127.0.0.1:{free_port()}", timeout=scaled(60))
    outcomes = Collector()

    def use() -> None:
        try:
            service.use(scaled(60))
        except SocketConnectionError as error:
            outcomes(error)

    with Context(service):
        waiter = threading.Thread(target=use)
        waiter.start()
        eventually(lambda: service._state.get().opening)
        service.close()
        waiter.join(scaled(5))
    assert len(outcomes.items) == 1


def test_auth_service_supplies_the_token() -> None:
    """One auth service may serve several socket services."""
    key, issuer = KeyPair.generate(), KeyPair.generate()
    authority = Authority(issuer, [key])
    claim = Claim(key)
    token = authority.log_in(claim.sign_challenge(authority.init(claim.init_request())["challenge"]))["token"]

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
def test_forked_child_has_its_own_connection(server: Server, connections: Collector) -> None:
    """It does not touch the connection of the parent."""
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
        connections.wait(2)
        assert service.connection.call("echo", 3) == 3
        assert service.connection.stats.reconnects == 0


def test_refusal_keeps_its_class() -> None:
    """It is raised where the connection is requested."""
    with (
        serve(lambda conn, request: None, authenticate=Guard(KeyPair.generate())) as server,
        Context(SocketService(server.url)) as context,
        pytest.raises(AuthFailedError, match="a token is required"),
    ):
        _ = context.service("socket").connection


def test_close_during_connect_leaves_no_connection(server: Server) -> None:
    """The caller gets an error, and the connection is closed."""
    made = Collector()

    def setup(conn: Connection) -> None:
        made(conn)
        context.close()

    context = Context(SocketService(server.url, setup=setup))
    with pytest.raises(SocketInitializationError, match="service 'socket' is closed"):
        _ = context.service("socket").connection
    assert made.items[0].state is ConnectionState.CLOSED


def test_service_aliases_are_unique() -> None:
    """Services are registered before the context is configured."""
    context = Context(Service("one"))
    with pytest.raises(ConfigError, match="a service with alias 'one' is already registered"):
        context.register(Service("one"))
    assert context.configure().phase is Phase.CONFIGURED
    with pytest.raises(ConfigError, match="cannot register service 'two': the context is configured"):
        context.register(Service("two"))
    with pytest.raises(ConfigError, match=r"no service with alias 'two' is registered \(registered: 'one'\)"):
        context.service("two")
    assert repr(context) == "<Context ready: one>"


@pytest.mark.parametrize("other", [[], [Service("auth")]])
def test_missing_auth_service_is_a_configuration_error(other: list[Service]) -> None:
    """It is raised by `configure`, not by the first call."""
    context = Context(SocketService("ws://127.0.0.1:1", auth="auth"), *other)
    with pytest.raises(ConfigError, match="'socket' needs an AuthService with alias 'auth'"):
        context.configure()


def test_services_are_initialised_once_and_closed_in_reverse_order() -> None:
    """Through their hooks."""
    calls: list[str] = []

    class Recorder(Service):
        def configure(self, context: Context) -> None:
            calls.append(f"configure {self.alias}")

        def init(self) -> None:
            calls.append(f"init {self.alias}")

        def close(self) -> None:
            calls.append(f"close {self.alias}")

    with Context(Recorder("a"), Recorder("b")) as context:
        context.init()
        assert context.service("a").context is context
    assert calls == ["configure a", "configure b", "init a", "init b", "close b", "close a"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AuthService(), "either base_url and key, or token"),
        (lambda: AuthService("https://x"), "either base_url and key, or token"),
        (lambda: AuthService("https://x", KeyPair.generate(), token="t"), "either base_url and key, or token"),
        (lambda: AuthService(token="t", margin=1), "margin: only valid with base_url and key"),
        (lambda: SocketService("ws://x", timeout=-1), "timeout"),
        (lambda: Service(""), "alias must be a non-empty string"),
    ],
)
def test_invalid_option_is_named(make: object, words: str) -> None:
    """By the constructor of the service."""
    assert callable(make)
    with pytest.raises(ValueError, match=words):
        make()
