"""Counters of one connection: the numbers that ``stats`` shows.

Threads: ``_counters_lock`` guards the counters and is a leaf. The size of each message is appended to a list, in one
step, and added up in bulk by the thread that finds the list long; so the numbers are exact, whichever threads receive.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

UNCOUNTED = 64
"""The length of a list from which on it is added up."""

NAMES = (
    *("messages_in", "messages_out", "bytes_in", "bytes_out", "wire_bytes_in", "wire_bytes_out"),
    *("malformed", "unmatched", "dropped"),
)
PLACES = {name: place for place, name in enumerate(NAMES)}
MESSAGES_IN, MESSAGES_OUT, BYTES_IN, BYTES_OUT, WIRE_BYTES_IN, WIRE_BYTES_OUT = range(6)


class Counters:
    """Counts what one connection has seen.

    Args:
        counters_lock: guards the counters; the backlog shares it.
        counts_wire: `count_wire` is called for each message; else its frames have as many bytes as its text.

    Attributes:
        sizes_in: bytes of messages that arrived and were not added up yet; append, and `flush` above `UNCOUNTED`.
        sizes_out: the same of messages that were sent.
    """

    __slots__ = ("_counters_lock", "_counts_wire", "_flushes", "_totals", "sizes_in", "sizes_out")

    def __init__(self, counters_lock: AbstractContextManager[object], *, counts_wire: bool = False) -> None:
        self._counters_lock = counters_lock
        self._counts_wire = counts_wire
        self._flushes = 0
        self._totals = [0] * len(NAMES)
        self.sizes_in: list[int] = []
        self.sizes_out: list[int] = []

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter."""
        with self._counters_lock:
            self._totals[PLACES[name]] += by

    def count_all_sent(self, messages: int, size: int) -> None:
        """Count messages that were sent together."""
        with self._counters_lock:
            self._totals[MESSAGES_OUT] += messages
            self._totals[BYTES_OUT] += size

    def count_wire(self, received: int, sent: int) -> None:
        """Count the bytes of the payloads of frames, on a connection that may compress messages."""
        with self._counters_lock:
            totals = self._totals
            totals[WIRE_BYTES_IN] += received
            totals[WIRE_BYTES_OUT] += sent

    def flush(self) -> None:
        """Add up what is on the lists."""
        with self._counters_lock:
            totals = self._totals
            for messages, size, sizes in (
                (MESSAGES_IN, BYTES_IN, self.sizes_in),
                (MESSAGES_OUT, BYTES_OUT, self.sizes_out),
            ):
                while sizes:
                    flushes, count = self._flushes, len(sizes)
                    # Only what was added up is removed: other threads append behind it without the lock.
                    front, total = slice(count), sum(sizes[:count])
                    # No call from here on, and so no interrupt: a signal handler or a finalizer may flush as well.
                    if flushes == self._flushes:
                        totals[messages] += count
                        totals[size] += total
                        del sizes[front]
                        self._flushes = flushes + 1

    def totals(self) -> dict[str, int]:
        """Return all counters, as of now."""
        self.flush()
        with self._counters_lock:
            totals = dict(zip(NAMES, self._totals, strict=True))
        if not self._counts_wire:
            totals["wire_bytes_in"], totals["wire_bytes_out"] = totals["bytes_in"], totals["bytes_out"]
        return totals
