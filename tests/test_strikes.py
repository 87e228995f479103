"""The interrupts of the tests reach who is interrupted, and are never lost."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable

import pytest

from support.strikes import struck


class _Thing:
    def __del__(self) -> None:
        len("")


def _forget_in_a_set() -> None:
    things: weakref.WeakSet[_Thing] = weakref.WeakSet()
    things.add(_Thing())


def _forget_a_key() -> None:
    things: weakref.WeakKeyDictionary[_Thing, int] = weakref.WeakKeyDictionary()
    things[_Thing()] = 1


def _forget_a_value() -> None:
    things: weakref.WeakValueDictionary[int, _Thing] = weakref.WeakValueDictionary()
    things[1] = _Thing()


def _finalize() -> None:
    weakref.finalize(_Thing(), len, "").atexit = False


@pytest.mark.parametrize("forget", [_forget_in_a_set, _forget_a_key, _forget_a_value, _finalize])
def test_no_interrupt_is_lost_where_an_object_ends(forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is raised in a finalizer, or in a callback of a weak reference, reaches nobody: no strike falls there."""
    lost: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    at = 0
    while struck(at, forget):
        at += 1
    assert at > 2
    assert lost == []
