"""What a case of the table is: what a peer sends, and what must be seen of whoever receives it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from support.sockets import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, head, mask

KEY = b"\x37\xfa\x21\x3d"
"""The mask of the examples in section 5.7."""

LIMIT = 16 * 1024 * 1024
NO_CODE = 1005
PROTOCOL_ERROR, INVALID_DATA, TOO_BIG = 1002, 1007, 1009

ALPHABET = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXY"
"""As many letters as a prime number, so that a part in the wrong place never looks like the right one."""


@dataclass(frozen=True)
class Stretch:
    """A part of one long text, made when it is needed; it begins like JSON and is none."""

    size: int
    start: int = 0

    def __bytes__(self) -> bytes:
        if self.start == 0 and self.size:
            return b"[" + bytes(Stretch(self.size - 1, 1))
        within = (self.start - 1) % len(ALPHABET)
        turns = (within + self.size) // len(ALPHABET) + 1
        return (ALPHABET * turns)[within : within + self.size]

    def __len__(self) -> int:
        return self.size


Data = bytes | Stretch


@dataclass(frozen=True)
class Sent:
    """A frame (section 5.2).

    Attributes:
        opcode: of the frame.
        data: its payload, before it is masked.
        fin: whether it is the last one of its message.
        rsv: the three reserved bits.
        astray: masked by a server, or left bare by a client (section 5.1).
        claims: the size that its header tells; default: the true one.
        only: how many bytes of the frame are sent; default: all.
        length_size: how many bytes the length has for itself; default: as few as it takes.
    """

    opcode: int
    data: Data = b""
    fin: bool = True
    rsv: int = 0
    astray: bool = False
    claims: int | None = None
    only: int | None = None
    length_size: int | None = None

    def encode(self, masked: bool) -> bytes:
        """The bytes of the frame, as a client or a server sends it."""
        masked = masked is not self.astray
        size = len(self.data) if self.claims is None else self.claims
        start = head(self.opcode, size, fin=self.fin, rsv=self.rsv, masked=masked, length_size=self.length_size)
        body = bytes(self.data)
        return (start + (KEY + mask(body, KEY) if masked else body))[: self.only]

    def message(self) -> str | bytes:
        """What is delivered of it, when it is a message by itself."""
        body = bytes(self.data)
        return body.decode() if self.opcode == TEXT else body


class PongSeen:
    """Instead of a frame: go on once the latest ping was answered; no other ping of the case carries the same."""


Step = Sent | PongSeen

WHOLE = 1 << 62
"""As ``chop``: everything in one write."""


@dataclass(frozen=True)
class Case:
    """A case of the table.

    Attributes:
        id: its name: the category, the section within, and words.
        sends: what the peer sends, in this order.
        delivers: the messages that arrive, each as the frame that would carry it whole; nothing else arrives.
        pongs: the pings that are answered; a newer one may take the place of an older one.
        code: the close code that the peer sees, `NO_CODE` for a close frame without one. ``None``: the peer ends the
            stream once it has sent everything, and sees no close frame.
        chop: how many bytes go into one write; default: a write for each frame.
        clean: whether the stream ends in order; where more is sent after the close frame, it may be reset.
    """

    id: str
    sends: tuple[Step, ...]
    delivers: tuple[Sent, ...] = ()
    pongs: tuple[bytes, ...] = ()
    code: int | None = 1000
    chop: int | None = None
    clean: bool = True

    def __str__(self) -> str:
        return self.id


def passes(id: str, sends: Iterable[Step], delivers: Iterable[Sent] = (), chop: int | None = None) -> Case:
    """A case that keeps to the protocol: every ping is answered, and the peer says goodbye in the end."""
    steps = tuple(sends)
    pongs = tuple(bytes(step.data) for step in steps if isinstance(step, Sent) and step.opcode == PING)
    return Case(id, (*steps, close(1000)), tuple(delivers), pongs, chop=chop)


def fails(
    id: str,
    sends: Iterable[Step],
    code: int = PROTOCOL_ERROR,
    delivers: Iterable[Sent] = (),
    pongs: Iterable[bytes] = (),
    chop: int | None = None,
) -> Case:
    """A case that breaks the protocol, or a limit: the peer gets this code, and the stream ends (section 7.1.7)."""
    return Case(id, tuple(sends), tuple(delivers), tuple(pongs), code, chop)


# -- frames ------------------------------------------------------------------------------------------------------------


def text(data: Data | str) -> Sent:
    """A text message in one frame."""
    return Sent(TEXT, data.encode() if isinstance(data, str) else data)


def binary(data: Data) -> Sent:
    """A binary message in one frame."""
    return Sent(BINARY, data)


def ping(data: bytes = b"") -> Sent:
    """A ping."""
    return Sent(PING, data)


def pong(data: bytes = b"") -> Sent:
    """A pong."""
    return Sent(PONG, data)


def close(code: int | None = None, reason: bytes = b"") -> Sent:
    """A close frame; without a code it is empty."""
    return Sent(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def first(data: Data | str, opcode: int = TEXT) -> Sent:
    """The first fragment of a message."""
    return replace(text(data), opcode=opcode, fin=False)


def middle(data: Data | str = b"") -> Sent:
    """A fragment that is neither the first nor the last."""
    return first(data, CONTINUATION)


def last(data: Data | str = b"") -> Sent:
    """The last fragment of a message."""
    return replace(text(data), opcode=CONTINUATION)


def fragments(message: Sent, size: int) -> list[Sent]:
    """A message in fragments of this size (section 5.4)."""
    parts = _parts(message.data, size)
    opcodes = [message.opcode] + [CONTINUATION] * (len(parts) - 1)
    return [
        Sent(opcode, part, place == len(parts))
        for place, (opcode, part) in enumerate(zip(opcodes, parts, strict=True), 1)
    ]


def _parts(data: Data, size: int) -> list[Data]:
    starts = range(0, len(data), size)
    if isinstance(data, bytes):
        return [data[start : start + size] for start in starts]
    return [Stretch(min(size, data.size - start), data.start + start) for start in starts]
