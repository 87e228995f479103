"""The pause before an attempt to reconnect: how long it is, and its line in the log."""

from __future__ import annotations

import logging
import math

from ..clock import monotonic
from ..errors.safe_text import logger, safe_str
from ..options import Backoff
from ..states import CloseInfo
from ..values import escape_for_log

STAMPEDE_CODES = frozenset({1001, 1012, 1013})


class ReconnectSchedule:
    """The moments of the attempts to connect: each after a backoff, and earlier ones for threads that wait for a link.

    Early attempts are at least ``Backoff.initial`` apart, and not earlier than the server asked for. If one fails, the
    backoff goes on: it neither grows sooner, nor are ``Backoff.max_attempts`` used up sooner.

    Threads: the reader only.

    Args:
        backoff: the delays between attempts; ``None`` never reconnects.

    Attributes:
        failures: the number of failures in a row.
    """

    __slots__ = ("_backoff", "_due_at", "_early_at", "failures")

    def __init__(self, backoff: Backoff | None) -> None:
        self._backoff = backoff
        self.failures = 0
        self._due_at = self._early_at = -math.inf

    def plan(self, info: CloseInfo | None, error: Exception | None, *, was_open: bool, was_healthy: bool) -> bool:
        """Plan the attempt that follows; return false if there is none.

        Args:
            info: the end of a link that was there, or ``None``.
            error: the failure of the attempt, or of the link; its ``retry_after`` is the least of the pause.
            was_open: a link opened, and has ended.
            was_healthy: it was open for long enough to start a new series of attempts.
        """
        now, backoff = monotonic(), self._backoff
        was_early = not was_open and now < self._due_at
        if not was_early:
            self.failures = 1 if was_healthy else self.failures + 1
        delay = backoff.delay(self.failures) if backoff else None
        if backoff is None or delay is None:
            return False
        least = _least_pause(backoff, info, error)
        self._due_at = max(self._due_at if was_early else now + delay, now + least)
        self._early_at = now + max(least, _early_pause(backoff))
        return True

    def seconds_left(self, is_awaited: bool = False) -> float:
        """Return the seconds to the next attempt.

        Args:
            is_awaited: a thread or a call waits for a link.
        """
        at = min(self._due_at, self._early_at) if is_awaited else self._due_at
        return max(0.0, at - monotonic())


def _least_pause(backoff: Backoff, info: CloseInfo | None, error: Exception | None) -> float:
    """Return the seconds of the pause that the server asked for."""
    asked: float | None = getattr(error, "retry_after", None)
    if asked is None and (info is None or info.code not in STAMPEDE_CODES):
        return 0.0
    import random

    # A server that restarts, or asks for a pause, does so to all clients at once: jitter keeps them from coming back at
    # once.
    return (asked or 0.0) + random.uniform(0.0, backoff.initial * backoff.factor)


def _early_pause(backoff: Backoff) -> float:
    if backoff.jitter == "none":
        return backoff.initial
    import random

    # Drawn as well: the clients of a restarted server have threads that wait, all of them.
    return backoff.initial * (1 + random.random())


class AttemptLog:
    """Logs when a connection tries again, and why: as a warning only the first failed attempt in a row.

    Args:
        name: of the connection.
    """

    __slots__ = ("_failing", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._failing = False

    def log(self, url: str, failures: int, delay: float, error: Exception | None, *, failed: bool) -> None:
        """Log the pause before the next attempt; ``failed`` is false after the loss of a link."""
        level = logging.WARNING if failed and not self._failing else logging.DEBUG
        self._failing = failed
        if not logger.isEnabledFor(level):
            return
        fields = {
            "owlsocket_connection": self._name,
            "owlsocket_url": url,
            "owlsocket_attempt": failures,
            "owlsocket_delay": delay,
            "owlsocket_error": None if error is None else type(error).__name__,
        }
        why = f" ({escape_for_log(safe_str(error))})" if error else ""
        logger.log(level, "%s: next attempt in %.2f s%s", self._name, delay, why, extra=fields)
