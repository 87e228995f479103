"""The object that the user holds of a connection: shown to instruments, made again, and noticed when it is forgotten.

Threads: no lock; each attribute is replaced in one step.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any


class FacadeReference:
    """A weak reference to the object that the user holds.

    Attributes:
        on_forgotten: called once the user holds the object that `watch` got no longer, by the garbage collector: in any
            thread, at any point.
    """

    def __init__(self) -> None:
        self._reference: Callable[[], Any] = lambda: None
        self._make: Callable[[], Any] = lambda: None
        self.on_forgotten: Callable[[], object] = lambda: None

    def use(self, facade: Any, make: Callable[[], Any]) -> None:
        """Show this object to instruments, and to those who ask for the connections of the process.

        Args:
            facade: the object; it is not kept alive.
            make: make another one, where the user forgot the first while handlers go on.
        """
        self._reference = weakref.ref(facade)
        self._make = make

    def watch(self, facade: Any) -> None:
        """Call `on_forgotten` once the user holds this object no longer, but not at exit."""
        # `self` by a weak reference: what is registered to be finalized stays alive, and so would the object itself
        # where handlers use it. The reader of an open connection holds the core, and thereby this.
        weakref.finalize(facade, _forgotten, weakref.ref(self)).atexit = False

    def get(self) -> Any:
        """Return the object, another one where the user forgot it, and ``None`` before there is one."""
        facade = self._reference()
        return self._make() if facade is None else facade


def _forgotten(reference: weakref.ref[FacadeReference]) -> None:
    facade = reference()
    if facade is not None:
        facade.on_forgotten()
