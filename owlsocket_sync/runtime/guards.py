"""What happens to open connections when the process forks, and when it ends.

A forked child leaves them to its parent, without a byte on the parent's links. At exit each says goodbye, all of them
under one short deadline, so that an open connection never holds the interpreter.
"""

from __future__ import annotations

import atexit
import os
import time
import weakref
from typing import Protocol

EXIT_SECONDS = 1.0


class Guarded(Protocol):
    """Something that holds links open."""

    def disown(self) -> None:
        """In a forked child: leave the links to the parent."""
        ...

    def say_goodbye(self, seconds: float) -> None:
        """At exit: close the links within so many seconds."""
        ...


_open: weakref.WeakSet[Guarded] = weakref.WeakSet()


def guard(one: Guarded) -> None:
    """Look after this one from now on."""
    _open.add(one)


def release(one: Guarded) -> None:
    """Look after this one no more."""
    _open.discard(one)


def _disown_all() -> None:
    for one in list(_open):
        one.disown()


def _close_all() -> None:
    end = time.monotonic() + EXIT_SECONDS
    for one in list(_open):
        one.say_goodbye(max(0.0, end - time.monotonic()))


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)
