"""Every fault, in every direction, between two raw ends."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest
from ends import DOWN, TEXT, UP, Ends, both_ways, holds_back, was_reset
from helpers import eventually, scaled

from owlsocket_sync.testing.flow import Flow

KERNEL = 16 << 20
"""More than the kernel ever holds of a connection."""


def fill(sock: socket.socket) -> int:
    """How many bytes can be sent until nobody takes more."""
    sock.settimeout(0.3)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < KERNEL:
            sent += sock.send(bytes(65_536))
    return sent


@both_ways
def test_a_delay_is_latency_in_its_direction(ends: Ends, direction: str) -> None:
    """Many writes arrive as much later as one, in order, the end too; the other direction is as quick as ever."""
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


def test_a_delay_that_ends_lets_go_of_what_it_held(ends: Ends) -> None:
    """At once."""
    ends.proxy.delay(60, jitter=1)
    ends.client.send(b"held")
    assert holds_back(ends.server)
    ends.proxy.delay(0)
    assert ends.server.read(4) == b"held"


@both_ways
def test_a_rate_slows_its_direction(ends: Ends, direction: str) -> None:
    """While bytes pass; and may be changed and lifted meanwhile."""
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
    """Of 64 bytes at most; the other direction is not cut."""
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
def test_a_run_can_be_had_again(ends: Ends, direction: str) -> None:
    """The same bytes are spoiled on the same connection of another proxy; in the other direction, none."""
    ends.proxy.corrupt(9, every=20, direction=direction)
    again = Ends()
    again.proxy.corrupt(9, every=20, direction=direction)
    spoiled = []
    for one in (ends, again):
        sender, receiver = one.along(direction)
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
    """Both ends read an end, not a reset, whatever they were sending; who comes later is served."""
    ends.client.send(TEXT)
    assert ends.server.read(len(TEXT)) == TEXT
    ends.proxy.cut()
    assert ends.proxy.connections == []
    ends.client.send(b"into the void")
    assert (ends.client.read(1), ends.server.read(1)) == (b"", b"")
    later = ends.join()
    later.send(b"hello")
    assert ends.accept().read(5) == b"hello"


def test_who_does_not_notice_a_cut_is_reset_in_the_end(ends: Ends) -> None:
    """The sockets are not kept for those who never close theirs."""
    ends.proxy.cut()
    with pytest.raises(ConnectionError):
        for _ in range(500):
            ends.client.send(b"still here")
            time.sleep(0.01)


def test_a_reset_ends_what_is_live(ends: Ends) -> None:
    """At both ends."""
    ends.proxy.reset()
    assert ends.proxy.connections == []
    assert was_reset(ends.client)
    assert was_reset(ends.server)


def test_an_end_befalls_who_was_not_accepted_yet(ends: Ends) -> None:
    """Who has connected is live, and so is who came a moment ago."""
    many = [ends.join() for _ in range(20)]
    ends.proxy.reset()
    assert all(was_reset(one) for one in many)


@both_ways
def test_a_cut_lets_so_many_bytes_pass(ends: Ends, direction: str) -> None:
    """Not one more; on live connections and on those to come, until faults are cleared."""
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
    """Both ends are reset; no more bytes than allowed have come."""
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
    """In its direction alone; when it is lifted, all flows on, the end included."""
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
def test_nobody_is_told_of_an_end_through_a_black_hole(ends: Ends, how: str) -> None:
    """Neither side learns that the other has gone, until it is lifted."""
    ends.proxy.blackhole()
    ends.server.reset() if how == "reset" else ends.server.sock.close()
    assert holds_back(ends.client)
    ends.proxy.blackhole(False)
    assert was_reset(ends.client) if how == "reset" else ends.client.read(1) == b""


def test_who_comes_into_a_black_hole_is_served_after_it(ends: Ends) -> None:
    """The target does not hear of it before."""
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
def test_who_sends_too_much_is_stopped(ends: Ends, direction: str, fault: str) -> None:
    """What is held is bounded, so the sender feels it; afterwards not a byte is missing."""
    sender, receiver = ends.along(direction)
    ends.proxy.blackhole() if fault == "blackhole" else ends.proxy.delay(3600)
    sent = fill(sender.sock)
    assert 0 < sent < KERNEL
    ends.proxy.clear()
    assert len(receiver.read(sent)) == sent
