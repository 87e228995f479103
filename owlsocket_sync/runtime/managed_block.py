"""Waits of workers, during which other workers run in their place.

Threads: a block, and the local of a thread, belong to that thread. The lock is that of the pool.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from ..protocol.carrier import BlockFlag

if TYPE_CHECKING:
    from .pool_state import PoolState


class WorkerLocal(BlockFlag):
    """The state of a thread in its pool. All pools share it: a local of its own would cost each pool in each thread.

    Attributes:
        pool: that of which the thread is a worker.
        is_blocked: whether it is in a `ManagedBlock`.
        hand_on: has another thread poll, where this is the poller, and only runs tasks for a moment.
        turn: stands for the worker where it has the turn; see `owlsocket_sync.runtime.workers`.
    """

    pool: object = None
    is_blocked = False
    turn: list[None] | None = None
    hand_on: Callable[[], object] | None = None


NO_POOL = WorkerLocal()
"""The local of pools that a forked child leaves to its parent: no thread is a worker of theirs any more."""

_locals: dict[type[Any], WorkerLocal] = {}
"""By the kind of threads."""


def worker_local() -> WorkerLocal:
    """Return the local of all pools that are made now, of the kind of threads that there are now."""
    # Looked up now: gevent may have patched `threading` after the import. The greenlets that it starts from then on
    # share one native thread, and with it each local of the kind from before.
    kind = threading.local
    local = _locals.get(kind)
    # One step of the interpreter: threads that come in at once get the same local.
    return local or _locals.setdefault(kind, _make_local(kind))


def _make_local(kind: type[Any]) -> WorkerLocal:
    if kind in WorkerLocal.__mro__:
        return WorkerLocal()
    state = {"matter": False, "pool": None, "is_blocked": False, "turn": None, "hand_on": None}
    return cast(WorkerLocal, type("WorkerLocal", (kind,), state)())


@contextmanager
def keeping_state(local: WorkerLocal) -> Iterator[None]:
    """Give a thread its state back that becomes a worker of another pool for a while."""
    before = local.matter, local.pool, local.is_blocked, local.turn, local.hand_on
    local.is_blocked, local.hand_on = False, None
    try:
        yield
    finally:
        local.matter, local.pool, local.is_blocked, local.turn, local.hand_on = before


class ManagedBlock:
    """A wait of a worker, during which another worker may run in its place (as in Java's ForkJoinPool)."""

    __slots__ = ("_local", "_pool")

    def __init__(self, pool: PoolState, local: WorkerLocal) -> None:
        self._pool = pool
        self._local = local

    def __enter__(self) -> None:
        self._pool.begin_block(self._local)

    def __exit__(self, *_: object) -> None:
        self._pool.end_block(self._local)
