"""What is deflated, what is not, what it costs, and how it is counted."""

from __future__ import annotations

import json
import random
import socket
import time
import tracemalloc
import zlib
from contextlib import ExitStack
from typing import Any

import pytest

from owlsocket_sync import AuthenticationStage, Connection, Deflate, connect
from owlsocket_sync.server import serve
from owlsocket_sync.transport.deflate import PLAIN, Compression, inflate
from owlsocket_sync.transport.framing import ServerFraming
from owlsocket_sync.transport.stream import DuplexStream
from rfc7692.ends import CLIENT, LIMIT, OFFER, SERVER, SMALL, Raw, ends
from support.deflating import deflated_frame, json_rows
from support.handlers import echo
from support.helpers import eventually, scaled
from support.linked import aside
from support.sockets import header_of, knock

both_sides = pytest.mark.parametrize("side", [CLIENT, SERVER])
ROWS = json.loads(json_rows(3000))


@both_sides
def test_small_messages_are_sent_as_they_are(side: str) -> None:
    """Below the minimum, to the byte; larger ones too, where deflating does not make them smaller."""
    with ends(side, Deflate(min_size=100)) as (conn, peer, *_):
        for text, is_deflated in (("x" * 99, False), ("x" * 100, True), ("0123456789abcdef" * 7, True)):
            conn.send(text)
            assert peer.read_message() == (is_deflated, text)
    with ends(side, Deflate(min_size=0)) as (conn, peer, *_):
        for text, is_deflated in (("abc", False), ("abcabcabcabc", True), ("", False)):
            conn.send(text)
            assert peer.read_message() == (is_deflated, text)


@both_sides
def test_messages_of_authentication_are_never_compressed(side: str) -> None:
    """Neither steps, nor answers to them, nor texts that say that they are such."""
    secret = {"token": "s" * 5000}
    with ends(side) as (conn, peer, _, _, options):
        conn.authenticate = lambda stage, payload: (AuthenticationStage.AUTHENTICATED, secret)
        step = aside(lambda: conn.auth(AuthenticationStage.AUTHENTICATE, secret, timeout=scaled(10)))
        is_deflated, text = peer.read_message()
        assert (is_deflated, json.loads(text)["payload"]) == (False, secret)
        asked = {"type": "auth", "stage": "authenticate", "payload": secret}
        peer.send(deflated_frame(json.dumps({**asked, "stage": "authenticated"}), **options))
        step.wait(1)
        assert conn.stage is AuthenticationStage.AUTHENTICATED
        peer.send(deflated_frame(json.dumps(asked), **options))
        is_deflated, text = peer.read_message()
        assert (is_deflated, json.loads(text)["payload"]) == (False, secret)
        for text in (json.dumps(asked), json.dumps(asked, indent=1)):
            conn.send(text)
            assert peer.read_message() == (False, text)
        with conn.batch():
            conn.send(json.dumps(asked))
            conn.notify("e", ROWS)
        assert [peer.read_message()[0] for _ in range(2)] == [False, True]


@both_sides
def test_a_batch_is_deflated_message_by_message(side: str) -> None:
    """In its order, small ones between large ones."""
    with ends(side) as (conn, peer, *_):
        with conn.batch():
            for number in range(300):
                conn.send(json.dumps([number, ROWS if number % 3 else 0]))
        for number in range(300):
            is_deflated, text = peer.read_message()
            assert (is_deflated, json.loads(text)[0]) == (bool(number % 3), number)


@pytest.mark.parametrize(
    ("client", "server", "smaller"),
    [("deflate", "deflate", True), ("deflate", None, False), (None, "deflate", False), (None, None, False)],
)
def test_the_statistics_count_text_and_payloads(client: Any, server: Any, smaller: bool) -> None:
    """At both ends: both, and the same of both without compression."""
    with serve(echo, compression=server) as listening, connect(listening.url, compression=client) as conn:
        for _ in range(3):
            assert conn.call("echo", ROWS) == ROWS
        (peer,) = listening.connections
        eventually(lambda: peer.stats.messages_out == 3)
        ours, theirs = conn.stats, peer.stats
    assert ours.bytes_out == theirs.bytes_in
    assert ours.bytes_in == theirs.bytes_out
    assert ours.wire_bytes_out == theirs.wire_bytes_in
    assert ours.wire_bytes_in == theirs.wire_bytes_out
    for text, wire in ((ours.bytes_out, ours.wire_bytes_out), (ours.bytes_in, ours.wire_bytes_in)):
        assert wire < text / 2 if smaller else wire == text


def test_the_statistics_outlive_a_link() -> None:
    """The next one may have no compression: both count."""
    with serve(echo, compression=SMALL) as compressing:
        conn = connect(lambda: urls[0], compression=SMALL, timeout=scaled(5)) if (urls := [compressing.url]) else None
        assert conn is not None
        with conn, serve(echo) as plain:
            conn.call("echo", ROWS)
            before = conn.stats
            urls[0] = plain.url
            conn.reconnect()
            conn.wait_open(scaled(5))
            conn.call("echo", ROWS)
            after = conn.stats
    assert before.wire_bytes_out < before.bytes_out / 2
    assert after.wire_bytes_out - before.wire_bytes_out == after.bytes_out - before.bytes_out
    assert after.wire_bytes_in - before.wire_bytes_in == after.bytes_in - before.bytes_in


@pytest.mark.parametrize("clients", [1, 8])
def test_a_broadcast_is_deflated_once(clients: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For all clients that agreed on the same."""
    made: list[tuple[int, ...]] = []
    compressobj = zlib.compressobj

    def counting(level: int, method: int, bits: int) -> Any:
        made.append((level, method, bits))
        return compressobj(level, method, bits)

    with serve(echo, compression=SMALL) as server, ExitStack() as stack:
        conns = [stack.enter_context(connect(server.url, compression=SMALL)) for _ in range(clients)]
        conns.append(stack.enter_context(connect(server.url)))
        heard = [conn.events("news", timeout=scaled(5)) for conn in conns]
        eventually(lambda: len(server.connections) == clients + 1)
        monkeypatch.setattr(zlib, "compressobj", counting)
        server.broadcast("news", ROWS)
        assert [next(events).payload for events in heard] == [ROWS] * (clients + 1)
        assert made == [(3, zlib.DEFLATED, -12)]
        monkeypatch.undo()
        eventually(lambda: all(peer.stats.messages_out == 1 for peer in server.connections))
        sizes = sorted(peer.stats.wire_bytes_out for peer in server.connections)
        assert sizes[0] == sizes[clients - 1] < sizes[clients] / 2


def test_a_broadcast_for_different_agreements() -> None:
    """Each client gets the window that it asked for."""

    def join(headers: str) -> Raw:
        peer, answer = knock(server.port, headers=headers)
        stack.enter_context(peer.sock)
        assert header_of(answer, "Sec-WebSocket-Extensions")
        return Raw.of(peer, False)

    with serve(echo, compression=SMALL) as server, ExitStack() as stack:
        peers = [join(OFFER), join(OFFER), join(f"{OFFER}; server_max_window_bits=9")]
        eventually(lambda: len(server.connections) == 3)
        for _ in range(2):
            server.broadcast("news", ROWS)
            read = [peer.read_any()[1].payload for peer in peers]
            assert read[0] == read[1] != read[2]
            assert inflate(read[0], LIMIT) == inflate(read[2], LIMIT)


def test_a_broadcast_that_waits_is_counted_as_it_travels() -> None:
    """Once it was sent, and not before."""
    with serve(echo, compression=SMALL) as server:
        peer, _ = knock(server.port, headers=OFFER)
        with peer.sock:
            eventually(lambda: server.connections)
            (conn,) = server.connections
            conn.wait_open(scaled(5))
            noise = [random.Random(5).randbytes(40_000).hex() for _ in range(400)]
            for text in noise:
                server.broadcast("noise", text)
            waiting = conn.stats
            assert waiting.messages_out < 400
            raw = Raw.of(peer, False)
            sizes = [len(raw.read_any()[1].payload) for _ in noise]
            eventually(lambda: conn.stats.messages_out == 400)
            assert conn.stats.wire_bytes_out == sum(sizes) < conn.stats.bytes_out
            assert waiting.wire_bytes_out < sum(sizes)


@pytest.mark.slow
def test_an_idle_connection_holds_no_window() -> None:
    """Also after it has sent and received: at most 2 KiB more at both ends together than without compression."""
    count = 40
    peak: dict[bool, float] = {}
    for attempt in range(12):
        # Again: what runs late beside other load makes parts that a connection otherwise needs none of.
        if attempt > 3 and attempt % 2 == 0 and peak[True] - peak[False] < 2048:
            break
        compressed = attempt % 2 == 1
        compression = "deflate" if compressed else None
        with serve(echo, compression=compression) as server:
            tracemalloc.start()
            conns: list[Connection] = []
            try:
                for _ in range(count):
                    conns.append(connect(server.url, compression=compression))
                    assert conns[-1].call("echo", ROWS) == ROWS
                eventually(lambda: len(server.connections) == count)
                held = tracemalloc.get_traced_memory()[0] / count
            finally:
                tracemalloc.stop()
                for conn in conns:
                    conn.close()
        peak[compressed] = min(held, peak.get(compressed, held))
    assert peak[True] - peak[False] < 2048


@pytest.mark.timing
def test_a_small_message_costs_next_to_nothing_more() -> None:
    """At most a microsecond, its statistics included: it is compared with the minimum."""
    ours, theirs = socket.socketpair()
    with theirs:
        framing = ServerFraming(DuplexStream(ours), 1000)
        message = b"x" * 200
        costs = []
        for compression in (None, PLAIN, Compression(3, 15, 1024, is_agreed=True)) * 15:
            if compression is None:
                framing.compression = None
            else:
                framing.agree(compression)
            began = time.process_time()
            for _ in range(2000):
                framing.text_frame(message)
            costs.append((time.process_time() - began) / 2000)
        framing.stream.close()
    without, agreed = min(costs[0::3]), min(costs[2::3])
    assert agreed - without < scaled(1e-6)
