"""The socket of an accepted link: neither direction disturbs the other, and each wait ends."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from handlers import echo
from helpers import Collector, eventually, scaled
from sockets import knock

from owlsocket_sync import connect
from owlsocket_sync.server import accepted, serve

Ends = tuple[accepted.AcceptedSocket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """An accepted socket, and its client."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(scaled(5))
    stream = accepted.AcceptedSocket(ours)
    yield stream, theirs
    stream.release()
    theirs.close()


def _reading(stream: accepted.AcceptedSocket) -> tuple[threading.Thread, Collector]:
    """A thread that reads until the end, and what it got; the last thing is the end or an error."""
    got = Collector()

    def read() -> None:
        try:
            while data := stream.recv(65_536):
                got(data)
            got(b"")
        except OSError as error:
            got(error)

    thread = threading.Thread(target=read)
    thread.start()
    return thread, got


def test_a_write_that_gives_up_leaves_the_reader_alone(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of a write is no limit of the read that waits beside it."""
    stream, client = ends
    thread, got = _reading(stream)
    monkeypatch.setattr(accepted, "SEND_SECONDS", 0.05)
    stream.settimeout(None)
    with pytest.raises(TimeoutError):
        stream.sendall(b"x" * 8_000_000)
    client.sendall(b"still here")
    assert got.wait(1) == [b"still here"]
    client.shutdown(socket.SHUT_WR)
    thread.join(scaled(5))
    assert got.items[1:] == [b""]


def test_a_limit_counts_for_what_begins_after_it(ends: Ends) -> None:
    """As websockets sets it, before the close handshake."""
    stream, _ = ends
    stream.settimeout(0.0)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        stream.recv(1)
    with pytest.raises(TimeoutError):
        stream.sendall(b"x" * 8_000_000)
    assert time.monotonic() - began < scaled(2)


def test_the_end_of_our_direction_leaves_the_other(ends: Ends) -> None:
    """The client reads the end, and may still speak."""
    stream, client = ends
    stream.shutdown(socket.SHUT_WR)
    assert client.recv(10) == b""
    client.sendall(b"bye")
    assert stream.recv(10) == b"bye"


@pytest.mark.parametrize("end", ["close", "shutdown"])
def test_an_end_frees_both_directions_and_keeps_the_descriptor(ends: Ends, end: str) -> None:
    """From any thread; the number is given back by the reader alone."""
    stream, client = ends
    thread, got = _reading(stream)
    failures = Collector()

    def write() -> None:
        try:
            stream.sendall(b"x" * 50_000_000)
        except OSError as error:
            failures(error)

    writer = threading.Thread(target=write)
    writer.start()
    assert client.recv(1) == b"x"
    stream.close() if end == "close" else stream.shutdown(socket.SHUT_RDWR)
    thread.join(scaled(5))
    writer.join(scaled(5))
    assert got.wait(1) == [b""]
    assert isinstance(failures.wait(1)[0], OSError)
    assert os.fstat(stream.fileno())


def test_a_client_that_left_before_it_was_accepted() -> None:
    """Its socket has no address any more; the others do not notice."""
    with serve(echo) as server:
        gone = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        for one in gone:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            one.close()
        with connect(server.url) as conn:
            assert conn.call("echo", 1) == 1


def test_a_client_that_does_not_finish_its_upgrade() -> None:
    """Gets no thread for longer than the server waits."""
    with serve(echo, timeout=0.05) as server:
        with socket.create_connection(("127.0.0.1", server.port), scaled(5)) as silent:
            silent.sendall(b"GET / HTTP/1.1\r\n")
            assert silent.recv(1000) == b""
        peer, answer = knock(server.port)
        assert answer.startswith("HTTP/1.1 101")
        eventually(lambda: server.connections)
        peer.sock.close()
        eventually(lambda: not server.connections)
