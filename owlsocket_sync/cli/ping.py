"""``owlsocket ping``: round trips, one after the other, and what they say together."""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import click

from .. import Connection, SocketError, SocketTimeout
from .address import UrlCommand
from .arguments import Seconds
from .listen import told_ending
from .outcome import Exit, report
from .reach import Reach, client_command


@click.command(cls=UrlCommand)
@client_command
@click.option("-c", "--count", type=click.IntRange(min=1), metavar="N", help="End after so many pings.")
@click.option(
    "-i",
    "--interval",
    type=Seconds(),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="From one ping to the next.",
)
def ping(reach: Reach, count: int | None, interval: float) -> Exit:
    """Measure round trips, until --count of them, or Ctrl-C.

    \b
    owlsocket ping ws://localhost:8080 -c 4
    owlsocket ping wss://api.example.com/ws -c 100 -i 0.1 --timeout 2

    In front of a terminal it speaks as ping does; else it prints {"seq": N, "ms": …} for each reply, with null where
    none came within --timeout, and in the end {"sent", "received", "loss_percent", "min_ms", "avg_ms", "max_ms",
    "mdev_ms"}. Exit code 0 when at least one reply came, 4 when none did, 3 when the connection ended before.
    """
    trips = Trips()
    with reach.connected(heartbeat=None) as connection:
        try:
            ended = _ping(connection, trips, reach.timeout, count, interval)
        finally:
            report(trips.summary(), trips.words(connection.url))
        if ended:
            return told_ending(connection)
    return Exit.OK if trips.seconds else Exit.TIMEOUT


def _ping(connection: Connection, trips: Trips, timeout: float, count: int | None, interval: float) -> bool:
    """Whether the connection ended before its time."""
    due = time.monotonic()
    while count is None or trips.sent < count:
        if trips.sent and _has_ended(connection, due - time.monotonic()):
            return True
        due = time.monotonic() + interval
        trips.sent += 1
        try:
            seconds = connection.ping(timeout)
        except SocketTimeout:
            report({"seq": trips.sent, "ms": None}, f"no reply within {timeout:g} s: seq={trips.sent}")
        except SocketError:
            return True
        else:
            trips.seconds.append(seconds)
            ms = _ms(seconds)
            report({"seq": trips.sent, "ms": ms}, f"reply from {connection.url}: seq={trips.sent} time={ms:.3f} ms")
    return False


def _has_ended(connection: Connection, seconds: float) -> bool:
    """Wait, and notice the end of the connection meanwhile."""
    try:
        connection.wait_closed(max(0.0, seconds))
    except SocketTimeout:
        return False
    return True


class Trips:
    """Round trips, and what they say together.

    Attributes:
        sent: how many pings were sent.
        seconds: of each that was replied to.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.seconds: list[float] = []

    @property
    def loss_percent(self) -> float:
        """How many of a hundred were not replied to."""
        return 100.0 * (self.sent - len(self.seconds)) / self.sent if self.sent else 0.0

    def summary(self) -> dict[str, Any]:
        """For scripts."""
        figures = (
            dict(zip(("min_ms", "avg_ms", "max_ms", "mdev_ms"), self._figures(), strict=True)) if self.seconds else {}
        )
        return {
            "sent": self.sent,
            "received": len(self.seconds),
            "loss_percent": round(self.loss_percent, 1),
            **figures,
        }

    def words(self, url: str) -> str:
        """For people, as ping says it."""
        counts = f"{self.sent} sent, {len(self.seconds)} received, {round(self.loss_percent, 1):g}% loss"
        head = f"--- {url} ping statistics ---\n{counts}"
        if not self.seconds:
            return head
        return f"{head}\nrtt min/avg/max/mdev = {'/'.join(f'{figure:.3f}' for figure in self._figures())} ms"

    def _figures(self) -> tuple[float, float, float, float]:
        mean = statistics.fmean(self.seconds)
        spread = math.sqrt(max(0.0, statistics.fmean(one * one for one in self.seconds) - mean * mean))
        return _ms(min(self.seconds)), _ms(mean), _ms(max(self.seconds)), _ms(spread)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
