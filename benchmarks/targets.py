"""The goals of the benchmarks, and whether they are met.

Peers are held against in their fastest form: websocket-client "tuned" checks no UTF-8 and takes no locks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from .affinity import FREE, ONE_CORE
from .clients import GRPC, OURS, OURS_BATCH, READER_TUNED, RPYC, SOCKETIO, TUNED, WEBSOCKETS
from .measures.crowd import ALONE
from .measures.durable import FULL, HUEY, MANY, PERSIST
from .measures.durable_links import FULL as LINKED
from .measures.durable_links import MANY as LINKED_MANY
from .measures.durable_links import PLAIN as UNSTORED
from .measures.hub import SOCKETIO as HUB_PEER
from .measures.imports import OURS as OURS_ALONE
from .measures.imports import OURS_CONNECT, WEBSOCKET
from .measures.server import CROWD, SLEEPING
from .measures.typed import MANUAL, OURS_FROM_DICT
from .result import Result
from .scale import MIB

TIMES = " x"
KIB, MICROS, MILLIS, NANOS = " KiB", " µs", " ms", " ns"
# Clients with request and response of their own; plain WebSocket clients have goals of their own.
PEERS = (READER_TUNED, WEBSOCKETS, RPYC, SOCKETIO, GRPC)


@dataclass(frozen=True)
class Verdict:
    """One goal and its figure.

    Attributes:
        what: the goal in words.
        value: the measured figure; ``None`` if it, or the one that it is held against, was not measured.
        bound: the limit of the figure.
        at_most: whether the figure must be at most the bound; otherwise at least.
        unit: the unit of both.
        regime: of `benchmarks.affinity`.
    """

    what: str
    value: float | None
    bound: float
    at_most: bool = True
    unit: str = TIMES
    regime: str = FREE

    @property
    def met(self) -> bool:
        """Return whether the goal is met."""
        if self.value is None:
            return False
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    @property
    def outcome(self) -> str:
        """Return that the goal is met, or by how much it is missed."""
        if self.value is None:
            return "not measured"
        if self.met:
            return "met"
        if not self.bound:
            return f"missed by {self.value:.2g}{self.unit}"
        return f"missed by {abs(self.value / self.bound - 1) * 100:.0f} %"


def judge(results: Mapping[str, Result]) -> list[Verdict]:
    """Return a verdict for each goal of what was measured, in each regime."""
    return [
        replace(verdict, regime=result.regime)
        for key, result in results.items()
        for verdict in _GOALS.get(key.partition(",")[0], _no_goals)(result)
    ]


def _no_goals(result: Result) -> Iterator[Verdict]:
    yield from ()


def _latency(result: Result) -> Iterator[Verdict]:
    bound = 0.95 if result.regime == ONE_CORE else 1.0
    yield _against(result, OURS, TUNED, "p50", f"blocking call: p50, to that of {TUNED}", bound)
    for peer in PEERS:
        yield _against(result, OURS, peer, "p50", f"blocking call: p50, to that of {peer}", 1.0)


def _in_flight(result: Result) -> Iterator[Verdict]:
    for row, where, bound in ((OURS, "", 2.2), (OURS_BATCH, " in a batch()", 3.4)):
        what = f"calls in flight{where}: calls/s, to those of {READER_TUNED}"
        yield _against(result, row, READER_TUNED, "rate", what, bound, at_most=False)
    what = f"calls in flight: calls/s, to those of {WEBSOCKETS}, in order"
    yield _against(result, OURS, WEBSOCKETS, "rate", what, 1.3, at_most=False)


def _events_in(result: Result) -> Iterator[Verdict]:
    what = f"events in through observe: events/s, to those of a recv loop of {WEBSOCKETS}"
    yield _against(result, OURS, WEBSOCKETS, "rate", what, 1.1, at_most=False)


def _events_out(result: Result) -> Iterator[Verdict]:
    for row, where, bound in ((OURS, "one each", 1.2), (OURS_BATCH, "in a batch()", 4.0)):
        yield _against(
            result, row, TUNED, "rate", f"notify, {where}: events/s, to those of {TUNED}", bound, at_most=False
        )


def _wake(result: Result) -> Iterator[Verdict]:
    for key, what, bound in (("idle", "on an idle link", 1.5), ("row", "1 to 5 ms after a row of calls", 3.0)):
        yield _against(result, OURS, READER_TUNED, key, f"an event {what}: p50, to that of {READER_TUNED}", bound)
    yield _figure(result, "row_p95", "an event 1 to 5 ms after a row of calls: p95", 250.0, MICROS)


def _connecting(result: Result) -> Iterator[Verdict]:
    yield _against(result, OURS, TUNED, "p50", f"connect, call, close: p50, to that of {TUNED}", 1.3)


def _connecting_tls(result: Result) -> Iterator[Verdict]:
    yield _against(result, OURS, TUNED, "p50", f"connect, call, close over TLS: p50, to that of {TUNED}", 1.2)


def _server(result: Result) -> Iterator[Verdict]:
    for key in result.columns:
        if key.startswith("cpu_"):
            yield _figure(result, key, f"server: CPU of an echo call, clients: {key[4:]}", 12.0, MICROS)


def _server_sleeping(result: Result) -> Iterator[Verdict]:
    what = f"server, handlers that sleep 5 ms: calls/s, to those of {WEBSOCKETS}"
    yield _against(result, OURS, WEBSOCKETS, f"rate_{SLEEPING}", what, 0.95, at_most=False)


def _server_idle(result: Result) -> Iterator[Verdict]:
    yield _figure(result, "held", "server, an idle client: private memory", 15.0, KIB)
    yield _figure(result, "descriptors", "server, an idle client: descriptors", 1.0, "")
    yield _figure(result, "threads", "server, an idle client: threads", 0.0, "")
    yield _figure(result, "rate", "server: connects/s", 3000.0, "", at_most=False)


def _server_limit(result: Result) -> Iterator[Verdict]:
    yield _figure(result, "served", "server with 1024 descriptors: clients served", CROWD, "", at_most=False)


def _one_way(result: Result) -> Iterator[Verdict]:
    for size, way, bound in ((16, "up", 1.0), (1, "up", 0.9), (16, "down", 0.9)):
        what = f"{size} MiB {way}: MB/s, to those of {WEBSOCKETS}"
        yield _against(result, OURS, WEBSOCKETS, f"{way}_{size * MIB}", what, bound, at_most=False)
    yield _figure(result, f"cpu_up_{16 * MIB}", "16 MiB up: CPU for each byte", 0.8, NANOS)


def _threads(result: Result) -> Iterator[Verdict]:
    rates = result.rows.get(OURS)
    if rates:
        counts = sorted(rates, key=int)
        what = f"{counts[0]} to {counts[-1]} calling threads"
        lost = min(rates[count] / max(rates[fewer] for fewer in counts[: at + 1]) for at, count in enumerate(counts))
        yield Verdict(f"{what}: calls/s, to the best of fewer", lost, 0.8, at_most=False)
        yield Verdict(
            f"{what}: least calls/s, to the most", min(rates.values()) / max(rates.values()), 0.8, at_most=False
        )


def _typed(result: Result) -> Iterator[Verdict]:
    for ours in (OURS, OURS_FROM_DICT):
        yield _against(result, ours, MANUAL, "cpu", f"typed result, {ours}: CPU, to that {MANUAL}", 1.3)


def _imports(result: Result) -> Iterator[Verdict]:
    for ours in (OURS_ALONE, OURS_CONNECT):
        yield _against(result, ours, WEBSOCKET, "import", f"{ours}: time, to that of {WEBSOCKET}", 1.25)


def _idle_memory(result: Result) -> Iterator[Verdict]:
    yield _figure(result, "held", "idle connection: memory besides stacks", 20.0, KIB)
    yield _figure(result, "threads", "idle connection: threads", 0.0, "")
    yield _figure(result, "descriptors", "idle connection: descriptors", 1.0, "")


def _pending_memory(result: Result) -> Iterator[Verdict]:
    yield _figure(result, "held", "pending call: memory", 1.5, KIB)


def _pending(result: Result) -> Iterator[Verdict]:
    yield _at_last(result, "cpu", "a call with {last} pending: CPU, to that with {first}", 1.2)
    yield _at_last(result, "p50", "a call with {last} pending: p50, to that with {first}", 1.2)


def _observed(result: Result) -> Iterator[Verdict]:
    yield _at_last(result, "cpu", "an event with {last} observed names: CPU, to that with {first}", 1.1)


def _queue(result: Result) -> Iterator[Verdict]:
    yield _at_last(result, "first", "consume() with {last} queued: time, to that with {first}", 1.5)
    yield _at_last(result, "match", "consume(filter), the first of {last} fits: time, to that of {first}", 1.5)
    yield _at_last(result, "each", "consume(filter) that skips {last}: time for each, to that with {first}", 1.5)


def _crowd(result: Result) -> Iterator[Verdict]:
    for row in result.rounds:
        if row != ALONE:
            yield _against(result, row, ALONE, "p50", f"a call {row}: p50, to that alone", 1.1)


def _broadcast(result: Result) -> Iterator[Verdict]:
    yield _figure(result, "ms", "broadcast to 1 000 clients: time until all have it", 15.0, MILLIS)
    yield _figure(result, "cpu", "broadcast: CPU for each client", 10.0, MICROS)
    yield _figure(result, "threads", "broadcast: threads that it starts", 0.0, "")


def _durable(result: Result) -> Iterator[Verdict]:
    for peer in (PERSIST, HUEY):
        yield _against(result, FULL, peer, "both", f"durable queue: put and take, to that of {peer}", 0.67)
        yield _against(result, MANY, peer, "put", f"durable queue, 64 put together: each, to one of {peer}", 0.1)


def _durable_waits(result: Result) -> Iterator[Verdict]:
    what = "durable queue beside a process that puts without a pause: second longest wait"
    yield Verdict(what, result.figure(FULL, "worst"), 50.0, unit=MILLIS)


def _hub(result: Result) -> Iterator[Verdict]:
    for key, what in (("ms", "time until all have it"), ("cpu", "CPU of the servers")):
        yield _against(result, OURS, HUB_PEER, key, f"hub over Redis: {what}, to that of python-socketio", 0.5)
    yield Verdict(
        "hub over Redis: a call to a client of another process", result.figure(OURS, "call"), 1.0, unit=MILLIS
    )


def _durable_links(result: Result) -> Iterator[Verdict]:
    for row in (LINKED, LINKED_MANY):
        yield _against(result, row, UNSTORED, "rate", f"{row}: messages/s, to those without", 0.5, at_most=False)


_GOALS: dict[str, Callable[[Result], Iterator[Verdict]]] = {
    "latency": _latency,
    "in_flight": _in_flight,
    "events_in": _events_in,
    "events_out": _events_out,
    "wake": _wake,
    "connecting": _connecting,
    "connecting_tls": _connecting_tls,
    "server": _server,
    "server_sleeping": _server_sleeping,
    "server_idle": _server_idle,
    "server_limit": _server_limit,
    "one_way": _one_way,
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
    "durable": _durable,
    "durable_waits": _durable_waits,
    "hub": _hub,
    "durable_links": _durable_links,
}


def _at_last(result: Result, key: str, what: str, bound: float) -> Verdict:
    """Return the verdict on the ratio of a figure between the largest level and the smallest."""
    if len(result.rounds) < 2:
        return Verdict(what.format(first="few", last="many"), None, bound)
    # The rows are in the order of the levels, which are numbers.
    first, *_, last = result.rounds
    shown = {name: f"{int(level):,}".replace(",", " ") for name, level in (("first", first), ("last", last))}
    return _against(result, last, first, key, what.format(**shown), bound)


def _against(
    result: Result, row: str, other: str, key: str, what: str, bound: float, *, at_most: bool = True
) -> Verdict:
    ratio = result.ratio(row, other, key)
    return Verdict(what, ratio, bound, at_most)


def _figure(result: Result, key: str, what: str, bound: float, unit: str, *, at_most: bool = True) -> Verdict:
    """Return the verdict on a figure of ours by itself."""
    value = result.figure(OURS, key)
    return Verdict(what, value, bound, at_most, unit)
