"""Categories 9 and 10: large messages, whole, in fragments and in small writes, and the limit of their size.

The RFC sets no limit, but lets an endpoint have one (section 10.4); the code of whoever refuses is 1009 (7.4.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rfc6455.case import (
    LIMIT,
    TOO_BIG,
    WHOLE,
    Case,
    PongSeen,
    Step,
    Stretch,
    binary,
    fails,
    fragments,
    last,
    passes,
    ping,
    text,
)
from support.helpers import whole

KIB, MIB = 1024, 1024 * 1024
SMALL = text("[small")


def large() -> Iterator[Case]:
    """Category 9: nothing is lost, moved or doubled, however large a message and however small its pieces."""
    for size in whole((256 * KIB, MIB), (64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, LIMIT - 1)):
        for kind, make in (("text", text), ("binary", binary)):
            message = make(Stretch(size))
            yield passes(f"9.1-{kind}-of-{size}", [message, SMALL], [message, SMALL])
    for total, size in whole(
        ((64 * KIB, 64), (MIB, 4 * KIB), (MIB, 256 * KIB)),
        tuple((4 * MIB, size) for size in (KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB)),
    ):
        for kind, make in (("text", text), ("binary", binary)):
            message = make(Stretch(total))
            yield passes(f"9.2-{kind}-of-{total}-in-fragments-of-{size}", fragments(message, size), [message])
    for total, chop in whole(
        ((64 * KIB, 64), (256 * KIB, 1000)), tuple((MIB, chop) for chop in (64, 128, 256, 512, 1024, 2048))
    ):
        message = text(Stretch(total))
        yield passes(f"9.3-text-of-{total}-in-writes-of-{chop}", [message], [message], chop=chop)
    for size in (0, 16, 64, 256, KIB, 4 * KIB, 16 * KIB):
        many = [text(Stretch(size))] * whole(50, 1000)
        yield passes(f"9.4-many-texts-of-{size}", many, many)
        yield passes(f"9.4-many-texts-of-{size}-in-large-writes", many, many, chop=WHOLE)


def many_fragments() -> Iterator[Case]:
    """Category 9: the number of fragments is no limit, and costs no more than their bytes do."""
    for total, size in whole(((256 * KIB, 48),), ((4 * MIB, 64), (4 * MIB, 256))):
        for kind, make in (("text", text), ("binary", binary)):
            message = make(Stretch(total))
            yield passes(f"9.7-{kind}-of-{total}-in-fragments-of-{size}", fragments(message, size), [message])


def the_limit() -> Iterator[Case]:
    """As many bytes as are allowed are taken, and not one more; that shows before they are all sent."""
    full = text(Stretch(LIMIT))
    yield passes("9.5-exactly-the-limit", [full, SMALL], [full, SMALL])
    yield passes("9.5-exactly-the-limit-in-fragments", fragments(full, 4 * MIB), [full])
    if whole(False, True):
        tail = [replace(full, fin=False), last()]
        yield passes("9.5-exactly-the-limit-and-an-empty-fragment", tail, [full])
    for kind, make in (("text", text), ("binary", binary)):
        claimed = replace(make(b"[" * 1000), claims=LIMIT + 1)
        yield fails(f"9.6-a-{kind}-that-claims-a-byte-more", [SMALL, claimed], TOO_BIG, [SMALL])
        over = fragments(make(Stretch(LIMIT + 1)), LIMIT)
        yield fails(f"9.6-a-{kind}-whose-last-fragment-is-a-byte-more", [SMALL, *over], TOO_BIG, [SMALL])


def small_pieces() -> Iterator[Case]:
    """Category 10: messages that the sender's machinery cuts up by itself, into frames or into writes."""
    message = text(Stretch(65_536))
    for size in (1300, 536, 1460):
        yield passes(f"10.1-fragments-of-{size}", fragments(message, size), [message])
        yield passes(f"10.1-fragments-of-{size}-in-one-write", fragments(message, size), [message], chop=WHOLE)
        yield passes(f"10.1-fragments-and-writes-of-{size}", fragments(message, size), [message], chop=size)
    for chop in (2, 3, 5, 7, 13, 64):
        some = [text(Stretch(size)) for size in (0, 1, 125, 126, 300)]
        yield passes(f"10.2-messages-in-writes-of-{chop}", some, some, chop=chop)
        pieces = [part for message in some[1:] for part in fragments(message, 50)]
        yield passes(f"10.2-fragments-in-writes-of-{chop}", pieces, some[1:], chop=chop)
    parts = enumerate(fragments(message, 8 * KIB))
    asked: list[Step] = [step for number, part in parts for step in (part, ping(b"%d" % number), PongSeen())]
    yield passes("10.3-an-answered-ping-after-each-fragment", asked, [message])
