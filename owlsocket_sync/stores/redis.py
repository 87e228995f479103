"""`RedisStore`: queues in a Redis, for any number of processes on any number of machines.

Threads: any; it has no lock. `RedisLeases` has a thread, while there are leases.
"""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from ..errors import StoreError
from ..errors.safe_text import logger
from ..fork import ensure_process, register
from ..options import check_count, check_size
from .base import MAX_BYTES, MAX_MESSAGES, check_name
from .queue import Queue
from .redis_leases import QueueLeases, RedisLeases
from .redis_link import StoreLink
from .redis_queue import RedisQueue

_stores: weakref.WeakSet[RedisStore] = weakref.WeakSet()


class RedisStore:
    """Queues in a Redis, version 6.2 or newer; needs the extra ``redis``.

    A message is as safe as Redis keeps it: with ``appendonly yes`` and ``appendfsync always`` each one that was put
    survives a crash, with ``everysec`` all but those of the last second or two. Its ``maxmemory-policy`` must be
    ``noeviction``.

    A lease is renewed while its process lives. It is free half a second after the death of a process on the same
    machine, and of one on another machine once its ``visibility_timeout`` is over, after 6 seconds at least.

    While Redis does not answer, each use is tried again for 10 seconds, and a wait for a message until its deadline.

    Args:
        url_or_client: ``redis://``, ``rediss://`` (TLS) or ``unix://``; or a client of redis-py, such as that of a
            Sentinel or of a cluster. Its timeouts are its own. It should repeat nothing by itself
            (``retry=Retry(NoBackoff(), 0)``): a repetition that the store does not know of may lease a message to
            no consumer, until the lease is over.
        prefix: of all keys.
        max_messages: messages in one queue, dead letters included; one more raises `StoreFull`.
        max_bytes: their size as JSON.
        replicas: a message is put once so many replicas have it (``WAIT``).
    """

    def __init__(
        self,
        url_or_client: Any,
        *,
        prefix: str = "owlsocket",
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        replicas: int = 0,
    ) -> None:
        check_count("max_messages", max_messages)
        check_size("max_bytes", max_bytes)
        if not isinstance(prefix, str) or not prefix or set(prefix) & set("{}"):
            raise ValueError(f"prefix must be a text that is not empty, without braces, not {prefix!r}")
        if type(replicas) is not int or replicas < 0:
            raise ValueError(f"replicas must be a whole number, 0 or more, not {replicas!r}")
        self._prefix = prefix
        self._limits = (max_messages, max_bytes)
        self._queues: dict[str, RedisQueue] = {}
        self._link = StoreLink(url_or_client, replicas)
        self._leases = RedisLeases(self._renewals)
        register(self)
        _stores.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._link.place}>"

    def queue(self, name: str) -> Queue:
        """Return the queue of this name."""
        ensure_process()
        if self._link.closed:
            raise StoreError("the store is closed")
        queue = RedisQueue(check_name(name), self._prefix, self._link, self._leases, self._limits)
        # One step of the interpreter: two threads get the same queue.
        return Queue(self._queues.setdefault(name, queue))

    def queues(self) -> list[str]:
        """Return the names of the queues that have, or had, messages."""
        names = self._link.command("SMEMBERS", f"{self._prefix}:queues")
        return sorted(name.decode("utf-8", "surrogatepass") for name in names)

    def close(self) -> None:
        """Give back what is in flight here, and close the connections to Redis."""
        ensure_process()
        if self._link.closed:
            return
        self._link.closed = True
        self._leases.close()
        try:
            for queue in self._queues.copy().values():
                queue.give_back()
        except StoreError as error:
            logger.warning("what is in flight here is given back by the end of its leases: %s", error)
        finally:
            self._link.close()

    def after_fork(self) -> None:
        """Leave the leases of the parent to it."""
        self._leases.begin()
        for queue in self._queues.values():
            queue.begin()

    def _renewals(self) -> Iterator[tuple[QueueLeases, Callable[[], None]]]:
        for queue in self._queues.copy().values():
            yield queue.leases, queue.tell_changes

    def __enter__(self) -> RedisStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _close_stores() -> None:
    """Close the stores that are still open, at the exit of the interpreter: what they have in flight is free then."""
    for store in list(_stores):
        store.close()


atexit.register(_close_stores)
