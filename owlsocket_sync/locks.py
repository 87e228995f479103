"""Locks that a thread may meet again: in a signal handler or a finalizer, which interrupted it while it held them.

Such a lock is reentrant, so the handler does not wait for its own thread; and each step that it guards leaves the data
as another thread may find them. A handler that waits for others lets go of these locks meanwhile, so that the others
can do what it waits for.

Threads: any.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from operator import methodcaller
from typing import Any, Protocol, TypeVar

from .clock import monotonic
from .delegation import delegate
from .errors import SocketError, StoreError
from .reentrant import make_lock

Value = TypeVar("Value")

# The longest single wait, after which the caller looks at the clock again. Locks, epoll, sockets and timers refuse
# longer ones, each from another limit on: 24 days for epoll. A token that expires in the year 9999 is above them all.
MAX_WAIT = 86_400.0
SIGNAL_INTERVAL = 0.1
"""Seconds after which a wait of the main thread looks for signals; see `longest_wait`."""

LOOKOUTS: list[Callable[[], object]] = []
"""Called by each thread that waits for long, after `SIGNAL_INTERVAL`, and then after twice the time each."""

HELD_UP: set[threading.Thread] = set()
"""Those that wait in `held_up_by`; the end of a pool does not wait for them: the lock may be that of its caller."""

NO_WAITERS: tuple[Any, ...] = ()
_release_all: Callable[[Any], Any] = methodcaller("_release_save")
_process_locks: set[weakref.ref[Any]] = set()


def make_process_lock() -> threading.RLock:
    """Return a lock of something that many connections share."""
    lock = make_lock()
    _process_locks.add(weakref.ref(lock, _process_locks.discard))
    return lock


class LockGroup:
    """The locks of one connection."""

    __slots__ = ("_mailbox_locks", "locks")

    def __init__(self) -> None:
        self.locks: list[Any] = []
        self._mailbox_locks: list[threading.RLock] = []

    def mailbox_lock(self) -> threading.RLock:
        """Return the lock of all mailboxes, which is made for the first one."""
        # Of two threads that make it at once each may get another one: both are of the group.
        if not self._mailbox_locks:
            self._mailbox_locks.append(self.make())
        return self._mailbox_locks[0]

    def make(self) -> threading.RLock:
        """Return a new lock of the group."""
        lock = make_lock()
        self.locks.append(lock)
        return lock


class LocksReleased:
    """A context manager around a wait: what this thread holds of these locks is free inside.

    Args:
        locks: those of what is waited for, in the order in which they are taken; the locks that connections share,
            which are leaves, come on top.
    """

    __slots__ = ("_locks", "_owned", "_states")

    def __init__(self, locks: Iterable[Any]) -> None:
        self._locks = locks

    def __enter__(self) -> None:
        # copy() is one step in which no collection runs: other threads add locks, and a collection removes some.
        shared = [reference() for reference in _process_locks.copy()]
        self._owned = [lock for lock in (*self._locks, *shared) if lock is not None and lock._is_owned()]
        self._states: list[Any] = []
        # extend(map()) releases and notes it in one builtin call: an interrupt leaves no lock unaccounted for.
        for lock in self._owned:
            self._states.extend(map(_release_all, (lock,)))

    def __exit__(self, *_: object) -> None:
        for lock, state in zip(self._owned, self._states, strict=False):
            lock._acquire_restore(state)


class Condition:
    """A condition whose waits miss no notification of what interrupts them.

    That of the standard library looks first and registers afterwards: a signal handler in between, which lets go of the
    lock or makes the change itself, would notify no thread. It also keeps five methods of its lock, and a deque of
    0.7 KiB: most of what a connection would take, which has several conditions for which mostly no thread waits.

    Args:
        lock: reentrant, held by those who wait or notify; a new one by default.

    Attributes:
        waiters: the locks of the threads that wait; a list from the first wait on.
    """

    __slots__ = ("_lock", "_waiters")

    def __init__(self, lock: Any = None) -> None:
        self._lock: Any = make_lock() if lock is None else lock
        self._waiters: Any = NO_WAITERS

    _is_owned = delegate("_lock._is_owned")  # for these methods of the standard library
    waiters: Any = delegate("_waiters")
    notify: Any = threading.Condition.notify
    notify_all: Any = threading.Condition.notify_all

    def __enter__(self) -> bool:
        taken: bool = self._lock.__enter__()
        return taken

    def __exit__(self, *error: object) -> None:
        self._lock.__exit__(*error)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, with the lock, for a notification; return whether it came within ``timeout`` seconds."""
        made: list[Any] = []
        # No call in between, and so no interrupt: what interrupts this thread may wait as well.
        if self._waiters is NO_WAITERS:
            self._waiters = made
        lock, waiter, notified = self._lock, threading.Lock(), False
        waiter.acquire()
        self._waiters.append(waiter)
        state = lock._release_save()
        try:
            notified = waiter.acquire(True, -1 if timeout is None else timeout)
            return notified
        finally:
            lock._acquire_restore(state)
            if not notified:
                with suppress(ValueError):  # it was notified just now
                    self._waiters.remove(waiter)

    def wait_for(self, predicate: Callable[[], Value], timeout: float | None = None) -> Value:
        """Wait, with the lock, until ``predicate`` returns true, for ``timeout`` seconds; return its last value."""
        end = math.inf if timeout is None else monotonic() + timeout
        made: list[Any] = []
        if self._waiters is NO_WAITERS:  # as in `wait`
            self._waiters = made
        while True:
            waiter = threading.Lock()
            waiter.acquire()
            try:
                # Inside of `try`: an entry that an interrupt leaves behind would take a notification from a later wait.
                self._waiters.append(waiter)
                result = predicate()
                if result or monotonic() >= end:
                    return result
                self._wait_notified(waiter, end)
            finally:
                # No call before the removal, and so no interrupt: for the same reason.
                try:
                    self._waiters.remove(waiter)
                except ValueError:
                    pass  # it was notified

    def _wait_notified(self, waiter: Any, end: float) -> None:
        lock = self._lock
        states: list[Any] = []
        try:
            states.extend(map(_release_all, (lock,)))
            acquire_until(waiter, end)
        finally:
            for state in states:
                lock._acquire_restore(state)


def longest_wait() -> float:
    """Return the longest single wait of this thread, in seconds."""
    # Python notes a signal, and the main thread runs its handler once its system call returns. The signal interrupts
    # that call only if the system delivers it to the main thread, and within the call: one that comes a moment before,
    # or to another thread, would wait for what the main thread waits for. So that thread never waits for long at once.
    is_main = threading.get_ident() == threading.main_thread().ident
    return min(SIGNAL_INTERVAL, MAX_WAIT) if is_main else MAX_WAIT


def acquire_until(lock: threading.Lock | threading.RLock, at: float, held: list[bool] | None = None) -> bool:
    """Acquire a lock; return whether that was before a moment (``time.monotonic``), ``math.inf`` for no limit.

    Args:
        lock: the lock.
        at: the moment.
        held: gets an item in the step that takes the lock, which so is known after an interrupt.
    """
    longest = longest_wait()
    seconds = SIGNAL_INTERVAL
    acquire = lock.acquire if held is None else partial(_acquire_noted, lock, held)
    while not acquire(True, min(max(0.0, at - monotonic()), seconds)):
        if monotonic() >= at:
            return False
        look_out()
        seconds = min(longest, 2 * seconds)
    return True


def _acquire_noted(lock: Any, held: list[bool], *how: Any) -> bool:
    # Acquired and noted in one builtin call.
    held.extend(filter(None, map(lock.acquire, *zip(how, strict=True))))
    return bool(held)


@contextmanager
def held_up_by(lock: threading.RLock) -> Iterator[None]:
    """Hold a lock that another thread may keep while a handler interrupts it; the wait for it counts as held up."""
    thread = threading.current_thread()
    HELD_UP.add(thread)
    try:
        lock.acquire()
    finally:
        HELD_UP.discard(thread)
    try:
        yield
    finally:
        lock.release()


def look_out() -> None:
    """Look whether this thread waits for something that is held up."""
    for look in LOOKOUTS:
        look()


def wait_on_reader() -> SocketError:
    """Return the error of a wait for the peer on the thread that reads what the peer sends."""
    return SocketError(
        "the thread that reads the connection cannot wait for the peer: a finalizer (__del__) or an instrument made a "
        "call there, or used another method that waits; use submit() or notify() there, or a thread of your own"
    )


def interrupted_itself(what: str) -> StoreError:
    """Return the error of a signal handler, or of a finalizer, that uses a store which its own thread is using."""
    return StoreError(
        f"this thread is in the middle of a use of {what!r}, which a signal handler or a finalizer (__del__) "
        "interrupted: let another thread use it there"
    )


class Interruptible(Protocol):
    """A carrier, as far as waits of its callers are concerned."""

    def is_reader(self) -> bool:
        """Return whether this thread reads the link."""

    def step_aside(self) -> Sequence[Any]:
        """Get ready for a wait; return the locks to be free meanwhile."""


class StepAside:
    """Makes a context manager for each wait of a thread that a signal handler or a finalizer may have interrupted.

    Args:
        carrier: of the connection.
        locks: of the connection, apart from its carrier's.
    """

    __slots__ = ("_carrier", "_locks")

    def __init__(self, carrier: Interruptible, locks: LockGroup) -> None:
        self._carrier = carrier
        self._locks = locks

    def __call__(self) -> LocksReleased:
        """Return the context manager: inside, other threads read, and take what locks this thread held.

        Raises:
            SocketError: this thread is the reader, which would wait for itself.
        """
        if self._carrier.is_reader():
            raise wait_on_reader()
        return LocksReleased((*self._carrier.step_aside(), *self._locks.locks))
