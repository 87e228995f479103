"""Finds every lock that a connection, its link and its threads work with, by walking through them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from types import MethodType
from typing import Any

from owlsocket_sync.locks import Condition

LOCKS = (type(threading.Lock()), type(threading.RLock()), Condition)


def locks_of(root: object) -> dict[str, Any]:
    """The locks by the path that leads to them; conditions count, and their locks with them."""
    found: dict[str, Any] = {}
    seen = {id(root)}
    waiting: list[tuple[str, object]] = [("", root)]
    while waiting:
        path, owner = waiting.pop(0)
        if isinstance(owner, LOCKS):
            found[path] = owner
            continue
        for name, part in _parts(owner):
            if id(part) not in seen:
                seen.add(id(part))
                waiting.append((f"{path}.{name}".lstrip("."), part))
    return _without_twins(found)


def _without_twins(found: dict[str, Any]) -> dict[str, Any]:
    """One of the conditions that share a lock is enough."""
    by_lock = {id(getattr(lock, "_lock", lock)): path for path, lock in reversed(found.items())}
    return {path: lock for path, lock in found.items() if path in by_lock.values()}


def _parts(owner: object) -> Iterator[tuple[str, object]]:
    if isinstance(owner, MethodType):
        yield "self", owner.__self__
    elif isinstance(owner, partial):
        yield "function", owner.func
    elif isinstance(owner, tuple):
        yield from ((str(place), part) for place, part in enumerate(owner))
    elif type(owner).__module__.startswith("owlsocket_sync"):
        for kind in reversed(type(owner).__mro__):
            for name in getattr(kind, "__slots__", ()):
                if hasattr(owner, name):
                    yield name, getattr(owner, name)
        yield from getattr(owner, "__dict__", {}).items()
