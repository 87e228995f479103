"""Hubs by URL, as settings and command lines name them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

if TYPE_CHECKING:
    from .hub import Hub

SQLITE = "sqlite"
REDIS = frozenset(("redis", "rediss", "redis+sentinel", "valkey", "valkeys", "unix"))

_SQLITE_OPTIONS: dict[str, Callable[[str], Any]] = {"maxlen": int, "busy_timeout": float}
_REDIS_OPTIONS: dict[str, Callable[[str], Any]] = {"prefix": str, "maxlen": int, "heartbeat": float}


def open_hub(url: str) -> Hub:
    """Return a hub of the place that a URL names, which is opened at its first use; each call returns another one.

    Args:
        url: the path of a file, or ``sqlite:///hub.db``, with four slashes for an absolute path: a `SqliteHub`; or
            ``redis://localhost:6379/0``: a `RedisHub`. Options may follow: ``sqlite:///hub.db?maxlen=1000``. What is no
            option of the hub is for the client of Redis.

    Raises:
        ValueError: the URL is none of these, or an option is unknown or not usable.
        StoreError: the file is on a network file system, or its folder is not there.
        SocketError: the extra ``redis`` is not installed.
    """
    path = sqlite_path(url)
    if path is not None:
        from .sqlite import SqliteHub

        return SqliteHub(path, **_options(url, _SQLITE_OPTIONS)[0])
    from .redis import RedisHub

    options, others = _options(url, _REDIS_OPTIONS)
    # Not put together by `urllib`, which drops the slashes of unix:///run/redis.sock.
    where = url.partition("?")[0] + ("?" + urlencode(others) if others else "")
    return RedisHub(where, **options)


def sqlite_path(url: str) -> str | None:
    """Return the path of the file that a URL names, ``None`` for a Redis; raises `ValueError` for any other URL."""
    scheme, colon, rest = url.partition(":")
    if colon and scheme in REDIS and rest.startswith("//"):
        return None
    if not colon or scheme != SQLITE:
        if "://" in url or not url:
            raise ValueError(f"a hub is named by a path, sqlite:/// or redis://, not by {scheme + colon!r}")
        return url
    parts = urlsplit(url)
    if parts.netloc or not parts.path.strip("/") or parts.fragment:
        raise ValueError("the URL of a file is sqlite:///relative.db or sqlite:////absolute.db, and # in it is %23")
    return unquote(parts.path)[1:]


def _options(url: str, known: Mapping[str, Callable[[str], Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the options of the hub in a URL, and those of others."""
    if not url.startswith((f"{SQLITE}:", *(f"{scheme}:" for scheme in REDIS))):
        return {}, {}
    values = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    options = {}
    for name, read in known.items():
        if name in values:
            try:
                options[name] = read(values.pop(name))
            except ValueError as error:
                raise ValueError(f"the option {name!r} of a hub: {error}") from None
    if values and known is _SQLITE_OPTIONS:
        raise ValueError(f"unknown option {next(iter(values))!r} of a hub in a file; known: {', '.join(sorted(known))}")
    return options, values
