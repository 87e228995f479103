"""What of websocket-client we build on, and what we leave alone, row by row."""

from __future__ import annotations

import ast
import socket
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import websocket

import owlsocket_sync
from owlsocket_sync import Heartbeat, connect
from owlsocket_sync.transport.client_handshake import ClientHandshake
from support.helpers import Collector, scaled
from support.linked import aside
from support.sockets import BINARY, CONTINUATION, PING, TEXT, ByteServer, RawPeer, frame, header_of
from support.upstream import Upstream, connect_upstream, granting, ours_and_peer, upstream_and_peer

PACKAGE = Path(owlsocket_sync.__file__).parent


@cache
def _names_of_upstream() -> frozenset[str]:
    """Return what our modules name of websocket-client."""
    return frozenset(_find_names())


def _find_names() -> Iterator[str]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "websocket":
                yield node.attr
            elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "websocket":
                yield from (alias.name for alias in node.names)


def test_row_d23_the_app_pings_from_a_thread_of_its_own_and_swallows() -> None:
    """An error in a handler of upstream's app is told to another handler and the loop goes on."""
    errors = Collector()

    def failing(app: Any, message: str) -> None:
        raise RuntimeError(message)

    def speak(peer: RawPeer) -> None:
        peer.send(frame(TEXT, b"one") + frame(TEXT, b"two"))
        peer.at_end()

    with granting(speak) as server:
        app: Any = websocket.WebSocketApp(
            server.url, on_message=failing, on_error=lambda app, error: errors(str(error))
        )
        running = aside(lambda: app.run_forever(ping_interval=30))
        assert errors.wait(2) == ["one", "two"]
        pinging: threading.Thread = app.ping_thread
        assert pinging.is_alive()
        assert not running.items
    running.wait(1)


def test_row_d23_we_beat_without_a_thread_for_it() -> None:
    """A heartbeat costs no thread: the poller looks at the clock."""
    came = Collector()

    def note(peer: RawPeer) -> None:
        came(peer.read_frame().opcode)
        peer.at_end()

    with granting(note) as server:
        connection = connect(server.url, heartbeat=Heartbeat(0.05, scaled(5)), name="beating", timeout=scaled(5))
        assert came.wait(1) == [PING]
        threads = {thread.name for thread in threading.enumerate() if thread.name.startswith("beating")}
        assert threads <= {"beating-worker"}
        connection.close(timeout=0.1)
    assert "WebSocketApp" not in _names_of_upstream()


def test_row_d24_what_we_name_of_upstream_is_public_but_for_the_jar() -> None:
    """Every name that we use is one that upstream offers; the only private one is the module of the cookies."""
    names = _names_of_upstream()
    assert {name for name in names if name.startswith("_")} == {"_handshake"}
    assert all(hasattr(websocket, name) for name in names)
    assert names & {"enableTrace", "setdefaulttimeout", "create_connection", "WebSocketApp"} == set()


class Own(websocket.WebSocket):
    """A class of the caller."""


def test_row_d24_a_class_of_the_caller() -> None:
    """What is connected is made from the class that is handed over."""
    with granting(lambda peer: peer.at_end()) as server:
        ws = connect_upstream(server.url, class_=Own)
        ws.shutdown()
        assert type(ws) is Own


@pytest.mark.parametrize("header", [["X-Own: yes"], {"X-Own": "yes"}], ids=["list", "dict"])
def test_row_d24_headers_as_list_and_dict(header: object) -> None:
    """Both forms travel."""
    requests: list[str] = []

    def note(peer: RawPeer) -> None:
        requests.append(peer.upgrade())
        peer.at_end()

    with ByteServer(note) as server:
        connect_upstream(server.url, header=header).shutdown()
    assert header_of(requests[0], "X-Own") == "yes"


def test_row_d24_options_of_the_socket_and_the_key_of_a_mask() -> None:
    """Options reach the socket, and frames are masked with the key that a caller gives."""
    received = Collector()
    with granting(lambda peer: received(peer.read(9))) as server:
        option = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
        ws = connect_upstream(server.url, sockopt=[option])
        assert ws.sock.getsockopt(*option[:2]) == 0
        ws.set_mask_key(lambda size: b"\0" * size)
        ws.send("abc")
        assert received.wait(1) == [b"\x81\x83\0\0\0\0abc"]
        ws.shutdown()


def test_row_d24_fragments_one_by_one() -> None:
    """With ``fire_cont_frame`` each fragment is handed over, with the opcode of its message first."""
    with upstream_and_peer(fire_cont_frame=True, skip_utf8_validation=True, enable_multithread=False) as (ws, peer):
        peer.send(frame(BINARY, b"\xff", fin=False) + frame(CONTINUATION, b"\xfe"))
        assert [ws.recv_data() for _ in range(2)] == [(BINARY, b"\xff"), (CONTINUATION, b"\xfe")]


def test_row_d24_the_upgrade_is_of_upstream_and_the_frames_are_ours() -> None:
    """Nothing of upstream makes or reads a frame: what we name of it belongs to the upgrade."""
    assert _names_of_upstream() == {
        "WebSocket",
        "WebSocketConnectionClosedException",
        "WebSocketException",
        "WebSocketTimeoutException",
        "_handshake",
    }
    with ours_and_peer() as (framing, peer):
        assert type(ClientHandshake(framing)._websocket) is Upstream
        peer.send(frame(TEXT, b"through"))
        assert framing.read() == "through"
