"""The object that the user holds of a connection: shown to instruments, made again, and noticed when it is forgotten.

Threads: no lock; each attribute is replaced in one step.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from ..handshake_fields import NO_ANSWER, UpgradeAnswer
from ..protocol.membership import NO_MEMBERSHIP, Membership


def _nothing(*_: Any) -> None:
    """Take the place of what is not set."""


class FacadeReference:
    """A weak reference to the object that the user holds.

    Args:
        core: what the object shows.

    Attributes:
        on_forgotten: called with the core once the user holds the object that `watch` got no longer, by the garbage
            collector: in any thread, at any point.
        membership: the place of the connection in a hub, if it has one.
        answer: that of the latest handshake.
    """

    __slots__ = ("__weakref__", "_core", "_make", "_reference", "_renew", "answer", "membership", "on_forgotten")

    def __init__(self, core: Any) -> None:
        self._core = core
        self._reference: Callable[[], Any] = _nothing
        self._make: Callable[[Any, Any], Any] = _nothing
        self._renew: Any = None
        self.on_forgotten: Callable[[Any], object] = _nothing
        self.membership: Membership = NO_MEMBERSHIP
        self.answer: UpgradeAnswer = NO_ANSWER

    def use(self, facade: Any, make: Callable[[Any, Any], Any], renew: Any) -> None:
        """Show this object to instruments, and to those who ask for the connections of the process.

        Args:
            facade: the object; it is not kept alive.
            make: make another one, where the user forgot the first while handlers go on; gets the core, and ``renew``.
            renew: an argument of ``make``.
        """
        self._reference = weakref.ref(facade)
        self._make, self._renew = make, renew

    def watch(self, facade: Any) -> None:
        """Call `on_forgotten` once the user holds this object no longer, but not at exit."""
        # `self` by a weak reference: what is registered to be finalized stays alive, and so would the object itself
        # where handlers use it. The reader of an open connection holds the core, and thereby this.
        weakref.finalize(facade, _forgotten, weakref.ref(self)).atexit = False

    def get(self) -> Any:
        """Return the object, another one where the user forgot it, and ``None`` before there is one."""
        facade = self._reference()
        return self._make(self._core, self._renew) if facade is None else facade

    def forget(self) -> None:
        """Do what follows from the end of the object that the user held."""
        self.on_forgotten(self._core)


def _forgotten(reference: weakref.ref[FacadeReference]) -> None:
    facade = reference()
    if facade is not None:
        facade.forget()
