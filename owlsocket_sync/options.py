"""Options as frozen values, validated once when they are constructed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from .callables import find_misfit
from .values import SHOWN_CHARACTERS, FieldwiseEq

if TYPE_CHECKING:
    from random import Random

MIB = 1024 * 1024


@dataclass(frozen=True, eq=False, repr=False)
class Limits(FieldwiseEq):
    """Bounds of memory; beyond a limit, messages are refused, delayed or reported.

    The memory of a received message is estimated from its text: it holds the text and what was parsed from it, which
    takes up to 40 times as much. The sizes of messages that are sent are those of their text.

    Attributes:
        message_size: bytes of one message, sent or received. A larger one is refused; a received one closes the link
            with code 1009.
        pending_calls: calls without an answer at the same time; one more raises.
        inbox_messages: messages in the queue that were not consumed; one more is dropped and reported.
        inbox_bytes: the memory of those messages; one that does not fit is dropped and reported. An empty queue takes
            a message of any size.
        dispatch_messages: messages that were read and not yet handled; reading pauses above it. While a call waits
            for its answer, reading goes on for a while, with up to 64 MiB more. The same number bounds the broadcasts
            that a server holds for a slow client; one more is dropped and reported.
        dispatch_bytes: the memory of the messages that were read and not yet handled; reading pauses above it.
        json_depth: the nesting of a message, sent or received; 1024 at most.
    """

    message_size: int = 16 * MIB
    pending_calls: int = 65_536
    inbox_messages: int = 100_000
    inbox_bytes: int = 64 * MIB
    dispatch_messages: int = 10_000
    dispatch_bytes: int = 64 * MIB
    json_depth: int = 1024

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not _is_count(value):
                raise ValueError(f"Limits.{field.name} must be a whole number, 1 or more, not {value!r}")
        # The parser accepts no more; a higher limit would promise what it does not keep.
        if self.json_depth > 1024:
            raise ValueError(f"Limits.json_depth must be 1024 or less, not {self.json_depth}")


@dataclass(frozen=True, eq=False, repr=False)
class Backoff(FieldwiseEq):
    """Delays between attempts to reconnect, with exponential growth.

    While a call waits for a link, attempts come earlier: once per ``initial``, up to twice as far apart with jitter.

    Attributes:
        initial: seconds, the longest delay before the first attempt.
        factor: the growth of the longest delay from attempt to attempt.
        cap: seconds, the longest delay of all.
        jitter: ``"full"`` draws each delay evenly between 0 and the longest, so that the clients of a restarted server
            do not all reconnect at once; ``"none"`` always waits for the longest.
        max_attempts: the number of consecutive failures after which the connection closes; ``None`` for no limit.
        healthy_after: seconds that a link must live before the attempts are counted from 1 again.
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
        if attempts is not None and not _is_count(attempts):
            raise ValueError(f"Backoff.max_attempts must be None or a whole number, 1 or more, not {attempts!r}")

    def delay(self, attempt: int, rng: Random | None = None) -> float | None:
        """Return the delay before an attempt, in seconds; ``None`` after the last one.

        Args:
            attempt: the number of the attempt, from 1.
            rng: the source of the jitter.
        """
        if self.max_attempts is not None and attempt > self.max_attempts:
            return None
        try:
            longest = min(self.cap, self.initial * float(self.factor) ** (attempt - 1))
        # A server may be down for days, and 2.0 ** 1024 overflows.
        except OverflowError:
            longest = self.cap if self.initial else 0.0
        if self.jitter == "none":
            return longest
        # Importing random seeds a generator: most connections are never lost, and do without it.
        import random

        return longest * (rng or random).random()


@dataclass(frozen=True, eq=False, repr=False)
class Heartbeat(FieldwiseEq):
    """Detection of dead links.

    Attributes:
        interval: seconds without a received byte after which a ping is sent.
        timeout: seconds after the ping without a received byte after which the link is lost.
    """

    interval: float = 20.0
    timeout: float = 20.0

    def __post_init__(self) -> None:
        _check_seconds("Heartbeat", interval=self.interval, timeout=self.timeout)
        if self.interval == 0 or self.timeout == 0:
            raise ValueError("Heartbeat.interval and Heartbeat.timeout must be more than 0; heartbeat=None disables it")


@dataclass(frozen=True, eq=False, repr=False)
class Deflate(FieldwiseEq):
    """Compression of messages: permessage-deflate (RFC 7692), where the peer agrees to it.

    Each message is deflated by itself: nothing of one message is kept for the next (no context takeover).

    Attributes:
        level: from 1, the fastest, to 9, the smallest.
        min_size: bytes; smaller messages are sent as they are.
        window_bits: the binary logarithm of the bytes in which repetitions are found, from 9 to 15. Small windows are
            slow.
    """

    level: int = 3
    min_size: int = 1024
    window_bits: int = 15

    def __post_init__(self) -> None:
        for field, least, most in (("level", 1, 9), ("window_bits", 9, 15)):
            value = getattr(self, field)
            if not (_is_count(value) and least <= value <= most):
                raise ValueError(f"Deflate.{field} must be a whole number from {least} to {most}, not {value!r}")
        if not (_is_count(self.min_size) or (self.min_size == 0 and type(self.min_size) is int)):
            raise ValueError(f"Deflate.min_size must be a whole number of bytes, 0 or more, not {self.min_size!r}")


def check_compression(value: object) -> Deflate | None:
    """Return the value of the option ``compression``, with the name of an algorithm replaced by its defaults.

    Raises:
        ValueError: it is not valid.
    """
    if value is None or isinstance(value, Deflate):
        return value
    if value == "deflate":
        return Deflate()
    # A class is the usual mistake.
    found = f"the class {value.__name__}" if isinstance(value, type) else repr(value)[:SHOWN_CHARACTERS]
    raise ValueError(f"compression must be 'deflate', a Deflate or None, not {found}")


def check_queue(option: str, queue: object) -> None:
    """Raise `ValueError` unless an option is a queue of a store, or ``None``."""
    # By what it does: the class is not loaded where nothing is stored.
    if queue is not None and not (hasattr(queue, "stored") and hasattr(queue, "get")):
        raise ValueError(f"{option} must be a queue of a store, such as store.queue(name), not {type(queue).__name__}")


def check_type(option: str, value: object, *types: type, optional: bool = False) -> None:
    """Raise `ValueError` unless an option has one of these types.

    Args:
        option: its name, for the error.
        value: its value; the error shows a number, and nothing that may be a secret.
        *types: the types that it may have.
        optional: ``None`` is valid, too.
    """
    if isinstance(value, types) or (optional and value is None):
        return
    name = " or ".join(kind.__name__ for kind in types)
    expected = f"{'an' if name.startswith(('SSL', 'A')) else 'a'} {name} or None" if optional else name
    if isinstance(value, type):
        # The usual mistake; "type" alone would not say so.
        found = f"the class {value.__name__}"
    else:
        found = repr(value) if isinstance(value, (int, float)) else type(value).__name__
    raise ValueError(f"{option} must be {expected}, not {found}")


def check_callable(option: str, value: object, parameters: str | None = None) -> None:
    """Raise `ValueError` unless an option is ``None``, or can be called with these parameters."""
    misfit = None if value is None else find_misfit(value, parameters)
    if misfit is not None:
        raise ValueError(f"{option} {misfit}")


def refuse_unknown(name: str, unknown: Iterable[str], function: Callable[..., Any]) -> None:
    """Raise `TypeError` if an option is unknown; the message has the nearest name that the function knows.

    Args:
        name: the name of the function, for the error.
        unknown: the names of the options that it does not know.
        function: its keyword arguments are the options that it knows.
    """
    for option in unknown:
        from difflib import get_close_matches

        known = sorted(function.__kwdefaults__ or ())
        nearest = get_close_matches(option, known, 1, 0.5)
        hint = f"did you mean {nearest[0]}=?" if nearest else f"it has {', '.join(known)}"
        raise TypeError(f"{name}() got an unexpected keyword argument {option!r}: {hint}")


def check_workers(workers: object) -> None:
    """Raise `ValueError` unless this is a number of workers: a whole number, 1 or more."""
    check_count("workers", workers)


def check_count(option: str, count: object) -> None:
    """Raise `ValueError` unless this is a number of things: a whole number, 1 or more."""
    if not _is_count(count):
        raise ValueError(f"{option} must be a whole number, 1 or more, not {count!r}")


def check_size(option: str, size: object) -> None:
    """Raise `ValueError` unless this is a number of bytes: a whole number, 1 or more."""
    if not _is_count(size):
        raise ValueError(f"{option} must be a whole number of bytes, 1 or more, not {size!r}")


def _is_count(value: object) -> bool:
    # True is an int to Python, and a mistake here.
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _check_seconds(owner: str, **values: float) -> None:
    for name, value in values.items():
        if not (_is_number(value) and 0 <= value < math.inf):
            raise ValueError(f"{owner}.{name} must be a number of seconds, 0 or more, not {value!r}")
