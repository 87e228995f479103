"""Plays a case to a raw socket, and holds what comes back against what must."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass, field
from typing import Any

import pytest

from rfc6455.case import NO_CODE, Case, Sent
from support.sockets import CLOSE, PING, PONG, Frame, RawPeer

WRITE = 262_144
"""The longest single write; each of them may take as long as the patience of the peer."""


@dataclass
class Seen:
    """What the peer saw: frames, and whether the stream then ended in order."""

    frames: list[Frame] = field(default_factory=list)
    clean: bool = False


def play(case: Case, peer: RawPeer, *, masked: bool) -> None:
    """Play a case, and check all that its peer can see.

    Args:
        case: to be played.
        peer: the peer's end, after the upgrade; closed afterwards.
        masked: whether the peer masks, which is to say: whether it is a client.
    """
    seen = Seen()
    with peer.sock:
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):  # the stream may end before everything is sent
            _send(case, peer, masked, seen)
        _read_to_the_end(peer, masked, seen)
    check(case, seen)


def _send(case: Case, peer: RawPeer, masked: bool, seen: Seen) -> None:
    waiting: list[bytes] = []
    asked = b""
    for step in case.sends:
        if isinstance(step, Sent):
            waiting.append(step.encode(masked))
            asked = bytes(step.data) if step.opcode == PING else asked
            continue
        _write(waiting, peer, case.chop)
        waiting.clear()
        while (PONG, asked) not in seen.frames:
            seen.frames.append(peer.read_frame(masked=not masked))
    _write(waiting, peer, case.chop)
    if case.code is None:
        peer.sock.shutdown(socket.SHUT_WR)


def _write(frames: list[bytes], peer: RawPeer, chop: int | None) -> None:
    for data in frames if chop is None else [b"".join(frames)]:
        size = min(chop or WRITE, WRITE)
        for start in range(0, len(data), size):
            peer.send(data[start : start + size])


def _read_to_the_end(peer: RawPeer, masked: bool, seen: Seen) -> None:
    with contextlib.suppress(ConnectionError):  # a reset, where that is allowed
        while peer.has_more():
            seen.frames.append(peer.read_frame(masked=not masked))
        seen.clean = True


def check_delivered(got: list[Any], expected: list[Any]) -> None:
    """The same messages; those that differ are shown by their size and their beginning alone."""
    if got != expected:
        shown = [[(len(message), message[:40]) for message in messages] for messages in (got, expected)]
        pytest.fail(f"delivered (sizes, beginnings): {shown[0]}\nto be delivered: {shown[1]}")


def check(case: Case, seen: Seen) -> None:
    """Hold what was seen against what must be."""
    close_payloads = [frame.payload for frame in seen.frames if frame.opcode == CLOSE]
    codes = [int.from_bytes(payload[:2], "big") if payload else NO_CODE for payload in close_payloads]
    assert all(payload[2:].decode().isprintable() or payload[2:] == b"\0" for payload in close_payloads)
    assert codes == ([] if case.code is None else [case.code])
    kinds = [frame.opcode for frame in seen.frames]
    assert kinds == [PONG] * (len(kinds) - len(codes)) + [CLOSE] * len(codes), "pongs only, and the close frame last"
    answered = [frame.payload for frame in seen.frames if frame.opcode == PONG]
    assert answered[-1:] == list(case.pongs[-1:]), "the latest ping is answered"
    rest = iter(case.pongs)
    assert all(payload in rest for payload in answered), "pongs are pings, and in their order"
    assert seen.clean or not case.clean, "the stream ends in order"
