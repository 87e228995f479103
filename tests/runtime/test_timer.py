"""The timer thread: it serves every target, whatever another one asks for or raises."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from owlsocket_sync.runtime import timer as module
from owlsocket_sync.runtime.timer import Timer
from support.helpers import Collector, eventually, scaled

NEVER = 1e12


class Target:
    """Records its calls, and may raise."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.calls = Collector()
        self._error = error

    def run_timers(self, now: float) -> float:
        """Record the call."""
        self.calls(now)
        if self._error is not None:
            raise self._error
        return now


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Timer]:
    """A timer whose pause after an error is short."""
    monkeypatch.setattr(module, "RETRY_DELAY", 0.01)
    timer = Timer("timer-under-test")
    yield timer
    timer.stop()
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "timer-under-test"])


@pytest.mark.parametrize("at", [NEVER, float("inf"), 253_402_300_799.0])
def test_a_moment_in_the_far_future_stops_no_other(timer: Timer, at: float) -> None:
    """Such as the expiry of a token in the year 9999, which no single wait can take."""
    far, near = Target(), Target()
    timer.add(at, far)
    time.sleep(0.02)  # the thread waits for it
    timer.add(time.monotonic() + 0.02, near)
    near.calls.wait(1)
    assert far.calls.items == []


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_a_target_that_raises_stops_no_other(
    timer: Timer, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises; it is logged."""
    bad, good = Target(error), Target()
    timer.add(0.0, bad)
    bad.calls.wait(1)
    timer.add(0.0, good)
    good.calls.wait(1)
    assert "a timer failed" in caplog.text


def test_a_thread_that_cannot_be_started_is_started_later(timer: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the next timer; the one that was added before is served as well."""
    first, second = Target(), Target()
    with monkeypatch.context() as patch:

        def fail(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", fail)
        timer.add(0.0, first)
    timer.add(0.0, second)
    first.calls.wait(1)
    second.calls.wait(1)


def test_the_thread_ends_with_its_schedule_and_comes_back(timer: Timer) -> None:
    """An idle timer has none."""
    target = Target()
    for count in (1, 2):
        timer.add(0.0, target)
        target.calls.wait(count)
        eventually(lambda: timer._thread is None, scaled(5))
