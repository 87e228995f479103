"""``owlsocket demo``: every feature of a connection, step by step, against a server in a second process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any

from .. import Backoff, Connection, ConnectionState, ResilientError, connect
from ..auth import KeyPair, Login
from ..clock import monotonic
from .output import print_line

START_SECONDS = 5.0
STEP_SECONDS = 3.0
SERVER = "owlsocket_sync.cli.demo_server"

Step = Callable[[], str]


class UnexpectedResult(Exception):
    """A step gave another result than expected."""


class ServerProcess:
    """The demo server in a process of its own; it ends with this process at the latest.

    Args:
        user: the public key that may log in.

    Attributes:
        url: the URL of the server; empty until it was started.
        login: the base URL of its login service.
    """

    url = login = ""

    def __init__(self, user: str) -> None:
        self._user = user
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Start the server on free ports, or on those that it had before, and return its URL."""
        ports = ["--port", _port_of(self.url), "--login-port", _port_of(self.login)]
        command = [sys.executable, "-m", SERVER, "--user", self._user, *ports]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        # readline has no timeout; killing the process ends it.
        timer = threading.Timer(START_SECONDS, self._process.kill)
        timer.start()
        try:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise UnexpectedResult(f"expected a server within {START_SECONDS:g} s, got none")
        try:
            urls = json.loads(line)
            self.url, self.login = urls["url"], urls["login"]
        except (ValueError, KeyError, TypeError):
            raise UnexpectedResult(f"expected the URLs of the server, got {line!r}") from None
        return self.url

    def stop(self) -> None:
        """Kill the server, as an outage would; idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            # Closes its pipes and reaps the process, which would stay a zombie.
            process.communicate(timeout=START_SECONDS)

    def restart(self) -> str:
        """Kill the server and start a new process on the same ports, which knows no token of the old one."""
        self.stop()
        return self.start()


def _port_of(url: str) -> str:
    return url.rpartition(":")[2] or "0"


def run_demo() -> bool:
    """Run and print all steps; return whether each gave the expected result."""
    start = monotonic()
    with _prepared_steps() as steps:
        for title, step in steps:
            if not _run_step(title, step):
                return False
    print_line(f"All steps succeeded, in {monotonic() - start:.1f} s.")
    return True


def _run_step(title: str, step: Step) -> bool:
    """Run one step, print its result, and return whether it succeeded."""
    try:
        result, mark = step(), "ok"
    except Exception as error:
        text = str(error) if isinstance(error, UnexpectedResult) else f"{type(error).__name__}: {error}"
        result, mark = text, "no"
    print_line(f"{mark}  {title:<40} {result}")
    return mark == "ok"


@contextmanager
def _prepared_steps() -> Iterator[Iterator[tuple[str, Step]]]:
    """Yield the steps; afterwards the connection is closed and the server stopped, also after an error."""
    key = KeyPair.generate()
    server = ServerProcess(key.public)
    try:
        steps = _steps(server, key)
        try:
            yield steps
        finally:
            # Closes the connection, whose with block is inside of the generator, before its server is killed.
            steps.close()
    finally:
        server.stop()


def _steps(server: ServerProcess, key: KeyPair) -> Generator[tuple[str, Step], None, None]:
    yield "start a server in a second process", server.start
    backoff = Backoff(initial=0.1, cap=0.5)
    auth = Login(server.login, key)
    with connect(server.url, auth=auth, call_timeout=STEP_SECONDS, reconnect=backoff, wait=False) as conn:
        yield "log in with a new key, and connect", lambda: _connect(conn)
        yield "ask the server for our identity", lambda: _expect(conn.call("whoAmI"), key.address)
        yield "call a method", lambda: _expect(conn.call("add", 2, 3), 5)
        yield "twenty calls at once", lambda: _parallel(conn)
        yield "observe an event of the server", lambda: _observe(conn)
        yield "a request with a stream of responses", lambda: _stream(conn)
        yield "a call from the server to the client", lambda: _call_back(conn)
        yield "put a message on the server's queue", lambda: _enqueue(conn)
        yield "take a message from our queue", lambda: _consume(conn)
        yield "a call that fails", lambda: _error(conn)
        yield "kill the server, and reconnect", lambda: _outage(conn, server)


def _connect(conn: Connection) -> str:
    conn.wait_open(STEP_SECONDS)
    return f"{conn.state.value}, round trip {conn.ping() * 1000:.1f} ms"


def _parallel(conn: Connection) -> str:
    futures = [conn.submit("echo", number) for number in range(20)]
    # With a timeout: a lost answer must fail this step, not hang the demo.
    done = wait(futures, STEP_SECONDS).done
    _expect([future.result() for future in futures if future in done], list(range(20)))
    return "each call got its own answer"


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
    raise UnexpectedResult(f"expected an error, got {answer!r}")


def _outage(conn: Connection, server: ServerProcess) -> str:
    start = monotonic()
    server.restart()
    answer = conn.call("echo", "back again")
    _expect((answer, conn.state, conn.stats.reconnects), ("back again", ConnectionState.OPEN, 1))
    return f"{answer}, after {monotonic() - start:.1f} s"


def _expect(result: Any, expected: Any) -> str:
    if result != expected:
        raise UnexpectedResult(f"expected {expected!r}, got {result!r}")
    return repr(result)
