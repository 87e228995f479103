"""Whole conversations over real links: load, depth, order, and handlers that are slow."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future, as_completed
from functools import partial
from typing import Any

import pytest

from owlsocket_sync import Backoff, Connection, Limits, SocketConnectionError, connect
from owlsocket_sync.server import Request, serve
from support.handlers import echo, keep_payload
from support.helpers import Collector, eventually, scaled
from support.sockets import (
    CLOSE,
    TEXT,
    ByteServer,
    RawPeer,
    client_context,
    frame,
    granted,
    header_of,
    server_context,
)

QUICK = Backoff(initial=0.02, factor=1.0, cap=0.02, jitter="none", healthy_after=0.0)


def test_over_tls() -> None:
    """An encrypted link carries calls both ways, large ones too."""
    big = "x" * 1_000_000
    with serve(echo, ssl_context=server_context()) as server:
        with connect(server.url, ssl_context=client_context()) as conn:
            assert server.url.startswith("wss://")
            assert conn.call("echo", big) == big
            futures = [conn.submit("echo", number) for number in range(50)]
            assert [future.result(scaled(5)) for future in futures] == list(range(50))
        with pytest.raises(SocketConnectionError, match="certificate") as caught:
            connect(server.url, reconnect=QUICK)
        assert not caught.value.retryable


def test_handlers_call_back_fifty_deep() -> None:
    """One worker at each end, and a call within a call within a call."""

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("down", lambda depth: conn.call("down", depth - 1) + 1 if depth else 0)

    with serve(handler, workers=1) as server, connect(server.url, workers=1) as conn:
        conn.perform("down", lambda depth: conn.call("down", depth - 1) + 1 if depth else 0)
        assert conn.call("down", 50, timeout=scaled(10)) == 50


def test_a_thousand_futures_come_back_each_to_its_own() -> None:
    """In whatever order they are answered."""
    with serve(echo) as server, connect(server.url) as conn:
        futures: dict[Future[Any], int] = {conn.submit("echo", number): number for number in range(1000)}
        for future in as_completed(futures, scaled(10)):
            assert future.result() == futures[future]
        assert conn.stats.pending == 0


def test_a_callback_of_a_future_may_call() -> None:
    """It runs on a worker and never blocks the reader."""
    results = Collector()
    with serve(echo) as server, connect(server.url, workers=1) as conn:
        conn.submit("echo", 1).add_done_callback(lambda done: results(conn.call("echo", done.result() + 1)))
        assert results.wait(1) == [2]


def test_events_keep_their_order_under_load() -> None:
    """Two thousand events of two names, sent while calls go on, arrive in order."""
    seen = {"a": Collector(), "b": Collector()}
    with serve(echo) as server, connect(server.url) as conn:
        for name, collector in seen.items():
            conn.observe(name, partial(keep_payload, collector))
        eventually(lambda: len(server.connections) == 1)
        peer = server.connections[0]

        def send(name: str) -> None:
            for number in range(1000):
                peer.notify(name, number)

        threads = [threading.Thread(target=send, args=(name,)) for name in seen]
        for thread in threads:
            thread.start()
        for number in range(50):
            assert conn.call("echo", number) == number
        for collector in seen.values():
            assert collector.wait(1000) == list(range(1000))
        for thread in threads:
            thread.join(scaled(5))


@pytest.mark.slow
def test_a_slow_handler_slows_the_sender_down() -> None:
    """With a full backlog reading stops and the peer's sends stall; no message is lost."""
    go, handled, sent = threading.Event(), Collector(), Collector()
    text = "x" * 100_000

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        peer.read_frame()
        for number in range(300):
            body = {"type": "event", "event": "e", "payload": [number, text]}
            peer.send(frame(TEXT, json.dumps(body).encode()))
            sent(number)
        while peer.read_frame().opcode != CLOSE:
            pass

    def handler(message: Any) -> None:
        assert go.wait(scaled(10))
        handled(message.payload[0])

    with ByteServer(script) as server:
        conn = connect(server.url, limits=Limits(dispatch_messages=5))
        conn.observe("e", handler)
        conn.notify("ready")
        sent.wait(5)
        stalled = -1
        tick = threading.Event()
        while stalled != len(sent.items):
            stalled = len(sent.items)
            tick.wait(0.3)
        assert stalled < 300
        assert conn.stats.messages_in <= 6
        go.set()
        assert handled.wait(300) == list(range(300))
        assert conn.stats.dropped == 0
        conn.close(timeout=0.3)


def test_a_full_backlog_lets_a_handler_call_back() -> None:
    """A handler that calls gets its answer though reading pauses for the others."""
    results = Collector()

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("echo", lambda value: value)

        @conn.perform("flood")
        def flood() -> None:
            for number in range(8):
                conn.notify("e", number)

    with serve(handler) as server, connect(server.url, workers=1, limits=Limits(dispatch_messages=5)) as conn:
        conn.observe("e", lambda message: results(conn.call("echo", message.payload, timeout=scaled(5))))
        conn.call("flood")
        assert results.wait(8) == list(range(8))


def test_a_server_that_speaks_first() -> None:
    """Messages right after the upgrade reach handlers that are registered before the link opens."""
    seen, registered = Collector(), threading.Event()

    def script(peer: RawPeer) -> None:
        request = peer.read_header()
        assert registered.wait(scaled(5))
        assert header_of(request, "Upgrade") == "websocket"
        peer.send(granted(request) + frame(TEXT, b'{"type":"event","event":"hi","payload":1}'))
        peer.at_end()

    with ByteServer(script) as server:
        conn = connect(server.url, auth=lambda conn: None, wait=False)
        conn.observe("hi", lambda message: seen(message.payload))
        registered.set()
        assert seen.wait(1) == [1]
        conn.close(timeout=0.3)
