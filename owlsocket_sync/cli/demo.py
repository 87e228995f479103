"""``owlsocket demo``: everything that a connection can do, against a server in a second process, step by step."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any

from .. import Backoff, Connection, ConnectionState, ResilientError, connect
from ..auth import KeyPair, Login
from .outcome import put_line

START_SECONDS = 5.0
STEP_SECONDS = 3.0
SERVER = "owlsocket_sync.cli.demo_server"

Step = Callable[[], str]


class Unexpected(Exception):
    """A step gave something else than it should."""


class ServerProcess:
    """The playground, in a process of its own; killed by `stop`, and gone with this process at the latest."""

    url = login = ""

    def __init__(self, user: str) -> None:
        self._user = user
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Start it, where it was before or on free ports, and return its URL."""
        ports = ["--port", _port_of(self.url), "--login-port", _port_of(self.login)]
        command = [sys.executable, "-m", SERVER, "--user", self._user, *ports]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        impatience = threading.Timer(START_SECONDS, self._process.kill)
        impatience.start()
        try:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
        finally:
            impatience.cancel()
        if not line:
            raise Unexpected(f"expected a server within {START_SECONDS:g} s, got none")
        try:
            told = json.loads(line)
            self.url, self.login = told["url"], told["login"]
        except (ValueError, KeyError, TypeError):
            raise Unexpected(f"expected the URLs of the server, got {line!r}") from None
        return self.url

    def stop(self) -> None:
        """Kill it, as an outage would; idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate(timeout=START_SECONDS)

    def restart(self) -> str:
        """An outage, and its end: the same ports, another process, which knows none of the tokens of the first."""
        self.stop()
        return self.start()


def _port_of(url: str) -> str:
    return url.rpartition(":")[2] or "0"


def demo() -> bool:
    """Walk through all steps, telling on stdout; whether each gave what it should."""
    began = time.monotonic()
    with _stage() as steps:
        for title, step in steps:
            if not _walk(title, step):
                return False
    put_line(f"All of it worked, in {time.monotonic() - began:.1f} s.")
    return True


def _walk(title: str, step: Step) -> bool:
    """Take one step and tell what came of it."""
    try:
        outcome, mark = step(), "ok"
    except Exception as error:
        words = str(error) if isinstance(error, Unexpected) else f"{type(error).__name__}: {error}"
        outcome, mark = words, "no"
    put_line(f"{mark}  {title:<40} {outcome}")
    return mark == "ok"


@contextmanager
def _stage() -> Iterator[Iterator[tuple[str, Step]]]:
    """The steps; whatever happens, no process and no connection is left behind."""
    key = KeyPair.generate()
    server = ServerProcess(key.public)
    try:
        steps = _steps(server, key)
        try:
            yield steps
        finally:
            steps.close()
    finally:
        server.stop()


def _steps(server: ServerProcess, key: KeyPair) -> Generator[tuple[str, Step], None, None]:
    yield "start a server in a second process", server.start
    options: dict[str, Any] = {"call_timeout": STEP_SECONDS, "reconnect": Backoff(initial=0.1, cap=0.5), "wait": False}
    with connect(server.url, auth=Login(server.login, key), **options) as conn:
        yield "log in with a new key, and connect", lambda: _connect(conn)
        yield "ask the server who we are", lambda: _expect(conn.call("whoAmI"), key.address)
        yield "call a method", lambda: _expect(conn.call("add", 2, 3), 5)
        yield "twenty calls at once", lambda: _parallel(conn)
        yield "observe an event of the server", lambda: _observe(conn)
        yield "a request with a stream of responses", lambda: _stream(conn)
        yield "the server calls back", lambda: _call_back(conn)
        yield "put a message on the server's queue", lambda: _enqueue(conn)
        yield "take a message of the server", lambda: _consume(conn)
        yield "an error", lambda: _error(conn)
        yield "the server is killed, and comes back", lambda: _outage(conn, server)


def _connect(conn: Connection) -> str:
    conn.wait_open(STEP_SECONDS)
    return f"{conn.state.value}, round trip {conn.ping() * 1000:.1f} ms"


def _parallel(conn: Connection) -> str:
    futures = [conn.submit("echo", number) for number in range(20)]
    done = wait(futures, STEP_SECONDS).done
    _expect([future.result() for future in futures if future in done], list(range(20)))
    return "each got its own answer"


def _observe(conn: Connection) -> str:
    with conn.events("heard", limit=1, timeout=STEP_SECONDS) as heard:
        conn.notify("shout", "owls!")
        return _expect([message.payload for message in heard], [{"shout": "owls!"}])


def _stream(conn: Connection) -> str:
    parts = []
    with conn.stream({"count": 3}) as stream:
        for part in stream:
            parts.append(part["data"])
            if not part["hasMore"]:
                break
    return _expect(parts, [0, 1, 2])


def _call_back(conn: Connection) -> str:
    with conn.perform("whoami", lambda greeting: f"{greeting}, I am the client"):
        return _expect(conn.call("callMe", "whoami", "Hello"), "Hello, I am the client")


def _enqueue(conn: Connection) -> str:
    conn.enqueue({"order": 7}, id="o-7")
    return _expect(conn.call("queue"), [[{"order": 7}, "o-7", 0]])


def _consume(conn: Connection) -> str:
    conn.call("enqueueMe", "a parcel")
    message = conn.consume(timeout=STEP_SECONDS)
    return _expect(message and message.payload, "a parcel")


def _error(conn: Connection) -> str:
    try:
        answer = conn.call("fail", "no owls today")
    except ResilientError as error:
        _expect((error.type, error.message), ("RuntimeError", "no owls today"))
        return f"{error.type}: {error.message}"
    raise Unexpected(f"expected an error, got {answer!r}")


def _outage(conn: Connection, server: ServerProcess) -> str:
    began = time.monotonic()
    server.restart()
    answer = conn.call("echo", "back again")
    _expect((answer, conn.state, conn.stats.reconnects), ("back again", ConnectionState.OPEN, 1))
    return f"{answer}, after {time.monotonic() - began:.1f} s"


def _expect(got: Any, wanted: Any) -> str:
    if got != wanted:
        raise Unexpected(f"expected {wanted!r}, got {got!r}")
    return repr(got)
