"""What is to be reached, and whether it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .clients import BARE, OURS, OURS_BATCH, READER, TUNED
from .result import Result


@dataclass(frozen=True)
class Verdict:
    """One goal: ``value`` is to be ``bound`` at most, or at least."""

    what: str
    value: float
    bound: float
    at_most: bool = True
    unit: str = " x"

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def judge(results: Mapping[str, Result]) -> list[Verdict]:
    """A verdict for each goal that was measured."""
    return list(_verdicts(results))


def _verdicts(results: Mapping[str, Result]) -> Iterator[Verdict]:
    if (latency := results.get("latency")) is not None:
        bare = faster_bare(latency, "p50", at_most=True)
        yield from _against(latency, OURS, bare, "p50", f"blocking call, p50 against {bare}", 1.05)
        bare = faster_bare(latency, "cpu", at_most=True)
        yield from _against(latency, OURS, bare, "cpu", f"blocking call, CPU against {bare}", 1.1)
    if (flight := results.get("in_flight")) is not None:
        what = "1 000 in flight, calls/s against reader thread + Future"
        yield from _against(flight, OURS, READER, "rate", what, 1.8, at_most=False)
        yield from _against(flight, OURS_BATCH, READER, "rate", f"{what}, in a batch()", 2.4, at_most=False)
    if (events := results.get("events_in")) is not None:
        yield from _against(events, OURS, BARE, "rate", "events in, events/s against a bare loop", 1.0, at_most=False)
    if (out := results.get("events_out")) is not None:
        bare = faster_bare(out, "rate", at_most=False)
        yield from _against(
            out, OURS_BATCH, bare, "rate", f"events out in a batch(), against {bare}", 2.0, at_most=False
        )


def faster_bare(result: Result, key: str, *, at_most: bool) -> str:
    """Which of the two bare forms did better: ours is compared with that one."""
    stock, tuned = result.figure(BARE, key), result.figure(TUNED, key)
    if stock is None or tuned is None:
        return BARE
    return TUNED if (tuned < stock) is at_most else BARE


def _against(
    result: Result, row: str, other: str, key: str, what: str, bound: float, *, at_most: bool = True
) -> Iterator[Verdict]:
    ratio = result.ratio(row, other, key)
    if ratio is not None:
        yield Verdict(what, ratio, bound, at_most)
