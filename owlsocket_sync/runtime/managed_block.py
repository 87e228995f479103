"""Waits of workers, during which other workers run in their place.

Threads: a block, and the local of a thread, belong to that thread. The lock is that of the pool.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from ..protocol.carrier import BlockFlag

if TYPE_CHECKING:
    from .pool_state import PoolState


class WorkerLocal(BlockFlag):
    """The state of a thread in the pool.

    Attributes:
        is_worker: whether it is a worker.
        is_blocked: whether it is in a `ManagedBlock`.
        hand_on: has another thread poll, where this is the poller, and only runs tasks for a moment.
        turn: stands for the worker where it has the turn; see `owlsocket_sync.runtime.workers`.
    """

    is_worker = False
    is_blocked = False
    turn: list[None] | None = None
    hand_on: Callable[[], object] | None = None


def make_worker_local() -> WorkerLocal:
    """Return the local of a new pool, of the kind of threads that there are now."""
    # Looked up now: gevent may have patched `threading` after the import. The greenlets that it starts from then on
    # share one native thread, and with it each local of the kind from before.
    kind = threading.local
    return WorkerLocal() if kind in WorkerLocal.__mro__ else cast(WorkerLocal, _patched_local(kind)())


@cache
def _patched_local(kind: type[Any]) -> type[Any]:
    values = {"matter": False, "is_worker": False, "is_blocked": False, "turn": None, "hand_on": None}
    return type("WorkerLocal", (kind,), values)


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
