"""Deadlines: one budget of time across many steps, on any clock."""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import pytest

from owlsocket_sync.deadline import Deadline, check_timeout


class Clock:
    """A clock that is set by the test."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("passed", "remaining", "expired"), [(0.0, 5.0, False), (3.0, 2.0, False), (5.0, 0.0, True), (9.0, 0.0, True)]
)
def test_a_deadline_counts_down_to_zero(passed: float, remaining: float, expired: bool) -> None:
    """And never below it."""
    clock = Clock()
    deadline = Deadline(5, clock)
    clock.now += passed
    assert (deadline.remaining(), deadline.wait_seconds(), deadline.expired()) == (remaining, remaining, expired)


def test_a_deadline_without_a_limit_never_expires() -> None:
    """The standard library takes None for that."""
    clock = Clock()
    endless = Deadline(math.inf, clock)
    clock.now = 1e12
    assert (endless.remaining(), endless.wait_seconds(), endless.expired()) == (math.inf, None, False)


def test_a_deadline_of_zero_has_expired() -> None:
    """At once."""
    assert Deadline(0, Clock()).expired()


def test_sooner_returns_the_earlier_deadline() -> None:
    """None is not a deadline; of two equal ones the first is kept."""
    clock = Clock()
    near, far = Deadline(1, clock), Deadline(2, clock)
    assert far.sooner(near) is near
    assert near.sooner(far) is near
    assert near.sooner(None) is near
    assert near.sooner(Deadline(1, clock)) is near


@pytest.mark.parametrize("seconds", [1e10, sys.maxsize, 1e300])
def test_a_long_wait_is_capped(seconds: float) -> None:
    """At the longest wait of the standard library."""
    event = threading.Event()
    event.set()
    assert event.wait(Deadline(seconds).wait_seconds())
    waited = Deadline(seconds).wait_seconds()
    assert waited is not None
    assert waited <= threading.TIMEOUT_MAX


@pytest.mark.parametrize("timeout", [0, 0.0, 1, 2.5, math.inf])
def test_a_valid_timeout_is_returned(timeout: float) -> None:
    """Unchanged."""
    assert check_timeout(timeout) == timeout


def test_a_timeout_beyond_floats_means_no_limit() -> None:
    """An OverflowError in some later step would be worse."""
    assert check_timeout(10**400) == math.inf


def test_none_means_the_default_where_there_is_one() -> None:
    """Zero and no limit are values of their own."""
    assert check_timeout(None, default=3.0) == 3.0
    assert check_timeout(0, default=3.0) == 0
    assert check_timeout(math.inf, default=3.0) == math.inf


@pytest.mark.parametrize("timeout", [-1, -0.001, -math.inf, math.nan, "5", None, True, [], 1j])
def test_a_timeout_is_a_number_of_seconds(timeout: Any) -> None:
    """Any other value is refused, with the name of the option."""
    with pytest.raises(ValueError, match=r"call_timeout must be a number of seconds, 0 or more \(math\.inf"):
        check_timeout(timeout, "call_timeout")
