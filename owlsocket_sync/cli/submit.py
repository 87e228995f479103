"""``owlsocket submit``: many calls in parallel from JSON lines, with their results in the order of the lines.

Threads: a reader thread reads the lines, so that results are printed while the main thread waits for the next line. The
reader and the futures put events on one queue; the main thread alone takes events, parses, calls and prints, so the
state of `Submission` needs no lock.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from queue import SimpleQueue
from typing import IO, Any

import click

from .. import Backoff, Connection
from ..clock import monotonic
from ..contrib.exit_codes import ExitCode, exit_code
from ..deadline import next_item
from .address import UrlCommand
from .connect_options import ConnectOptions, client_command
from .jsonl_calls import CallLine, InvalidCallLine, parse_call, result_line
from .output import is_terminal, print_json
from .payloads import STDIN, open_stdin
from .progress import progress

READ_AHEAD = 10_000
READ_SIZE = 65_536


@click.command(cls=UrlCommand)
@client_command
@click.argument("file", default=STDIN, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--parallel", type=click.IntRange(1, 65_536), default=10, show_default=True, help="Calls at once.")
@click.option("--retry", is_flag=True, help="Reconnect when the connection is lost, and send unanswered calls again.")
def submit(options: ConnectOptions, file: str, parallel: int, retry: bool) -> ExitCode:
    """Make the calls in FILE (default: stdin), many at once, and print their results in the same order.

    \b
    owlsocket submit ws://localhost:8080 calls.jsonl --parallel 20 > results.jsonl
    echo '["add", 2, 3]' | owlsocket submit ws://localhost:8080
    owlsocket submit ws://localhost:8080 calls.jsonl | jq -c 'select(.ok | not)'

    A line is ["METHOD", ARG, …], or {"method": …, "args": […], "timeout": SECONDS, "id": ANY}. Its result is
    {"line": N, "ok": true, "result": …, "seconds": …}, or {"line": N, "ok": false, "error": {"type": …, "message": …,
    "code": …}}, with the id of the line. The exit code is that of the first line that failed, 0 if none did.

    Use --retry only for methods that are safe to run twice.
    """
    with (
        _open(file) as source,
        options.connected(reconnect=Backoff() if retry else None) as connection,
        progress("calls", _count_lines(source)) as on_progress,
    ):
        return Submission(connection, read_lines(source.fileno()), parallel, retry, on_progress).run()


def _open(file: str) -> AbstractContextManager[IO[bytes]]:
    # Not closed at the end of the block: the reader thread may still be in a read of it.
    return nullcontext(open_stdin()) if file == STDIN else open(file, "rb")


def _count_lines(source: IO[bytes]) -> int | None:
    """Return the number of lines for the progress bar; ``None`` where the source can be read only once."""
    if not is_terminal(sys.stderr) or not source.seekable():
        return None
    start = source.tell()
    total = sum(1 for line in source if line.strip())
    # read_lines reads from the descriptor; seek moves the position of that, too.
    source.seek(start)
    return total


def read_lines(descriptor: int) -> Iterator[bytes]:
    """Yield each line of a file, a pipe or a terminal without its end, as soon as it is complete.

    Raises:
        OSError: the descriptor cannot be read.
    """
    pieces: list[bytes] = []
    # os.read, not a buffered file: that holds a lock while it waits for bytes, and the interpreter aborts at exit where
    # a daemon thread holds such a lock ("could not acquire lock for <_io.BufferedReader name='<stdin>'>").
    while data := os.read(descriptor, READ_SIZE):
        first, *lines = data.split(b"\n")
        pieces.append(first)
        for line in lines:
            yield b"".join(pieces)
            pieces = [line]
    if last := b"".join(pieces):
        yield last


class Submission:
    """The calls of one ``owlsocket submit``.

    Args:
        connection: the open connection.
        lines: the lines; iterated on the reader thread.
        parallel: how many calls may be in flight at once.
        retry: whether a call may be sent twice.
        on_progress: called with the numbers of calls that are done and that failed.
    """

    def __init__(
        self,
        connection: Connection,
        lines: Iterable[bytes],
        parallel: int,
        retry: bool,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._connection = connection
        self._lines = lines
        self._parallel = parallel
        self._retry = retry
        self._on_progress = on_progress
        # SimpleQueue: its put is reentrant, and a future may complete anywhere, even inside of a collector's callback.
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()
        # Bounds the lines that are read and not printed, and so the memory: one slow call holds back all results.
        self._capacity = threading.Semaphore(parallel + READ_AHEAD)
        self._waiting: deque[CallLine] = deque()
        self._unprinted: deque[CallLine] = deque()
        self._in_flight = self._done = self._failed = 0
        self._at_end = False
        self._exit_code = ExitCode.OK

    def run(self) -> ExitCode:
        """Make all calls, print their results, and return the exit code of the first line that failed."""
        # A daemon: at Ctrl-C it may wait in a read that nothing ends.
        threading.Thread(target=self._read, name="owlsocket-lines", daemon=True).start()
        while not self._at_end or self._unprinted:
            next_item(self._events)()
            self._start()
            self._print()
        return self._exit_code

    def _read(self) -> None:
        """Put the lines on the queue of events; on the reader thread."""
        try:
            for number, line in enumerate(self._lines, 1):
                # A blank line is skipped and counted: the numbers are those that an editor shows.
                if line.strip():
                    self._capacity.acquire()
                    self._events.put(partial(self._add, number, line))
        except OSError as error:
            self._events.put(partial(self._read_failed, error))
        self._events.put(self._end)

    def _end(self) -> None:
        self._at_end = True

    @staticmethod
    def _read_failed(error: Exception) -> None:
        raise click.UsageError(f"cannot read the calls: {error}")

    def _add(self, number: int, line: bytes) -> None:
        call = parse_call(number, line)
        self._unprinted.append(call)
        # An invalid line has failed already, and is only printed.
        if call.future is None:
            self._waiting.append(call)

    def _start(self) -> None:
        while self._waiting and self._in_flight < self._parallel:
            call = self._waiting.popleft()
            call.started = monotonic()
            self._in_flight += 1
            call.future = self._submit(call)
            call.future.add_done_callback(partial(self._on_done, call))

    def _submit(self, call: CallLine) -> Future[Any]:
        # Raises at once where the payload cannot be sent or the connection is closed; other lines may still succeed.
        try:
            return self._connection.submit(call.method, *call.arguments, timeout=call.timeout, retry=self._retry)
        except Exception as error:
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return failed

    def _on_done(self, call: CallLine, _: Future[Any]) -> None:
        """Note the duration of a call; on the thread that completed its future."""
        # Assigned before the put, which publishes it to the main thread.
        call.seconds = monotonic() - call.started
        self._events.put(self._finished)

    def _finished(self) -> None:
        self._in_flight -= 1

    def _print(self) -> None:
        while self._unprinted and (future := self._unprinted[0].future) is not None and future.done():
            call = self._unprinted[0]
            # A future is done a moment before its callback has noted the duration; that callback's event comes next.
            if call.started and call.seconds is None:
                return
            self._unprinted.popleft()
            self._capacity.release()
            print_json(result_line(call))
            self._done += 1
            if (error := future.exception()) is not None:
                self._failed += 1
                code = ExitCode.USAGE if isinstance(error, InvalidCallLine) else exit_code(error)
                self._exit_code = self._exit_code or code
            self._on_progress(self._done, self._failed)
