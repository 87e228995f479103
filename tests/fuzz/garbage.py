"""Garbage frames: breaches of RFC 6455 of every kind, and sound traffic whose bits were flipped."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from fuzz.oracle import ENDED, Verdict, read_frames
from fuzz.wires import traffic
from support.sockets import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_frame, frame, head

DATA, CONTROL = (TEXT, BINARY), (CLOSE, PING, PONG)

Dice = random.Random


@dataclass(frozen=True)
class Garbage:
    """What a server sends, and what may come of it."""

    kind: str
    data: bytes
    verdict: Verdict

    @property
    def breach(self) -> bool:
        """Whether it surely breaks the protocol, so that a close frame is due."""
        return ENDED not in self.verdict.codes


def _some(dice: Dice, most: int = 40) -> bytes:
    return dice.randbytes(dice.randint(0, most))


def _rsv(dice: Dice) -> bytes:
    return frame(dice.choice((*DATA, PING)), b"x", rsv=dice.randint(1, 7))


def _opcode(dice: Dice) -> bytes:
    return frame(dice.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15)), _some(dice))


def _masked(dice: Dice) -> bytes:
    return frame(dice.choice((*DATA, *CONTROL)), b"\x03\xe8", masked=True)


def _fragmented_control(dice: Dice) -> bytes:
    return frame(dice.choice(CONTROL), b"\x03\xe8", fin=False)


def _long_control(dice: Dice) -> bytes:
    return frame(dice.choice(CONTROL), b"x" * dice.randint(126, 70_000))


def _orphan(dice: Dice) -> bytes:
    return frame(CONTINUATION, _some(dice), fin=dice.random() < 0.5)


def _interrupted(dice: Dice) -> bytes:
    return frame(dice.choice(DATA), b"a", fin=False) + frame(dice.choice(DATA), b"b", fin=dice.random() < 0.5)


def _close(dice: Dice) -> bytes:
    code = dice.choice((0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535))
    return dice.choice((close_frame(code), frame(CLOSE, b"\x03")))


def _no_utf8(dice: Dice) -> bytes:
    bad = dice.choice((b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"))
    return dice.choice((frame(TEXT, b"a" + bad), frame(TEXT, b"a", fin=False) + frame(CONTINUATION, bad)))


def _oversize(dice: Dice) -> bytes:
    return bytes([0x80 | dice.choice(DATA), 127]) + dice.choice((2**40, 2**62, 2**25)).to_bytes(8, "big")


def _long_length(dice: Dice) -> bytes:
    opcode = dice.choice((*DATA, *CONTROL))
    size, length_size = dice.choice(((2, 2), (125, 2), (2, 8), (126, 8), (65_535, 8)))
    return head(opcode, size, length_size=length_size) + b"x" * size


def _huge_length(dice: Dice) -> bytes:
    return head(dice.choice(DATA), dice.randrange(2**63, 2**64))


def _flipped(dice: Dice) -> bytes:
    data = bytearray(b"".join(dice.choices(TRAFFIC, k=dice.randint(1, 3))))
    for _ in range(dice.randint(1, 4)):
        data[dice.randrange(min(len(data), dice.choice((8, 10_000))))] ^= 1 << dice.randrange(8)
    return bytes(data)


TRAFFIC = traffic()
KINDS: dict[str, Callable[[Dice], bytes]] = {
    "RSV": _rsv,
    "opcode": _opcode,
    "masked": _masked,
    "fragmented control": _fragmented_control,
    "long control": _long_control,
    "orphan continuation": _orphan,
    "interrupted fragments": _interrupted,
    "close": _close,
    "no UTF-8": _no_utf8,
    "oversize": _oversize,
    "long length": _long_length,
    "huge length": _huge_length,
    "bits flipped": _flipped,
}


def garbage(count: int, limit: int, number: int) -> list[Garbage]:
    """So many pieces of garbage, a third of it flipped bits; the same for the same seed."""
    dice = random.Random(number)
    kinds = [*KINDS, *["bits flipped"] * 4]
    pieces = []
    for place in range(count):
        kind = kinds[place % len(kinds)]
        before = dice.choice(TRAFFIC[:-6]) if dice.random() < 0.3 else b""
        data = before + KINDS[kind](dice)
        pieces.append(Garbage(kind, data, read_frames(data, limit)))
    return pieces
