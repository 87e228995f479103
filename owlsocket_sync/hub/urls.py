"""Hubs by URL, as settings and command lines name them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..places import Options, Place, parse_place

if TYPE_CHECKING:
    from .hub import Hub

_OF_FILE: Options = {"maxlen": int, "busy_timeout": float}
_OF_REDIS: Options = {"prefix": str, "maxlen": int, "heartbeat": float}


def open_hub(url: str | os.PathLike[str]) -> Hub:
    """Return a hub of the place that a URL names, which is opened at its first use; each call returns another one.

    Args:
        url: a path, also a `pathlib.Path`, or ``sqlite:///hub.db``, with four slashes for an absolute path: a
            `SqliteHub`; or ``redis://localhost:6379/0``: a `RedisHub`. Options may follow:
            ``sqlite:///hub.db?maxlen=1000``. Other parameters are for the client of Redis.

    Raises:
        ValueError: the URL is none of these, or an option is unknown or not usable.
        TypeError: it is neither a text nor a path.
        StoreError: the file is on a network file system, or its folder is not there.
        SocketError: the extra ``redis`` is not installed.
    """
    place = parse_hub(url)
    if place.is_redis:
        from .redis import RedisHub

        return RedisHub(place.where, **place.options)
    from .sqlite import SqliteHub

    return SqliteHub(place.where, **place.options)


def parse_hub(url: str | os.PathLike[str]) -> Place:
    """Return the place of a hub; raises `ValueError` for any other URL."""
    return parse_place(url, "a hub", _OF_FILE, _OF_REDIS)
