"""What iterators over incoming messages share: they wait in their consumer's thread, and clean up after themselves."""

from __future__ import annotations

from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar

from ..deadline import Deadline
from .endpoint import Endpoint
from .mailbox import Mailbox
from .subscription import Subscription

Item = TypeVar("Item")
Self = TypeVar("Self", bound="Pull[Any]")


class Pull(Generic[Item]):
    """An iterator over a mailbox, and a context manager that closes it."""

    def __init__(self, owner: Endpoint, mailbox: Mailbox[Item], timeout: float | None) -> None:
        self._owner = owner
        self._mailbox = mailbox
        self._timeout = timeout
        self._over = False
        self._subscription: Subscription | None = None

    def _take_now(self) -> Item:
        """The next item where it is here, without the cost of a wait; `LookupError` where there is none.

        Where this thread gathers messages, that is left to `_take`, which sends them first.
        """
        if self._owner._gathers():
            raise LookupError
        return self._mailbox.take_now()

    def _take(self, deadline: Deadline) -> Item:
        """The next item; raises what `Mailbox.take` raises, after closing."""
        try:
            with self._owner._waiting(deadline):
                return self._mailbox.take(deadline)
        except (TimeoutError, EOFError):
            self.close()
            raise

    def close(self) -> None:
        """Take no more, and drop what was not taken yet; idempotent, from any thread."""
        self._over = True
        _give_up(self._subscription, self._mailbox)

    def __iter__(self: Self) -> Self:
        return self

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # The garbage collector may come by while this very thread holds a lock that closing needs.
        if not self._over:
            self._owner._abandon(partial(_give_up, self._subscription, self._mailbox))


def _give_up(subscription: Subscription | None, mailbox: Mailbox[Any]) -> None:
    if subscription is not None:
        subscription()
    mailbox.close(discard=True)
