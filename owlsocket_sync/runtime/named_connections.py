"""The connections of this process by name, so that a new one can replace those of the same name.

Threads: ``_names_lock`` is a leaf, held for a few instructions.
"""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

from ..fork import PerProcess
from ..locks import make_process_lock

Named = TypeVar("Named")


class NameTable(Generic[Named]):
    """Objects by name, held by weak references."""

    def __init__(self) -> None:
        self._names_lock = make_process_lock()
        self._by_name: dict[str, weakref.WeakSet[Named]] = {}

    def get(self, name: str) -> list[Named]:
        """Return the objects of a name."""
        with self._names_lock:
            return list(self._by_name.get(name, ()))

    def add(self, name: str, named: Named) -> list[Named]:
        """Add an object, and return the others of its name."""
        # In one step: of two objects that are added at once, the later one gets the earlier one to close.
        with self._names_lock:
            self._purge()
            same_name = self._by_name.setdefault(name, weakref.WeakSet())
            others = list(same_name)
            same_name.add(named)
        return others

    def _purge(self) -> None:
        # Names that are generated for each connection would accumulate.
        for name in [name for name, same_name in list(self._by_name.items()) if not same_name]:
            self._by_name.pop(name, None)


class NamedConnections(Generic[Named]):
    """The names of this process; a forked child knows none of its parent's connections."""

    def __init__(self) -> None:
        self._tables: PerProcess[NameTable[Named]] = PerProcess(NameTable)

    def get(self, name: str) -> list[Named]:
        """Return the objects of a name; from any thread."""
        return self._tables.get().get(name)

    def add(self, name: str, named: Named) -> list[Named]:
        """Add an object, and return the others of its name; from any thread."""
        return self._tables.get().add(name, named)
