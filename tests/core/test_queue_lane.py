"""`QueueLane`: an exchange without an outbox works on workers; here, on a list of tasks that the test runs."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, cast

import pytest

from owlsocket_sync.core import queue_lane
from owlsocket_sync.core.queue_exchange import QueueExchange
from owlsocket_sync.core.queue_lane import QueueLane


class Exchange:
    """Work that is counted."""

    def __init__(self) -> None:
        self.times = 0
        self.inputs = 0
        self.due = math.inf
        self.during: Callable[[], object] = lambda: None

    def has_inputs(self) -> bool:
        """Whether something arrived."""
        return self.inputs > 0

    def work(self) -> float:
        """Count, and take one input."""
        self.times += 1
        self.inputs = max(0, self.inputs - 1)
        self.during()
        return self.due


class Setup:
    """A lane, its tasks, and the moments at which it wants to be woken."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.tasks: list[Callable[[], object]] = []
        self.wakeups: list[float] = []
        self.lane = QueueLane(cast(QueueExchange, self.exchange), self._run, self.wakeups.append)

    def _run(self, lane: Any, function: Callable[[], object]) -> bool:
        assert lane == "queue"
        self.tasks.append(function)
        return True

    def run(self) -> None:
        """Run the tasks."""
        while self.tasks:
            self.tasks.pop(0)()


def test_one_task_takes_all_that_arrives_before_it_runs() -> None:
    """So that it is stored together."""
    setup = Setup()
    for _ in range(5):
        setup.lane.wake()
    assert len(setup.tasks) == 1
    setup.run()
    assert setup.exchange.times == 1
    setup.lane.wake()
    assert len(setup.tasks) == 1


def test_what_arrives_during_the_work_is_not_left() -> None:
    """Whether its wake-up came before or after the end of the work."""
    setup = Setup()

    def arrive() -> None:
        if setup.exchange.times == 1:
            setup.exchange.inputs = 2
            setup.lane.wake()

    setup.exchange.during = arrive
    setup.lane.wake()
    setup.run()
    assert setup.exchange.inputs == 0
    assert setup.exchange.times == 3


def test_it_is_woken_when_something_is_due() -> None:
    """By the timers of the link: a full inbox may have room again."""
    setup = Setup()
    setup.exchange.due = 50.0
    setup.lane.wake()
    setup.run()
    assert setup.wakeups == [50.0]
    assert setup.lane.run_timers(49.0) == 50.0
    assert not setup.tasks
    assert setup.lane.run_timers(50.0) == math.inf
    assert len(setup.tasks) == 1


def test_an_error_of_the_work_is_logged_and_the_lane_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, also without another message."""
    monkeypatch.setattr(queue_lane, "RETRY_DELAY", 0.0)
    setup = Setup()

    def fail() -> None:
        if setup.exchange.times == 1:
            raise RuntimeError("a hook")

    setup.exchange.during = fail
    with caplog.at_level(logging.ERROR):
        setup.lane.wake()
        setup.run()
    assert "the work on the queues failed" in caplog.text
    (due,) = setup.wakeups
    setup.lane.run_timers(due)
    setup.run()
    assert setup.exchange.times == 2
