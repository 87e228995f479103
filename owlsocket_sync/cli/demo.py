"""``owlsocket demo``: everything that a connection can do, against a server in a second process, step by step."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from typing import Any

from .. import Backoff, Connection, ConnectionState, ResilientError, connect
from .outcome import plain

START_SECONDS = 5.0
STEP_SECONDS = 3.0


class Unexpected(Exception):
    """A step gave something else than it should."""


class ServerProcess:
    """The playground, in a process of its own."""

    def __init__(self, port: int = 0) -> None:
        command = [sys.executable, "-m", "owlsocket_sync", "serve", "--port", str(port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        impatience = threading.Timer(START_SECONDS, self._process.kill)
        impatience.start()
        try:
            assert self._process.stdout is not None
            self.url: str = json.loads(self._process.stdout.readline() or "{}").get("url", "")
        finally:
            impatience.cancel()
        if not self.url:
            self.stop()
            raise Unexpected(f"the server did not start within {START_SECONDS:g} s")
        self.port = int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """Kill it, as an outage would."""
        self._process.kill()
        self._process.wait(START_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()


def demo() -> bool:
    """Walk through all steps, telling on stdout; whether each gave what it should."""
    began = time.monotonic()
    try:
        with _stage() as (conn, restart):
            for title, step in _steps(conn, restart):
                _tell(title, step())
    except (Unexpected, ResilientError, OSError) as error:
        print(f"  failed: {plain(str(error))}", flush=True)
        return False
    print(f"All of it worked, in {time.monotonic() - began:.1f} s.", flush=True)
    return True


@contextmanager
def _stage() -> Iterator[tuple[Connection, Callable[[], None]]]:
    """A server, a connection to it, and a way to restart the server."""
    servers = [ServerProcess()]

    def restart() -> None:
        servers[-1].stop()
        servers.append(ServerProcess(servers[-1].port))

    try:
        _tell("start a server in a second process", servers[0].url)
        with connect(servers[0].url, call_timeout=STEP_SECONDS, reconnect=Backoff(initial=0.1, cap=0.5)) as conn:
            _tell("connect to it", f"{conn.state.value}, round trip {conn.ping() * 1000:.1f} ms")
            yield conn, restart
    finally:
        servers[-1].stop()


def _steps(conn: Connection, restart: Callable[[], None]) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "call a method", lambda: _expect(conn.call("add", 2, 3), 5)
    yield "twenty calls at once", lambda: _parallel(conn)
    yield "observe an event", lambda: _observe(conn)
    yield "a request with a stream of responses", lambda: _stream(conn)
    yield "the server calls back", lambda: _call_back(conn)
    yield "the queue, both ways", lambda: _queue(conn)
    yield "an error", lambda: _error(conn)
    yield "the server is killed and comes back", lambda: _outage(conn, restart)


def _parallel(conn: Connection) -> str:
    futures = [conn.submit("echo", number) for number in range(20)]
    answers = sorted(future.result() for future in as_completed(futures, STEP_SECONDS))
    _expect(answers, list(range(20)))
    return "each to its own"


def _observe(conn: Connection) -> str:
    heard = conn.events("heard", limit=1, timeout=STEP_SECONDS)
    conn.notify("shout", "owls!")
    return _expect(next(heard).payload, {"shout": "owls!"})


def _stream(conn: Connection) -> str:
    parts = []
    for part in conn.stream({"count": 3}):
        parts.append(part["data"])
        if not part["hasMore"]:
            break
    return _expect(parts, [0, 1, 2])


def _call_back(conn: Connection) -> str:
    with conn.perform("whoami", lambda greeting: f"{greeting}, I am the client"):
        return _expect(conn.call("callMe", "whoami", "Hello"), "Hello, I am the client")


def _queue(conn: Connection) -> str:
    conn.enqueue({"order": 7}, id="o-7")
    _expect(conn.call("queue"), [[{"order": 7}, "o-7", 0]])
    conn.call("enqueueMe", "a parcel")
    return _expect(conn.consume(timeout=STEP_SECONDS), ("a parcel", None, 0))


def _error(conn: Connection) -> str:
    try:
        conn.call("fail", "no owls today")
    except ResilientError as error:
        _expect((error.type, error.message), ("RuntimeError", "no owls today"))
        return f"{error.type}: {error.message}"
    raise Unexpected("the call returned instead of raising")


def _outage(conn: Connection, restart: Callable[[], None]) -> str:
    began = time.monotonic()
    restart()
    answer = conn.call("echo", "back again")
    _expect((answer, conn.state, conn.stats.reconnects), ("back again", ConnectionState.OPEN, 1))
    return f"{answer}, after {time.monotonic() - began:.1f} s"


def _expect(got: Any, wanted: Any) -> str:
    if got != wanted:
        raise Unexpected(f"expected {wanted!r}, got {got!r}")
    return repr(got)


def _tell(title: str, outcome: str) -> None:
    print(f"ok  {title:<40} {plain(outcome)}", flush=True)
