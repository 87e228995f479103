"""gunicorn with the apps of the tests, which answer ``/?number`` with the double of it, and who said so."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from child_processes import Child, environment, listening
from helpers import whole

WORKERS = 4


class Site:
    """A gunicorn that serves an app of the tests, and those who ask it."""

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self.port = port

    def get(self, number: int) -> int:
        """Have a number doubled; the process that did it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", f"/?{number}")
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        assert response.status == 200, (response.status, body)
        said = json.loads(body)
        assert said["answer"] == 2 * number
        return int(said["process"])

    def get_from_successor(self, number: int) -> int:
        """Likewise, while workers end: gunicorn may drop a request that one of them accepted and did not begin."""
        for _ in range(WORKERS):
            with suppress(ConnectionError):
                return self.get(number)
        return self.get(number)

    def ask_until(self, count: int, but: set[int] | None = None) -> set[int]:
        """Ask from many threads until so many processes have answered, others than these, which are about to end."""
        processes: set[int] = set()
        get = self.get if but is None else self.get_from_successor
        with ThreadPoolExecutor(16) as threads:
            for _ in range(200):
                processes |= set(threads.map(get, range(whole(48, 480)))) - (but or set())
                if len(processes) >= count:
                    return processes
        raise AssertionError(f"{len(processes)} of {count} workers answered")


@contextmanager
def gunicorn(options: str, url: str) -> Iterator[Site]:
    """A gunicorn with four workers, on a socket that it inherits."""
    with listening() as sock:
        bind = f"fd://{sock.fileno()}"
        command = [sys.executable, "-m", "gunicorn", "--bind", bind, "--workers", str(WORKERS), *options.split()]
        env = environment("", OWLSOCKET_URL=url)
        with Child([*command, "--log-level", "warning"], env, [sock.fileno()]) as child:
            yield Site(child, sock.getsockname()[1])
