"""``owlsocket bench``: how many calls a server answers, and how long each takes, with so many callers at once.

Threads: each caller is one, as in a program that calls from many threads; they share one connection. ``_lock`` guards
what they write together, and is a leaf. The main thread waits, so that Ctrl-C is heard.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import click

from .. import Connection, ConnectionState
from .address import UrlCommand
from .outcome import Exit, exit_code, report
from .payloads import read_arguments
from .progress import progress
from .reach import Reach, client_command

TICK = 0.1


@click.command(cls=UrlCommand)
@client_command
@click.argument("method")
@click.argument("arguments", nargs=-1, metavar="[ARG]...")
@click.option("--calls", type=click.IntRange(1, 10_000_000), default=1000, show_default=True, help="So many in all.")
@click.option(
    "--parallel", type=click.IntRange(1, 1000), default=10, show_default=True, help="So many callers at once."
)
def bench(reach: Reach, method: str, arguments: tuple[str, ...], calls: int, parallel: int) -> Exit:
    """Call METHOD many times, and print calls per second and how long a call took.

    \b
    owlsocket bench ws://localhost:8080 echo 1
    owlsocket bench ws://localhost:8080 add 2 3 --calls 10000 --parallel 50

    Prints {"calls", "ok", "failed", "seconds", "calls_per_second", "min_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms"},
    with "errors": {CODE: how many} where some failed; in words in front of a terminal. The exit code is that of the
    first call that failed, 0 where none did. A server that is not yours may take this for an attack.
    """
    values = read_arguments(arguments)
    with reach.connected() as connection, progress("calls", calls) as tell:
        run = Bench(connection, lambda: connection.call(method, *values), calls, parallel)
        run.run(tell)
    report(run.summary(), run.words())
    return Exit.OK if run.first_error is None else exit_code(run.first_error)


class Bench:
    """One run.

    Args:
        connection: over which.
        call: one call.
        calls: how many in all.
        parallel: how many callers at once.

    Attributes:
        first_error: what the first call that failed raised.
    """

    def __init__(self, connection: Connection, call: Callable[[], Any], calls: int, parallel: int) -> None:
        self._connection = connection
        self._call = call
        self._left = calls
        self._parallel = min(parallel, calls)
        self._lock = threading.Lock()
        self._took: list[float] = []
        self._errors: Counter[str] = Counter()
        self._over = threading.Event()
        self._callers = self._parallel
        self._seconds = 0.0
        self.first_error: Exception | None = None

    def run(self, tell: Callable[[int, int], None]) -> None:
        """Make the calls, telling how many are done and how many of them failed."""
        callers = [
            threading.Thread(target=self._make_calls, name=f"owlsocket-caller-{number}", daemon=True)
            for number in range(self._parallel)
        ]
        began = time.perf_counter()
        for caller in callers:
            caller.start()
        try:
            while not self._over.wait(TICK):
                tell(*self._counts())
        finally:
            self._seconds = time.perf_counter() - began
            with self._lock:
                self._left = 0
        tell(*self._counts())

    def _counts(self) -> tuple[int, int]:
        failed = self._errors.total()
        return len(self._took) + failed, failed

    def _make_calls(self) -> None:
        while self._takes_one():
            began = time.perf_counter()
            try:
                self._call()
            except Exception as error:
                self._note(error)
            else:
                self._took.append(time.perf_counter() - began)
        with self._lock:
            self._callers -= 1
            if not self._callers:
                self._over.set()

    def _takes_one(self) -> bool:
        with self._lock:
            if not self._left or self._connection.state is ConnectionState.CLOSED:
                return False
            self._left -= 1
            return True

    def _note(self, error: Exception) -> None:
        with self._lock:
            self._errors[getattr(error, "code", type(error).__name__)] += 1
            self.first_error = self.first_error or error

    def summary(self) -> dict[str, Any]:
        """For scripts."""
        took = sorted(self._took)
        done, failed = self._counts()
        figures: dict[str, Any] = {
            "calls": done,
            "ok": len(took),
            "failed": failed,
            "seconds": round(self._seconds, 3),
            "calls_per_second": round(done / self._seconds, 1) if self._seconds else None,
        }
        if took:
            shares = (("min", 0.0), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
            figures |= {f"{name}_ms": round(quantile(took, share) * 1000, 3) for name, share in shares}
        return {**figures, "errors": dict(self._errors)} if failed else figures

    def words(self) -> str:
        """For people."""
        told = self.summary()
        lines = [f"{told['ok']} calls answered, {told['failed']} failed, in {told['seconds']:g} s: "]
        lines[0] += f"{told['calls_per_second']:,.0f} calls/s with {self._parallel} callers"
        if self._took:
            names = ("min", "p50", "p90", "p99", "max")
            lines.append(f"{'/'.join(names)} = {'/'.join(format(told[name + '_ms'], '.3f') for name in names)} ms")
        lines += [f"{code}: {count}" for code, count in self._errors.most_common()]
        return "\n".join(lines)


def quantile(ordered: list[float], share: float) -> float:
    """The value that this share of all does not exceed, by nearest rank."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
