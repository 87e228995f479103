"""Each proxy, with its file of docs/how-to/deployment.md: what holds without a proxy holds through it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync import (
    Backoff,
    Connection,
    ConnectionState,
    Deflate,
    Heartbeat,
    SocketConnectionError,
    SocketTimeout,
    connect,
)
from owlsocket_sync.server import Request, Server, serve
from support.helpers import Collector, eventually, scaled
from support.proxies import Changes, HAProxy, Proxy, each_proxy, fixed_port
from support.sockets import UPGRADE, ByteServer, RawPeer, client_context

pytestmark = pytest.mark.slow

SOON = Backoff(initial=0.05, factor=1.0, cap=0.05, healthy_after=0.0)
MIB = 1 << 20
VISITOR = "127.0.0.9"


class Site:
    """A proxy, two servers behind it, and those who connect through it.

    Attributes:
        proxy: that runs.
        requests: of the clients, as the servers saw them.
    """

    def __init__(
        self, stack: ExitStack, kind: type[Proxy], folder: Path, changes: Changes, options: dict[str, Any]
    ) -> None:
        self._stack = stack
        self._options = options
        self.requests = Collector()
        self.ports = (fixed_port(), fixed_port())
        self.servers: list[Server | None] = [None, None]
        self.begun = Collector()
        self.heard = Collector()
        self._over = threading.Event()
        for number in (0, 1):
            self.serve(number)
        stack.callback(self._end)
        self.proxy = stack.enter_context(kind(folder, self.ports, changes))

    def serve(self, number: int) -> None:
        """Start one of the servers."""

        def handler(conn: Connection, request: Request) -> None:
            self.requests(request)
            conn.perform("echo", lambda value: value)
            conn.perform("ask", lambda: conn.call("name"))
            conn.perform("number", lambda: number)
            conn.perform("wait", lambda: (self.begun(number), self._over.wait(scaled(30)))[1])
            conn.observe("ping", lambda message: conn.notify("pong", message.payload))

        self.servers[number] = serve(
            handler,
            port=self.ports[number],
            origins=["https://chat.example.com"],
            health="/health",
            heartbeat=None,
            compression="deflate",
            workers=8,
            **{"trusted_proxies": ["127.0.0.1"], **self._options},
        )

    def stop(self, number: int) -> None:
        """Stop one of the servers, in order."""
        server, self.servers[number] = self.servers[number], None
        assert server is not None
        server.close(scaled(3))

    def _end(self) -> None:
        self._over.set()
        for number, server in enumerate(self.servers):
            if server is not None:
                self.stop(number)

    def connect(self, **options: Any) -> Connection:
        """Connect through the proxy."""
        settings = {"reconnect": SOON, "timeout": scaled(20), **options}
        url = self.proxy.secure_url if "ssl_context" in options else self.proxy.url
        return self._stack.enter_context(connect(url, **settings))

    def links(self, number: int) -> int:
        """Count the clients of a server."""
        server = self.servers[number]
        return 0 if server is None else len(server.connections)


@contextmanager
def site_of(kind: type[Proxy], folder: Path, changes: Changes = (), **options: Any) -> Iterator[Site]:
    """A proxy and its servers."""
    with ExitStack() as stack:
        yield Site(stack, kind, folder, changes, options)


@pytest.mark.parametrize("kind", each_proxy())
def test_calls_events_and_large_messages_pass(kind: type[Proxy], tmp_path: Path) -> None:
    """In both directions, with TLS up to the proxy and without, compressed and as large as a message may be."""
    with site_of(kind, tmp_path) as site:
        deflate = Deflate(min_size=100)
        plain = site.connect(compression=deflate)
        secure = site.connect(ssl_context=client_context())
        for conn in (plain, secure):
            conn.perform("name", lambda: "Ada")
            assert conn.call("echo", {"a": [1, "ä"]}, timeout=scaled(10)) == {"a": [1, "ä"]}
            assert conn.call("ask", timeout=scaled(10)) == "Ada"
            with conn.events("pong", timeout=scaled(10)) as pongs:
                conn.notify("ping", 7)
                assert next(pongs).payload == 7
        before = plain.stats
        assert plain.call("echo", "owl" * 10_000, timeout=scaled(10)) == "owl" * 10_000
        assert plain.stats.wire_bytes_in - before.wire_bytes_in < 1000
        assert plain.stats.wire_bytes_out - before.wire_bytes_out < 1000
        large = "x" * (16 * MIB - 1000)  # the rest is the message around it
        assert secure.call("echo", large, timeout=scaled(30)) == large
        assert [conn.stats.reconnects for conn in (plain, secure)] == [0, 0]


def knock(site: Site, *headers: str) -> str:
    """Ask for an upgrade as a browser does, from an address of its own; the line of the answer."""
    address = ("127.0.0.1", site.proxy.port)
    with socket.create_connection(address, scaled(10), source_address=(VISITOR, 0)) as sock:
        peer = RawPeer(sock)
        peer.send(UPGRADE.replace("Host: localhost", "\r\n".join(["Host: chat.example.com", *headers])).encode())
        return peer.read_header().partition("\r\n")[0]


@pytest.mark.parametrize("kind", each_proxy())
def test_pages_of_the_site_connect_and_others_do_not(kind: type[Proxy], tmp_path: Path) -> None:
    """The name of the site reaches the server, which itself listens on a loopback address."""
    with site_of(kind, tmp_path) as site:
        assert " 101 " in knock(site)
        assert " 101 " in knock(site, "Origin: https://chat.example.com")
        assert " 403 " in knock(site, "Origin: https://evil.example.com")


@pytest.mark.parametrize("kind", each_proxy())
def test_the_address_of_a_client_arrives(kind: type[Proxy], tmp_path: Path) -> None:
    """That from which it connects to the proxy, whatever it claims."""
    with site_of(kind, tmp_path) as site:
        assert " 101 " in knock(site)
        assert " 101 " in knock(site, "X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9")
        assert [request.remote[0] for request in site.requests.wait(2)] == [VISITOR, VISITOR]


@pytest.mark.skipif(not HAProxy.is_installed(), reason="no haproxy on this machine: apt-get install haproxy")
@pytest.mark.parametrize("mode", ["http", "tcp"])
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_the_address_of_a_client_arrives_in_the_proxy_protocol(mode: str, version: str, tmp_path: Path) -> None:
    """In both of its versions; health checks have the header too."""
    changes = (
        ("default-server check", f"default-server check {version} check-send-proxy"),
        ("mode http", f"mode {mode}"),
    )
    with site_of(HAProxy, tmp_path, (*changes, *HAProxy.pauses), proxy_protocol=True, trusted_proxies=None) as site:
        assert " 101 " in knock(site)
        assert site.requests.wait(1)[0].remote[0] == VISITOR
        site.stop(0)  # the health checks pass, so there is another one
        eventually(lambda: number_by(site) == 1, 10)


@pytest.mark.parametrize("kind", each_proxy(lambda proxy: proxy.silence))
def test_the_heartbeat_outlives_the_silence_that_a_proxy_allows(kind: type[Proxy], tmp_path: Path) -> None:
    """Where the proxy ends silent links after a second or two: without a heartbeat, the link ends."""
    with site_of(kind, tmp_path, kind.silence) as site:
        alive = site.connect(heartbeat=Heartbeat(interval=0.3, timeout=20), reconnect=None)
        began = time.monotonic()
        silent = site.connect(heartbeat=None, reconnect=None)
        silent.wait_closed(scaled(20))
        assert time.monotonic() - began > 0.9 * kind.seconds  # so it was the proxy that ended it, for its silence
        assert alive.state is ConnectionState.OPEN
        assert alive.call("echo", 1, timeout=scaled(10)) == 1


class Load:
    """Threads that call without a pause, each through its own connection; a context manager that checks the answers."""

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections
        self._stop = threading.Event()
        self._counts = [0] * len(connections)
        self._failures: list[BaseException] = []

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._call, args=(each,)) for each in enumerate(self._connections)]
        for thread in self._threads:
            thread.start()
        self.go_on()
        return self

    def _call(self, each: tuple[int, Connection]) -> None:
        number, conn = each
        try:
            while not self._stop.wait(0.02):
                value = [number, self._counts[number]]
                assert conn.call("echo", value, timeout=scaled(20), retry=True) == value
                self._counts[number] += 1
        except BaseException as error:
            self._failures.append(error)

    def go_on(self) -> None:
        """Wait until each has got answers to calls that it has made since."""
        before = list(self._counts)
        eventually(
            lambda: self._failures or all(new > old + 1 for new, old in zip(self._counts, before, strict=True)), 20
        )

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(scaled(30))
        assert self._failures == []


@pytest.mark.parametrize("kind", each_proxy())
def test_a_reload_of_the_configuration_loses_no_call(kind: type[Proxy], tmp_path: Path) -> None:
    """Calls that may be repeated; whether links stay is as the page says, and new ones are made all the while."""
    with site_of(kind, tmp_path) as site:
        connections = [site.connect() for _ in range(4)]
        with Load(connections) as load:
            for _ in range(2):
                site.proxy.reload()
                load.go_on()
                assert site.connect().call("echo", 1, timeout=scaled(20)) == 1
        cut = [conn.stats.reconnects > 0 for conn in connections]
        assert cut == [not kind.keeps_links] * 4


@pytest.mark.parametrize("kind", each_proxy(lambda proxy: proxy.grace))
def test_old_workers_cut_their_links_in_the_end(kind: type[Proxy], tmp_path: Path) -> None:
    """After the time that the page sets, here one second; their clients come back to the new ones, and lose no call."""
    with site_of(kind, tmp_path, kind.grace) as site:
        connections = [site.connect() for _ in range(4)]
        with Load(connections) as load:
            site.proxy.reload()
            eventually(lambda: all(conn.stats.reconnects for conn in connections), 20)
            load.go_on()


@pytest.mark.parametrize("kind", each_proxy())
def test_a_restart_of_a_server_moves_its_clients(kind: type[Proxy], tmp_path: Path) -> None:
    """They get 1001, come back to the other server, and lose no call; when it is back, it gets clients again."""
    with site_of(kind, tmp_path, kind.pauses) as site:
        connections = [site.connect() for _ in range(6)]
        eventually(lambda: site.links(0) + site.links(1) == 6)
        assert site.links(0)
        assert site.links(1)
        moved = [conn for conn in connections if conn.call("number", timeout=scaled(10)) == 0]
        codes = Collector()
        for conn in moved:
            conn.on_state(lambda change: change.code and codes(change.code))
        with Load(connections) as load:
            site.stop(0)
            assert set(codes.wait(len(moved), 10)) == {1001}
            load.go_on()
            assert [conn.call("number", timeout=scaled(20)) for conn in connections] == [1] * 6
            assert site.connect().call("number", timeout=scaled(20)) == 1
            site.serve(0)
            eventually(lambda: number_by(site) == 0, 20)


@pytest.mark.parametrize("kind", each_proxy())
def test_a_proxy_that_is_killed_fails_calls_at_once(kind: type[Proxy], tmp_path: Path) -> None:
    """And not at their timeout; when it is back, so are the clients."""
    with site_of(kind, tmp_path) as site:
        conn = site.connect()
        waiting: Future[Any] = conn.submit("wait", timeout=scaled(60))
        site.begun.wait(1)
        site.proxy.kill()
        with pytest.raises(SocketConnectionError) as caught:
            waiting.result(scaled(5))
        assert caught.value.code == "CONNECTION_LOST"
        site.proxy.start()
        assert conn.call("echo", 2, timeout=scaled(20)) == 2


@pytest.mark.skipif(not HAProxy.is_installed(), reason="no haproxy on this machine: apt-get install haproxy")
def test_a_cookie_leads_a_client_back_to_its_server(tmp_path: Path) -> None:
    """On each of its links; without the cookie, HAProxy would take the servers in turn."""
    with site_of(HAProxy, tmp_path) as site:
        conn = site.connect()
        number = conn.call("number", timeout=scaled(10))
        for _ in range(4):
            conn.reconnect()
            assert conn.call("number", timeout=scaled(20)) == number
        assert conn.stats.reconnects == 4


class Hung:
    """The script of a server that answers health checks as long as it is well, and no client."""

    def __init__(self) -> None:
        self.is_well = True
        self.clients = Collector()

    def __call__(self, peer: RawPeer) -> None:
        request = peer.read_header()
        if not request.startswith("GET /health "):
            self.clients(request)
        elif self.is_well:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            return
        peer.at_end()


@pytest.mark.parametrize("kind", each_proxy(lambda proxy: proxy.checks_health))
def test_a_health_check_finds_a_server_that_hangs(kind: type[Proxy], tmp_path: Path) -> None:
    """It accepts connections and answers nothing: no client is led to it, although it has the fewest."""
    with site_of(kind, tmp_path, kind.pauses) as site:
        site.stop(0)
        for _ in range(40):
            site.connect()
        hung = Hung()
        with ByteServer(hung, port=site.ports[0]):
            eventually(lambda: number_by(site) is None and hung.clients.items, 10)
            hung.is_well = False

            def is_left_out() -> bool:
                count = len(hung.clients.items)
                return all(number_by(site) == 1 for _ in range(4)) and len(hung.clients.items) == count

            eventually(is_left_out, 10)


def number_by(site: Site) -> int | None:
    """The server that a new client gets to; none if it does not get to one soon."""
    try:
        with connect(site.proxy.url, reconnect=None, timeout=scaled(0.5)) as conn:
            return int(conn.call("number", timeout=scaled(5)))
    except (SocketConnectionError, SocketTimeout):
        return None
