"""Options are checked once, when they are made, and say which of them is wrong."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

import pytest

from owlsocket_sync.options import Backoff, Heartbeat, Limits


@pytest.mark.parametrize(
    ("make", "options", "names"),
    [
        (Limits, {"message_size": 0}, "Limits.message_size"),
        (Limits, {"pending_calls": 1.5}, "Limits.pending_calls"),
        (Limits, {"inbox_messages": True}, "Limits.inbox_messages"),
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
    ],
)
def test_an_option_that_cannot_be_used_is_named(make: Any, options: dict[str, Any], names: str) -> None:
    """The error tells which option, and what it may be."""
    with pytest.raises(ValueError, match=names):
        make(**options)


def test_backoff_grows_to_its_cap_and_gives_up() -> None:
    """Without jitter: the delays are a sequence that anybody can compute."""
    backoff = Backoff(initial=0.5, factor=2, cap=3, jitter="none", max_attempts=5)
    assert [backoff.delay(attempt) for attempt in range(1, 7)] == [0.5, 1, 2, 3, 3, None]
    assert Backoff(jitter="none").delay(100_000) == 30.0


def test_full_jitter_draws_from_the_whole_span() -> None:
    """Delays lie evenly between nothing and the longest."""
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
def test_backoff_holds_for_as_long_as_a_peer_is_away(backoff: Backoff, attempt: int, delay: float) -> None:
    """Slow growth, none, and growth beyond all numbers."""
    assert backoff.delay(attempt) == pytest.approx(delay)


def test_jitter_gives_up_too() -> None:
    """After as many failures as without."""
    backoff = Backoff(max_attempts=2)
    assert [backoff.delay(attempt) is None for attempt in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Limits(), {"message_size": 16 * 2**20, "pending_calls": 65_536, "json_depth": 1024}),
        (Backoff(), {"initial": 0.5, "factor": 2.0, "cap": 30.0, "jitter": "full", "max_attempts": None,
                     "healthy_after": 10.0}),
        (Heartbeat(), {"interval": 20.0, "timeout": 20.0}),
    ],
)  # fmt: skip
def test_options_have_the_promised_defaults_and_are_frozen(options: Any, expected: dict[str, Any]) -> None:
    """They can be shared by any number of connections."""
    values = dataclasses.asdict(options)
    assert {name: values[name] for name in expected} == expected
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(options, next(iter(expected)), 1)
    assert options == type(options)()
