"""The handshakes of a client: malformed, slow and failing ones, and their responses."""

from __future__ import annotations

import select
import socket
import ssl

import pytest

from owlsocket_sync import connect
from owlsocket_sync.server import serve
from support.handlers import echo
from support.helpers import VECTORS, eventually, scaled
from support.sockets import (
    PATIENCE,
    PONG,
    TEXT,
    UPGRADE,
    RawPeer,
    client_context,
    frame,
    header_of,
    knock,
    server_context,
)


def _raw(port: int) -> RawPeer:
    return RawPeer(socket.create_connection(("127.0.0.1", port), scaled(PATIENCE)))


@pytest.mark.parametrize(
    ("offers", "selected"),
    [([], ""), (["a"], "a"), (["proto-a, proto-b"], "proto-a"), (["b", "a"], "b")],
    ids=["none", "one", "several", "several lines"],
)
def test_the_first_subprotocol_is_selected(offers: list[str], selected: str) -> None:
    """As the reference does: a browser that offers some fails the link where none is selected."""
    with serve(echo) as server:
        headers = "\r\n".join(f"Sec-WebSocket-Protocol: {offer}" for offer in offers)
        peer, answer = knock(server.port, headers=headers)
        with peer.sock:
            assert answer.startswith("HTTP/1.1 101 ")
            assert header_of(answer, "Sec-WebSocket-Protocol") == selected


def test_a_client_that_left_before_it_was_accepted() -> None:
    """Its socket has no address any more; other clients are not affected."""
    with serve(echo) as server:
        gone = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        for sock in gone:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
        with connect(server.url) as conn:
            assert conn.call("echo", 1) == 1


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: b"])
def test_a_client_that_does_not_finish_its_request(begun: bytes) -> None:
    """It holds a thread no longer than the timeout, and gets 408."""
    with serve(echo, timeout=0.05) as server:
        silent = _raw(server.port)
        silent.send(begun)
        assert silent.read_header().startswith("HTTP/1.1 408 ")
        assert silent.at_end()
        silent.sock.close()
        peer, answer = knock(server.port)
        assert answer.startswith("HTTP/1.1 101")
        eventually(lambda: server.connections)
        peer.sock.close()
        eventually(lambda: not server.connections)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS where none is spoken\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n", 431),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", 414),
    ],
)
def test_requests_that_ask_for_something_else(request_bytes: bytes, status: int) -> None:
    """They get an error response in every version of websockets, and the server goes on."""
    with serve(echo) as server:
        peer = _raw(server.port)
        peer.send(request_bytes)
        answer = peer.read_header()
        assert answer.startswith((f"HTTP/1.1 {status} ", "HTTP/1.1 400 ")), answer
        assert peer.at_end()
        peer.sock.close()
        with connect(server.url) as conn:
            assert conn.call("echo", 1) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"Upgrade: webso\xe3ket",
        b"Connection: \xe3 \xe3",
        b"Sec-WebSocket-Version: \xe3",
        b"Sec-WebSocket-Key: \xe3",
        b"Sec-WebSocket-Protocol: \xe3,,( a b",
    ],
)
def test_a_header_beyond_ascii_is_rejected(line: bytes) -> None:
    """With an answer, which may quote it, whichever release of websockets reads it."""
    usual = dict(part.split(b": ") for part in UPGRADE.encode().split(b"\r\n") if b": " in part)
    name, value = line.split(b": ")
    lines = [key + b": " + content for key, content in {**usual, b"Host": b"127.0.0.1", name: value}.items()]
    with serve(echo) as server:
        peer = _raw(server.port)
        with peer.sock:
            peer.send(b"GET / HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n")
            assert peer.read_header().startswith("HTTP/1.1 400 ")


def test_bytes_after_the_request_are_read_once_it_is_accepted() -> None:
    """A client may send at once; its ping and its call are answered after the response to its request."""
    call = frame(TEXT, b'{"type":"call","id":"1","method":"echo","payload":[7]}', masked=True)
    with serve(echo) as server:
        peer = _raw(server.port)
        for piece in (UPGRADE.encode()[:-2], UPGRADE.encode()[-2:] + frame(9, b"hi", masked=True) + call):
            peer.send(piece)
        assert peer.read_header().startswith("HTTP/1.1 101 ")
        came = {peer.read_frame(masked=False) for _ in range(2)}
        assert came == {(PONG, b"hi"), (TEXT, b'{"id":"1","type":"result","payload":7}')}
        peer.sock.close()
        eventually(lambda: not server.connections)


def test_a_failed_tls_handshake_ends_one_client_alone() -> None:
    """A client that does not speak TLS, or trusts no certificate, is dropped; the next one is served."""
    with serve(echo, ssl_context=server_context(), timeout=0.2) as server:
        peer = _raw(server.port)
        peer.send(UPGRADE.encode())
        assert peer.at_end()
        peer.sock.close()
        silent = _raw(server.port)
        assert silent.at_end()
        silent.sock.close()
        with connect(server.url, ssl_context=client_context()) as conn:
            assert conn.call("echo", 1) == 1


def test_a_client_without_its_certificate_learns_why() -> None:
    """Also one that writes before it reads: its connection is not reset under the alert (TLS 1.3 verifies late)."""
    requiring = server_context()
    requiring.load_verify_locations(VECTORS / "tls" / "authority.pem")
    requiring.verify_mode = ssl.CERT_REQUIRED
    with serve(echo, ssl_context=requiring) as server, _raw(server.port).sock as plain:
        client = client_context().wrap_socket(plain, server_hostname="localhost")
        resets = select.poll()
        resets.register(client, 0)
        assert not resets.poll(100)
        client.sendall(UPGRADE.encode())
        with client, pytest.raises(ssl.SSLError, match=r"(?i)alert certificate required"):
            client.recv(1)
