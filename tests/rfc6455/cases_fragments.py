"""Category 5: messages in fragments, with control frames between them (RFC 6455, section 5.4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rfc6455.case import (
    WHOLE,
    Case,
    PongSeen,
    Sent,
    Step,
    Stretch,
    binary,
    fails,
    first,
    fragments,
    last,
    middle,
    passes,
    ping,
    pong,
    text,
)
from support.sockets import BINARY

CUTS = (("frame-by-frame", None), ("in-one-write", WHOLE), ("by-the-byte", 1))
BOTH = text("[one two")
ONE, TWO, MORE = first("[one"), last(" two"), middle(" two")
PING, PONG = ping(b"between"), pong(b"between")


def joined() -> Iterator[Case]:
    """Fragments that belong together are one message, whatever their number, and whatever is between them."""
    sequences: list[tuple[str, list[Step], list[Sent]]] = [
        ("two-fragments", [ONE, TWO], [BOTH]),
        ("three-fragments", [ONE, MORE, last()], [BOTH]),
        ("an-empty-first-fragment", [first(""), last("[one two")], [BOTH]),
        ("an-empty-middle-fragment", [ONE, middle(), TWO], [BOTH]),
        ("an-empty-last-fragment", [first("[one two"), last()], [BOTH]),
        ("nothing-but-empty-fragments", [first(""), middle(), middle(), last()], [text("")]),
        ("two-messages", [ONE, TWO, ONE, TWO], [BOTH, BOTH]),
        ("a-whole-message-after", [ONE, TWO, BOTH], [BOTH, BOTH]),
        ("a-whole-message-before", [BOTH, ONE, TWO], [BOTH, BOTH]),
        ("binary-fragments", [first("[one", BINARY), TWO], [binary(b"[one two")]),
        ("binary-after-text", [ONE, TWO, first("[one", BINARY), TWO], [BOTH, binary(b"[one two")]),
        ("a-ping-between", [ONE, PING, TWO], [BOTH]),
        ("a-pong-between", [ONE, PONG, TWO], [BOTH]),
        ("an-empty-ping-between", [ONE, ping(), TWO], [BOTH]),
        ("a-large-ping-between", [ONE, ping(b"\xfe" * 125), TWO], [BOTH]),
        ("ping-and-pong-between", [ONE, PING, PONG, MORE, pong(), last()], [BOTH]),
        ("a-ping-around-each", [PING, ONE, ping(b"2"), MORE, ping(b"3"), last(), ping(b"4")], [BOTH]),
    ]
    for words, sends, delivers in sequences:
        for how, chop in CUTS:
            yield passes(f"5.1-{words}-{how}", sends, delivers, chop=chop)
    waited: list[Step] = [ONE, PING, PongSeen(), MORE, ping(b"again"), PongSeen(), last()]
    yield passes("5.2-pings-between-are-answered-before-the-end", waited, [BOTH])
    hundred = text(Stretch(100))
    yield passes("5.2-a-fragment-for-each-byte", fragments(hundred, 1), [hundred])
    parts = enumerate(fragments(hundred, 10))
    answered: list[Step] = [step for number, part in parts for step in (ping(b"%d" % number), PongSeen(), part)]
    yield passes("5.2-an-answered-ping-before-each-fragment", answered, [hundred])
    for size in (125, 126, 127, 128, 65_535, 65_536):
        message = text(Stretch(2 * size + 1))
        yield passes(f"5.3-fragments-of-{size}", fragments(message, size), [message])


def out_of_order() -> Iterator[Case]:
    """A fragment of nothing, and a new message before the last one is whole, fail the connection."""
    orphan = last("[orphan")
    sequences: list[tuple[str, list[Step], list[Sent]]] = [
        ("an-orphan", [orphan, BOTH], []),
        ("an-orphan-that-goes-on", [replace(orphan, fin=False), TWO], []),
        ("an-empty-orphan", [last()], []),
        ("an-orphan-after-a-message", [BOTH, orphan, BOTH], [BOTH]),
        ("an-orphan-after-fragments", [ONE, TWO, orphan, BOTH], [BOTH]),
        ("an-orphan-that-goes-on-after-fragments", [ONE, TWO, replace(orphan, fin=False), TWO], [BOTH]),
        ("text-within-text", [ONE, BOTH, TWO], []),
        ("text-within-binary", [first("[one", BINARY), BOTH, TWO], []),
        ("binary-within-text", [ONE, binary(b"[x"), TWO], []),
        ("empty-text-within-text", [ONE, text(""), TWO], []),
        ("a-new-fragmented-message-within-text", [ONE, ONE, TWO, TWO], []),
        ("text-in-place-of-the-last-fragment", [ONE, MORE, text(" two")], []),
        ("fragments-that-all-say-text", [first("[one"), first(" two"), text("!")], []),
    ]
    for words, sends, delivers in sequences:
        for how, chop in CUTS:
            yield fails(f"5.4-{words}-{how}", sends, delivers=delivers, chop=chop)
    late: list[Step] = [ONE, PING, PongSeen(), BOTH]
    yield fails("5.4-text-within-text-after-an-answered-ping", late, pongs=[b"between"])
    for kind, control in (("ping", PING), ("pong", PONG)):
        halves = [ONE, replace(control, fin=False), last(), TWO]
        yield fails(f"5.5-a-fragmented-{kind}-between-fragments", halves)
