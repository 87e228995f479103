"""Deadlines: one budget of time across many steps, on any clock."""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import pytest

from owlsocket_sync.deadline import Deadline, check_timeout


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("passed", "remaining", "expired"), [(0.0, 5.0, False), (3.0, 2.0, False), (5.0, 0.0, True), (9.0, 0.0, True)]
)
def test_it_counts_down_and_never_below_zero(passed: float, remaining: float, expired: bool) -> None:
    """However many steps there were."""
    clock = Clock()
    deadline = Deadline(5, clock)
    clock.now += passed
    assert (deadline.remaining(), deadline.wait_seconds(), deadline.expired()) == (remaining, remaining, expired)


def test_without_a_limit_it_never_expires() -> None:
    """The standard library's word for that is None."""
    clock = Clock()
    endless = Deadline(math.inf, clock)
    clock.now = 1e12
    assert (endless.remaining(), endless.wait_seconds(), endless.expired()) == (math.inf, None, False)


def test_no_time_at_all_has_expired_at_once() -> None:
    """Nothing is waited for."""
    assert Deadline(0, Clock()).expired()


def test_the_nearer_of_two_holds() -> None:
    """None is no deadline; of two that are alike the first is kept."""
    clock = Clock()
    near, far = Deadline(1, clock), Deadline(2, clock)
    assert far.sooner(near) is near
    assert near.sooner(far) is near
    assert near.sooner(None) is near
    assert near.sooner(Deadline(1, clock)) is near


@pytest.mark.parametrize("seconds", [1e10, sys.maxsize, 1e300])
def test_centuries_can_be_waited_for(seconds: float) -> None:
    """What is longer than the standard library can wait is as long as it can."""
    event = threading.Event()
    event.set()
    assert event.wait(Deadline(seconds).wait_seconds())
    waited = Deadline(seconds).wait_seconds()
    assert waited is not None
    assert waited <= threading.TIMEOUT_MAX


@pytest.mark.parametrize("timeout", [0, 0.0, 1, 2.5, math.inf])
def test_a_timeout_that_can_be_used_comes_back(timeout: float) -> None:
    """As it is."""
    assert check_timeout(timeout) == timeout


def test_a_number_beyond_all_clocks_is_no_limit() -> None:
    """Rather than an overflow somewhere inside."""
    assert check_timeout(10**400) == math.inf


@pytest.mark.parametrize("timeout", [-1, -0.001, -math.inf, math.nan, "5", None, True, [], 1j])
def test_a_timeout_is_a_number_of_seconds(timeout: Any) -> None:
    """Anything else is refused by name."""
    with pytest.raises(ValueError, match=r"call_timeout must be a number of seconds, 0 or more \(math\.inf"):
        check_timeout(timeout, "call_timeout")
