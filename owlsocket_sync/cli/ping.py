"""``owlsocket ping``: round trip times, and their statistics."""

from __future__ import annotations

import math
import statistics
from typing import Any

import click

from .. import Connection, SocketError, SocketTimeout
from ..clock import monotonic
from ..contrib.exit_codes import ExitCode
from .address import UrlCommand
from .arguments import Seconds
from .connect_options import ConnectOptions, client_command
from .listen import report_close
from .output import print_report


@click.command(cls=UrlCommand)
@client_command
@click.option("-c", "--count", type=click.IntRange(min=1), metavar="N", help="End after this many pings.")
@click.option(
    "-i",
    "--interval",
    type=Seconds(),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="From one ping to the next.",
)
def ping(options: ConnectOptions, count: int | None, interval: float) -> ExitCode:
    """Measure round trip times, until --count of them or Ctrl-C.

    \b
    owlsocket ping ws://localhost:8080 -c 4
    owlsocket ping wss://api.example.com/ws -c 100 -i 0.1 --timeout 2

    On a terminal, the output is that of ping(8). Otherwise it is {"seq": N, "ms": …} for each reply, with null if none
    arrives within --timeout, and finally {"sent", "received", "loss_percent", "min_ms", "avg_ms", "max_ms",
    "mdev_ms"}. The exit code is 0 after at least one reply, 4 after none, 3 if the connection is closed before.
    """
    round_trips = RoundTrips()
    # Without the heartbeat, whose pings would be counted by the peer, and whose timeout would end the measurement.
    with options.connected(heartbeat=None) as connection:
        try:
            closed = _ping(connection, round_trips, options.timeout, count, interval)
        finally:
            # In finally: Ctrl-C prints the statistics, as ping(8) does.
            print_report(round_trips.summary(), round_trips.text(connection.url))
        if closed:
            return report_close(connection)
    return ExitCode.OK if round_trips.seconds else ExitCode.TIMEOUT


def _ping(connection: Connection, round_trips: RoundTrips, timeout: float, count: int | None, interval: float) -> bool:
    """Ping until the count is reached; return whether the connection was closed before."""
    due = monotonic()
    while count is None or round_trips.sent < count:
        if round_trips.sent and _closes_within(connection, due - monotonic()):
            return True
        # From the start of the ping before, not from its reply: the interval does not grow by the round trip.
        due = monotonic() + interval
        round_trips.sent += 1
        seq = round_trips.sent
        try:
            seconds = connection.ping(timeout)
        except SocketTimeout:
            print_report({"seq": seq, "ms": None}, f"no reply within {timeout:g} s: seq={seq}")
        # Any other error means that the connection is lost, and this command does not reconnect.
        except SocketError:
            return True
        else:
            round_trips.seconds.append(seconds)
            ms = _to_ms(seconds)
            print_report({"seq": seq, "ms": ms}, f"reply from {connection.url}: seq={seq} time={ms:.3f} ms")
    return False


def _closes_within(connection: Connection, seconds: float) -> bool:
    """Wait for a time; return true, at once, if the connection is closed before."""
    try:
        connection.wait_closed(max(0.0, seconds))
    except SocketTimeout:
        return False
    return True


class RoundTrips:
    """Round trip times and their statistics.

    Attributes:
        sent: the number of pings sent.
        seconds: the round trip time of each ping with a reply.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.seconds: list[float] = []

    @property
    def loss_percent(self) -> float:
        """Return the percentage of pings without a reply."""
        return 100.0 * (self.sent - len(self.seconds)) / self.sent if self.sent else 0.0

    def summary(self) -> dict[str, Any]:
        """Return the statistics for scripts."""
        names = ("min_ms", "avg_ms", "max_ms", "mdev_ms")
        figures = dict(zip(names, self._figures(), strict=True)) if self.seconds else {}
        return {
            "sent": self.sent,
            "received": len(self.seconds),
            "loss_percent": round(self.loss_percent, 1),
            **figures,
        }

    def text(self, url: str) -> str:
        """Return the statistics for people, in the format of ping(8)."""
        counts = f"{self.sent} sent, {len(self.seconds)} received, {round(self.loss_percent, 1):g}% loss"
        head = f"--- {url} ping statistics ---\n{counts}"
        if not self.seconds:
            return head
        return f"{head}\nrtt min/avg/max/mdev = {'/'.join(f'{figure:.3f}' for figure in self._figures())} ms"

    def _figures(self) -> tuple[float, float, float, float]:
        mean = statistics.fmean(self.seconds)
        # The formula of ping(8); rounding may make the variance of equal values a little less than 0.
        variance = max(0.0, statistics.fmean(value * value for value in self.seconds) - mean * mean)
        return _to_ms(min(self.seconds)), _to_ms(mean), _to_ms(max(self.seconds)), _to_ms(math.sqrt(variance))


def _to_ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
