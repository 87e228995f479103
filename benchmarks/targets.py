"""The goals of the benchmarks, and whether they are met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .clients import BARE, GRPC, OURS, OURS_BATCH, READER, RPYC, SOCKETIO, TUNED, WEBSOCKETS
from .measures.crowd import ALONE
from .measures.imports import OURS as OURS_ALONE
from .measures.imports import OURS_CONNECT, WEBSOCKET
from .measures.typed import MANUAL, OURS_FROM_DICT
from .result import Result

TIMES = " x"
KIB = " KiB"
# Clients with request and response of their own; plain WebSocket clients have goals of their own.
PEERS = (READER, WEBSOCKETS, RPYC, SOCKETIO, GRPC)


@dataclass(frozen=True)
class Verdict:
    """One goal and its figure.

    Attributes:
        what: the goal in words.
        value: the measured figure.
        bound: the limit of the figure.
        at_most: whether the figure must be at most the bound; otherwise at least.
        unit: the unit of both.
    """

    what: str
    value: float
    bound: float
    at_most: bool = True
    unit: str = TIMES

    @property
    def met(self) -> bool:
        """Return whether the goal is met."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def judge(results: Mapping[str, Result]) -> list[Verdict]:
    """Return a verdict for each goal that was measured."""
    return [
        verdict
        for name, verdicts in _GOALS.items()
        if name in results
        for verdict in verdicts(results[name])
        if verdict
    ]


def _latency(result: Result) -> Iterator[Verdict | None]:
    for bare in (BARE, TUNED):
        yield _against(result, OURS, bare, "p50", f"blocking call: p50, to that of {bare}", 1.05)
        yield _against(result, OURS, bare, "cpu", f"blocking call: CPU, to that of {bare}", 1.1)
    for peer in PEERS:
        yield _against(result, OURS, peer, "p50", f"blocking call: p50, to that of {peer}", 1.0)


def _in_flight(result: Result) -> Iterator[Verdict | None]:
    for row, where, bound in ((OURS, "", 1.8), (OURS_BATCH, " in a batch()", 2.4)):
        what = f"calls in flight{where}: calls/s, to those of {READER}"
        yield _against(result, row, READER, "rate", what, bound, at_most=False)


def _events_in(result: Result) -> Iterator[Verdict | None]:
    what = f"events in through observe: events/s, to those of a recv loop of {BARE}"
    yield _against(result, OURS, BARE, "rate", what, 1.0, at_most=False)


def _events_out(result: Result) -> Iterator[Verdict | None]:
    for bare in (BARE, TUNED):
        what = f"notify in a batch(): events/s, to those of {bare}"
        yield _against(result, OURS_BATCH, bare, "rate", what, 2.0, at_most=False)


def _threads(result: Result) -> Iterator[Verdict | None]:
    rates = result.rows.get(OURS)
    if rates:
        counts = sorted(rates, key=int)
        what = f"{counts[0]} to {counts[-1]} calling threads"
        lost = min(rates[count] / max(rates[fewer] for fewer in counts[: at + 1]) for at, count in enumerate(counts))
        yield Verdict(f"{what}: calls/s, to the best of fewer", lost, 0.8, at_most=False)
        yield Verdict(
            f"{what}: least calls/s, to the most", min(rates.values()) / max(rates.values()), 0.8, at_most=False
        )


def _typed(result: Result) -> Iterator[Verdict | None]:
    for ours in (OURS, OURS_FROM_DICT):
        yield _against(result, ours, MANUAL, "cpu", f"typed result, {ours}: CPU, to that {MANUAL}", 1.3)


def _imports(result: Result) -> Iterator[Verdict | None]:
    for ours in (OURS_ALONE, OURS_CONNECT):
        yield _against(result, ours, WEBSOCKET, "import", f"{ours}: time, to that of {WEBSOCKET}", 1.25)


def _idle_memory(result: Result) -> Iterator[Verdict | None]:
    row = result.rows.get(OURS)
    if row:
        yield Verdict("idle connection: memory besides stacks", row["held"], 80.0, unit=KIB)
        yield Verdict("idle connection: threads", row["threads"], 1.0, unit="")


def _pending_memory(result: Result) -> Iterator[Verdict | None]:
    row = result.rows.get(OURS)
    if row:
        yield Verdict("pending call: memory", row["held"], 1.5, unit=KIB)


def _pending(result: Result) -> Iterator[Verdict | None]:
    yield _at_last(result, "cpu", "a call with {last} pending: CPU, to that with {first}", 1.2)
    yield _at_last(result, "p50", "a call with {last} pending: p50, to that with {first}", 1.2)


def _observed(result: Result) -> Iterator[Verdict | None]:
    yield _at_last(result, "cpu", "an event with {last} observed names: CPU, to that with {first}", 1.1)


def _queue(result: Result) -> Iterator[Verdict | None]:
    yield _at_last(result, "first", "consume() with {last} queued: time, to that with {first}", 1.5)
    yield _at_last(result, "match", "consume(filter), the first of {last} fits: time, to that of {first}", 1.5)
    yield _at_last(result, "each", "consume(filter) that skips {last}: time for each, to that with {first}", 1.5)


def _crowd(result: Result) -> Iterator[Verdict | None]:
    for row in result.rounds:
        if row != ALONE:
            yield _against(result, row, ALONE, "p50", f"a call {row}: p50, to that alone", 1.1)


def _broadcast(result: Result) -> Iterator[Verdict | None]:
    yield _against(result, OURS, WEBSOCKETS, "cpu", f"broadcast: CPU, to that of a loop of {WEBSOCKETS}", 1.0)
    yield _against(result, OURS, WEBSOCKETS, "ms", f"broadcast: time until all have it, to that of {WEBSOCKETS}", 1.0)
    row = result.rows.get(OURS)
    if row:
        yield Verdict("broadcast: threads that it starts", row["threads"], 0.0, unit="")


_GOALS = {
    "latency": _latency,
    "in_flight": _in_flight,
    "events_in": _events_in,
    "events_out": _events_out,
    "threads": _threads,
    "typed": _typed,
    "imports": _imports,
    "idle_memory": _idle_memory,
    "pending_memory": _pending_memory,
    "pending": _pending,
    "observed": _observed,
    "queue": _queue,
    "crowd": _crowd,
    "broadcast": _broadcast,
}


def _at_last(result: Result, key: str, what: str, bound: float) -> Verdict | None:
    """Return the verdict on the ratio of a figure between the largest level and the smallest."""
    # The rows are in the order of the levels, which are numbers.
    first, *_, last = result.rounds
    shown = {name: f"{int(level):,}".replace(",", " ") for name, level in (("first", first), ("last", last))}
    return _against(result, last, first, key, what.format(**shown), bound)


def _against(
    result: Result, row: str, other: str, key: str, what: str, bound: float, *, at_most: bool = True
) -> Verdict | None:
    ratio = result.ratio(row, other, key)
    return None if ratio is None else Verdict(what, ratio, bound, at_most)
