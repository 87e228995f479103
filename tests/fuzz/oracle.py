"""What RFC 6455 makes of bytes, read simply and all at once: what the readers under test are held against."""

from __future__ import annotations

import codecs
import struct
from dataclasses import dataclass, field

from support.sockets import CLOSE, CONTINUATION, PING, PONG, TEXT

ENDED = 0
"""In place of a close code: the bytes end, and nothing was wrong with them so far."""

KINDS = {1: "text", 2: "binary", PING: "ping", PONG: "pong"}
CLOSE_CODES = frozenset([*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)])

Event = tuple[str, object]


@dataclass
class Verdict:
    """What bytes hold.

    Attributes:
        events: what a reader hands on, in order; a close frame is the last.
        codes: how it may end: the close codes of what was breached, or `ENDED`.
        doubtful: from this event on text is no UTF-8 any more, so that a reader may say so (1007) from there.
    """

    events: list[Event] = field(default_factory=list)
    codes: set[int] = field(default_factory=set)
    doubtful: int | None = None

    def allows(self, events: list[Event], code: int) -> bool:
        """Whether a reader may have handed on these events, and have ended so."""
        if self.doubtful is not None and code == 1007:
            return events[: self.doubtful] == self.events[: self.doubtful] and len(events) <= len(self.events)
        return events == self.events and code in self.codes


class _Cut(Exception):
    """The bytes end within a frame."""


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise _Cut
        self._at += size
        return taken


def read_frames(data: bytes, limit: int, *, masked: bool = False) -> Verdict:
    """Read all frames of one direction; ``masked`` is whether its frames have to be."""
    return _Reading(data, limit, masked).read()


class _Reading:
    """One pass over the frames."""

    def __init__(self, data: bytes, limit: int, masked: bool) -> None:
        self._bytes = _Bytes(data)
        self._limit = limit
        self._masked = masked
        self._verdict = Verdict()
        self._opcode: int | None = None
        self._fragments = b""
        self._breaches: set[int] = set()

    def read(self) -> Verdict:
        """All of them, up to the first breach or close frame."""
        try:
            while not self._verdict.codes:
                self._frame()
        except _Cut:
            self._verdict.codes = {ENDED} | self._breaches
        return self._verdict

    def _frame(self) -> None:
        first, second = self._bytes.take(2)
        fin, opcode, size, masked = first >> 7, first & 15, second & 127, second >> 7
        control = opcode >= CLOSE
        sound = (
            not first & 0x70
            and opcode in (0, 1, 2, 8, 9, 10)
            and masked == self._masked
            and (fin or not control)
            and (control or (opcode == CONTINUATION) is (self._opcode is not None))
        )
        self._breaches = set() if sound else {1002}
        if control and size > 125:
            self._breaches = {1002}
        if size >= 126:
            shortest = 126 if size == 126 else 65_536
            size = int.from_bytes(self._bytes.take(2 if size == 126 else 8), "big")
            if size < shortest or size >> 63:
                self._breaches = {1002}
        if size > self._limit or (not control and len(self._fragments) + size > self._limit):
            self._verdict.codes = {1002} if size >> 63 else self._breaches | {1009}
            return  # nobody waits for the rest of it
        key = self._bytes.take(4) if masked else b""
        body = self._bytes.take(size)
        if self._breaches:
            self._verdict.codes = self._breaches
        else:
            self._body(opcode, bool(fin), unmask(body, key))

    def _body(self, opcode: int, fin: bool, body: bytes) -> None:
        if opcode == CLOSE:
            self._close(body)
        elif opcode >= PING:
            self._verdict.events.append((KINDS[opcode], body))
        else:
            self._opcode = self._opcode or opcode
            self._fragments += body
            self._data(fin)

    def _data(self, fin: bool) -> None:
        text: object = self._fragments
        if self._opcode == TEXT:
            try:
                text = codecs.getincrementaldecoder("utf-8")().decode(self._fragments, fin)
            except UnicodeDecodeError:
                if fin:
                    self._verdict.codes = {1007}
                elif self._verdict.doubtful is None:
                    self._verdict.doubtful = len(self._verdict.events)
                return
        if fin:
            self._verdict.events.append((KINDS[self._opcode or 0], text))
            self._opcode, self._fragments = None, b""

    def _close(self, body: bytes) -> None:
        code = struct.unpack("!H", body[:2])[0] if len(body) > 1 else 1005
        if len(body) == 1 or (body and code not in CLOSE_CODES):
            self._verdict.codes = {1002}
            return
        try:
            reason = body[2:].decode()
        except UnicodeDecodeError:
            self._verdict.codes = {1007}
            return
        self._verdict.events.append(("close", (code, reason)))
        self._verdict.codes = {ENDED}


def unmask(body: bytes, key: bytes) -> bytes:
    """Masking, which is its own inverse (RFC 6455, section 5.3)."""
    if not any(key):
        return body
    return bytes(byte ^ key[place % 4] for place, byte in enumerate(body))
