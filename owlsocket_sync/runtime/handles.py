"""A second object that is the same as the first: one for the threads that keep it alive, one for whoever uses it.

Threads hold what they serve, so what they hold is never garbage, however long ago its user forgot it. Here the user
gets an object of its own, which shares all attributes with the other; once nobody holds it any more, that is told.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TypeVar

One = TypeVar("One")


def lend(one: One, forgotten: Callable[[], object]) -> One:
    """The same object once more, with the same attributes, now and later.

    Args:
        one: an ordinary object, without slots.
        forgotten: called once nobody holds what is returned. The garbage collector does it, so it may come from any
            thread, which may hold any lock: it must take none.
    """
    handle: One = object.__new__(type(one))
    handle.__dict__ = one.__dict__
    weakref.finalize(handle, forgotten).atexit = False
    return handle
