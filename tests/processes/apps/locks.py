"""Finds every lock that a connection, its link and its threads work with, by walking through them.

But that of websocket-client's buffer: the reader holds it all the time, so every fork is one while it is held.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from types import MethodType
from typing import Any

import websocket

LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition)


def locks_of(root: object) -> dict[str, Any]:
    """The locks by the path that leads to them; conditions count, and their locks with them."""
    found: dict[str, Any] = {}
    seen = {id(root)}
    waiting: list[tuple[str, object]] = [("", root)]
    while waiting:
        path, one = waiting.pop(0)
        if isinstance(one, LOCKS):
            found[path] = one
            continue
        for name, part in _parts(one):
            if id(part) not in seen:
                seen.add(id(part))
                waiting.append((f"{path}.{name}".lstrip("."), part))
    return _without_twins(found)


def _without_twins(found: dict[str, Any]) -> dict[str, Any]:
    """One of the conditions that share a lock is enough."""
    by_lock = {id(getattr(one, "_lock", one)): path for path, one in reversed(found.items())}
    return {path: one for path, one in found.items() if path in by_lock.values()}


def _parts(one: object) -> Iterator[tuple[str, object]]:
    if isinstance(one, MethodType):
        yield "self", one.__self__
    elif isinstance(one, partial):
        yield "function", one.func
    elif isinstance(one, tuple):
        yield from ((str(place), part) for place, part in enumerate(one))
    elif type(one).__module__.startswith("owlsocket_sync") and not isinstance(one, websocket.frame_buffer):
        for kind in type(one).__mro__:
            for name in getattr(kind, "__slots__", ()):
                if hasattr(one, name):
                    yield name, getattr(one, name)
        yield from getattr(one, "__dict__", {}).items()
