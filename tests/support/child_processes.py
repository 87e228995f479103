"""Processes of their own, that lead back to a server of the test: started, watched, and never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from owlsocket_sync import Connection
from owlsocket_sync.server import Request
from support.helpers import scaled
from support.sockets import RawPeer

ROOT = Path(__file__).parents[2]
APPS = Path(__file__).parents[1] / "processes" / "apps"
PATIENCE = 40.0
BEGINNING = """
import os, signal, sys, threading, time
import owlsocket_sync
from owlsocket_sync import Backoff, ConnectionState, Heartbeat, SocketConnectionError, connect
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started us in the background had it ignored
url = sys.argv[1]
"""
CONNECTED = "conn = connect(url, timeout=20)\nassert conn.call('echo', 1) == 1\n"

# From Python 3.12 on, a process with threads is warned when it forks; that it may is what is tested here.
STRICT = "error,ignore:This process:DeprecationWarning"


def environment(warnings: str = STRICT, **more: str) -> dict[str, str]:
    """The environment of a child: this project, and the apps of the tests, can be imported."""
    path = os.pathsep.join((str(ROOT), str(APPS)))
    return {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": warnings, "PYTHONUNBUFFERED": "1", **more}


@dataclass(frozen=True)
class Done:
    """How a child ended: its return code, what it printed and complained of, and when (``time.monotonic``)."""

    code: int
    out: str
    complaints: str
    at: float

    @property
    def words(self) -> list[str]:
        """What it printed, word by word."""
        return self.out.split()


class Child:
    """A child that runs; a context manager, at whose end it is dead, with all that it started."""

    def __init__(self, command: Sequence[str], env: dict[str, str] | None = None, keep: Sequence[int] = ()) -> None:
        self._process = subprocess.Popen(
            command,
            env=env or environment(),
            pass_fds=keep,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def send(self, number: int) -> float:
        """Send it a signal; the moment at which that was done."""
        at = time.monotonic()
        self._process.send_signal(number)
        return at

    def finish(self, seconds: float = PATIENCE) -> Done:
        """Wait for its end."""
        ended: list[float] = []
        watcher = threading.Thread(target=lambda: ended.append((self._process.wait(), time.monotonic())[1]))
        watcher.start()
        out, complaints = self._process.communicate(timeout=scaled(seconds))
        watcher.join()
        return Done(self._process.returncode, out, complaints, ended[0])

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number in (signal.SIGCONT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
        self._process.communicate()


def script(source: str, *arguments: str, first: str = "") -> Child:
    """A child that runs this source; ``first`` comes before we are imported."""
    return Child([sys.executable, "-c", first + BEGINNING + textwrap.dedent(source), *arguments])


def run(source: str, *arguments: str) -> Done:
    """Run this source to its end."""
    with script(source, *arguments) as child:
        return child.finish()


def echo(conn: Connection, request: Request) -> None:
    """A server's handler: echoes, calls back, is slow, and takes no step of authentication to its end."""
    conn.perform("echo", lambda value=None: value)
    conn.perform("callback", lambda: conn.notify("go"))
    conn.perform("slow", lambda: conn.wait_closed(scaled(PATIENCE)) and None)
    conn.authenticate = lambda stage, payload: (None, None)


def silent(peer: RawPeer) -> None:
    """A raw server's script: upgrades, and never says another word."""
    peer.upgrade()
    peer.at_end()


class Attendance:
    """A server's handler that doubles numbers, and knows which process asked on which of its connections."""

    def __init__(self) -> None:
        self._here = threading.Condition()
        self._connections: dict[int, list[Connection]] = {}
        self.links = 0
        self.numbers: set[int] = set()

    def __call__(self, conn: Connection, request: Request) -> None:
        with self._here:
            self.links += 1
        conn.perform("double", partial(self._double, conn))

    def _double(self, conn: Connection, process: int, number: int) -> int:
        with self._here:
            self.numbers.add(number)
            known = self._connections.setdefault(process, [])
            if conn not in known:
                known.append(conn)
            self._here.notify_all()
        return 2 * number

    @property
    def counts(self) -> dict[int, int]:
        """How many connections each process asked on."""
        with self._here:
            return {process: len(connections) for process, connections in self._connections.items()}

    def wait(self, holds: Callable[[dict[int, int]], bool], seconds: float = PATIENCE) -> None:
        """Wait until this holds of the counts."""
        with self._here:
            arrived = self._here.wait_for(
                lambda: holds({process: len(all) for process, all in self._connections.items()}), scaled(seconds)
            )
        assert arrived, self.counts


class Gathering(Attendance):
    """Holds every answer until two processes have asked: one of them alone could be done with all tasks before."""

    def _double(self, conn: Connection, process: int, number: int) -> int:
        answer = super()._double(conn, process, number)
        self.wait(lambda counts: len(counts) >= 2)
        return answer


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    """A socket that listens on a free port, for a child to inherit: who connects early waits for it."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock
