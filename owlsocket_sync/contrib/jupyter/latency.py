"""Round-trip times: a log, and its plot.

``stats.latency`` is the last round trip only. A log is either filled by pings on the calling thread (`latencies`), or
records the measurements of the heartbeat (`LatencyLog.record`, as the view of `health` does).
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ...clock import monotonic
from ...connection import Connection
from ...errors import SocketTimeout
from ...html_repr import card, seconds
from .libraries import library
from .progress import bar

POINTS = 10_000
PING_SECONDS = 5.0
# Pixels, beside the card of a connection.
WIDTH, HEIGHT = 220, 36


class RoundTrip(NamedTuple):
    """One measurement.

    Attributes:
        at: time of the ping in seconds since the epoch.
        seconds: duration of the round trip; ``None`` for a timeout.
    """

    at: float
    seconds: float | None


class LatencyLog:
    """The last round trips of a connection; a sequence of `RoundTrip`.

    Args:
        conn: connection to measure.
        limit: maximum number of round trips to keep.
    """

    def __init__(self, conn: Connection, *, limit: int = POINTS) -> None:
        self._conn = conn
        self._trips: deque[RoundTrip] = deque(maxlen=limit)
        self._recorded: float | None = None

    def ping(self, timeout: float = PING_SECONDS) -> float | None:
        """Measure one round trip and log it; return its seconds, or ``None`` for a timeout.

        Raises:
            SocketConnectionError: the connection is closed, or the link was lost during the ping.
        """
        at = time.time()
        duration: float | None
        try:
            duration = self._conn.ping(timeout)
        except SocketTimeout:
            duration = None
        self._trips.append(RoundTrip(at, duration))
        self._recorded = self._conn.latency
        return duration

    def record(self) -> float | None:
        """Log the last round trip of the connection if it is new; sends nothing and never blocks."""
        duration = self._conn.latency
        # Two measurements with the same float are improbable: an equal value is the measurement seen before.
        if duration is None or duration == self._recorded:
            return None
        self._recorded = duration
        self._trips.append(RoundTrip(time.time(), duration))
        return duration

    @property
    def seconds(self) -> list[float]:
        """Return the durations in seconds, without timeouts."""
        # A copy, here and below: a deque that another thread appends to must not be iterated.
        return [trip.seconds for trip in tuple(self._trips) if trip.seconds is not None]

    @property
    def lost(self) -> int:
        """Return the number of timeouts."""
        return sum(trip.seconds is None for trip in tuple(self._trips))

    def summary(self) -> dict[str, Any]:
        """Return ``count``, ``lost``, and ``min median p95 max`` in seconds, ``None`` without an answer."""
        durations = self.seconds
        counts: dict[str, Any] = {"count": len(self), "lost": self.lost}
        return {**counts, **(quantiles(durations) if durations else dict.fromkeys(("min", "median", "p95", "max")))}

    def frame(self) -> Any:
        """Return the log as a `pandas.DataFrame` with the columns ``time`` and ``seconds``."""
        pandas = library("pandas")
        trips = tuple(self._trips)
        times = pandas.to_datetime([round(trip.at * 1e6) for trip in trips], unit="us", utc=True).as_unit("us")
        return pandas.DataFrame(
            {"time": times, "seconds": pandas.array([trip.seconds for trip in trips], dtype="Float64")}
        )

    @property
    def name(self) -> str:
        """Return the name of the connection."""
        return self._conn.name

    def __len__(self) -> int:
        return len(self._trips)

    def __iter__(self) -> Iterator[RoundTrip]:
        return iter(tuple(self._trips))

    def __getitem__(self, index: int) -> RoundTrip:
        return self._trips[index]

    def __repr__(self) -> str:
        return f"<LatencyLog of {self.name!r}: {len(self)} round trips, {self.lost} lost>"

    def _repr_html_(self) -> str:
        summary = self.summary()
        rows: dict[str, object] = {"Round trips": summary.pop("count"), "Lost": summary.pop("lost")}
        rows |= {label.capitalize(): seconds(duration) for label, duration in summary.items()}
        return card(f"Latency of {self.name}", rows) + sparkline(self.seconds)


def quantiles(durations: list[float]) -> dict[str, float]:
    """Return the minimum, the median, the 95th percentile and the maximum of one or more values."""
    ordered = sorted(durations)
    # The nearest-rank method: the result is a measured value, also for few of them.
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return {"min": ordered[0], "median": statistics.median(ordered), "p95": p95, "max": ordered[-1]}


def latencies(
    conn: Connection, count: int = 20, *, interval: float = 0.0, timeout: float = PING_SECONDS, progress: bool = False
) -> LatencyLog:
    """Ping several times, one ping after the other on the calling thread.

    Args:
        conn: connection to measure.
        count: number of pings.
        interval: seconds from one ping to the next; 0 for no pause.
        timeout: seconds until a ping counts as lost.
        progress: show a progress bar.

    Raises:
        SocketConnectionError: the connection is closed, or the link was lost.
    """
    log = LatencyLog(conn, limit=max(1, count))
    with bar(count, "ping", progress) as progress_bar:
        for number in range(count):
            start = monotonic()
            log.ping(timeout)
            progress_bar.update()
            # From start to start: a slow answer shortens the pause, so that pings stay evenly spaced.
            if interval and number < count - 1:
                time.sleep(max(0.0, start + interval - monotonic()))
    return log


def plot_latency(source: Connection | LatencyLog | Iterable[float], *, ax: Any = None, count: int = 20) -> Any:
    """Plot round-trip times, with their median and 95th percentile.

    Args:
        source: a log; or a connection, which is pinged ``count`` times; or seconds in order.
        ax: ``Axes`` of matplotlib to draw on; ``None`` creates a figure.
        count: number of pings.

    Returns:
        The ``Axes``.
    """
    if isinstance(source, Connection):
        source = latencies(source, count)
    timed = isinstance(source, LatencyLog)
    trips = (
        list(source)
        if isinstance(source, LatencyLog)
        else [RoundTrip(index, duration) for index, duration in enumerate(source)]
    )
    if ax is None:
        _, ax = library("matplotlib.pyplot").subplots(figsize=(7, 3), layout="constrained")
    first = trips[0].at if trips else 0.0
    answered = [(trip.at - first, trip.seconds * 1000) for trip in trips if trip.seconds is not None]
    lost = [trip.at - first for trip in trips if trip.seconds is None]
    ax.plot(
        *(zip(*answered, strict=True) if answered else ((), ())), ".-", color="#c2410c", linewidth=1, label="round trip"
    )
    if answered:
        values = quantiles([duration for _, duration in answered])
        for name, style in (("median", "--"), ("p95", ":")):
            label = f"{name} {values[name]:.2f} ms"
            ax.axhline(values[name], color="#1f6f8b", linestyle=style, linewidth=1, label=label)
    if lost:
        ax.plot(lost, [0] * len(lost), "x", color="#d1442f", label=f"no answer ({len(lost)})", clip_on=False)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("seconds" if timed else "round trip")
    ax.set_ylabel("ms")
    ax.set_title(f"Latency of {source.name}" if isinstance(source, LatencyLog) else "Latency", loc="left")
    ax.legend(frameon=False, fontsize="small")
    return ax


def sparkline(durations: list[float]) -> str:
    """Return a line chart of durations as HTML, in the text colour of the page; empty without durations."""
    if not durations:
        return ""
    top = max(durations) or 1.0
    # A line needs two points.
    drawn = durations if len(durations) > 1 else 2 * durations
    step = WIDTH / (len(drawn) - 1)
    points = " ".join(
        f"{index * step:.1f},{HEIGHT - duration / top * (HEIGHT - 4) - 2:.1f}" for index, duration in enumerate(drawn)
    )
    # For screen readers, which cannot see the line.
    last, largest = seconds(durations[-1]), seconds(max(durations))
    label = f"Latency, {len(durations)} round trips: last {last}, largest {largest}"
    return (
        f'<div><svg role="img" aria-label="{label}" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f'<polyline fill="none" stroke="currentColor" stroke-width="1.5" points="{points}"/></svg></div>'
    )
