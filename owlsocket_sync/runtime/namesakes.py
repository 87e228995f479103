"""The connections of this process by name, so that a new one can take the place of the one before.

Threads: ``_names_lock`` is a leaf, held for a few instructions, and made anew in a forked child, which knows none of
its parent's connections. Whoever takes a place learns, in the same step, whom to close: of two that want the same
place at once, the later one keeps it.
"""

from __future__ import annotations

import threading
import weakref
from typing import Generic, TypeVar

from .process import PerProcess

One = TypeVar("One")


class Namesakes(PerProcess, Generic[One]):
    """Who has which name; forgets by itself whoever is gone."""

    def __init__(self) -> None:
        super().__init__()

    def _begin_here(self) -> None:
        self._names_lock = threading.Lock()
        self._known: dict[str, weakref.WeakSet[One]] = {}

    def of(self, name: str) -> list[One]:
        """All that have this name now."""
        self._arrive()
        with self._names_lock:
            return list(self._known.get(name, ()))

    def add(self, name: str, one: One) -> list[One]:
        """Let one more have this name; return the others that have it."""
        self._arrive()
        with self._names_lock:
            self._forget_the_gone()
            there = self._known.setdefault(name, weakref.WeakSet())
            others = list(there)
            there.add(one)
        return others

    def leave(self, name: str, one: One) -> None:
        """Let this one have the name no more."""
        self._arrive()
        with self._names_lock:
            self._known.get(name, weakref.WeakSet()).discard(one)

    def _forget_the_gone(self) -> None:
        for name in [name for name, there in self._known.items() if not there]:
            del self._known[name]
