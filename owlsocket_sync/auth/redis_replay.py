"""`RedisReplayStore`: used one-time tokens in a Redis, so that each is accepted once by all processes that share it.

A command is repeated where its answer was lost. Then the key may be there already, by this very use of the token: so
its value names the use.

Threads: any; see `owlsocket_sync.redis.link`.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ..clock import wall_time
from ..errors import AuthError, SocketError
from ..redis.link import RedisLink

PATIENCE = 5.0
"""Seconds for which a use is tried while Redis does not answer; a client waits for it."""
SLACK = 60.0
"""Seconds for which a key is kept longer: the clocks of the processes may differ."""
LONGEST = 1e9
"""Seconds for which a key is kept at most: thirty years."""


class _ReplayLink(RedisLink):
    """The link of a replay store to its Redis."""

    what = "the replay store"


class RedisReplayStore:
    """A `ReplayStore` in a Redis. A context manager.

    Its keys are ``PREFIX-auth_cache:KEY``, as those of the cache of an OwlMeans service. While Redis does not answer,
    or has no room, no token is accepted: `use_once` raises an `owlsocket_sync.AuthError`.

    Args:
        url_or_client: where Redis is, as of `owlsocket_sync.stores.RedisStore`.
        prefix: of all keys.
        now: clock, seconds since the epoch.
    """

    def __init__(self, url_or_client: Any, *, prefix: str = "owlsocket", now: Callable[[], float] = wall_time) -> None:
        if not isinstance(prefix, str) or not prefix:
            raise ValueError(f"prefix must be a text that is not empty, not {prefix!r}")
        self._link = _ReplayLink(url_or_client, type(self).__name__)
        self._prefix = prefix
        self._now = now

    def use_once(self, key: str, expires_at: float) -> bool:
        """Record a key; return false if it was recorded before. Any thread.

        Raises:
            AuthError: Redis did not answer in time, or refused it.
        """
        name, mark = f"{self._prefix}-auth_cache:{key}", secrets.token_hex(8)
        value = json.dumps({"id": key, "use": mark}, separators=(",", ":"))
        seconds = math.ceil(min(max(0.0, expires_at - self._now()), LONGEST) + SLACK)
        tries = 0

        def record() -> bool:
            nonlocal tries
            tries += 1
            client = self._link.client
            if client.execute_command("SET", name, value, "NX", "EX", seconds) is not None:
                return True
            return tries > 1 and client.execute_command("GET", name) == value.encode()

        try:
            return self._link.patiently(record, None, PATIENCE)
        except SocketError as error:
            raise AuthError(f"one-time tokens cannot be checked now: {error}") from error

    def close(self) -> None:
        """Close the connections to Redis."""
        self._link.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._link.place}>"

    def __enter__(self) -> RedisReplayStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
