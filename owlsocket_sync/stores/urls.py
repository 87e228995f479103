"""Stores and queues by URL, as settings and command lines name them.

Threads: any. The table of stores is only added to, in one step of the interpreter; a forked child uses the entries of
its parent, as each store parts from it by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..places import REDIS, SQLITE, Options, Place, parse_place

if TYPE_CHECKING:
    from .base import Store
    from .queue import Queue

EXAMPLE = "sqlite:////var/lib/shop/queue.db?queue=orders"


def _one_of(*words: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return text

    return check


_LIMITS: Options = {"queue": str, "max_messages": int, "max_bytes": int}
_OF_FILE: Options = {
    **_LIMITS,
    "synchronous": _one_of("full", "normal"),
    "busy_timeout": float,
    "on_corrupt": _one_of("raise", "quarantine"),
}
_OF_REDIS: Options = {**_LIMITS, "prefix": str, "replicas": int}


@dataclass(frozen=True)
class StorePlace(Place):
    """The place of a store; its options are those of the store.

    Attributes:
        queue: the name of a queue there; ``None`` for the store itself.
    """

    queue: str | None

    @property
    def key(self) -> tuple[str, str]:
        """The key of the store among those of this process."""
        return self.where, self.options.get("prefix", "")

    def open(self) -> Store:
        """Return a store of this place; nothing is read yet."""
        if self.is_redis:
            from .redis import RedisStore

            return RedisStore(self.where, **self.options)
        from .sqlite import SqliteStore

        return SqliteStore(self.where, **self.options)


_shared: dict[tuple[str, str], tuple[StorePlace, Store]] = {}


def open_queue(url: str) -> Queue:
    """Return the queue that a URL names; all queues of one place share one store, for as long as the process lives.

    Args:
        url: ``sqlite:///queue.db?queue=orders`` for a file, with four slashes for an absolute path; or
            ``redis://localhost:6379/0?queue=orders``. Options of the store may follow: ``&synchronous=normal``. It is
            closed at the exit of the process, and may be used after a fork.

    Raises:
        ValueError: the URL names no queue, or an option is unknown, or differs from that of the open store.
        TypeError: the URL is not a ``str``.
        StoreError: the file is on a network file system, or its folder is not there.
    """
    place = parse_queue(url)
    assert place.queue is not None
    found = _shared.get(place.key)
    if found is None:
        # Threads may race to here: all of them use the store that came first; the others have opened nothing.
        found = _shared.setdefault(place.key, (place, place.open()))
    former, store = found
    if former.options != place.options:
        raise ValueError(f"the store {place.shown} is open with other options: {former.options} and {place.options}")
    return store.queue(place.queue)


def as_queue(value: Any) -> Queue:
    """Return the queue of a setting: its URL, a callable that returns it, or the queue itself; raises `ValueError`."""
    if isinstance(value, str):
        return open_queue(value)
    from .queue import Queue

    queue = value() if callable(value) else value
    if not isinstance(queue, Queue):
        kind = f"a callable that returned {type(queue).__name__}" if callable(value) else type(queue).__name__
        raise ValueError(f"needed is a queue of a store, its URL, or a callable that returns it, not {kind}")
    return queue


def parse_queue(url: str) -> StorePlace:
    """Return the place of a queue; raises `ValueError` for a URL that names no queue, `TypeError` for no text."""
    if not isinstance(url, str):
        raise TypeError(f"a queue is named by a URL, a str such as {EXAMPLE!r}, not by {type(url).__name__}")
    if not url.startswith((SQLITE, *REDIS)):
        raise ValueError(f"the URL of a queue begins with sqlite:/// or redis://, such as {EXAMPLE!r}")
    place = parse_store(url)
    if not place.queue:
        raise ValueError(f"the URL names no queue: add ?queue=NAME, as in {EXAMPLE!r}")
    return place


def parse_store(text: str) -> StorePlace:
    """Return the place of a store, or of a queue in it.

    Args:
        text: a URL as of `open_queue`, whose ``queue`` may be missing; or the path of a file.

    Raises:
        ValueError: an option is unknown, or not usable; the message shows no password.
    """
    place = parse_place(text, "a store", _OF_FILE, _OF_REDIS)
    options = dict(place.options)
    queue = options.pop("queue", None)
    return StorePlace(place.where, place.is_redis, options, queue)
