"""Stores and queues by URL, as settings and command lines name them.

Threads: any. The table of stores is only added to, in one step of the interpreter; a forked child uses the entries of
its parent, as each store parts from it by itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from ..urls import redact

if TYPE_CHECKING:
    from .base import Store
    from .queue import Queue

SQLITE = "sqlite:"
REDIS = ("redis://", "rediss://", "valkey://", "valkeys://", "unix://")
EXAMPLE = "sqlite:////var/lib/shop/queue.db?queue=orders"


def _one_of(*words: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return text

    return check


_LIMITS: dict[str, Callable[[str], Any]] = {"max_messages": int, "max_bytes": int}
_SQLITE_OPTIONS: dict[str, Callable[[str], Any]] = {
    **_LIMITS,
    "synchronous": _one_of("full", "normal"),
    "busy_timeout": float,
    "on_corrupt": _one_of("raise", "quarantine"),
}
_REDIS_OPTIONS: dict[str, Callable[[str], Any]] = {**_LIMITS, "prefix": str, "replicas": int}


@dataclass(frozen=True)
class StorePlace:
    """The place of a store.

    Attributes:
        where: the path of its file, or the URL of its Redis.
        is_redis: which of the two.
        options: of the store.
        queue: the name of a queue there; ``None`` for the store itself.
    """

    where: str = field(repr=False)  # the URL of a Redis has a password
    is_redis: bool
    options: Mapping[str, Any]
    queue: str | None

    @property
    def key(self) -> tuple[str, str]:
        """The key of the store among those of this process."""
        return self.where, self.options.get("prefix", "")

    @property
    def shown(self) -> str:
        """The place for people, without a password."""
        return redact(self.where) if self.is_redis else self.where

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
    """Return the place of a queue; raises `ValueError` for a URL that names no queue."""
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
    if not text.startswith((SQLITE, *REDIS)):
        return StorePlace(os.path.abspath(text), is_redis=False, options={}, queue=None)
    parts = urlsplit(text)
    values = dict(parse_qsl(parts.query, keep_blank_values=True))
    queue, is_redis = values.pop("queue", None), parts.scheme != "sqlite"
    if parts.fragment:
        raise ValueError("the URL of a store has no fragment: write # as %23")
    known = _REDIS_OPTIONS if is_redis else _SQLITE_OPTIONS
    options = {name: _read(name, values.pop(name), read) for name, read in known.items() if name in values}
    if is_redis:  # what is left is for redis-py
        where = urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(values), ""))
        return StorePlace(where, is_redis=True, options=options, queue=queue)
    if values:
        raise ValueError(f"unknown option {next(iter(values))!r} of a store; known: queue, {', '.join(sorted(known))}")
    if parts.netloc or not parts.path.strip("/"):
        raise ValueError("the URL of a file is sqlite:///relative.db or sqlite:////absolute.db")
    path = unquote(parts.path)[1:]
    return StorePlace(os.path.abspath(path), is_redis=False, options=options, queue=queue)


def _read(name: str, text: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise ValueError(f"option {name!r} of a store: {error}") from None
