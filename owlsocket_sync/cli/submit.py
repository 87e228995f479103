"""``owlsocket submit``: many calls in parallel from JSON lines, and their outcomes in the order in which they came.

Threads: one reads the lines, so that outcomes are printed while the next line is waited for. It and the futures tell
the main thread through one queue; the main thread alone parses, calls and prints. A semaphore bounds how many lines
have been read and not printed.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from queue import SimpleQueue
from typing import IO, Any

import click

from .. import Backoff, Connection
from .address import UrlCommand
from .calls import Call, Misread, outcome_of, read_call
from .lines import read_lines
from .outcome import Exit, exit_code, is_terminal, put
from .payloads import STDIN, open_stdin
from .progress import progress
from .reach import Reach, client_command

AHEAD = 10_000


@click.command(cls=UrlCommand)
@client_command
@click.argument("file", default=STDIN, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--parallel", type=click.IntRange(1, 65_536), default=10, show_default=True, help="So many at once.")
@click.option("--retry", is_flag=True, help="When the link is lost, connect anew and send again what was unanswered.")
def submit(reach: Reach, file: str, parallel: int, retry: bool) -> Exit:
    """Make the calls in FILE (default: stdin), many at once, and print the outcome of each in the same order.

    \b
    owlsocket submit ws://localhost:8080 calls.jsonl --parallel 20 > outcomes.jsonl
    echo '["add", 2, 3]' | owlsocket submit ws://localhost:8080
    owlsocket submit ws://localhost:8080 calls.jsonl | jq -c 'select(.ok | not)'

    A line is ["METHOD", ARG, …], or {"method": …, "args": […], "timeout": SECONDS, "id": ANY}. Its outcome is
    {"line": N, "ok": true, "result": …, "seconds": …}, or {"line": N, "ok": false, "error": {"type": …, "message": …,
    "code": …}}, with the id where one was given. The exit code is that of the first line that failed, 0 where none did.

    --retry is for methods that do no harm when they run twice.
    """
    with (
        _open(file) as source,
        reach.connected(reconnect=Backoff() if retry else None) as connection,
        progress("calls", _count(source)) as tell,
    ):
        return Submission(connection, read_lines(source.fileno()), parallel, retry, tell).run()


def _open(file: str) -> AbstractContextManager[IO[bytes]]:
    return nullcontext(open_stdin()) if file == STDIN else open(file, "rb")


def _count(source: IO[bytes]) -> int | None:
    """How many lines there are, where they can be read twice."""
    if not is_terminal(sys.stderr) or not source.seekable():
        return None
    start = source.tell()
    total = sum(1 for line in source if line.strip())
    source.seek(start)
    return total


class Submission:
    """The calls of one run of ``submit``.

    Args:
        connection: where they are made; open.
        lines: as they come.
        parallel: how many may be under way at once.
        retry: whether a call may be sent twice.
        tell: told how many are done, and how many of them failed.
    """

    def __init__(
        self,
        connection: Connection,
        lines: Iterable[bytes],
        parallel: int,
        retry: bool,
        tell: Callable[[int, int], None],
    ) -> None:
        self._connection = connection
        self._lines = lines
        self._parallel = parallel
        self._retry = retry
        self._tell = tell
        self._happenings: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._room = threading.Semaphore(parallel + AHEAD)
        self._waiting: deque[Call] = deque()
        self._unprinted: deque[Call] = deque()
        self._under_way = self._done = self._failed = 0
        self._at_end = False
        self._code = Exit.OK

    def run(self) -> Exit:
        """Make them all."""
        threading.Thread(target=self._read, name="owlsocket-lines", daemon=True).start()
        while not self._at_end or self._unprinted:
            self._happenings.get()()
            self._start()
            self._print()
        return self._code

    def _read(self) -> None:
        """On its own thread: the lines, as they come."""
        try:
            for number, line in enumerate(self._lines, 1):
                if line.strip():
                    self._room.acquire()
                    self._happenings.put(partial(self._take, number, line))
        except OSError as error:
            self._happenings.put(partial(self._give_up, error))
        self._happenings.put(self._end)

    def _end(self) -> None:
        self._at_end = True

    @staticmethod
    def _give_up(error: Exception) -> None:
        raise click.UsageError(f"the calls cannot be read on: {error}")

    def _take(self, number: int, line: bytes) -> None:
        call = read_call(number, line)
        self._unprinted.append(call)
        if call.future is None:
            self._waiting.append(call)

    def _start(self) -> None:
        while self._waiting and self._under_way < self._parallel:
            call = self._waiting.popleft()
            call.began = time.monotonic()
            self._under_way += 1
            call.future = self._submit(call)
            call.future.add_done_callback(partial(self._ended, call))

    def _submit(self, call: Call) -> Future[Any]:
        try:
            return self._connection.submit(call.method, *call.arguments, timeout=call.timeout, retry=self._retry)
        except Exception as error:
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return failed

    def _ended(self, call: Call, _: Future[Any]) -> None:
        """On whichever thread completed it."""
        call.seconds = time.monotonic() - call.began
        self._happenings.put(self._count_out)

    def _count_out(self) -> None:
        self._under_way -= 1

    def _print(self) -> None:
        while self._unprinted and (future := self._unprinted[0].future) is not None and future.done():
            call = self._unprinted[0]
            if call.began and call.seconds is None:
                return  # it is about to be told
            self._unprinted.popleft()
            self._room.release()
            put(outcome_of(call))
            self._done += 1
            if (error := future.exception()) is not None:
                self._failed += 1
                self._code = self._code or (Exit.USAGE if isinstance(error, Misread) else exit_code(error))
            self._tell(self._done, self._failed)
