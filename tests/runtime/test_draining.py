"""`Drainer`: the thread of an outbox, with an exchange that only counts."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable

import pytest

from owlsocket_sync.clock import monotonic
from owlsocket_sync.runtime import draining
from owlsocket_sync.runtime.draining import Drainer
from support.helpers import eventually, scaled


class Work:
    """An exchange whose work is counted; it is due again whenever `due` says."""

    def __init__(self) -> None:
        self.is_over = False
        self.times = 0
        self.due: Callable[[], float] = lambda: math.inf
        self.threads: set[str] = set()
        self.during: Callable[[], object] = lambda: None

    def work(self) -> float:
        """Count."""
        self.threads.add(threading.current_thread().name)
        self.times += 1
        self.during()
        return self.due()


def end(work: Work, drainer: Drainer) -> None:
    """Close the connection, and wait for the end of its thread."""
    work.is_over = True
    drainer.wake()
    thread = drainer._thread
    if thread is not None:
        thread.join(scaled(5))
        assert not thread.is_alive()


def test_the_thread_starts_with_the_first_work() -> None:
    """A connection that does nothing has none."""
    work = Work()
    drainer = Drainer(work, "name")
    assert drainer._thread is None
    drainer.wake()
    eventually(lambda: work.times >= 1)
    end(work, drainer)
    assert work.threads == {"name-outbox"}


def test_work_that_comes_during_the_work_is_done() -> None:
    """A wake-up is not lost, at whatever moment it comes."""
    work = Work()
    drainer = Drainer(work, "name")

    def wake_once() -> None:
        if work.times == 1:
            drainer.wake()

    work.during = wake_once
    drainer.wake()
    eventually(lambda: work.times >= 2)
    end(work, drainer)


def test_it_looks_again_when_that_is_due() -> None:
    """For what other processes did."""
    work = Work()
    work.due = lambda: monotonic() + 0.001
    drainer = Drainer(work, "name")
    drainer.wake()
    eventually(lambda: work.times >= 5)
    end(work, drainer)


def test_an_error_of_the_work_is_logged_and_the_thread_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a hook or a log handler raises: the messages of the outbox must not wait for the next start."""
    monkeypatch.setattr(draining, "RETRY_DELAY", 0.001)
    work = Work()

    def fail() -> None:
        if work.times == 1:
            raise SystemExit("a hook")

    work.during = fail
    drainer = Drainer(work, "name")
    with caplog.at_level(logging.ERROR):
        drainer.wake()
        eventually(lambda: work.times >= 2)
    end(work, drainer)
    assert "the work on its queues failed" in caplog.text


def test_the_end_without_work_starts_no_thread() -> None:
    """At the exit of the interpreter none can be started; what is held is let go of by the thread that closes."""
    work = Work()
    drainer = Drainer(work, "name")
    end(work, drainer)
    assert drainer._thread is None
    assert work.threads == {threading.current_thread().name}


def test_without_threads_it_tries_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a line in the log."""
    work = Work()
    drainer = Drainer(work, "name")

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(threading.Thread, "start", refuse)
        drainer.wake()
    assert "cannot start the thread of the outbox" in caplog.text
    drainer.wake()
    eventually(lambda: work.times >= 1)
    end(work, drainer)
