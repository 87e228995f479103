"""A bound for logs: one record for each kind of error and second, with the number of those that were left out."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from ..clock import monotonic

SECONDS = 1.0
MAX_KINDS = 256


class LogThrottle:
    """Decides which records are written.

    Threads: any; each step is one operation on a dictionary or a list, so no lock is needed, and a signal handler or a
    finalizer may log as well.
    """

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds: dict[Hashable, tuple[float, list[None]]] = {}

    def admit(self, kind: Hashable) -> int | None:
        """Return how many records of this kind were left out before this one; ``None`` to leave out this one, too."""
        # A peer may choose names, and with them kinds: what exceeds the bound is one kind.
        if kind not in self._kinds and len(self._kinds) >= MAX_KINDS:
            kind = None
        next_at, omitted = self._kinds.get(kind, (0.0, []))
        if monotonic() < next_at:
            omitted.append(None)
            return None
        self._kinds[kind] = (monotonic() + SECONDS, [])
        return len(omitted)

    def __bool__(self) -> bool:
        """Return whether records were left out, or may be soon."""
        return bool(self._kinds)

    def flush(self) -> Iterator[tuple[Hashable, int]]:
        """Yield the kinds with records that were left out, and their number."""
        kinds, self._kinds = self._kinds, {}
        yield from ((kind, len(omitted)) for kind, (_, omitted) in kinds.items() if omitted)


def omission(omitted: int) -> str:
    """Return the end of a record before which so many were left out."""
    return f" ({omitted} more like this)" if omitted else ""
