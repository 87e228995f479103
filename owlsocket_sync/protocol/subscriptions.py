"""Subscriptions, the registries that hold them, and all that a user registers on one connection.

Threads: the registries of one connection share ``_table_lock``, a leaf, held only to replace a tuple. Readers take no
lock: they get a tuple that is never changed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager
from contextvars import Context
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .. import fork
from ..callables import find_misfit
from ..reentrant import make_lock
from .reruns import FunctionName, name_in_cell, name_of_function
from .scopes import copy_for_handler

if TYPE_CHECKING:
    from .mailbox import Mailbox

Handler = TypeVar("Handler", bound=Callable[..., Any])

HandlerContext = Callable[[], AbstractContextManager[Any]]
"""Returns the context manager inside which a handler runs."""

ALL = ""
"""The key of handlers that are not registered under a name."""


NONE: tuple[Subscription, ...] = ()


def check_name(verb: str, name: object) -> None:
    """Raise `TypeError` unless a handler is registered under a text; a bare ``@observe`` passes the handler as name."""
    if not isinstance(name, str):
        hint = f", write {type(name).__name__}.{name.name}.value" if isinstance(name, Enum) else ""
        raise TypeError(f'{verb} needs a name, as in {verb}("name"), not {type(name).__name__}{hint}')


def check_pattern(verb: str, name: str, every: str | None = None) -> None:
    """Raise `ValueError` for a name that looks like a pattern; ``every`` is the one name that stands for all."""
    if "*" in name and name != every:
        hint = f'{verb}("{every}") gets all of them' if every else "register each method"
        raise ValueError(f"{verb}({name!r}): names are exact, and not patterns; {hint}")


def check_handler(handler: object, subject: str, parameters: str | None = None) -> None:
    """Raise `TypeError` unless this can be called as a handler.

    Args:
        handler: the handler.
        subject: the beginning of the message.
        parameters: as of `owlsocket_sync.callables.find_misfit`.
    """
    misfit = find_misfit(handler, parameters)
    if misfit is not None:
        raise TypeError(f"{subject} {misfit}")


class Subscription:
    """A registration that can be ended: call it, or leave its ``with`` block, to unsubscribe.

    After that no new invocation of its handler starts; an invocation that runs is not waited for. From any thread, any
    number of times.

    Attributes:
        active: whether it has not been unsubscribed yet; to be read only.
        handler: the function that is invoked; to be read only.
        context: a copy of the context (`contextvars`) of the registration; each invocation runs in a copy of it.
        since: the number of the latest change of the state at the registration of a state handler.
        key: what it is registered under.
    """

    # Plain attributes: they are read for every message.
    __slots__ = ("__weakref__", "_cancel", "active", "context", "handler", "key", "since")

    def __init__(
        self,
        handler: Callable[..., Any],
        cancel: Callable[[Subscription], None],
        since: int = 0,
        key: Hashable = None,
    ) -> None:
        self.handler = handler
        self.since, self.key = since, key
        self.active = True
        self.context = copy_for_handler()
        self._cancel: Callable[[Subscription], None] | None = cancel

    def __call__(self) -> None:
        """Unsubscribe."""
        fork.ensure_process()  # the lock of the registry may be the parent's
        self.active = False
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
        if self.handler is _no_handler:
            name = "a group"
        else:
            name = getattr(self.handler, "__qualname__", None) or repr(self.handler)
        return f"<Subscription of {name}{'' if self.active else ', unsubscribed'}>"

    def _invoke(self, surroundings: HandlerContext | None, *arguments: Any) -> Any:
        """Call the handler in a context of its own, inside of the surroundings; return and raise what it does."""
        return run_isolated(self.context.copy(), surroundings, self.handler, *arguments)

    @classmethod
    def _group(cls, members: list[Subscription]) -> Subscription:
        """Return one subscription that unsubscribes all of these."""

        def cancel(_: Subscription) -> None:
            for member in members:
                member()

        return cls(_no_handler, cancel)


def run_isolated(
    context: Context, surroundings: HandlerContext | None, function: Callable[..., Any], *arguments: Any
) -> Any:
    """Call a function in this context, inside of the surroundings; return and raise what it does."""
    if surroundings is None:
        return context.run(function, *arguments)
    return context.run(_call_within, surroundings, function, *arguments)


def _call_within(surroundings: HandlerContext, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function inside of a context manager."""
    with surroundings():
        return function(*arguments)


def _no_handler() -> None:
    """Stand for the handler of a group of subscriptions, or of a request whose responses go elsewhere."""


class Registry(dict[Hashable, tuple["Subscription", ...]], Generic[Handler]):
    """Handlers by key, in the order in which they were registered; a dictionary that only its own methods change.

    Args:
        table_lock: guards the table; may be shared.

    Attributes:
        find: return the subscriptions under a key, as they are now, or ``None``; for what every message asks.
    """

    __slots__ = ("_table_lock",)

    def __init__(self, table_lock: AbstractContextManager[object]) -> None:
        self._table_lock: Any = table_lock

    find = dict.get

    def add(
        self,
        key: Hashable,
        handler: Handler,
        parameters: str | None = None,
        since: int = 0,
        replaced: FunctionName | None = None,
    ) -> Subscription:
        """Keep a handler under a key until its subscription is called.

        Args:
            key: the key.
            handler: the handler.
            parameters: as of `check_handler`.
            since: as of `Subscription`.
            replaced: the handlers of this function under the key are unsubscribed; in IPython, by default, those of the
                same function of a cell.
        """
        check_handler(handler, "the handler" if key == ALL else f"the handler of {key!r}", parameters)
        subscription = Subscription(handler, self._remove, since, key)
        replaced = replaced or name_in_cell(handler)
        table, added, gone = self, False, NONE
        with self._table_lock:
            while not added:
                # A new tuple, never a change of the old one: a thread that iterates over that holds no lock.
                kept = before = self.get(key)
                if replaced is not None:
                    gone = tuple(each for each in before if name_of_function(each.handler) == replaced)
                    kept = tuple(each for each in before if each not in gone)
                after = (*kept, subscription)
                # No call in these lines, and so no interrupt: a signal handler or a finalizer may register as well.
                if (table[key] if key in table else NONE) is before:  # noqa: SIM401
                    table[key] = after
                    added = True
        for each in gone:
            each()  # an event that is being handled finds it inactive
        return subscription

    def _remove(self, gone: Subscription) -> None:
        table, key = self, gone.key
        with self._table_lock:
            while key in table:  # else two threads unsubscribed at once
                before = table[key]
                if gone not in before:
                    return
                position = before.index(gone)
                after = before[:position] + before[position + 1 :]
                # As in `add`. What is dropped stays in `before` until the lock is free.
                if (table[key] if key in table else NONE) is before:  # noqa: SIM401
                    if after:
                        table[key] = after
                    else:
                        del table[key]  # names that are used once must not add up
                    return

    def get(self, key: Hashable) -> tuple[Subscription, ...]:  # type: ignore[override]
        """Return the subscriptions under this key, as they are now."""
        return self.find(key, NONE)

    def names(self) -> list[Hashable]:
        """Return the keys that have a handler, as they are now."""
        with self._table_lock:
            return list(self)

    def subscriptions(self) -> Iterator[Subscription]:
        """Iterate over all subscriptions, as they are now."""
        with self._table_lock:
            tuples = list(self.values())
        return (subscription for subscriptions in tuples for subscription in subscriptions)

    def use_lock(self, table_lock: AbstractContextManager[object]) -> None:
        """Let another lock guard the table; where no thread holds the present one."""
        self._table_lock = table_lock


class Registrations:
    """All that a user registered on one connection. It outlives links, and forks: a child goes on with it.

    Attributes:
        performers: handlers of calls, by method.
        observers: handlers of events, by name.
        event_queues: queues of the iterators over events, by name.
        acknowledgers: handlers of requests.
        response_observers: handlers of responses that belong to no request.
        listeners: handlers of every message.
        state_handlers: handlers of state changes.
        error_handlers: handlers of errors.
    """

    __slots__ = (
        "_table_lock", "acknowledgers", "error_handlers", "event_queues", "listeners", "observers", "performers",
        "response_observers", "state_handlers",
    )  # fmt: skip

    def __init__(self) -> None:
        self._table_lock = lock = make_lock()
        self.performers: Registry[Callable[..., Any]] = Registry(lock)
        self.observers: Registry[Callable[..., Any]] = Registry(lock)
        self.event_queues: Registry[Mailbox[Any]] = Registry(lock)
        self.acknowledgers: Registry[Callable[..., Any]] = Registry(lock)
        self.response_observers: Registry[Callable[..., Any]] = Registry(lock)
        self.listeners: Registry[Callable[..., Any]] = Registry(lock)
        self.state_handlers: Registry[Callable[..., Any]] = Registry(lock)
        self.error_handlers: Registry[Callable[..., Any]] = Registry(lock)

    def __bool__(self) -> bool:
        # Takes no lock: the garbage collector asks, in a thread that may hold any.
        return any(map(bool, self._registries()))

    @property
    def table_lock(self) -> threading.RLock:
        """The lock of all registries; reentrant."""
        return self._table_lock

    def _registries(self) -> list[Registry[Any]]:
        return [getattr(self, name) for name in self.__slots__ if name != "_table_lock"]

    def replace_lock(self) -> None:
        """Forget a lock that a thread of the parent may have held; in a forked child."""
        self._table_lock = lock = make_lock()
        for registry in self._registries():
            registry.use_lock(lock)
