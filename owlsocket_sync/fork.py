"""Forks: the one hook, and the one check of the process id, for all that a child must not share with its parent.

`os.fork` runs the hook. A fork by C code (uWSGI's master, ``fork()`` through ctypes) runs no hook of Python's, so the
ways into the package call `ensure_process` first, which compares two numbers.

Threads: each process has a ``fork_lock`` of its own, held while it parts from its parent, and taken in no other case.
It is reentrant: one resource that parts may use another one.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from os import getpid
from typing import Generic, Protocol, TypeVar, cast

from .reentrant import make_lock

Value = TypeVar("Value")


class ForkAware(Protocol):
    """Something that a forked child must not share with its parent."""

    def after_fork(self) -> None:
        """Let go of the parent's descriptors and locks, without a byte to the peer; in the child, once.

        Locks of the parent may be held by threads that the child does not have: this method takes none of them.
        """
        ...


class _Process:
    """The process that everything registered here belongs to.

    Attributes:
        id: its process id; compare it with ``os.getpid()`` where even a call of `ensure_process` would cost too much.
    """

    __slots__ = ("id",)

    def __init__(self) -> None:
        self.id = getpid()


PROCESS = _Process()
_registered: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_separations: dict[int, _Separation] = {}
"""By process id. A child never takes the lock of its parent, which a thread may have held at the fork."""


class _Separation:
    """The step in which one process parts from its parent."""

    __slots__ = ("fork_lock", "running")

    def __init__(self) -> None:
        self.fork_lock = make_lock()
        self.running = False


def register(resource: ForkAware) -> None:
    """Have ``resource.after_fork()`` called in each forked child, for as long as the resource lives."""
    # First: what is made in a child that has not parted yet would be taken for the parent's.
    ensure_process()
    _registered.add(resource)


def ensure_process() -> None:
    """Part from the parent, if this is the first use in a forked child; from any thread."""
    if getpid() != PROCESS.id:
        _part_from_parent()


def has_parted() -> bool:
    """Return whether nothing here is the parent's any more; false in a forked child until `ensure_process` is done."""
    return getpid() == PROCESS.id


def end_inherited_thread() -> None:
    """Prepare the end of a thread that a fork took along: a greenlet, which survives it; on that thread.

    `threading` forgot the thread at the fork, and its end would be reported as a ``KeyError`` there.
    """
    threading.current_thread()  # makes the thread known again


def _part_from_parent() -> None:
    # One step of the interpreter: threads that come in at once get the same object, without a lock.
    separation = _separations.setdefault(getpid(), _Separation())
    with separation.fork_lock:
        # The number is set last: a second thread that comes in meanwhile has to wait until everything has parted.
        if separation.running or getpid() == PROCESS.id:
            return
        separation.running = True
        try:
            failures = [failure for failure in map(_part, list(_registered)) if failure is not None]
            PROCESS.id = getpid()
        finally:
            separation.running = False
    if failures:
        raise failures[0]


def _part(resource: ForkAware) -> Exception | None:
    try:
        resource.after_fork()
    except Exception as failure:  # raised in the end: the others must part all the same
        return failure
    return None


class PerProcess(Generic[Value]):
    """A value of which each process has its own, made at the first use there.

    It is not made at the fork, since locks may change after it: gunicorn forks a worker of gevent first, and patches
    ``threading`` then.

    Args:
        make: makes the value; must not block.
    """

    def __init__(self, make: Callable[[], Value]) -> None:
        self._make = make
        self.after_fork()
        register(self)

    def after_fork(self) -> None:
        """Forget the parent's value."""
        self._value: Value | None = None
        self._made = False
        self._make_lock = make_lock()

    def peek(self) -> Value | None:
        """Return the value of this process, or ``None`` where it was not used yet; from any thread."""
        ensure_process()
        return self._value

    def get(self) -> Value:
        """Return the value of this process; from any thread."""
        ensure_process()
        if not self._made:
            with self._make_lock:
                value = None if self._made else self._make()
                # Again: a signal handler or a finalizer on this thread may have made it meanwhile.
                if not self._made:
                    self._value = value
                    self._made = True  # last, so that no thread sees an unfinished value
        return cast(Value, self._value)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_part_from_parent)
