"""`DuplexStream`: buffered reads, a deadline for each direction, and ways to free waiting threads."""

from __future__ import annotations

import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from types import BuiltinMethodType

import pytest

from owlsocket_sync.transport import tls
from owlsocket_sync.transport.framing import ClientFraming
from owlsocket_sync.transport.handshake_socket import BudgetExceeded, HandshakeSocket
from owlsocket_sync.transport.stream import DuplexStream
from support.helpers import eventually, scaled
from support.sockets import client_context, server_context
from support.streams import buffer_of, recv
from support.strikes import struck

LIMIT = 1000

Ends = tuple[DuplexStream, socket.socket]


def _plain() -> Ends:
    ours, theirs = socket.socketpair()
    theirs.settimeout(scaled(5))
    return DuplexStream(ours), theirs


def _secure() -> Ends:
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.settimeout(scaled(5))
    shaken: list[ssl.SSLSocket] = []
    server = threading.Thread(target=lambda: shaken.append(server_context().wrap_socket(theirs, server_side=True)))
    server.start()
    client = client_context().wrap_socket(ours, server_hostname="localhost")
    server.join(scaled(5))
    return DuplexStream(client), shaken[0]


@pytest.fixture(params=[_plain, _secure], ids=["plain", "tls"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    """A stream, and the socket at its other end."""
    make: Callable[[], Ends] = request.param
    stream, peer = make()
    stream.read_deadline = stream.write_deadline = time.monotonic() + scaled(5)
    yield stream, peer
    stream.close()
    peer.close()


def _in_thread(action: Callable[[], object]) -> tuple[threading.Thread, list[BaseException | object]]:
    outcome: list[BaseException | object] = []

    def run() -> None:
        try:
            outcome.append(action())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def _read_all(stream: DuplexStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = recv(stream, size - len(data))
        assert chunk
        data += chunk
    return data


class CountingSocket(socket.socket):
    """Counts system calls that read."""

    reads = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Read, and count."""
        self.reads += 1
        return super().recv(size, flags)


def test_many_frames_in_one_system_call() -> None:
    """Bytes that arrive together are received together, however small the reads."""
    ours, theirs = socket.socketpair()
    counting = CountingSocket(fileno=ours.detach())
    stream = DuplexStream(counting)
    theirs.sendall(b"ab" * 1000)
    assert b"".join(recv(stream, 2) for _ in range(1000)) == b"ab" * 1000
    assert counting.reads == 1
    assert not buffer_of(stream)
    stream.close()
    theirs.close()


def test_reads_what_was_sent_and_the_end(ends: Ends) -> None:
    """Bytes arrive in order, and the end reads as ``b""``."""
    stream, peer = ends
    peer.sendall(b"hello" * 4000)
    assert _read_all(stream, 20_000) == b"hello" * 4000
    peer.close()
    assert recv(stream, 1) == b""


def test_a_read_times_out_at_its_deadline(ends: Ends) -> None:
    """A silent peer blocks no thread; what arrives later is read."""
    stream, peer = ends
    began = time.monotonic()
    stream.read_deadline = began + 0.1
    with pytest.raises(TimeoutError):
        recv(stream, 1)
    assert 0.1 <= time.monotonic() - began < scaled(1)
    stream.read_deadline = time.monotonic() + scaled(5)
    peer.sendall(b"late")
    assert _read_all(stream, 4) == b"late"


def test_a_write_times_out_at_its_deadline(ends: Ends) -> None:
    """A peer that accepts nothing blocks a writer no longer than its deadline."""
    stream, _ = ends
    began = time.monotonic()
    stream.write_deadline = began + 0.1
    with pytest.raises(TimeoutError):
        stream.send(bytes(8_000_000))
    assert 0.1 <= time.monotonic() - began < scaled(1)


def test_the_write_deadline_does_not_touch_reads(ends: Ends) -> None:
    """A write deadline in the past does not stop reads."""
    stream, peer = ends
    stream.write_deadline = 0.0
    peer.sendall(b"x")
    assert recv(stream, 1) == b"x"


def test_both_directions_at_once(ends: Ends) -> None:
    """A megabyte each way at the same time arrives intact."""
    stream, peer = ends
    data = bytes(range(256)) * 4096
    received = bytearray()

    def echo() -> None:
        while len(received) < len(data):
            chunk = peer.recv(65_536)
            received.extend(chunk)
            peer.sendall(chunk)

    thread, outcome = _in_thread(echo)
    writer, sent = _in_thread(lambda: stream.send(data))
    assert _read_all(stream, len(data)) == data
    for running in (thread, writer):
        running.join(scaled(5))
    assert bytes(received) == data
    assert (outcome, sent) == ([None], [len(data)])


def test_interrupt_frees_reader_and_writer(ends: Ends) -> None:
    """Both directions end at once for waiting threads; the descriptor stays open until it is closed."""
    stream, _ = ends
    stream.read_deadline = stream.write_deadline = math.inf
    reader, read = _in_thread(lambda: recv(stream, 1))
    writer, written = _in_thread(lambda: stream.send(bytes(8_000_000)))
    eventually(lambda: reader.is_alive() and writer.is_alive())
    stream.interrupt()
    for thread in (reader, writer):
        thread.join(scaled(2))
        assert not thread.is_alive()
    assert read[0] == b"" or isinstance(read[0], OSError)
    assert isinstance(written[0], OSError)
    assert not isinstance(written[0], TimeoutError)
    assert stream.fileno() >= 0


def test_a_budget_bounds_what_is_read(ends: Ends) -> None:
    """The budget can be read, and not one byte more."""
    stream, peer = ends
    sock = HandshakeSocket(ClientFraming(stream, LIMIT), 4)
    peer.sendall(b"12345")
    for _ in range(2):
        with pytest.raises(BudgetExceeded):
            sock.recv(1)
        assert sock.received == b"1234"


def test_a_budget_does_not_outlive_its_deadline(ends: Ends) -> None:
    """Buffered bytes are not read past the deadline of the handshake; afterwards they are."""
    stream, peer = ends
    framing = ClientFraming(stream, LIMIT)
    sock = HandshakeSocket(framing, 1000)
    head = b"HTTP/1.1 101 Go\r\n\r\n"
    peer.sendall(head + b"12")
    assert sock.recv(64) == head
    assert sock.recv(1) == b"1"
    stream.read_deadline = 0.0
    with pytest.raises(TimeoutError):
        sock.recv(1)
    assert framing.recv_buffer.read(2) == b"2"


def test_a_reader_that_should_not_continue_gives_up(ends: Ends) -> None:
    """`should_continue` is checked while a read waits."""
    stream, _ = ends
    answers = iter([True, True])
    stream.should_continue = lambda: next(answers, False)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        recv(stream, 1)
    assert time.monotonic() - began < scaled(1)


def test_last_activity_is_the_last_byte(ends: Ends) -> None:
    """A read that times out is no activity, a byte is."""
    stream, peer = ends
    before = stream.last_activity
    stream.read_deadline = 0.0
    with pytest.raises(TimeoutError):
        recv(stream, 1)
    assert stream.last_activity == before
    peer.sendall(b"x")
    stream.read_deadline = time.monotonic() + scaled(5)
    recv(stream, 1)
    assert stream.last_activity > before


def test_the_peer_reads_what_was_sent_before_the_end(ends: Ends) -> None:
    """`linger` lets the peer read what we sent, although what it sent was never read."""
    stream, peer = ends
    peer.sendall(bytes(200_000))
    stream.send(b"bye")
    stream.linger(0.1)
    stream.close()
    assert peer.recv(3) == b"bye"


def test_wake_and_interrupt_after_close_do_nothing(ends: Ends) -> None:
    """They do not reach a descriptor whose number belongs to another file by then."""
    stream, _ = ends
    stream.close()
    stream.close()
    stream.wake()
    stream.interrupt()


@pytest.mark.parametrize("verb", ["wake", "interrupt"])
def test_a_stream_may_be_closed_wherever_it_is_woken(verb: str) -> None:
    """By a finalizer, for example: nothing is raised, and no other file is written to that has got its number."""
    at, closed = 0, True
    while closed:
        stream, peer = _plain()
        closed = struck(at, getattr(stream, verb), stream.close)
        stream.close()
        peer.close()
        at += 1
    assert at > 1


def test_reading_zero_bytes_waits_for_nothing() -> None:
    """An HTTP response with an empty body has ended already."""
    ours, theirs = socket.socketpair()
    stream = DuplexStream(ours)
    stream.read_deadline = time.monotonic() + scaled(5)
    assert HandshakeSocket(ClientFraming(stream, LIMIT), 1000).recv(0) == b""
    assert time.monotonic() < stream.read_deadline
    stream.close()
    theirs.close()


def test_reading_is_one_step_of_the_interpreter(ends: Ends) -> None:
    """It is a builtin, not a Python function in which an interrupt could separate the read from its result."""
    stream, _ = ends
    assert isinstance((stream._tls or stream)._recv, BuiltinMethodType)


def test_tls_that_cannot_write_its_answer_reads_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key update wants an answer before anything is read: a peer that accepts none for a while breaks nothing."""
    stream, peer = _secure()
    assert stream._tls is not None
    read, wants = stream._tls._recv, [ssl.SSLWantWriteError()]

    def recv(size: int) -> bytes:
        if wants:
            raise wants.pop()
        return read(size)

    def time_out(readers: list[socket.socket], writers: list[socket.socket], until: float) -> None:
        raise TimeoutError("timed out waiting for the peer to accept data")

    monkeypatch.setattr(tls, "wait_ready", time_out)
    monkeypatch.setattr(stream._tls, "_recv", recv)
    peer.sendall(b"x")
    chunks: list[bytes] = []
    assert not stream.recv_available(chunks)
    eventually(lambda: stream.recv_available(chunks))
    assert chunks == [b"x"]
    stream.close()
    peer.close()
