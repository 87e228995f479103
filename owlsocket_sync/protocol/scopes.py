"""Scopes of ``batch`` and ``deadline`` blocks: they belong to the context (`contextvars`) that entered them.

A handler runs in a context of its own, so a block that it leaves open, such as one in a generator that is not finished,
holds for that handler only. A block that is left in another context than it was entered in ends for all contexts.

Threads: a context is used by one thread at a time. A copy of it in another thread has the deadlines of its blocks, and
none of their batches, so nothing here needs a lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING

from ..deadline import Deadline

if TYPE_CHECKING:
    from .pending import Pending

    Batch = list[bytes | Pending]


class Scope:
    """One block, and those around it.

    Attributes:
        owner: the `Scopes` of the connection.
        outer: the block around it, of any connection.
        deadline: the deadline that holds inside, or ``None`` for a batch.
        batch: the messages gathered so far, or ``None`` for a deadline.
        thread: the thread that entered it.
        active: whether it was not left yet.
    """

    __slots__ = ("active", "batch", "deadline", "outer", "owner", "thread")

    def __init__(self, owner: Scopes, deadline: Deadline | None, batch: Batch | None) -> None:
        self.owner = owner
        self.outer: Scope | None = get_scope()
        self.deadline = deadline
        self.batch = batch
        self.thread = threading.get_ident()
        self.active = True


_INNERMOST: ContextVar[Scope | None] = ContextVar("owlsocket_sync.scope", default=None)

get_scope = _INNERMOST.get
"""Return the innermost block of this context, which may have been left; ``None`` where there is none."""


class Scopes:
    """The blocks of one connection."""

    __slots__ = ()

    def find_batch(self) -> Scope | None:
        """Return the batch that this thread is in."""
        for scope in self._walk():
            if scope.batch is not None and scope.thread == threading.get_ident():
                return scope
        return None

    def find_deadline(self) -> Deadline | None:
        """Return the deadline that holds now."""
        for scope in self._walk():
            if scope.deadline is not None:
                return scope.deadline
        return None

    def _walk(self) -> Iterator[Scope]:
        scope = get_scope()
        while scope is not None:
            if scope.active and scope.owner is self:
                yield scope
            scope = scope.outer

    @contextmanager
    def deadline_scope(self, deadline: Deadline) -> Iterator[Deadline]:
        """Let a deadline hold inside; a later one never loosens the one that holds already."""
        deadline = deadline.sooner(self.find_deadline())
        scope = Scope(self, deadline, None)
        try:
            _INNERMOST.set(scope)
            yield deadline
        finally:
            _leave(scope)

    @contextmanager
    def batch_scope(self, sender: Callable[[], Callable[[Batch, bool], None]]) -> Iterator[None]:
        """Let messages be gathered inside; at the end the function that ``sender`` returns then sends them.

        Args:
            sender: return a function that sends messages; its second argument is true where an error ends the block.
        """
        if self.find_batch() is not None:  # the outer batch sends them
            yield
            return
        scope = Scope(self, None, [])
        interrupted = True
        try:
            _INNERMOST.set(scope)
            yield
            interrupted = False
        finally:
            try:
                send = sender()  # first: in a forked child it drops what the parent gathered
            finally:
                _leave(scope)
            if scope.batch:
                send(scope.batch, interrupted)

    def take_batch(self) -> Batch:
        """Return what was gathered so far; the batch goes on, empty."""
        scope = self.find_batch()
        if scope is None or not scope.batch:
            return []
        gathered, scope.batch = scope.batch, []
        return gathered

    def send_batch(self, send: Callable[[Batch], bool]) -> None:
        """Have what was gathered so far sent; stays in the batch where ``send`` returns false, or has sent nothing."""
        gathered, sent = self.take_batch(), False
        try:
            sent = send(gathered)
        except BaseException as error:
            sent = getattr(error, "sent", None) is not False  # or some of it may have been
            raise
        finally:
            scope = None if sent else self.find_batch()
            if scope is not None:
                scope.batch = gathered + (scope.batch or [])


def _leave(scope: Scope) -> None:
    """End a block, in any context, and whatever the order in which blocks are left."""
    scope.active = False
    innermost = get_scope()
    while innermost is not None and not innermost.active:
        innermost = innermost.outer
    _INNERMOST.set(innermost)


def copy_for_handler() -> Context:
    """Return a copy of the current context for a handler that is registered now, outside of all blocks."""
    context = copy_context()
    if get_scope() is not None:
        context.run(_INNERMOST.set, None)
    return context
