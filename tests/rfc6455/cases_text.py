"""Category 6: text is UTF-8, in messages as a whole, wherever they are cut (RFC 6455, sections 5.6 and 8.1).

What is told here is that text which is no UTF-8 fails the connection, and that nothing of it is delivered; how early
within a message that is found out is left open by the RFC, and is no promise of ours.
"""

from __future__ import annotations

from collections.abc import Iterator

from rfc6455.case import INVALID_DATA, WHOLE, Case, binary, fails, first, fragments, last, passes, ping, text

BEFORE, AFTER = text("before"), text("after")

GREEK = "κόσμε".encode()
GREETING = "Hello-µ@ßöäüàá-UTF-8!!".encode()
MIXED = "$¢€𐍈 \U0010ffff é 字 🦉".encode()

EDGES = {
    "first-of-one-byte": "00",
    "first-of-two-bytes": "c280",
    "first-of-three-bytes": "e0a080",
    "first-of-four-bytes": "f0908080",
    "last-of-one-byte": "7f",
    "last-of-two-bytes": "dfbf",
    "last-of-three-bytes": "efbfbf",
    "last-of-four-bytes": "f48fbfbf",
    "last-before-surrogates": "ed9fbf",
    "first-after-surrogates": "ee8080",
    "replacement-character": "efbfbd",
    "byte-order-mark": "efbbbf",
}

NO_CHARACTERS = {
    "first-of-five-bytes": "f888808080",
    "first-of-six-bytes": "fc8480808080",
    "last-of-21-bits": "f7bfbfbf",
    "last-of-five-bytes": "fbbfbfbfbf",
    "last-of-six-bytes": "fdbfbfbfbfbf",
    "first-beyond-unicode": "f4908080",
    "continuation-80": "80",
    "continuation-bf": "bf",
    "continuation-twice": "80bf",
    "continuation-six-times": "80bf80bf80bf",
    "continuation-each": bytes(range(0x80, 0xC0)).hex(),
    "lonely-start-of-two": "c020c120de20df20",
    "lonely-start-of-three": "e020ef20",
    "lonely-start-of-four": "f020f720",
    "lonely-start-of-five": "f820fb20",
    "lonely-start-of-six": "fc20fd20",
    "one-missing-of-two": "df",
    "one-missing-of-three": "efbf",
    "one-missing-of-four": "f48fbf",
    "one-missing-of-each": "c0e080f08080dfefbff7bfbf",
    "two-missing-of-four": "f09f",
    "impossible-fe": "fe",
    "impossible-ff": "ff",
    "impossible-both": "fefeffff",
    "overlong-slash-of-two": "c0af",
    "overlong-slash-of-three": "e080af",
    "overlong-slash-of-four": "f08080af",
    "overlong-slash-of-five": "f8808080af",
    "overlong-slash-of-six": "fc80808080af",
    "overlong-last-of-two": "c1bf",
    "overlong-last-of-three": "e09fbf",
    "overlong-last-of-four": "f08fbfbf",
    "overlong-nul-of-two": "c080",
    "overlong-nul-of-three": "e08080",
    "overlong-nul-of-four": "f0808080",
    "surrogate-d800": "eda080",
    "surrogate-db7f": "edadbf",
    "surrogate-db80": "edae80",
    "surrogate-dbff": "edafbf",
    "surrogate-dc00": "edb080",
    "surrogate-df80": "edbe80",
    "surrogate-dfff": "edbfbf",
    "surrogates-d800-dc00": "eda080edb080",
    "surrogates-d800-dfff": "eda080edbfbf",
    "surrogates-db7f-dc00": "edadbfedb080",
    "surrogates-db7f-dfff": "edadbfedbfbf",
    "surrogates-db80-dc00": "edae80edb080",
    "surrogates-db80-dfff": "edae80edbfbf",
    "surrogates-dbff-dc00": "edafbfedb080",
    "surrogates-dbff-dfff": "edafbfedbfbf",
    "surrogate-within-text": (GREEK + b"\xed\xa0\x80edited").hex(),
}
"""After Markus Kuhn's test for decoders, and Autobahn's."""


def valid() -> Iterator[Case]:
    """Every character that there is, in whatever pieces it comes."""
    for words, data in (("greek", GREEK), ("greeting", GREETING), ("mixed", MIXED)):
        message = text(data)
        yield passes(f"6.1-{words}", [message], [message])
        yield passes(f"6.1-{words}-by-the-byte", [message], [message], chop=1)
        for size in (1, 2, 3, 5):
            yield passes(f"6.1-{words}-in-fragments-of-{size}", fragments(message, size), [message])
        yield passes(f"6.1-{words}-in-one-write", fragments(message, 1), [message], chop=WHOLE)
    yield passes("6.1-nothing", [text("")], [text("")])
    split = [first("[" + "ß" * 3), ping(b"?"), last("ß")]
    yield passes("6.1-a-ping-between-characters", split, [text("[ßßßß")])
    within = fragments(text("🦉"), 2)
    yield passes("6.1-a-ping-within-a-character", [within[0], ping(b"?"), within[1]], [text("🦉")])
    for words, code in EDGES.items():
        message = text(bytes.fromhex(code))
        yield passes(f"6.2-{words}", [message], [message])
        yield passes(f"6.2-{words}-in-fragments", fragments(message, 1), [message])
    for plane in range(17):
        pair = text(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF))
        yield passes(f"6.3-the-noncharacters-of-plane-{plane}", [pair], [pair])
    specials = text("".join(map(chr, range(0xFFF9, 0x10000))))
    yield passes("6.3-the-specials", [specials], [specials])


def no_text() -> Iterator[Case]:
    """What is no UTF-8 fails the connection with 1007, and nothing of it is delivered (section 8.1)."""
    for words, code in NO_CHARACTERS.items():
        data = bytes.fromhex(code)
        yield fails(f"6.4-{words}", [BEFORE, text(data), AFTER], INVALID_DATA, [BEFORE])
        within = text(b"within " + data + b" text")
        yield fails(f"6.5-{words}-in-fragments", fragments(within, 1), INVALID_DATA)
    for size in range(1, len(GREEK)):
        data = GREEK[:size]
        if data.decode(errors="ignore").encode() == data:
            message = text(data)
            yield passes(f"6.6-{size}-bytes-of-greek", [message], [message])
        else:
            yield fails(f"6.6-{size}-bytes-of-greek", [text(data)], INVALID_DATA)
            tail = [first(data), last()]
            yield fails(f"6.6-{size}-bytes-of-greek-and-an-empty-fragment", tail, INVALID_DATA)
    yield fails("6.7-by-the-byte", [BEFORE, text(GREEK + b"\xff" + GREEK)], INVALID_DATA, [BEFORE], chop=1)
    whole = [BEFORE, *fragments(text(GREEK[:-1]), 2), AFTER]
    yield fails("6.7-a-truncated-tail-in-one-write", whole, INVALID_DATA, [BEFORE], chop=WHOLE)
    asked = [first(GREEK[:3]), ping(b"?"), last(GREEK[4:])]
    yield fails("6.7-a-missing-byte-around-a-ping", asked, INVALID_DATA, pongs=[b"?"])
    yield fails("6.7-halves-of-characters-in-two-messages", [text(b"\xc3"), text(b"\xa4")], INVALID_DATA)


def any_bytes() -> Iterator[Case]:
    """A binary message may hold what a text may not (section 5.6)."""
    for words in ("impossible-both", "surrogate-d800", "overlong-slash-of-two", "one-missing-of-three"):
        message = binary(bytes.fromhex(NO_CHARACTERS[words]))
        yield passes(f"6.8-binary-{words}", [message], [message])
        yield passes(f"6.8-binary-{words}-in-fragments", fragments(message, 1), [message])
