"""Who wants to hear of what: a `Subscription`, and the registry that hands out snapshots.

Threads: the registry owns ``_table_lock``, a leaf, held only to replace a tuple. Readers take no lock: they get
a tuple that nobody changes any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

Handler = TypeVar("Handler", bound=Callable[..., Any])


class Subscription:
    """Something that was asked for and can be given up, by calling it or by leaving its ``with`` block.

    Once it was given up, no new invocation of its handler starts; one that runs is not waited for. From any thread,
    any number of times.
    """

    __slots__ = ("__weakref__", "_cancel", "_handler")

    def __init__(self, handler: Callable[..., Any] | None, cancel: Callable[[Subscription], None]) -> None:
        self._handler = handler
        self._cancel: Callable[[Subscription], None] | None = cancel

    def __call__(self) -> None:
        """Give it up."""
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel(self)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self()

    def __repr__(self) -> str:
        name = getattr(self._handler, "__qualname__", None) or repr(self._handler)
        return f"<Subscription of {name}{'' if self.active else ', given up'}>"

    @property
    def active(self) -> bool:
        """Whether it was not given up yet."""
        return self._cancel is not None

    @property
    def handler(self) -> Callable[..., Any]:
        """What is invoked."""
        assert self._handler is not None, "a group of subscriptions has no handler of its own"
        return self._handler

    @classmethod
    def group(cls, members: list[Subscription]) -> Subscription:
        """One subscription that gives up all of these."""

        def cancel(_: Subscription) -> None:
            for member in members:
                member()

        return cls(None, cancel)


class Registry(Generic[Handler]):
    """Handlers by key, in the order in which they came.

    Attributes:
        find: the subscriptions under a key, as they are now, ``None`` where there are none; for what is asked for
            every message.
    """

    __slots__ = ("_table", "_table_lock", "find")

    def __init__(self) -> None:
        self._table_lock = threading.Lock()
        self._table: dict[Hashable, tuple[Subscription, ...]] = {}
        self.find = self._table.get

    def add(self, key: Hashable, handler: Handler) -> Subscription:
        """Keep a handler under a key until its subscription is called."""
        if not callable(handler):
            raise TypeError(f"the handler of {key!r} must be callable, not {type(handler).__name__}")
        subscription = Subscription(handler, lambda gone: self._remove(key, gone))
        with self._table_lock:
            self._table[key] = (*self._table.get(key, ()), subscription)
        return subscription

    def _remove(self, key: Hashable, gone: Subscription) -> None:
        with self._table_lock:
            there = self._table.get(key, ())
            try:
                at = there.index(gone)
            except ValueError:  # everything was taken out
                return
            if len(there) > 1:
                self._table[key] = there[:at] + there[at + 1 :]
            else:
                del self._table[key]

    def get(self, key: Hashable) -> tuple[Subscription, ...]:
        """The subscriptions under this key, as they are now."""
        return self._table.get(key, ())

    def pop_all(self) -> dict[Hashable, tuple[Subscription, ...]]:
        """Take everything out."""
        with self._table_lock:
            table = self._table.copy()
            self._table.clear()
        return table

    def keys(self) -> Iterator[Hashable]:
        """The keys that have a subscription, as they are now."""
        with self._table_lock:
            return iter(list(self._table))

    def __bool__(self) -> bool:
        return bool(self._table)

    def renew_locks(self) -> None:
        """Forget a lock that another thread of the parent held when this process was forked."""
        self._table_lock = threading.Lock()
