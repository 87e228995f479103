"""`DuplexStream`: buffered reads, a deadline for either direction, and ways to free whoever waits."""

from __future__ import annotations

import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from types import BuiltinMethodType

import pytest
from helpers import eventually, scaled
from sockets import client_context, server_context

from owlsocket_sync.transport.handshake_socket import BudgetExceeded, HandshakeSocket
from owlsocket_sync.transport.stream import DuplexStream, Woken

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
    stream.read_until = stream.write_until = time.monotonic() + scaled(5)
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
        chunk = stream.recv(size - len(data))
        assert chunk
        data += chunk
    return data


class CountingSocket(socket.socket):
    """Counts the reads that reach the system."""

    reads = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Read, and count."""
        self.reads += 1
        return super().recv(size, flags)


def test_many_frames_in_one_system_call() -> None:
    """What came together is read together, however small the pieces that are asked for."""
    ours, theirs = socket.socketpair()
    counting = CountingSocket(fileno=ours.detach())
    stream = DuplexStream(counting)
    theirs.sendall(b"ab" * 1000)
    assert b"".join(stream.recv(2) for _ in range(1000)) == b"ab" * 1000
    assert counting.reads == 1
    assert not stream.unread
    stream.close()
    theirs.close()


def test_reads_what_was_sent_and_the_end(ends: Ends) -> None:
    """Bytes come in order, and the end reads as nothing."""
    stream, peer = ends
    peer.sendall(b"hello" * 4000)
    assert _read_all(stream, 20_000) == b"hello" * 4000
    peer.close()
    assert stream.recv(1) == b""


def test_a_read_gives_up_at_its_deadline(ends: Ends) -> None:
    """A silent peer holds nobody; what comes later is read."""
    stream, peer = ends
    began = time.monotonic()
    stream.read_until = began + 0.1
    with pytest.raises(TimeoutError):
        stream.recv(1)
    assert 0.1 <= time.monotonic() - began < scaled(1)
    stream.read_until = time.monotonic() + scaled(5)
    peer.sendall(b"late")
    assert _read_all(stream, 4) == b"late"


def test_a_write_gives_up_at_its_deadline(ends: Ends) -> None:
    """A peer that takes nothing holds a writer no longer than its deadline."""
    stream, _ = ends
    began = time.monotonic()
    stream.write_until = began + 0.1
    with pytest.raises(TimeoutError):
        stream.send(bytes(8_000_000))
    assert 0.1 <= time.monotonic() - began < scaled(1)


def test_the_write_deadline_does_not_touch_reads(ends: Ends) -> None:
    """A write deadline in the past lets reads go on."""
    stream, peer = ends
    stream.write_until = 0.0
    peer.sendall(b"x")
    assert stream.recv(1) == b"x"


def test_both_directions_at_once(ends: Ends) -> None:
    """A megabyte each way at the same time arrives whole."""
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
    for one in (thread, writer):
        one.join(scaled(5))
    assert bytes(received) == data
    assert (outcome, sent) == ([None], [len(data)])


@pytest.mark.parametrize("early", [True, False])
def test_wake_frees_the_reader(ends: Ends, early: bool) -> None:
    """A reader looks up when it is asked, before it waits or while it does, and reads on after it."""
    stream, peer = ends
    if early:
        stream.wake()
        stream.wake()
        with pytest.raises(Woken):
            stream.recv(1)
    else:
        thread, outcome = _in_thread(lambda: stream.recv(1))
        stream.wake()
        thread.join(scaled(2))
        assert isinstance(outcome[0], Woken)
    peer.sendall(b"on")
    assert _read_all(stream, 2) == b"on"


def test_interrupt_frees_reader_and_writer(ends: Ends) -> None:
    """Both directions end at once for whoever waits there; the descriptor stays until it is closed."""
    stream, _ = ends
    stream.read_until = stream.write_until = math.inf
    reader, read = _in_thread(lambda: stream.recv(1))
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
    """One byte over the budget raises; up to it all is well."""
    stream, peer = ends
    sock = HandshakeSocket(stream, 4)
    peer.sendall(b"12345")
    assert b"".join(sock.recv(1) for _ in range(4)) == sock.seen == b"1234"
    with pytest.raises(BudgetExceeded):
        sock.recv(1)


def test_a_budget_does_not_outlive_its_deadline(ends: Ends) -> None:
    """What came in time is not read for ever; once the handshake is over it is."""
    stream, peer = ends
    sock = HandshakeSocket(stream, 1000)
    peer.sendall(b"12")
    assert sock.recv(1) == b"1"
    stream.read_until = 0.0
    with pytest.raises(TimeoutError):
        sock.recv(1)
    assert _read_all(stream, 1) == b"2"


def test_a_reader_that_is_wanted_no_more_gives_up(ends: Ends) -> None:
    """`wanted` is asked while a read waits."""
    stream, _ = ends
    answers = iter([True, True])
    stream.wanted = lambda: next(answers, False)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        stream.recv(1)
    assert time.monotonic() - began < scaled(1)


def test_heard_at_is_the_last_byte(ends: Ends) -> None:
    """Silence does not count as life, a byte does."""
    stream, peer = ends
    before = stream.heard_at
    stream.read_until = 0.0
    with pytest.raises(TimeoutError):
        stream.recv(1)
    assert stream.heard_at == before
    peer.sendall(b"x")
    stream.read_until = time.monotonic() + scaled(5)
    stream.recv(1)
    assert stream.heard_at > before


def test_last_words_are_read_before_the_end(ends: Ends) -> None:
    """`linger` lets the peer read what was said, though its own words were never read."""
    stream, peer = ends
    peer.sendall(bytes(200_000))
    stream.send(b"bye")
    stream.linger(0.1)
    stream.close()
    assert peer.recv(3) == b"bye"


def test_wake_and_interrupt_after_close_do_nothing(ends: Ends) -> None:
    """Late wake-ups reach no descriptor that somebody else has by now."""
    stream, _ = ends
    stream.close()
    stream.close()
    stream.wake()
    stream.interrupt()


def test_nothing_is_waited_for_where_nothing_is_wanted() -> None:
    """An HTTP answer with an empty body has ended already."""
    ours, theirs = socket.socketpair()
    stream = DuplexStream(ours)
    stream.read_until = time.monotonic()
    assert stream.recv(0) == b""
    stream.close()
    theirs.close()


def test_reading_is_one_step_of_the_interpreter(ends: Ends) -> None:
    """What reads is no Python function, in which an interrupt could come between the read and its result."""
    stream, _ = ends
    assert isinstance(stream._receive, BuiltinMethodType)
