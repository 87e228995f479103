"""Categories 1 to 4: frames of every size, pings and pongs, reserved bits, reserved opcodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rfc6455.case import TOO_BIG, WHOLE, Case, PongSeen, Sent, Stretch, binary, close, fails, passes, ping, pong, text
from support.sockets import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

SIZES = (0, 1, 125, 126, 127, 128, 65_535, 65_536)
"""Around each place where the header grows."""

CHOPS = ((125, 1), (126, 1), (127, 1), (128, 1), (1000, 1), (65_535, 997), (65_536, 997), (65_536, 4096))

FIRST, AFTER = text("[before"), text("[after")


def framing() -> Iterator[Case]:
    """Category 1: data frames of all three forms of length (section 5.2), masked in one direction only (5.1)."""
    for kind, make in (("text", text), ("binary", binary)):
        for size in SIZES:
            message = make(Stretch(size))
            yield passes(f"1.1-{kind}-of-{size}", [message], [message])
        for size, chop in CHOPS:
            message = make(Stretch(size))
            yield passes(f"1.2-{kind}-of-{size}-in-writes-of-{chop}", [message], [message], chop=chop)
        many = [make(Stretch(size)) for size in SIZES]
        yield passes(f"1.3-{kind}-of-all-sizes-in-one-write", many, many, chop=WHOLE)
        yield passes(f"1.3-{kind}-of-all-sizes-in-small-writes", many, many, chop=1013)
        astray = replace(make(Stretch(5)), astray=True)
        yield fails(f"1.4-{kind}-masked-the-wrong-way-round", [FIRST, astray, AFTER], delivers=[FIRST])
        endless = replace(make(b"["), claims=1 << 40)
        yield fails(f"1.5-{kind}-that-claims-a-terabyte", [FIRST, endless], TOO_BIG, [FIRST])
    yield fails("1.4-ping-masked-the-wrong-way-round", [replace(ping(b"x"), astray=True)])
    yield fails("1.4-pong-masked-the-wrong-way-round", [replace(pong(b"x"), astray=True)])
    yield fails("1.4-close-masked-the-wrong-way-round", [replace(close(1000), astray=True)])
    both = [text("[text"), binary(b"[binary")] * 20
    yield passes("1.6-text-and-binary-in-turn", both, both)


def lengths() -> Iterator[Case]:
    """Category 1: a length has one encoding, the shortest, and 63 bits at most (section 5.2)."""
    for kind, make in (("text", text), ("binary", binary)):
        for size, length_size in ((0, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65_535, 8)):
            long = replace(make(Stretch(size)), length_size=length_size)
            name = f"1.7-{kind}-of-{size}-with-a-length-of-{length_size}-bytes"
            yield fails(name, [FIRST, long, AFTER], delivers=[FIRST])
            yield fails(f"{name}-in-small-writes", [FIRST, long], delivers=[FIRST], chop=1013)
        for claims in (1 << 63, (1 << 64) - 1):
            yield fails(
                f"1.8-{kind}-that-claims-{claims}-bytes", [FIRST, replace(make(b"["), claims=claims)], delivers=[FIRST]
            )
        unmet = Sent(CONTINUATION, b"x", length_size=2)
        yield fails(
            f"1.7-{kind}-whose-fragment-has-a-long-length",
            [FIRST, replace(make(b"["), fin=False), unmet],
            delivers=[FIRST],
        )
    for kind, frame in (("ping", ping(b"x")), ("pong", pong(b"x")), ("close", close(1000))):
        for length_size in (2, 8):
            yield fails(
                f"1.7-{kind}-with-a-length-of-{length_size}-bytes",
                [FIRST, replace(frame, length_size=length_size)],
                delivers=[FIRST],
            )


def pings() -> Iterator[Case]:
    """Category 2: pings are answered with what they carry, pongs are taken as they come (sections 5.5.2, 5.5.3)."""
    for words, data in (
        ("nothing", b""),
        ("text", b"Hello, world!"),
        ("bytes", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"),
        ("125-bytes", b"\xfe" * 125),
    ):
        yield passes(f"2.1-ping-with-{words}", [ping(data)])
        yield passes(f"2.1-ping-with-{words}-by-the-byte", [ping(data)], chop=1)
        yield passes(f"2.2-pong-with-{words}-that-nobody-asked-for", [pong(data), FIRST], [FIRST])
        yield passes(f"2.2-pong-with-{words}-before-a-ping", [pong(data), ping(b"life?")])
    for kind, opcode, data in (("ping", PING, b""), ("pong", PONG, b""), ("close", CLOSE, b"\x03\xe8")):
        too_long = Sent(opcode, data.ljust(126, b"x"))
        yield fails(f"2.3-{kind}-with-126-bytes", [FIRST, too_long, AFTER], delivers=[FIRST])
        yield fails(f"2.3-{kind}-with-126-bytes-by-the-byte", [too_long], chop=1)
        yield fails(f"2.4-{kind}-in-fragments", [Sent(opcode, data, fin=False), AFTER])
    ten = [ping(b"ping %d" % number) for number in range(10)]
    yield passes("2.5-ten-pings", ten)
    yield passes("2.5-ten-pings-in-one-write", ten, chop=WHOLE)
    yield passes("2.5-ten-pings-by-the-byte", ten, chop=1)
    yield passes("2.5-ten-pings-one-after-another", [step for ping in ten for step in (ping, PongSeen())])
    yield passes("2.6-pings-between-messages", [FIRST, ten[0], AFTER, ten[1], FIRST], [FIRST, AFTER, FIRST])
    yield passes("2.6-ping-pong-and-message-in-one-write", [ten[0], pong(b"?"), FIRST], [FIRST], chop=WHOLE)
    yield passes("2.6-message-then-a-ping-that-is-waited-for", [FIRST, ten[0], PongSeen(), AFTER], [FIRST, AFTER])
    yield passes("2.7-a-hundred-pongs", [pong(b"%d" % number) for number in range(100)] + [FIRST], [FIRST])


def early_refusals() -> Iterator[Case]:
    """Category 2: the header of a control frame tells that it is too long; what follows need not be waited for."""
    for kind, opcode in (("ping", PING), ("pong", PONG), ("close", CLOSE)):
        for size in (126, 65_535, 65_536, 1 << 40):
            yield fails(f"2.8-{kind}-that-claims-{size}-bytes", [FIRST, Sent(opcode, claims=size)], delivers=[FIRST])


def reserved_bits() -> Iterator[Case]:
    """Category 3: no extension was agreed on, so reserved bits fail the connection (section 5.2)."""
    for rsv in range(1, 8):
        bits = f"{rsv:03b}"
        for kind, frame in (
            ("text", text("[x")),
            ("empty-text", text("")),
            ("binary", binary(b"[x")),
            ("ping", ping(b"x")),
            ("pong", pong(b"x")),
            ("close", close(1000)),
        ):
            yield fails(f"3.1-{kind}-with-bits-{bits}", [replace(frame, rsv=rsv), AFTER])
        odd = replace(text("[x"), rsv=rsv)
        yield fails(f"3.2-bits-{bits}-after-a-message", [FIRST, odd, ping()], delivers=[FIRST])
        yield fails(f"3.2-bits-{bits}-after-a-message-in-one-write", [FIRST, odd, AFTER], delivers=[FIRST], chop=WHOLE)
        yield fails(f"3.2-bits-{bits}-after-a-message-by-the-byte", [FIRST, odd], delivers=[FIRST], chop=1)
        late = Sent(CONTINUATION, b"x", rsv=rsv)
        yield fails(f"3.3-bits-{bits}-in-a-later-fragment", [Sent(TEXT, b"[", fin=False), late])


def reserved_opcodes() -> Iterator[Case]:
    """Category 4: opcodes that mean nothing yet fail the connection (section 5.2)."""
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield fails(f"4.1-opcode-{opcode}-with-nothing", [Sent(opcode)])
        yield fails(f"4.1-opcode-{opcode}-with-data", [Sent(opcode, b"reserved"), AFTER])
        odd = Sent(opcode, b"reserved")
        yield fails(f"4.2-opcode-{opcode}-after-a-message", [FIRST, odd, ping()], delivers=[FIRST])
        yield fails(f"4.2-opcode-{opcode}-by-the-byte", [FIRST, odd], delivers=[FIRST], chop=1)
        yield fails(
            f"4.3-opcode-{opcode}-between-fragments", [Sent(BINARY, b"[", fin=False), odd, Sent(CONTINUATION, b"x")]
        )
        yield fails(f"4.3-opcode-{opcode}-with-a-fragment-bit", [replace(odd, fin=False)])
