"""The table itself: it is as large as it says, and each case can be told from all others."""

from __future__ import annotations

from collections import Counter

from owlsocket_sync.values import SHOWN_CHARACTERS
from rfc6455.case import ALPHABET, KEY, Sent, Stretch, fragments, text
from rfc6455.cases import CASES, INVALID_TEXT, LARGE, ORDINARY
from support.figures import Figure
from support.sockets import PING, mask

EVERY = [*CASES, *LARGE]
CATEGORIES = {"1", "2", "3", "4", "5", "6", "7", "9", "10"}


def test_row_32_the_table_is_large_and_its_names_are_unique(figure: Figure) -> None:
    """At least 200 cases for either side, from each of the nine categories."""
    figure(f"cases missing to 200 for either side, of {len(EVERY)}", max(0, 200 - len(CASES)), 0, "cases")
    ids = [case.id for case in EVERY]
    assert [id for id, count in Counter(ids).items() if count > 1] == []
    assert {id.split(".")[0] for id in ids} == CATEGORIES
    assert len(INVALID_TEXT) + len(ORDINARY) == len(CASES)


def test_no_case_asks_for_what_it_does_not_send() -> None:
    """Whatever is delivered or answered was sent, and what a short text looks like tells where it is heard of."""
    for case in EVERY:
        frames = [step for step in case.sends if isinstance(step, Sent)]
        pings = [frame.data for frame in frames if frame.opcode == PING]
        assert set(case.pongs) <= {bytes(data) for data in pings}, case.id
        assert len(set(pings)) == len(pings), f"{case.id}: a pong would not tell its ping"
        assert sum(map(len, (message.data for message in case.delivers))) <= sum(len(frame.data) for frame in frames)
        for message in case.delivers:
            assert len(message.data) <= SHOWN_CHARACTERS or bytes(message.data)[:1] == b"[", case.id


def test_the_long_text_is_the_same_in_one_piece_and_in_many() -> None:
    """What is cut into fragments adds up again, and a part in the wrong place would show."""
    message = text(Stretch(1000))
    parts = [bytes(part.data) for part in fragments(message, 64)]
    assert b"".join(parts) == bytes(message.data) == b"[" + (ALPHABET * 20)[:999]
    assert len(set(parts)) == len(parts)


def test_a_mask_changes_what_is_sent() -> None:
    """Applied twice it is gone again (section 5.3, and the example of 5.7)."""
    assert mask(b"Hello", KEY) == bytes.fromhex("7f9f4d5158")
    assert mask(mask(b"Hello", KEY), KEY) == b"Hello"
