"""Those who browse a site that gunicorn serves with several workers: many threads, under load and while it reloads."""

from __future__ import annotations

import http.client
import itertools
import json
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from owlsocket_sync.server import Server
from support.child_processes import Attendance, Child, listening
from support.figures import Figure
from support.helpers import eventually, scaled, whole

WORKERS = 4
THREADS = 8


class Browsers:
    """Many threads that ask a gunicorn for numbers under a path, each of which is asked for once."""

    def __init__(self, child: Child, port: int, path: str) -> None:
        self.child = child
        self.port = port
        self._path = path
        self._numbers = itertools.count()
        self.answered: dict[int, int] = {}
        self.dropped: set[int] = set()

    def get(self, _: object = None) -> None:
        """Ask for the next number; note the process that doubled it, or that the request was dropped."""
        number = next(self._numbers)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=scaled(30))
        try:
            connection.request("GET", f"/{self._path}/{number}")
            response = connection.getresponse()
            body = response.read()
        except ConnectionError:
            self.dropped.add(number)
            return
        finally:
            connection.close()
        assert response.status == 200, body
        reply = json.loads(body)
        assert reply["answer"] == 2 * number
        self.answered[number] = reply["process"]

    def storm(self, each: int) -> None:
        """All threads of all workers are asked at once, so many times each."""
        crowd = WORKERS * THREADS
        with ThreadPoolExecutor(crowd) as threads:
            list(threads.map(self.get, range(crowd * each)))

    def ask_until_all_answered(self, but: set[int] | None = None) -> set[int]:
        """Ask on until each worker has answered, others than these; all that ever did, but these."""
        for _ in range(200):
            processes = set(self.answered.values()) - (but or set())
            if len(processes) >= WORKERS:
                return processes
            self.storm(1)
        raise AssertionError(f"{len(processes)} of {WORKERS} workers answered")


@contextmanager
def gunicorn(options: str, env: dict[str, str], path: str = "double") -> Iterator[Browsers]:
    """A gunicorn that serves a site, on a socket that it inherits, in this environment."""
    with listening() as sock:
        bind = ["--bind", f"fd://{sock.fileno()}", "--workers", str(WORKERS)]
        command = [sys.executable, "-m", "gunicorn", *bind, *options.split(), "--log-level", "warning"]
        with Child(command, env, [sock.fileno()]) as child:
            yield Browsers(child, sock.getsockname()[1], path)


def answer_right(
    server: Server, attendance: Attendance, figure: Figure, site: Browsers, *, connected: bool = False
) -> None:
    """Four workers, eight threads, a thousand calls each: no wrong answer; and a goodbye at the end."""
    site.storm(whole(4, 1000))
    workers = site.ask_until_all_answered()
    assert site.dropped == set()
    counts = attendance.counts
    assert workers == set(counts) - {site.child.pid}
    figure("connections of one worker", max(counts.values()), 1, "")
    assert attendance.links == WORKERS + connected
    site.child.send(signal.SIGTERM)
    done = site.child.finish()
    assert (done.code, "Traceback" in done.complaints) == (0, False), done.complaints
    eventually(lambda: not server.connections)


def reload_under_load(attendance: Attendance, figure: Figure, site: Browsers) -> None:
    """After SIGHUP, whoever had an answer of the server's gets it to the browser, and others take over."""
    before = site.ask_until_all_answered()
    for _ in range(whole(1, 10)):
        over = threading.Event()
        with ThreadPoolExecutor(WORKERS * THREADS) as threads:
            asking = [threads.submit(_ask_until, site, over) for _ in range(WORKERS * THREADS)]
            site.child.send(signal.SIGHUP)
            try:
                eventually(lambda: len(set(site.answered.values()) - before) >= WORKERS, 60)  # noqa: B023
            finally:
                over.set()
            for future in asking:
                future.result()
        before = set(site.answered.values())
    lost = site.dropped & attendance.numbers
    figure("answered calls that a reload lost", len(lost), 0, "")
    assert attendance.numbers >= set(site.answered)
    figure("connections of one worker", max(attendance.counts.values()), 1, "")
    site.child.send(signal.SIGTERM)
    assert site.child.finish().code == 0


def _ask_until(site: Browsers, over: threading.Event) -> None:
    while not over.wait(0.01):  # the new workers start beside this load, on the same cores
        site.get()
