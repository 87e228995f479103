"""Round trips over time: a log that pings or records, and its plot.

``stats.latency`` is the last round trip only. A log is either made by pings, one after the other in the caller's
thread (`latencies`), or records what the heartbeat measured anyway (`LatencyLog.record`, as the view of `health` does).
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ...cards import card, seconds
from ...connection import Connection
from ...errors import SocketTimeout
from .libraries import library
from .progress import bar

POINTS = 10_000
PING_SECONDS = 5.0
WIDTH, HEIGHT = 220, 36


class RoundTrip(NamedTuple):
    """One measurement.

    Attributes:
        at: when, in seconds since the epoch.
        seconds: how long it took; ``None`` where no answer came in time.
    """

    at: float
    seconds: float | None


class LatencyLog:
    """The round trips of one connection, the last ``limit`` of them; a sequence of `RoundTrip`.

    Args:
        conn: whose.
        limit: how many are kept.
    """

    def __init__(self, conn: Connection, *, limit: int = POINTS) -> None:
        self._conn = conn
        self._trips: deque[RoundTrip] = deque(maxlen=limit)
        self._recorded: float | None = None

    def ping(self, timeout: float = PING_SECONDS) -> float | None:
        """Measure one round trip now, and keep it; ``None`` where no answer came in so many seconds.

        Raises:
            SocketConnectionError: the connection is closed, or was lost meanwhile.
        """
        at = time.time()
        took: float | None
        try:
            took = self._conn.ping(timeout)
        except SocketTimeout:
            took = None
        self._trips.append(RoundTrip(at, took))
        self._recorded = self._conn.latency
        return took

    def record(self) -> float | None:
        """Keep the last round trip that was measured by whomever, if it is news; asks nobody, and waits for nothing."""
        took = self._conn.latency
        if took is None or took == self._recorded:
            return None
        self._recorded = took
        self._trips.append(RoundTrip(time.time(), took))
        return took

    @property
    def seconds(self) -> list[float]:
        """How long each took, those without an answer left out."""
        return [trip.seconds for trip in tuple(self._trips) if trip.seconds is not None]

    @property
    def lost(self) -> int:
        """How many had no answer in time."""
        return sum(trip.seconds is None for trip in tuple(self._trips))

    def summary(self) -> dict[str, Any]:
        """``count``, ``lost``, and ``min median p95 max`` in seconds, ``None`` where there was no answer."""
        took = self.seconds
        facts: dict[str, Any] = {"count": len(self), "lost": self.lost}
        return {**facts, **(quantiles(took) if took else dict.fromkeys(("min", "median", "p95", "max")))}

    def frame(self) -> Any:
        """The columns ``time`` and ``seconds`` of a `pandas.DataFrame`."""
        pandas = library("pandas")
        trips = tuple(self._trips)
        times = pandas.to_datetime([round(trip.at * 1e6) for trip in trips], unit="us", utc=True).as_unit("us")
        return pandas.DataFrame(
            {"time": times, "seconds": pandas.array([trip.seconds for trip in trips], dtype="Float64")}
        )

    def __len__(self) -> int:
        return len(self._trips)

    def __iter__(self) -> Iterator[RoundTrip]:
        return iter(tuple(self._trips))

    def __getitem__(self, at: int) -> RoundTrip:
        return self._trips[at]

    def __repr__(self) -> str:
        return f"<LatencyLog of {self._conn.name!r}: {len(self)} round trips, {self.lost} lost>"

    def _repr_html_(self) -> str:
        facts = self.summary()
        rows: dict[str, object] = {"Round trips": facts.pop("count"), "Lost": facts.pop("lost")}
        rows |= {name.capitalize(): seconds(took) for name, took in facts.items()}
        return card(f"Latency of {self._conn.name}", rows) + sparkline(self.seconds)


def quantiles(took: list[float]) -> dict[str, float]:
    """The extremes, the median, and what 95 % do not exceed; of one or more."""
    ordered = sorted(took)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return {"min": ordered[0], "median": statistics.median(ordered), "p95": p95, "max": ordered[-1]}


def latencies(
    conn: Connection, count: int = 20, *, every: float = 0.0, timeout: float = PING_SECONDS, progress: bool = False
) -> LatencyLog:
    """Ping so many times, one after the other in the caller's thread.

    Args:
        conn: whom to ping.
        count: how often.
        every: seconds from one ping to the next; 0 for at once.
        timeout: seconds after which a ping counts as lost.
        progress: show a bar.

    Raises:
        SocketConnectionError: the connection is closed, or was lost meanwhile.
    """
    log = LatencyLog(conn, limit=max(1, count))
    with bar(count, "ping", progress) as shown:
        for number in range(count):
            began = time.monotonic()
            log.ping(timeout)
            shown.update()
            if every and number < count - 1:
                time.sleep(max(0.0, began + every - time.monotonic()))
    return log


def plot_latency(source: Connection | LatencyLog | Iterable[float], *, ax: Any = None, count: int = 20) -> Any:
    """Draw round trips over time, with their median and what 95 % of them do not exceed.

    Args:
        source: a log; or a connection, which is pinged ``count`` times; or seconds, one after the other.
        ax: the ``Axes`` of matplotlib to draw on; without one, a new figure is made.
        count: how often to ping.

    Returns:
        The ``Axes``.
    """
    if isinstance(source, Connection):
        source = latencies(source, count)
    trips = list(source) if isinstance(source, LatencyLog) else [RoundTrip(at, one) for at, one in enumerate(source)]
    timed = isinstance(source, LatencyLog)
    if ax is None:
        _, ax = library("matplotlib.pyplot").subplots(figsize=(7, 3), layout="constrained")
    first = trips[0].at if trips else 0.0
    answered = [(trip.at - first, trip.seconds * 1000) for trip in trips if trip.seconds is not None]
    lost = [trip.at - first for trip in trips if trip.seconds is None]
    ax.plot(
        *(zip(*answered, strict=True) if answered else ((), ())), ".-", color="#c2410c", linewidth=1, label="round trip"
    )
    if answered:
        facts = quantiles([took for _, took in answered])
        for name, style in (("median", "--"), ("p95", ":")):
            ax.axhline(facts[name], color="#1f6f8b", linestyle=style, linewidth=1, label=f"{name} {facts[name]:.2f} ms")
    if lost:
        ax.plot(lost, [0] * len(lost), "x", color="#d1442f", label=f"no answer ({len(lost)})", clip_on=False)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("seconds" if timed else "round trip")
    ax.set_ylabel("ms")
    ax.set_title(f"Latency of {source._conn.name}" if isinstance(source, LatencyLog) else "Latency", loc="left")
    ax.legend(frameon=False, fontsize="small")
    return ax


def sparkline(took: list[float]) -> str:
    """Seconds as a small line, in the colour of the page's text; what it shows is said in words too."""
    if not took:
        return ""
    top = max(took) or 1.0
    drawn = took if len(took) > 1 else 2 * took
    step = WIDTH / (len(drawn) - 1)
    points = " ".join(f"{at * step:.1f},{HEIGHT - one / top * (HEIGHT - 4) - 2:.1f}" for at, one in enumerate(drawn))
    said = f"Latency, {len(took)} round trips: last {seconds(took[-1])}, largest {seconds(max(took))}"
    return (
        f'<div><svg role="img" aria-label="{said}" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f'<polyline fill="none" stroke="currentColor" stroke-width="1.5" points="{points}"/></svg></div>'
    )
