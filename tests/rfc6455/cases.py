"""The table: what RFC 6455 asks of whoever receives, in categories 1 to 7, 9 and 10 of the Autobahn testsuite.

Each case is told once, and played to a client and to a server; what differs is who masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rfc6455 import cases_close, cases_fragments, cases_frames, cases_large, cases_text
from rfc6455.case import INVALID_DATA, Case

Generator = Callable[[], Iterator[Case]]

CATEGORIES: tuple[Generator, ...] = (
    cases_frames.framing,
    cases_frames.lengths,
    cases_frames.pings,
    cases_frames.early_refusals,
    cases_frames.reserved_bits,
    cases_frames.reserved_opcodes,
    cases_fragments.joined,
    cases_fragments.out_of_order,
    cases_text.valid,
    cases_text.no_text,
    cases_text.any_bytes,
    cases_close.goodbyes,
    cases_close.within_a_message,
    cases_close.broken_goodbyes,
    cases_close.after_a_goodbye,
    cases_close.without_a_goodbye,
    cases_large.small_pieces,
)

LARGE_CATEGORIES: tuple[Generator, ...] = (
    cases_large.large,
    cases_large.the_limit,
    cases_large.many_fragments,
)


def cases_of(categories: tuple[Generator, ...]) -> list[Case]:
    """The cases of some categories."""
    return [case for category in categories for case in category()]


CASES = cases_of(CATEGORIES)
"""What either side is always held to."""

LARGE = cases_of(LARGE_CATEGORIES)
"""What is played in full where stress tests are asked for, and in part otherwise."""

INVALID_TEXT = [case for case in CASES if case.code == INVALID_DATA]
"""Text, and reasons of close frames, that are no UTF-8."""

ORDINARY = [case for case in CASES if case.code != INVALID_DATA]
