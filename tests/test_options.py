"""Options are checked once, when they are made, and say which of them is wrong."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from owlsocket_sync.deadline import Deadline, check_timeout
from owlsocket_sync.options import Backoff, Heartbeat, Limits


@pytest.mark.parametrize(
    ("make", "options", "names"),
    [
        (Limits, {"message_size": 0}, "Limits.message_size"),
        (Limits, {"pending_calls": 1.5}, "Limits.pending_calls"),
        (Limits, {"inbox_messages": True}, "Limits.inbox_messages"),
        (Limits, {"json_depth": 1025}, "Limits.json_depth"),
        (Backoff, {"initial": -1}, "Backoff.initial"),
        (Backoff, {"cap": math.inf}, "Backoff.cap"),
        (Backoff, {"factor": 0.5}, "Backoff.factor"),
        (Backoff, {"jitter": "half"}, "Backoff.jitter"),
        (Backoff, {"max_attempts": 0}, "Backoff.max_attempts"),
        (Heartbeat, {"interval": "20"}, "Heartbeat.interval"),
        (Heartbeat, {"timeout": 0}, "Heartbeat"),
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


def test_a_deadline_is_one_budget_across_many_steps() -> None:
    """It counts down on its clock, never below zero, and may have no limit."""
    now = [100.0]
    deadline = Deadline(5, clock=lambda: now[0])
    now[0] = 103.0
    assert (deadline.remaining(), deadline.expired()) == (2.0, False)
    now[0] = 106.0
    assert (deadline.remaining(), deadline.expired(), deadline.wait_seconds()) == (0.0, True, 0.0)
    endless = Deadline(math.inf, clock=lambda: now[0])
    assert (endless.wait_seconds(), endless.expired()) == (None, False)
    assert endless.sooner(deadline) is deadline
    assert deadline.sooner(None) is deadline


@pytest.mark.parametrize("timeout", [-1, math.nan, "5", None, True])
def test_a_timeout_is_a_number_of_seconds(timeout: Any) -> None:
    """Anything else is refused by name."""
    with pytest.raises(ValueError, match="call_timeout must be a number of seconds"):
        check_timeout(timeout, "call_timeout")
