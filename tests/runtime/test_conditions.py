"""`Condition`: waits, notifications, and the list of waiters that the first wait makes."""

from __future__ import annotations

import threading

import pytest

from owlsocket_sync.locks import NO_WAITERS, Condition
from support.helpers import eventually, scaled


def test_a_condition_that_nothing_waited_for_has_no_list() -> None:
    """Notifying it is allowed, and does nothing."""
    condition = Condition()
    with condition:
        condition.notify()
        condition.notify_all()
    assert condition.waiters is NO_WAITERS


def test_only_who_has_the_lock_may_notify() -> None:
    """As with a condition of the standard library."""
    with pytest.raises(RuntimeError):
        Condition().notify()


@pytest.mark.parametrize("timeout", [0.0, 0.001])
def test_a_wait_that_is_not_notified_leaves_nothing_behind(timeout: float) -> None:
    """Its entry would take a notification from a later wait."""
    condition = Condition()
    with condition:
        assert condition.wait(timeout) is False
        assert condition.wait_for(lambda: False, timeout) is False
    assert condition.waiters == []


def test_threads_that_wait_first_at_once_are_all_notified(hasty: None) -> None:
    """Each of them may find that there is no list yet; there is one, and it has all of them."""
    count = 8
    for _ in range(30):
        condition, begin = Condition(), threading.Barrier(count)
        woken: list[bool] = []

        def wait(condition: Condition = condition, begin: threading.Barrier = begin, woken: list[bool] = woken) -> None:
            begin.wait()
            with condition:
                woken.append(condition.wait(scaled(5)))

        threads = [threading.Thread(target=wait) for _ in range(count)]
        for thread in threads:
            thread.start()
        eventually(lambda condition=condition: len(condition.waiters) == count)  # type: ignore[misc]
        with condition:
            condition.notify()
        eventually(lambda woken=woken: len(woken) == 1)  # type: ignore[misc]
        with condition:
            condition.notify_all()
        for thread in threads:
            thread.join()
        assert woken == [True] * count


def test_what_interrupts_the_first_wait_may_wait_as_well() -> None:
    """A signal handler or a finalizer on the same thread: both are notified, whichever made the list."""
    condition = Condition()
    results: list[bool] = []

    class Interrupting:
        """Waits while the predicate of another wait runs, which has registered its thread before."""

        def __call__(self) -> bool:
            if not results:
                results.append(condition.wait(0.001))
            return False

    with condition:
        assert condition.wait_for(Interrupting(), 0.01) is False
    assert results == [False]
    assert condition.waiters == []
