"""``owlsocket bench``: the call rate of a server, and the distribution of the call times, with parallel callers.

Threads: each caller is a thread, as in a program that calls from many threads; they share one connection. The main
thread waits, so that Ctrl-C is handled at once. ``_lock`` guards the counters that callers change together; it is a
leaf: no other lock is taken under it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import click

from .. import Connection, ConnectionState
from ..clock import perf_counter
from ..contrib.exit_codes import ExitCode, exit_code
from .address import UrlCommand
from .connect_options import ConnectOptions, client_command
from .output import print_report
from .payloads import read_arguments
from .progress import progress

TICK = 0.1


@click.command(cls=UrlCommand)
@client_command
@click.argument("method")
@click.argument("arguments", nargs=-1, metavar="[ARG]...")
@click.option("--calls", type=click.IntRange(1, 10_000_000), default=1000, show_default=True, help="Calls in total.")
@click.option("--parallel", type=click.IntRange(1, 1000), default=10, show_default=True, help="Parallel callers.")
def bench(options: ConnectOptions, method: str, arguments: tuple[str, ...], calls: int, parallel: int) -> ExitCode:
    """Call METHOD many times, and print the calls per second and the call times.

    \b
    owlsocket bench ws://localhost:8080 echo 1
    owlsocket bench ws://localhost:8080 add 2 3 --calls 10000 --parallel 50

    Prints {"calls", "ok", "failed", "seconds", "calls_per_second", "min_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms"},
    with "errors": {CODE: COUNT} if calls failed; text on a terminal. The exit code is that of the first call that
    failed, 0 if none did. Benchmark your own servers only: others may take it for an attack.
    """
    values = read_arguments(arguments)
    with options.connected() as connection, progress("calls", calls) as on_progress:
        run = BenchRun(connection, lambda: connection.call(method, *values), calls, parallel)
        run.run(on_progress)
    print_report(run.summary(), run.text())
    return ExitCode.OK if run.first_error is None else exit_code(run.first_error)


class BenchRun:
    """One benchmark.

    Args:
        connection: the open connection that all callers share.
        call: makes one call.
        calls: the number of calls in total.
        parallel: the number of callers.

    Attributes:
        first_error: the error of the first call that failed.
    """

    def __init__(self, connection: Connection, call: Callable[[], Any], calls: int, parallel: int) -> None:
        self._connection = connection
        self._call = call
        self._left = calls
        self._parallel = min(parallel, calls)
        self._lock = threading.Lock()
        # Appended to without the lock: list.append is atomic, and the lock would be part of what is measured.
        self._times: list[float] = []
        self._errors: Counter[str] = Counter()
        self._done = threading.Event()
        self._callers = self._parallel
        self._seconds = 0.0
        self.first_error: Exception | None = None

    def run(self, on_progress: Callable[[int, int], None]) -> None:
        """Make the calls; report the numbers of calls that are done and that failed."""
        callers = [
            # Daemons: after Ctrl-C, a caller may wait for its answer as long as --timeout.
            threading.Thread(target=self._make_calls, name=f"owlsocket-caller-{number}", daemon=True)
            for number in range(self._parallel)
        ]
        start = perf_counter()
        for caller in callers:
            caller.start()
        try:
            while not self._done.wait(TICK):
                on_progress(*self._counts())
        finally:
            self._seconds = perf_counter() - start
            # Ctrl-C ends the callers, too: none of them starts another call.
            with self._lock:
                self._left = 0
        on_progress(*self._counts())

    def _counts(self) -> tuple[int, int]:
        failed = self._errors.total()
        return len(self._times) + failed, failed

    def _make_calls(self) -> None:
        while self._take_call():
            start = perf_counter()
            try:
                self._call()
            except Exception as error:
                self._record_error(error)
            else:
                self._times.append(perf_counter() - start)
        with self._lock:
            self._callers -= 1
            if not self._callers:
                self._done.set()

    def _take_call(self) -> bool:
        """Reserve one of the calls that are left; return whether there was one."""
        with self._lock:
            # On a closed connection the rest of the calls would fail at once, a million of them in a second.
            if not self._left or self._connection.state is ConnectionState.CLOSED:
                return False
            self._left -= 1
            return True

    def _record_error(self, error: Exception) -> None:
        with self._lock:
            self._errors[getattr(error, "code", type(error).__name__)] += 1
            self.first_error = self.first_error or error

    def summary(self) -> dict[str, Any]:
        """Return the figures for scripts."""
        times = sorted(self._times)
        done, failed = self._counts()
        figures: dict[str, Any] = {
            "calls": done,
            "ok": len(times),
            "failed": failed,
            "seconds": round(self._seconds, 3),
            "calls_per_second": round(done / self._seconds, 1) if self._seconds else None,
        }
        if times:
            shares = (("min", 0.0), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
            figures |= {f"{name}_ms": round(quantile(times, share) * 1000, 3) for name, share in shares}
        return {**figures, "errors": dict(self._errors)} if failed else figures

    def text(self) -> str:
        """Return the figures for people."""
        figures = self.summary()
        lines = [f"{figures['ok']} calls answered, {figures['failed']} failed, in {figures['seconds']:g} s: "]
        lines[0] += f"{figures['calls_per_second']:,.0f} calls/s with {self._parallel} callers"
        if self._times:
            names = ("min", "p50", "p90", "p99", "max")
            lines.append(f"{'/'.join(names)} = {'/'.join(format(figures[name + '_ms'], '.3f') for name in names)} ms")
        lines += [f"{code}: {count}" for code, count in self._errors.most_common()]
        return "\n".join(lines)


def quantile(ordered: list[float], share: float) -> float:
    """Return the nearest-rank quantile of sorted values: the least value that this share of them does not exceed."""
    # -(-x // 1) rounds up; rank 1 has index 0.
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
