"""The lock that a ``with`` always releases: on the version of Python that needs it, and on the others."""

from __future__ import annotations

import sys
import threading

import pytest

from owlsocket_sync.reentrant import REENTRANT, GuardedLock, make_lock
from support.linked import aside
from support.strikes import struck


@pytest.mark.parametrize("make", [GuardedLock, make_lock])
def test_an_interrupt_anywhere_leaves_it_free(make: type[threading.RLock]) -> None:
    """Also between the moment at which it is taken and the body of the ``with``."""
    lock = make()

    def hold() -> None:
        with lock, lock:
            len("the body")

    at = 0
    while struck(at, hold):
        assert aside(lambda: lock.acquire(blocking=False) and lock.release()).wait(1) == [None], at
        at += 1
    assert at > 0


def test_it_is_a_reentrant_lock() -> None:
    """Others wait for the thread that has it, which may take it again."""
    lock = GuardedLock()
    with lock:
        with lock:
            assert aside(lambda: lock.acquire(blocking=False)).wait(1) == [False]
        assert aside(lambda: lock.acquire(blocking=False)).wait(1) == [False]
    assert aside(lambda: lock.acquire(blocking=False) and lock.release()).wait(1) == [None]


def test_only_the_version_that_needs_it_has_it() -> None:
    """A method in Python takes longer than the lock itself."""
    assert (REENTRANT is GuardedLock) == (sys.version_info[:2] == (3, 14))
