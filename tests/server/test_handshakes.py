"""The handshakes in flight of a server are bounded apart from its links: silent clients keep no others out."""

from __future__ import annotations

import contextlib
import logging
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from owlsocket_sync import connect
from owlsocket_sync.server import Server, ServerOptions, serve
from owlsocket_sync.server.handshakes import CANDIDATES, Handshake, HandshakesInFlight
from support.child_processes import Child, environment
from support.handlers import echo
from support.helpers import eventually, scaled
from support.sockets import PATIENCE, UPGRADE, RawPeer, client_context, knock, server_context

CLIENT_HELLO = b"\x16\x03\x01\x02\x00"


@contextmanager
def silent_clients(
    port: int, count: int, sent: bytes = b"", source: str = "127.0.0.1", waiting: Server | None = None
) -> Iterator[list[RawPeer]]:
    """Connect so many clients that never finish their handshakes; each when a server waits for the one before."""
    with contextlib.ExitStack() as stack:
        peers = []
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), scaled(PATIENCE), (source, 0))
            peers.append(RawPeer(stack.enter_context(sock)))
            if sent:
                peers[-1].send(sent)
            if waiting is not None:
                eventually(partial(waits_for, waiting, sock.getsockname()))
        yield peers


def waits_for(server: Server, address: tuple[str, int]) -> bool:
    """Return whether a server waits for a client."""
    handshakes = list(server._handshakes._by_age)
    return any(handshake.address == address and handshake.waits_for_client() for handshake in handshakes)


def are_open(peers: list[RawPeer]) -> bool:
    """Return whether the server has closed none of these connections."""
    for peer in peers:
        peer.sock.setblocking(False)
        try:
            peer.sock.recv(1)
        except BlockingIOError:
            continue
        return False
    return True


def in_flight(server: Server) -> int:
    """Return how many handshakes a server has in flight."""
    return len(server._handshakes)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half a header"])
def test_the_oldest_unfinished_handshakes_are_closed(sent: bytes) -> None:
    """Above the limit, which is half of the option for one address; the latest stay."""
    with (
        serve(echo, handshakes=20, timeout=scaled(60)) as server,
        silent_clients(server.port, 60, sent, waiting=server) as peers,
    ):
        eventually(lambda: in_flight(server) == 10)
        assert all(peer.at_end() for peer in peers[:50])
        assert are_open(peers[50:])
        with connect(server.url) as conn:
            assert conn.call("echo", 1) == 1


def test_four_hundred_silent_clients_keep_none_out() -> None:
    """With the defaults; and those that are connected stay so."""
    with serve(echo, timeout=scaled(60)) as server, connect(server.url, reconnect=None) as before:
        with silent_clients(server.port, 400):
            began = time.monotonic()
            with connect(server.url) as conn:
                assert conn.call("echo", 1) == 1
            assert time.monotonic() - began < scaled(2)
            assert in_flight(server) <= ServerOptions.handshakes
        assert before.call("echo", 2) == 2


@pytest.mark.parametrize("sent", [b"", CLIENT_HELLO], ids=["nothing", "the begin of a greeting"])
def test_tls_handshakes_count_as_well(sent: bytes) -> None:
    """Those in which the client is silent, too."""
    with (
        serve(echo, handshakes=20, timeout=scaled(60), ssl_context=server_context()) as server,
        silent_clients(server.port, 40, sent, waiting=server) as peers,
    ):
        eventually(lambda: in_flight(server) == 10)
        assert all(peer.at_end() for peer in peers[:30])
        with connect(server.url, ssl_context=client_context()) as conn:
            assert conn.call("echo", 1) == 1


def test_the_limit_of_one_address_spares_others() -> None:
    """Half of the limit stays for them."""
    with (
        serve(echo, handshakes=8, timeout=scaled(60)) as server,
        silent_clients(server.port, 2, source="127.0.0.2", waiting=server) as spared,
        silent_clients(server.port, 20, waiting=server) as peers,
    ):
        eventually(lambda: in_flight(server) == 6)
        assert all(peer.at_end() for peer in peers[:16])
        assert are_open(spared)


def test_above_the_total_the_oldest_of_all_addresses_is_closed() -> None:
    """Of three addresses, none of which has too many."""
    with serve(echo, handshakes=8, timeout=scaled(60)) as server, contextlib.ExitStack() as stack:
        first, second, third = (
            stack.enter_context(silent_clients(server.port, 4, source=f"127.0.0.{number}", waiting=server))
            for number in (2, 3, 4)
        )
        eventually(lambda: in_flight(server) == 8)
        assert all(peer.at_end() for peer in first)
        assert are_open([*second, *third])


@pytest.mark.parametrize("options", [{"trusted_proxies": ["127.0.0.1"]}, {"proxy_protocol": True}])
def test_a_proxy_is_throttled_by_the_total_alone(options: Any) -> None:
    """All clients come from its address; those of `proxy_protocol` from one or another proxy."""
    with (
        serve(echo, handshakes=8, timeout=scaled(60), **options) as server,
        silent_clients(server.port, 10, waiting=server) as peers,
    ):
        eventually(lambda: in_flight(server) == 8)
        assert all(peer.at_end() for peer in peers[:2])
        assert are_open(peers[2:])


def test_links_and_clients_that_wait_for_the_server_do_not_count() -> None:
    """Only who keeps the server waiting is closed: each of these has sent its request."""
    gate = threading.Event()
    with serve(echo, handshakes=2, authenticate=lambda request: gate.wait(scaled(10))) as server:
        peers = []
        for _ in range(8):
            peers.append(RawPeer(socket.create_connection(("127.0.0.1", server.port), scaled(PATIENCE))))
            peers[-1].send(UPGRADE.encode())
            eventually(lambda: server._clients_left == len(peers) and in_flight(server) == 0)
        gate.set()
        assert all(peer.read_header().startswith("HTTP/1.1 101 ") for peer in peers)
        with silent_clients(server.port, 5, waiting=server):
            eventually(lambda: in_flight(server) == 1)
            assert len(server.connections) == 8
        for peer in peers:
            peer.sock.close()
        eventually(lambda: not server.connections)


def test_an_episode_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """With the option that sets the limit."""
    with (
        serve(echo, handshakes=4, timeout=scaled(60), name="shop") as server,
        caplog.at_level(logging.WARNING, "owlsocket_sync"),
        silent_clients(server.port, 20, waiting=server) as peers,
    ):
        eventually(lambda: in_flight(server) == 2)
        assert peers[0].at_end()
    assert [record.getMessage() for record in caplog.records] == [
        "shop: 2 unfinished handshakes from 127.0.0.1: the oldest are closed (option handshakes)"
    ]


def test_a_client_whose_bytes_are_unread_is_not_closed() -> None:
    """It waits for a server that is busy, as in a storm of clients; so does one whose thread has not begun."""
    flight = HandshakesInFlight("", 2, lambda host: False)
    pairs = [socket.socketpair() for _ in range(4)]
    handshakes = [Handshake(ours, ("192.0.2.1", number)) for number, (ours, _) in enumerate(pairs)]
    silent, sent, not_begun, late = handshakes
    pairs[1][1].send(b"GET")
    flight.enter(sent)
    flight.enter(not_begun)
    sent.await_client(lambda: flight.enter(silent))
    assert len(flight) == 3
    silent.await_client(lambda: sent.await_client(lambda: flight.enter(late)))
    assert [handshake.is_evicted for handshake in handshakes] == [True, False, False, False]
    assert len(flight) == 3
    for handshake in handshakes:
        flight.leave(handshake)
        flight.leave(handshake)
    assert len(flight) == 0
    assert not flight._by_address
    for ends in pairs:
        for sock in ends:
            sock.close()


def test_a_crowd_is_not_searched_for_each_client() -> None:
    """Of those that wait for the server, a few are looked at."""
    flight = HandshakesInFlight("", 1, lambda host: True)
    looks = []

    class Busy(Handshake):
        def waits_for_client(self) -> bool:
            looks.append(self)
            return False

    with socket.socket() as sock:
        for _ in range(100):
            flight.enter(Busy(sock, ("192.0.2.1", 1)))
    assert len(flight) == 100
    assert len(looks) <= 100 * CANDIDATES


SERVER = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from owlsocket_sync.server import serve
def echo(conn, request):
    conn.perform("echo", lambda value: value)
with serve(echo, handshakes=10_000, timeout=600) as server:
    print(server.port, flush=True)
    server.wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs limits of descriptors")
def test_a_server_without_descriptors_closes_the_oldest() -> None:
    """Whatever the limit says: more clients than it has descriptors for keep none out for long."""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 300
    with Child([sys.executable, "-c", SERVER], environment()) as child:
        port = int(child.line())
        with silent_clients(port, 200), connect(f"ws://127.0.0.1:{port}", timeout=scaled(20)) as conn:
            assert conn.call("echo", 1) == 1


def test_a_server_without_threads_closes_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each handshake has a thread: the client that found none is lost, and the next one has room."""
    start, failures = threading.Thread.start, [RuntimeError("can't start new thread")]

    def fail_once(thread: threading.Thread) -> None:
        if failures and "#" in thread.name:
            raise failures.pop()
        start(thread)

    with serve(echo, timeout=scaled(60)) as server, silent_clients(server.port, 3, waiting=server) as peers:
        eventually(lambda: in_flight(server) == 3)
        eventually(lambda: all(handshake.waits_for_client() for handshake in list(server._handshakes._by_age)))
        monkeypatch.setattr(threading.Thread, "start", fail_once)
        with silent_clients(server.port, 1) as refused:
            assert refused[0].at_end()
        assert all(peer.at_end() for peer in peers)
        peer, answer = knock(server.port)
        with peer.sock:
            assert answer.startswith("HTTP/1.1 101 ")


@pytest.mark.parametrize("value", [0, -1, True, "5", None, 1.5])
def test_a_limit_that_is_not_valid_is_refused(value: Any) -> None:
    """By name."""
    with pytest.raises(ValueError, match="handshakes must be a whole number, 1 or more"):
        ServerOptions(handshakes=value)
