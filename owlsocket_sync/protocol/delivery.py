"""Deliveries, which consumers get from a queue: the message, and the answers that a durable queue expects for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ..deadline import check_timeout
from ..options import Backoff, check_type

RETRY_DELAY = Backoff(initial=1.0, factor=4.0, cap=60.0)
"""The delay of a message that was given back, by its attempts."""


class Consumed(NamedTuple):
    """A message taken from the queue; payload and id are ``None`` where a filter matched none."""

    payload: Any
    id: Any
    remaining: int


class Lease(Protocol):
    """The right to work on a message, and the ways to give it back; from any thread."""

    @property
    def answered(self) -> bool:
        """True once the message was acknowledged, given back or refused."""
        ...

    def ack(self) -> None:
        """Remove the message from its queue."""
        ...

    def nack(self, delay: float | None) -> None:
        """Give the message back, for another delivery after ``delay`` seconds."""
        ...

    def reject(self, reason: str) -> None:
        """Make the message a dead letter."""
        ...

    def extend(self, seconds: float) -> None:
        """Let the lease last for so many seconds from now on."""
        ...


class Delivery(Consumed):
    """A message of a durable queue, leased to the process that took it.

    It is the tuple ``(payload, id, remaining)``, and has to be answered once: by `ack`, `nack` or `reject`. The lease
    is renewed as long as its process lives and keeps this object. An object that is dropped without an answer leaves
    the message to others when ``visibility_timeout`` is over.

    Attributes:
        attempts: the number of deliveries, this one included; 1 for the first.
        lease: its lease; ``None`` for one that needs no answer.
    """

    attempts: int = 1
    lease: Lease | None = None

    def __new__(cls, payload: Any, id: Any, remaining: int, attempts: int = 1, lease: Lease | None = None) -> Delivery:
        """Make a delivery."""
        delivery = super().__new__(cls, payload, id, remaining)
        delivery.attempts = attempts
        delivery.lease = lease
        return delivery

    def __reduce__(self) -> tuple[Callable[..., Consumed], tuple[Any, ...]]:
        # Another process has no lease on it.
        return Consumed, tuple(self)

    @property
    def answered(self) -> bool:
        """True once it was acknowledged, given back or refused."""
        return self.lease is None or self.lease.answered

    def ack(self) -> None:
        """Acknowledge: the work is done, and the message is removed. A repetition does nothing.

        Raises:
            StoreError: it was given back or refused before.
        """
        if self.lease is not None:
            self.lease.ack()

    def nack(self, delay: float | None = None) -> None:
        """Give the message back.

        Args:
            delay: seconds until it may be delivered again; ``None`` for a delay that grows with its attempts.

        Raises:
            StoreError: it was answered before, or its lease has ended and it was delivered again.
        """
        if self.lease is not None:
            self.lease.nack(delay)

    def reject(self, reason: str = "") -> None:
        """Refuse the message: it becomes a dead letter, and is not delivered again.

        Args:
            reason: is kept with the dead letter.

        Raises:
            StoreError: as of `nack`.
        """
        if self.lease is not None:
            self.lease.reject(reason)

    def extend(self, seconds: float) -> None:
        """Let the lease last for at least so many seconds from now on.

        Raises:
            StoreError: as of `nack`.
        """
        if self.lease is not None:
            self.lease.extend(seconds)


@dataclass(frozen=True)
class Redelivery:
    """The rules for messages that are not acknowledged.

    Raises:
        ValueError: a value cannot be used; the message names it.

    Attributes:
        visibility_timeout: seconds after which a message is delivered again that this process forgot.
        max_attempts: a message that was delivered so often becomes a dead letter; ``None`` for no limit.
        retry_delay: the delays before the next delivery of a message that was given back.
    """

    visibility_timeout: float = 60.0
    max_attempts: int | None = 5
    retry_delay: Backoff = RETRY_DELAY

    def __post_init__(self) -> None:
        seconds, most = check_timeout(self.visibility_timeout, "visibility_timeout"), self.max_attempts
        if not 0 < seconds < math.inf:
            raise ValueError(f"visibility_timeout must be more than 0, and finite, not {self.visibility_timeout!r}")
        if most is not None and (type(most) is not int or most < 1):
            raise ValueError(f"max_attempts must be None or a whole number, 1 or more, not {most!r}")
        check_type("retry_delay", self.retry_delay, Backoff)
