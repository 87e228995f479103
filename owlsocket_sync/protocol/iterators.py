"""Iterators over incoming messages: they wait in the thread that iterates, and clean up after themselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar

from ..deadline import Deadline, check_timeout
from ..errors import SocketTimeout
from .mailbox import Mailbox
from .services import Services
from .subscriptions import Subscription

Item = TypeVar("Item")
Self = TypeVar("Self", bound="BlockingIterator[Any]")


def check_limit(limit: float | None) -> None:
    """Raise `TypeError` unless a limit is a number, or ``None`` for no limit, and `ValueError` if it is negative."""
    if limit is not None and not isinstance(limit, (int, float)):
        raise TypeError(f"limit must be a number or None, not {limit!r}")
    if limit is not None and not limit >= 0:  # NaN fails every comparison
        raise ValueError(f"limit must be 0 or more, or None for no limit, not {limit!r}")


class BlockingIterator(Generic[Item]):
    """An iterator over a mailbox, and a context manager that closes it.

    Args:
        services: return those of the connection; asked again for each wait, since a forked child has others.
        mailbox: what it takes from.
        timeout: seconds to wait for each item.
    """

    # Closed until it is made: an interrupt may come before that, and `__del__` after it.
    _closed = True

    def __init__(self, services: Callable[[], Services], mailbox: Mailbox[Item], timeout: float | None) -> None:
        self._services = services
        self._mailbox = mailbox
        self._timeout = None if timeout is None else check_timeout(timeout)
        self._subscription: Subscription | None = None
        # The garbage collector calls `__del__` where nothing may be made any more: so this is looked up now.
        self._defer_cleanup = services().defer_cleanup
        self._closed = False

    def _attach(self, subscription: Subscription) -> None:
        """Unsubscribe this when the iterator is closed."""
        self._subscription = subscription

    def _get_nowait(self) -> Item:
        """Return the next item where it is here, without the cost of a wait; raise `LookupError` where there is none.

        Where this thread holds messages in a batch that is left to `_get`, which sends them first.
        """
        if self._services().has_open_batch():
            raise LookupError
        return self._mailbox.get_nowait()

    def _get(self, deadline: Deadline) -> Item:
        """Return the next item; raise what `Mailbox.get` raises, after closing, or what sending a batch raises."""
        try:
            with self._services().blocking_wait(deadline):
                return self._mailbox.get(deadline)
        except SocketTimeout:
            raise  # a batch could not be sent: the peer may have nothing to answer yet
        except (TimeoutError, EOFError):
            self.close()
            raise

    def close(self) -> None:
        """Take no more, and drop what was not taken yet; idempotent, from any thread."""
        self._closed = True
        self._services()  # in a forked child this replaces the parent's locks
        _unsubscribe(self._subscription, self._mailbox)

    def __iter__(self: Self) -> Self:
        return self

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # The garbage collector may call this while this very thread holds a lock that closing needs.
        if not self._closed:
            self._defer_cleanup(partial(_unsubscribe, self._subscription, self._mailbox))


def _unsubscribe(subscription: Subscription | None, mailbox: Mailbox[Any]) -> None:
    if subscription is not None:
        subscription()
    mailbox.close(discard=True)
