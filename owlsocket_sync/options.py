"""What can be set, as frozen values that are checked once, when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from .values import ByFields

if TYPE_CHECKING:
    from random import Random

MIB = 1024 * 1024


@dataclass(frozen=True, eq=False, repr=False)
class Limits(ByFields):
    """How much may pile up before something is refused, slowed down or reported.

    Attributes:
        message_size: bytes of one message, either way; a larger one is refused (incoming: close code 1009).
        pending_calls: calls that wait for their answer at once; one more raises.
        inbox_messages: messages in the queue that nobody consumed yet; one more is dropped and reported.
        dispatch_messages: messages that were read and not yet handled; above it, reading pauses. While an answer is
            waited for it goes on a while, with up to 40 MiB of memory more. Broadcasts of a server that its client has
            yet to take are bounded by it too; one more is dropped and reported.
        dispatch_bytes: the same in bytes.
        json_depth: nesting of an incoming message; 1024 at most.
    """

    message_size: int = 16 * MIB
    pending_calls: int = 65_536
    inbox_messages: int = 100_000
    dispatch_messages: int = 10_000
    dispatch_bytes: int = 64 * MIB
    json_depth: int = 1024

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"Limits.{field.name} must be a whole number, 1 or more, not {value!r}")
        if self.json_depth > 1024:
            raise ValueError(f"Limits.json_depth must be 1024 or less, not {self.json_depth}")


@dataclass(frozen=True, eq=False, repr=False)
class Backoff(ByFields):
    """How long to wait before the next attempt to connect.

    Attributes:
        initial: seconds, the longest wait before the first attempt.
        factor: by how much the longest wait grows from attempt to attempt.
        cap: seconds that no wait exceeds.
        jitter: ``"full"`` draws each wait evenly between 0 and the longest, so that clients of a server that
            was restarted come back spread out; ``"none"`` waits the longest each time.
        max_attempts: after how many failures in a row to give up; ``None`` for never.
        healthy_after: seconds a link must have lived for the count to start anew.
    """

    initial: float = 0.5
    factor: float = 2.0
    cap: float = 30.0
    jitter: str = "full"
    max_attempts: int | None = None
    healthy_after: float = 10.0

    def __post_init__(self) -> None:
        _check_seconds("Backoff", initial=self.initial, cap=self.cap, healthy_after=self.healthy_after)
        if not (_is_number(self.factor) and self.factor >= 1):
            raise ValueError(f"Backoff.factor must be a number, 1 or more, not {self.factor!r}")
        if self.jitter not in ("full", "none"):
            raise ValueError(f"Backoff.jitter must be 'full' or 'none', not {self.jitter!r}")
        attempts = self.max_attempts
        if attempts is not None and (isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1):
            raise ValueError(f"Backoff.max_attempts must be None or a whole number, 1 or more, not {attempts!r}")

    def delay(self, attempt: int, dice: Random | None = None) -> float | None:
        """Seconds to wait before attempt number ``attempt`` (from 1); ``None`` to give up."""
        if self.max_attempts is not None and attempt > self.max_attempts:
            return None
        try:
            longest = min(self.cap, self.initial * float(self.factor) ** (attempt - 1))
        except OverflowError:
            longest = self.cap if self.initial else 0.0
        if self.jitter == "none":
            return longest
        import random  # not before a link is lost

        return longest * (dice or random).random()


@dataclass(frozen=True, eq=False, repr=False)
class Heartbeat(ByFields):
    """When a silent link is asked for a sign of life, and when it counts as dead.

    Attributes:
        interval: seconds of silence after which a ping is sent; any byte from the peer is a sign of life.
        timeout: seconds after that ping without a single byte, then the link is dead.
    """

    interval: float = 20.0
    timeout: float = 20.0

    def __post_init__(self) -> None:
        _check_seconds("Heartbeat", interval=self.interval, timeout=self.timeout)
        if self.interval == 0 or self.timeout == 0:
            raise ValueError("Heartbeat.interval and Heartbeat.timeout must be more than 0; None turns it off")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _check_seconds(owner: str, **values: float) -> None:
    for name, value in values.items():
        if not (_is_number(value) and 0 <= value < math.inf):
            raise ValueError(f"{owner}.{name} must be a number of seconds, 0 or more, not {value!r}")
