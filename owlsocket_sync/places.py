"""Places by URL: a file or a Redis, as settings and command lines name stores, queues and hubs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from .urls import redact

SQLITE = "sqlite:"
REDIS = ("redis://", "rediss://", "redis+sentinel://", "valkey://", "valkeys://", "unix://")

Options = Mapping[str, Callable[[str], Any]]
"""The options of what is at a place: each with what reads its text, and raises `ValueError`."""


@dataclass(frozen=True)
class Place:
    """A file or a Redis.

    Attributes:
        where: the absolute path of the file, or the URL of the Redis.
        is_redis: which of the two.
        options: of what is there.
    """

    where: str = field(repr=False)  # the URL of a Redis has a password
    is_redis: bool
    options: Mapping[str, Any]

    @property
    def shown(self) -> str:
        """The place for people, without a password."""
        return redact(self.where) if self.is_redis else self.where


def parse_place(text: str | os.PathLike[str], what: str, of_file: Options, of_redis: Options) -> Place:
    """Return the place that a text names.

    Args:
        text: a path, as a text or an object; ``sqlite:///relative.db`` or ``sqlite:////absolute.db``; or the URL of
            a Redis. Options follow a URL: ``?maxlen=1000``. Other parameters are for the client of Redis.
        what: is there, for errors.
        of_file: the options of what is in a file.
        of_redis: the options of what is in a Redis.

    Raises:
        ValueError: it is none of these, or an option is unknown, or not usable; the message shows no password.
        TypeError: it is neither a text nor a path.
    """
    if isinstance(text, os.PathLike):
        return Place(os.path.abspath(os.fsdecode(text)), is_redis=False, options={})
    if not isinstance(text, str):
        taken = "a URL or a path, a str or an os.PathLike"
        raise TypeError(f"{what} is named by {taken}, not by {type(text).__name__}")
    if text.startswith(REDIS):
        options, others = _read(text, what, of_redis)
        # Not put together by `urllib`, which drops the slashes of unix:///run/redis.sock.
        where = text.partition("?")[0] + ("?" + urlencode(others) if others else "")
        return Place(where, is_redis=True, options=options)
    if text.startswith(SQLITE):
        options, others = _read(text, what, of_file)
        if others:
            known = ", ".join(sorted(of_file))
            raise ValueError(f"unknown option {next(iter(others))!r} of {what} in a file; known: {known}")
        parts = urlsplit(text)
        if parts.netloc or not parts.path.strip("/"):
            raise ValueError("the URL of a file is sqlite:///relative.db or sqlite:////absolute.db")
        return Place(os.path.abspath(unquote(parts.path)[1:]), is_redis=False, options=options)
    if "://" in text or not text:
        raise ValueError(f"{what} is named by a path, sqlite:/// or redis://, not by {text.partition('://')[0]!r}")
    return Place(os.path.abspath(text), is_redis=False, options={})


def _read(url: str, what: str, known: Options) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the options in a URL that are known, and the others."""
    parts = urlsplit(url)
    if parts.fragment:
        raise ValueError(f"the URL of {what} has no fragment: write # as %23")
    values = dict(parse_qsl(parts.query, keep_blank_values=True))
    options = {}
    for name, read in known.items():
        if name in values:
            try:
                options[name] = read(values.pop(name))
            except ValueError as error:
                raise ValueError(f"option {name!r} of {what}: {error}") from None
    return options, values
