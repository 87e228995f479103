"""Options are validated once, when they are constructed, and the error names the option."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

import pytest

from owlsocket_sync.options import Backoff, Deflate, Heartbeat, Limits, check_compression


@pytest.mark.parametrize(
    ("make", "options", "names"),
    [
        (Limits, {"message_size": 0}, "Limits.message_size"),
        (Limits, {"pending_calls": 1.5}, "Limits.pending_calls"),
        (Limits, {"inbox_messages": True}, "Limits.inbox_messages"),
        (Limits, {"inbox_bytes": 0}, "Limits.inbox_bytes"),
        (Limits, {"dispatch_messages": -1}, "Limits.dispatch_messages"),
        (Limits, {"dispatch_bytes": "1"}, "Limits.dispatch_bytes"),
        (Limits, {"json_depth": 1025}, "Limits.json_depth"),
        (Backoff, {"initial": -1}, "Backoff.initial"),
        (Backoff, {"cap": math.inf}, "Backoff.cap"),
        (Backoff, {"factor": 0.5}, "Backoff.factor"),
        (Backoff, {"factor": math.nan}, "Backoff.factor"),
        (Backoff, {"healthy_after": -1}, "Backoff.healthy_after"),
        (Backoff, {"initial": True}, "Backoff.initial"),
        (Backoff, {"max_attempts": True}, "Backoff.max_attempts"),
        (Backoff, {"max_attempts": 2.0}, "Backoff.max_attempts"),
        (Backoff, {"jitter": "half"}, "Backoff.jitter"),
        (Backoff, {"max_attempts": 0}, "Backoff.max_attempts"),
        (Heartbeat, {"interval": "20"}, "Heartbeat.interval"),
        (Heartbeat, {"timeout": 0}, "Heartbeat"),
        (Heartbeat, {"interval": 0}, "Heartbeat"),
        (Heartbeat, {"timeout": math.nan}, "Heartbeat.timeout"),
        (Deflate, {"level": 0}, "Deflate.level must be a whole number from 1 to 9, not 0"),
        (Deflate, {"level": 10}, "Deflate.level"),
        (Deflate, {"level": "3"}, "Deflate.level"),
        (Deflate, {"level": True}, "Deflate.level"),
        (Deflate, {"min_size": -1}, "Deflate.min_size must be a whole number of bytes, 0 or more, not -1"),
        (Deflate, {"min_size": False}, "Deflate.min_size"),
        (Deflate, {"min_size": 0.0}, "Deflate.min_size"),
        (Deflate, {"min_size": 1e3}, "Deflate.min_size"),
        (Deflate, {"window_bits": 8}, "Deflate.window_bits must be a whole number from 9 to 15, not 8"),
        (Deflate, {"window_bits": 16}, "Deflate.window_bits"),
    ],
)
def test_an_invalid_option_is_named(make: Any, options: dict[str, Any], names: str) -> None:
    """The error has the option and its valid values."""
    with pytest.raises(ValueError, match=names):
        make(**options)


def test_backoff_grows_to_its_cap_and_gives_up() -> None:
    """Without jitter the delays are a fixed sequence."""
    backoff = Backoff(initial=0.5, factor=2, cap=3, jitter="none", max_attempts=5)
    assert [backoff.delay(attempt) for attempt in range(1, 7)] == [0.5, 1, 2, 3, 3, None]
    assert Backoff(jitter="none").delay(100_000) == 30.0


def test_full_jitter_draws_from_the_whole_span() -> None:
    """Delays are evenly distributed between 0 and the longest."""
    dice = random.Random(7)
    drawn = [Backoff(initial=8, cap=8).delay(1, dice) or 0.0 for _ in range(1000)]
    assert all(0 <= delay <= 8 for delay in drawn)
    assert min(drawn) < 0.1 < 7.9 < max(drawn)
    assert 3.7 < sum(drawn) / len(drawn) < 4.3


@pytest.mark.parametrize(
    ("backoff", "attempt", "delay"),
    [
        (Backoff(initial=0.5, factor=1, jitter="none"), 5000, 0.5),
        (Backoff(initial=0.5, factor=1.01, jitter="none"), 100, 0.5 * 1.01**99),
        (Backoff(initial=0.5, factor=1e10, jitter="none"), 60, 30.0),
        (Backoff(initial=0.5, factor=10**5, jitter="none"), 1_000_000, 30.0),
        (Backoff(initial=0, factor=2, jitter="none"), 5000, 0.0),
        (Backoff(initial=60, cap=3, jitter="none"), 1, 3.0),
    ],
)
def test_backoff_works_for_any_number_of_attempts(backoff: Backoff, attempt: int, delay: float) -> None:
    """With slow growth, no growth, and growth beyond the range of floats."""
    assert backoff.delay(attempt) == pytest.approx(delay)


def test_backoff_with_jitter_gives_up() -> None:
    """After the same number of failures as without."""
    backoff = Backoff(max_attempts=2)
    assert [backoff.delay(attempt) is None for attempt in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Limits(), {"message_size": 16 * 2**20, "pending_calls": 65_536, "json_depth": 1024}),
        (Backoff(), {"initial": 0.5, "factor": 2.0, "cap": 30.0, "jitter": "full", "max_attempts": None,
                     "healthy_after": 10.0}),
        (Heartbeat(), {"interval": 20.0, "timeout": 20.0}),
        (Deflate(), {"level": 3, "min_size": 1024, "window_bits": 15}),
    ],
)  # fmt: skip
def test_options_have_the_promised_defaults_and_are_frozen(options: Any, expected: dict[str, Any]) -> None:
    """They can be shared by any number of connections."""
    values = dataclasses.asdict(options)
    assert {name: values[name] for name in expected} == expected
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(options, next(iter(expected)), 1)
    assert options == type(options)()


def test_a_name_stands_for_the_defaults_of_a_compression() -> None:
    """``None`` stands for none."""
    assert check_compression("deflate") == Deflate()
    assert check_compression(None) is None
    own = Deflate(9, 0, 9)
    assert check_compression(own) is own
