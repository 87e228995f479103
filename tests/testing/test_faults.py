"""Every fault, in every direction, between two raw ends."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from owlsocket_sync.testing.flow import Flow
from support.ends import DOWN, TEXT, UP, Ends, both_ways, holds_back, was_reset
from support.helpers import eventually, scaled

pytestmark = pytest.mark.slow

KERNEL = 16 << 20
"""More than the kernel ever holds of a connection."""


def fill(sock: socket.socket) -> int:
    """Return how many bytes can be sent before the socket blocks."""
    sock.settimeout(0.3)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < KERNEL:
            sent += sock.send(bytes(65_536))
    return sent


@pytest.mark.timing
@both_ways
def test_a_delay_is_latency_in_its_direction(ends: Ends, direction: str) -> None:
    """Every write, and the end, arrives that much later, in order; the other direction is not delayed."""
    sender, receiver = ends.along(direction)
    ends.proxy.delay(0.3, direction=direction)
    began = time.monotonic()
    for number in range(10):
        sender.send(bytes([number]))
        time.sleep(0.01)
    sender.sock.shutdown(socket.SHUT_WR)
    receiver.send(b"quick")
    assert sender.read(5) == b"quick"
    assert time.monotonic() - began < 0.3
    assert receiver.read(1) == b"\0"
    assert time.monotonic() - began >= 0.3
    assert receiver.read(10) == bytes(range(1, 10))
    assert 0.39 <= time.monotonic() - began < scaled(1.5)


def test_a_delay_that_ends_releases_held_bytes(ends: Ends) -> None:
    """Held bytes leave at once."""
    ends.proxy.delay(60, jitter=1)
    ends.client.send(b"held")
    assert holds_back(ends.server)
    ends.proxy.delay(0)
    assert ends.server.read(4) == b"held"


@pytest.mark.slow
@both_ways
def test_a_rate_slows_its_direction(ends: Ends, direction: str) -> None:
    """It may be changed and ended while bytes pass."""
    sender, receiver = ends.along(direction)
    ends.proxy.throttle(50_000, direction=direction)
    began = time.monotonic()
    sender.send(bytes(30_000))
    receiver.send(bytes(100_000))
    assert len(sender.read(100_000)) == 100_000
    assert len(receiver.read(20_000)) == 20_000
    assert time.monotonic() - began >= 0.3
    ends.proxy.throttle(0.001)
    sender.send(bytes(200_000))
    passed = getattr(ends.proxy.connections[0], direction)
    assert len(receiver.read(passed - 20_000)) == passed - 20_000
    assert holds_back(receiver)
    ends.proxy.throttle(None, direction=direction)
    assert len(receiver.read(230_000 - passed)) == 230_000 - passed


@both_ways
def test_pieces_are_one_send_each(ends: Ends, direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has at most 64 bytes; the other direction is not split."""
    sizes: dict[str, list[int]] = {UP: [], DOWN: []}
    sent = Flow.sent

    def noting(flow: Flow, count: int) -> None:
        sizes[UP if flow._origin.endswith(UP) else DOWN].append(count)
        sent(flow, count)

    monkeypatch.setattr(Flow, "sent", noting)
    sender, receiver = ends.along(direction)
    ends.proxy.split(1, direction=direction)
    sender.send(TEXT)
    receiver.send(TEXT)
    assert (receiver.read(len(TEXT)), sender.read(len(TEXT))) == (TEXT, TEXT)
    (other,) = {UP, DOWN} - {direction}
    eventually(lambda: sum(sizes[UP]) == sum(sizes[DOWN]) == len(TEXT))
    assert max(sizes[direction]) <= 64
    assert max(sizes[other]) > 64
    ends.proxy.split(None)
    sender.send(TEXT)
    assert receiver.read(len(TEXT)) == TEXT
    eventually(lambda: sum(sizes[direction]) == 2 * len(TEXT))
    assert max(sizes[direction]) > 64


@both_ways
def test_a_run_can_be_repeated(ends: Ends, direction: str) -> None:
    """The same bytes change on the same connection of another proxy; in the other direction, none."""
    ends.proxy.corrupt(9, every=20, direction=direction)
    again = Ends()
    again.proxy.corrupt(9, every=20, direction=direction)
    spoiled = []
    for pair in (ends, again):
        sender, receiver = pair.along(direction)
        sender.send(TEXT)
        spoiled.append(receiver.read(len(TEXT)))
        receiver.send(TEXT)
        assert sender.read(len(TEXT)) == TEXT
    again.close()
    assert spoiled[0] == spoiled[1]
    assert sum(a != b for a, b in zip(spoiled[0], TEXT, strict=True)) == pytest.approx(len(TEXT) / 20, rel=0.3)
    ends.proxy.corrupt(None)
    sender, receiver = ends.along(direction)
    sender.send(TEXT)
    assert receiver.read(len(TEXT)) == TEXT


def test_a_cut_ends_what_is_live(ends: Ends) -> None:
    """Both ends see FIN, not RST, whatever they were sending; later clients are served."""
    ends.client.send(TEXT)
    assert ends.server.read(len(TEXT)) == TEXT
    ends.proxy.cut()
    assert ends.proxy.connections == []
    ends.client.send(b"into the void")
    assert (ends.client.read(1), ends.server.read(1)) == (b"", b"")
    later = ends.join()
    later.send(b"hello")
    assert ends.accept().read(5) == b"hello"


def test_an_end_that_ignores_a_cut_is_reset(ends: Ends) -> None:
    """Its sockets are closed after a while even if an end never closes its own."""
    ends.proxy.cut()
    with pytest.raises(ConnectionError):
        for _ in range(500):
            ends.client.send(b"still here")
            time.sleep(0.01)


def test_a_reset_ends_what_is_live(ends: Ends) -> None:
    """Both ends see the reset."""
    ends.proxy.reset()
    assert ends.proxy.connections == []
    assert was_reset(ends.client)
    assert was_reset(ends.server)


def test_a_reset_includes_the_backlog(ends: Ends) -> None:
    """A client in the backlog counts as live."""
    many = [ends.join() for _ in range(20)]
    ends.proxy.reset()
    assert all(was_reset(peer) for peer in many)


@both_ways
def test_a_cut_lets_so_many_bytes_pass(ends: Ends, direction: str) -> None:
    """Not one more, on live and on future connections, until faults are cleared."""
    ends.proxy.cut(after=1000, direction=direction)
    for _ in range(2):
        sender, receiver = ends.along(direction)
        receiver.send(TEXT)
        assert sender.read(len(TEXT)) == TEXT
        sender.send(TEXT)
        assert receiver.read(len(TEXT)) == TEXT[:1000]
        assert sender.at_end()
        ends.client, ends.server = ends.join(), ends.accept()
    ends.proxy.clear()
    sender, receiver = ends.along(direction)
    sender.send(TEXT)
    assert receiver.read(len(TEXT)) == TEXT


@both_ways
def test_a_reset_after_so_many_bytes(ends: Ends, direction: str) -> None:
    """Both ends are reset, and no more bytes than the limit have passed."""
    sender, receiver = ends.along(direction)
    sender.send(TEXT)
    assert receiver.read(len(TEXT)) == TEXT
    ends.proxy.reset(after=len(TEXT) + 10)
    sender.send(TEXT)
    came = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := receiver.sock.recv(65_536):
            came += chunk
    assert TEXT[:10].startswith(came)
    assert was_reset(sender)


@both_ways
def test_a_black_hole_holds_bytes_and_ends(ends: Ends, direction: str) -> None:
    """In its direction alone; when it ends, everything flows, the end too."""
    sender, receiver = ends.along(direction)
    ends.proxy.blackhole(direction=direction)
    sender.send(TEXT)
    sender.sock.shutdown(socket.SHUT_WR)
    receiver.send(b"heard")
    assert sender.read(5) == b"heard"
    assert holds_back(receiver)
    ends.proxy.blackhole(False)
    assert receiver.read(len(TEXT) + 1) == TEXT


@pytest.mark.parametrize("how", ["end", "reset"])
def test_no_end_passes_a_black_hole(ends: Ends, how: str) -> None:
    """Neither end learns of the other's, until the black hole ends."""
    ends.proxy.blackhole()
    ends.server.reset() if how == "reset" else ends.server.sock.close()
    assert holds_back(ends.client)
    ends.proxy.blackhole(False)
    assert was_reset(ends.client) if how == "reset" else ends.client.read(1) == b""


def test_a_client_in_a_black_hole_is_served_after_it(ends: Ends) -> None:
    """The target sees no connection before."""
    ends.proxy.blackhole()
    late = ends.join()
    late.send(b"late")
    eventually(lambda: ends.proxy.accepted == 2)
    ends.listener.settimeout(0.1)
    with pytest.raises(TimeoutError):
        ends.listener.accept()
    ends.listener.settimeout(scaled(5))
    ends.proxy.clear()
    assert ends.accept().read(4) == b"late"


@pytest.mark.parametrize("fault", ["blackhole", "delay"])
@both_ways
def test_a_fast_sender_is_slowed_down(ends: Ends, direction: str, fault: str) -> None:
    """The held bytes are bounded, so the sender blocks; afterwards not a byte is missing."""
    sender, receiver = ends.along(direction)
    ends.proxy.blackhole() if fault == "blackhole" else ends.proxy.delay(3600)
    sent = fill(sender.sock)
    assert 0 < sent < KERNEL
    ends.proxy.clear()
    assert len(receiver.read(sent)) == sent
