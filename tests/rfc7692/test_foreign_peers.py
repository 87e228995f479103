"""Peers with a compression of their own, at either end: websockets, and wsproto as a client."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.sync.client import connect as connect_foreign
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as serve_foreign
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, TextMessage
from wsproto.events import Request as UpgradeRequest
from wsproto.extensions import PerMessageDeflate as PerMessageDeflateOfWsproto

from owlsocket_sync import Deflate, SocketConnectionError, connect
from owlsocket_sync.server import serve
from rfc7692.ends import SMALL
from support.deflating import json_rows
from support.foreign import close_pipe
from support.handlers import echo
from support.helpers import scaled

pytestmark = pytest.mark.slow

ROWS = json.loads(json_rows(20_000))


def call(payload: Any, id: str = "1") -> str:
    """A call of ``echo``, as another client writes it."""
    return json.dumps({"type": "call", "method": "echo", "id": id, "payload": [payload], "timeout": 10_000})


def extension_of(peer: Any) -> PerMessageDeflate:
    """What a peer of websockets agreed to."""
    (extension,) = peer.protocol.extensions
    assert isinstance(extension, PerMessageDeflate)
    return extension


OFFERS: dict[str, dict[str, Any]] = {
    "its defaults": {"compression": "deflate"},
    "nothing taken over": {
        "extensions": [ClientPerMessageDeflateFactory(True, True)],
        "compression": None,
    },
    "small windows": {
        "extensions": [ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=10)],
        "compression": None,
    },
}


@pytest.mark.parametrize("options", OFFERS.values(), ids=OFFERS)
def test_a_client_of_websockets(options: dict[str, Any]) -> None:
    """Its messages arrive whole and in fragments, with pings between them; so do ours, in many a row."""
    with serve(echo, compression=SMALL) as server, connect_foreign(server.url, **options) as peer:
        extension = extension_of(peer)
        assert (extension.remote_no_context_takeover, extension.local_no_context_takeover) == (True, True)
        for number in range(20):
            peer.send(call([number, ROWS]))
            if number % 5 == 0:
                assert peer.ping().wait(scaled(5))
            assert json.loads(peer.recv(scaled(5)))["payload"] == [number, ROWS]
        text = call(ROWS)
        peer.send(text[at : at + 1000] for at in range(0, len(text), 1000))
        assert json.loads(peer.recv(scaled(5)))["payload"] == ROWS
        peer.send(call("small"))
        assert json.loads(peer.recv(scaled(5)))["payload"] == "small"
        stats = server.connections[0].stats
        assert stats.malformed == 0
        assert stats.wire_bytes_in < stats.bytes_in / 2
        assert stats.wire_bytes_out < stats.bytes_out / 2


def _answer(peer: ServerConnection) -> None:
    """Answer calls with their payload, every second one in fragments after a ping."""
    for number, text in enumerate(peer):
        message = json.loads(text)
        answer = json.dumps({"type": "result", "id": message["id"], "payload": message["payload"][0]})
        if number % 2:
            peer.ping()
            peer.send(answer[at : at + 700] for at in range(0, len(answer), 700))
        else:
            peer.send(answer)


class Keeping(ServerPerMessageDeflateFactory):
    """A server that takes its context over from message to message, whatever the client asked for."""

    def process_request_params(self, params: Sequence[Any], accepted_extensions: Any) -> Any:
        """Accept without it."""
        kept = [pair for pair in params if pair[0] != "server_no_context_takeover"]
        return super().process_request_params(kept, accepted_extensions)


@contextmanager
def foreign_server(**options: Any) -> Iterator[str]:
    """A server of websockets, and its URL."""
    with serve_foreign(_answer, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join(scaled(5))
    close_pipe(server)


ANSWERS: dict[str, dict[str, Any]] = {
    "its defaults": {"compression": "deflate"},
    "the smallest windows": {
        "extensions": [ServerPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=9)],
        "compression": None,
    },
    "everything": {
        "extensions": [ServerPerMessageDeflateFactory(True, True, 15, 15)],
        "compression": None,
    },
}


@pytest.mark.parametrize("options", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("window_bits", [9, 15])
def test_a_server_of_websockets(options: dict[str, Any], window_bits: int) -> None:
    """Calls one after another, and many in flight."""
    compression = Deflate(min_size=200, window_bits=window_bits)
    with foreign_server(**options) as url, connect(url, compression=compression, reconnect=None) as conn:
        for number in range(20):
            assert conn.call("echo", [number, ROWS]) == [number, ROWS]
        futures = [conn.submit("echo", [number, ROWS]) for number in range(50)]
        assert [future.result(scaled(10))[0] for future in futures] == list(range(50))
        assert conn.call("echo", "small") == "small"
        stats = conn.stats
        assert stats.malformed == 0
        assert stats.wire_bytes_in < stats.bytes_in / 2
        assert stats.wire_bytes_out < stats.bytes_out / 2


def test_a_server_that_keeps_its_context_is_refused() -> None:
    """Its messages could not be read by themselves; without our offer it is as good as any."""
    options: dict[str, Any] = {"extensions": [Keeping()], "compression": None}
    with foreign_server(**options) as url:
        with pytest.raises(SocketConnectionError, match="keeps its compression from message to message, although"):
            connect(url, compression="deflate", reconnect=None)
        with connect(url, reconnect=None) as conn:
            assert conn.call("echo", ROWS) == ROWS


def test_a_server_that_knows_no_compression() -> None:
    """It does not answer the offer, and gets plain messages."""
    with foreign_server(compression=None) as url, connect(url, compression="deflate", reconnect=None) as conn:
        assert conn.call("echo", ROWS) == ROWS
        stats = conn.stats
        assert (stats.wire_bytes_in, stats.wire_bytes_out) == (stats.bytes_in, stats.bytes_out)


@pytest.mark.parametrize("fragments", [1, 3])
def test_a_client_of_wsproto(fragments: int) -> None:
    """It ends each fragment with a block of its own."""
    with serve(echo, compression=SMALL) as server:
        sock = socket.create_connection(("127.0.0.1", server.port), scaled(5))
        peer = WSConnection(ConnectionType.CLIENT)
        deflate = PerMessageDeflateOfWsproto()
        with sock:
            sock.sendall(peer.send(UpgradeRequest(host="localhost", target="/", extensions=[deflate])))
            for number in range(5):
                text = call([number, ROWS])
                size = len(text) // fragments + 1
                pieces = [text[at : at + size] for at in range(0, len(text), size)]
                for index, piece in enumerate(pieces):
                    if index or number or _next_event(sock, peer, AcceptConnection):
                        is_last = index == len(pieces) - 1
                        sock.sendall(peer.send(TextMessage(data=piece, message_finished=is_last)))
                assert json.loads(_next_message(sock, peer))["payload"] == [number, ROWS]
            assert deflate.enabled()
            assert server.connections[0].stats.malformed == 0


def _next_event(sock: socket.socket, peer: WSConnection, kind: type) -> Any:
    """The next event, which is of this kind."""
    while True:
        for event in peer.events():
            assert isinstance(event, kind), event
            return event
        peer.receive_data(sock.recv(65_536))


def _next_message(sock: socket.socket, peer: WSConnection) -> str:
    """The next message, of which there may be parts."""
    text = ""
    while True:
        event = _next_event(sock, peer, TextMessage)
        text += event.data
        if event.message_finished:
            return str(text)
