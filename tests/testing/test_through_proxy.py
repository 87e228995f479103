"""Connections through a proxy that makes a network misbehave: what users of both see."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from owlsocket_sync import Backoff, Connection, ConnectionState, Heartbeat, SocketConnectionError, connect
from owlsocket_sync.server import Server, serve
from owlsocket_sync.testing import FaultProxy
from support.handlers import echo
from support.helpers import Collector, eventually, scaled
from support.sockets import client_context, server_context

QUICK = Backoff(initial=0.02, cap=0.2)


@pytest.fixture
def states(owlsocket_connection: Connection) -> Collector:
    """The states of a connection, as they come."""
    collector = Collector()
    owlsocket_connection.on_state(lambda change: collector(change.state))
    return collector


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_a_connection_comes_back(
    owlsocket_connection: Connection, fault_proxy: FaultProxy, states: Collector, how: str
) -> None:
    """What was in flight fails at once; the next call is made on a new link."""
    fault_proxy.blackhole(direction="downstream")
    pending = owlsocket_connection.submit("echo", 1)
    getattr(fault_proxy, how)()
    with pytest.raises(SocketConnectionError):
        pending.result(scaled(2))
    fault_proxy.clear()
    assert owlsocket_connection.call("echo", 2) == 2
    assert states.wait(2) == [ConnectionState.RECONNECTING, ConnectionState.OPEN]
    assert fault_proxy.accepted == 2


def test_a_connection_waits_for_a_server_that_refuses(
    owlsocket_connection: Connection, fault_proxy: FaultProxy, states: Collector
) -> None:
    """And is back when it does no longer."""
    fault_proxy.refuse()
    fault_proxy.cut()
    assert states.wait(1) == [ConnectionState.RECONNECTING]
    waiting = owlsocket_connection.submit("echo", 3, timeout=scaled(10))
    fault_proxy.refuse(False)
    assert waiting.result(scaled(10)) == 3


def test_a_heartbeat_notices_a_black_hole(owlsocket_server: Server) -> None:
    """The connection is back when the black hole ends."""
    with (
        FaultProxy("127.0.0.1", owlsocket_server.port) as proxy,
        connect(proxy.url(), heartbeat=Heartbeat(0.1, 0.1), reconnect=QUICK) as conn,
    ):
        proxy.blackhole()
        eventually(lambda: conn.state is ConnectionState.RECONNECTING)
        proxy.blackhole(False)
        assert conn.call("echo", 4, timeout=scaled(10)) == 4


@pytest.mark.parametrize("after", range(0, 400, 41))
def test_a_link_may_break_at_any_byte(owlsocket_server: Server, after: int) -> None:
    """In the handshake, in a header, in a payload: afterwards everything works again."""
    with FaultProxy("127.0.0.1", owlsocket_server.port) as proxy:
        proxy.cut(after=after, direction="downstream")
        with connect(proxy.url(), reconnect=QUICK, wait=False) as conn:
            eventually(lambda: proxy.accepted >= 1)
            broken = conn.submit("echo", "owl" * 100, timeout=scaled(10), retry=True)
            eventually(lambda: proxy.accepted >= 2)
            proxy.clear()
            assert broken.result(scaled(10)) == "owl" * 100


def test_corrupted_bytes_end_the_link_alone(fault_proxy: FaultProxy) -> None:
    """Whatever corrupted bytes cause, the connection works once they end."""
    # No attempt begins by itself: a handshake that is corrupted may be refused for good, as it deserves.
    with connect(fault_proxy.url(), reconnect=Backoff(initial=30, jitter="none")) as conn:
        conn.on_error(lambda error, context: None)
        for seed in range(5):
            fault_proxy.corrupt(seed, every=30)
            calls = [conn.submit("echo", "owl" * 30, timeout=0.2) for _ in range(5)]
            for call in calls:
                call.exception(scaled(5))
            fault_proxy.clear()
            conn.reconnect()
            assert conn.call("echo", seed, timeout=scaled(10)) == seed


def test_tls_survives_every_slowness() -> None:
    """Split, delayed and throttled, TLS sees the same stream."""
    text = "owl" * 2000
    with (
        serve(echo, ssl_context=server_context()) as server,
        FaultProxy("127.0.0.1", server.port, secure=server.secure) as proxy,
        connect(proxy.url(), ssl_context=client_context()) as conn,
    ):
        proxy.split(1)
        assert conn.call("echo", text) == text
        proxy.delay(0.02, jitter=0.02, seed=2)
        assert conn.call("echo", text) == text
        proxy.throttle(100_000)
        assert [call.result(scaled(10)) for call in [conn.submit("echo", number) for number in range(20)]] == [
            *range(20)
        ]
        proxy.corrupt(3, every=10)
        with pytest.raises(SocketConnectionError):
            conn.call("echo", text, timeout=scaled(10))
        proxy.clear()
        assert conn.call("echo", text, timeout=scaled(10)) == text


@pytest.mark.slow
def test_twenty_connections_at_once(owlsocket_server: Server) -> None:
    """Each has its own bytes under faults of all; one thread serves them."""
    threads = threading.active_count()
    with FaultProxy("127.0.0.1", owlsocket_server.port) as proxy, ExitStack() as stack:
        assert threading.active_count() == threads + 1
        proxy.split(1)
        proxy.delay(0.005, jitter=0.01)
        conns = [stack.enter_context(connect(proxy.url(), reconnect=QUICK)) for _ in range(20)]
        assert [proxied.number for proxied in proxy.connections] == list(range(1, 21))

        def converse(number: int) -> bool:
            texts = [f"{number}-{part}" * 30 for part in range(10)]
            return [conns[number].call("echo", text, timeout=scaled(20), retry=True) for text in texts] == texts

        with ThreadPoolExecutor(20) as pool:
            assert all(pool.map(converse, range(20)))
        proxy.clear()
        proxy.cut()
        with ThreadPoolExecutor(20) as pool:
            assert all(pool.map(converse, range(20)))


def test_closing_while_traffic_flows(owlsocket_server: Server) -> None:
    """The proxy closes at once, and every caller gets an error."""
    proxy = FaultProxy("127.0.0.1", owlsocket_server.port)
    with ExitStack() as stack:
        conns = [stack.enter_context(connect(proxy.url(), reconnect=None)) for _ in range(4)]
        flowing = Collector()

        def flow(conn: Connection) -> None:
            while True:
                flowing(conn.call("echo", "owl" * 10_000))

        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(flow, conn) for conn in conns]
            flowing.wait(20)
            began = time.monotonic()
            proxy.close()
            assert time.monotonic() - began < scaled(1)
            for future in running:
                assert isinstance(future.exception(scaled(5)), SocketConnectionError)
