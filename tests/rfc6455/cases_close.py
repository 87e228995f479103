"""Category 7: how a connection is closed, in order and otherwise (RFC 6455, sections 5.5.1 and 7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rfc6455.case import (
    INVALID_DATA,
    NO_CODE,
    WHOLE,
    Case,
    PongSeen,
    Sent,
    Stretch,
    binary,
    close,
    fails,
    first,
    last,
    ping,
    text,
)
from support.sockets import CLOSE, TEXT

MESSAGE, AFTER = text("[message"), text("[after")

CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
"""Those that may be sent: defined by section 7.4.1, registered since, or in the ranges of section 7.4.2."""

NO_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
"""Those that may not: reserved, not assigned, or out of all ranges."""


def goodbyes() -> Iterator[Case]:
    """A close frame is answered in kind, then the stream ends (sections 5.5.1 and 7.1.1)."""
    yield Case("7.1-without-a-code", (MESSAGE, close()), (MESSAGE,), code=NO_CODE)
    yield Case("7.1-without-a-code-by-the-byte", (close(),), code=NO_CODE, chop=1)
    for code in CODES:
        yield Case(f"7.2-code-{code}", (MESSAGE, close(code)), (MESSAGE,), code=code)
        yield Case(f"7.2-code-{code}-with-a-reason", (close(code, b"a reason"),), code=code)
    for words, reason in (
        ("one-letter", b"a"),
        ("umlauts", "tschüß 🦉".encode()),
        ("123-bytes", b"*" * 123),
        ("123-bytes-of-umlauts", b"*" + "ä".encode() * 61),
        ("a-nul", b"\0"),
    ):
        yield Case(f"7.3-a-reason-of-{words}", (MESSAGE, close(1000, reason)), (MESSAGE,))
        yield Case(f"7.3-a-reason-of-{words}-by-the-byte", (close(1000, reason),), chop=1)
    large = text(Stretch(262_144))
    yield Case("7.9-after-a-large-message", (large, close(1000, b"Bye!")), (large,))
    yield Case("7.9-after-a-large-message-and-before-a-ping", (large, close(1000), ping()), (large,), clean=False)


def broken_goodbyes() -> Iterator[Case]:
    """A close frame that is none fails the connection (sections 5.5.1, 7.4 and 8.1)."""
    for code in NO_CODES:
        yield fails(f"7.4-code-{code}", [MESSAGE, close(code)], delivers=[MESSAGE])
        yield fails(f"7.4-code-{code}-with-a-reason", [close(code, b"a reason")])
    yield fails("7.5-one-byte", [MESSAGE, Sent(CLOSE, b"\x03")], delivers=[MESSAGE])
    yield fails("7.5-one-byte-by-the-byte", [Sent(CLOSE, b"\x03")], chop=1)
    yield fails("7.5-a-reason-of-124-bytes", [MESSAGE, close(1000, b"*" * 124)], delivers=[MESSAGE])
    yield fails("7.5-a-reason-of-65534-bytes", [close(1000, b"*" * 65_534)])
    yield fails("7.5-a-first-fragment", [replace(close(1000), fin=False)])
    yield fails("7.5-a-first-fragment-and-a-last-one", [replace(close(1000), fin=False), last()])
    for words, data in (
        ("a-continuation", b"\x80"),
        ("a-surrogate", "κόσμε".encode() + b"\xed\xa0\x80edited"),
        ("a-truncated-tail", "κόσμ".encode() + b"\xce"),
        ("an-overlong-slash", b"\xc0\xaf"),
        ("an-impossible-byte", b"\xff"),
    ):
        yield fails(f"7.6-a-reason-with-{words}", [MESSAGE, close(1000, data)], INVALID_DATA, [MESSAGE])
        yield fails(f"7.6-a-reason-with-{words}-by-the-byte", [close(1000, data)], INVALID_DATA, chop=1)


def after_a_goodbye() -> Iterator[Case]:
    """What comes after a close frame is not looked at, and is answered with nothing (section 5.5.1)."""
    for words, sends in (
        ("a-second-close", (close(1000),)),
        ("a-second-close-with-another-code", (close(1001, b"changed my mind"),)),
        ("a-broken-close", (close(1005),)),
        ("a-ping", (ping(b"still there?"),)),
        ("a-text", (AFTER,)),
        ("a-binary", (binary(b"[after"),)),
        ("fragments", (first("[af"), last("ter"))),
        ("an-orphan", (last("[after"),)),
        ("a-reserved-opcode", (Sent(3, b"x"),)),
        ("invalid-text", (Sent(TEXT, b"\xff"),)),
        ("a-large-text", (text(Stretch(65_536)),)),
    ):
        steps = (MESSAGE, close(1000), *sends)
        yield Case(f"7.7-{words}-after", steps, (MESSAGE,), clean=False)
        yield Case(f"7.7-{words}-after-in-one-write", steps, (MESSAGE,), chop=WHOLE, clean=False)


def within_a_message() -> Iterator[Case]:
    """A close frame between fragments is in order, and what came of the message is dropped (section 5.5.1)."""
    half = first("[half")
    yield Case("7.8-between-fragments", (MESSAGE, half, close(1000)), (MESSAGE,))
    yield Case("7.8-between-fragments-without-a-code", (half, close()), code=NO_CODE)
    yield Case("7.8-between-fragments-that-go-on", (half, close(1001), last()), code=1001, clean=False)
    yield Case("7.8-within-a-character", (first(b"\xc3"), close(1000)))
    yield Case("7.8-after-a-ping", (half, ping(b"?"), close(1000)), pongs=(b"?",))
    yield Case("7.8-after-an-answered-ping", (half, ping(b"?"), PongSeen(), close(1000)), pongs=(b"?",))


def without_a_goodbye() -> Iterator[Case]:
    """A stream that just ends closes the connection; what is not whole is never delivered (section 7.1.7)."""
    cut = text("[cut off")
    for words, sends in (
        ("after-a-message", ()),
        ("within-the-first-bytes", (replace(cut, only=1),)),
        ("within-a-long-length", (replace(text(Stretch(65_536)), only=5),)),
        ("within-a-payload", (replace(cut, only=9),)),
        ("a-byte-before-the-end-of-a-payload", (replace(text(Stretch(300)), only=303),)),
        ("between-fragments", (first("[half"),)),
        ("within-a-fragment", (first("[half"), replace(last("[other"), only=4))),
        ("within-a-ping", (replace(ping(b"life?"), only=4),)),
        ("within-a-close-frame", (replace(close(1000, b"bye"), only=4),)),
    ):
        yield Case(f"7.10-the-stream-ends-{words}", (MESSAGE, *sends), (MESSAGE,), code=None)
