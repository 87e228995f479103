"""`make_lock`: a reentrant lock that a ``with`` always releases, whatever interrupts it.

Python 3.14 looks for signals between ``__enter__`` of a lock and the body of the ``with``; a signal handler that raises
there leaves the lock held, for good. Versions before and after it do not.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

RLock: Any = type(threading.RLock())


class GuardedLock(RLock):  # type: ignore[misc]  # a class by another name
    """A reentrant lock for Python 3.14."""

    def __enter__(self) -> bool:
        held: list[bool] = []
        try:
            # Acquired and noted in one builtin call; nothing looks for signals between the end of `try` and the body.
            held.extend(map(self.acquire, (True,)))
        except BaseException:
            if held:
                self.release()
            raise
        return True


REENTRANT: Any = GuardedLock if sys.version_info[:2] == (3, 14) else RLock
"""The class of the locks of the threads that there are at the import."""


def make_lock() -> threading.RLock:
    """Return a new lock."""
    # Made now: gevent may have patched `threading` after the import, and this is a lock of greenlets then.
    lock = threading.RLock()
    return REENTRANT() if type(lock) is RLock and REENTRANT is not RLock else lock
