"""Real servers that fork, or patch, their workers: each worker has one connection, and gets right answers on it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from owlsocket_sync.server import Server, serve
from support.child_processes import APPS, Attendance, Child, Gathering, environment, listening
from support.figures import Figure
from support.helpers import eventually, whole
from support.variants import kinds

WORKERS = 4
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")]


@pytest.fixture
def attendance() -> Attendance:
    """Who asked, and on which connection."""
    return Attendance()


@pytest.fixture
def server(attendance: Attendance) -> Iterator[Server]:
    """Doubles numbers."""
    with serve(attendance) as running:
        yield running


@pytest.mark.parametrize("pool", ["processes", "pool", "executor"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_row_24_jobs_of_a_pool_of_processes(server: Server, attendance: Attendance, method: str, pool: str) -> None:
    """Every job is answered, on the one connection of its process; the parent's never breaks."""
    command = [sys.executable, str(APPS / "jobs.py"), method, pool]
    with Child(command, environment(OWLSOCKET_URL=server.url)) as child:
        done = child.finish()
    assert (done.code, done.complaints) == (0, "")
    counts = attendance.counts
    assert child.pid in counts
    assert len(counts) >= 2
    assert set(counts.values()) == {1}, counts


class Site:
    """A gunicorn that serves the app of the tests, and those who ask it."""

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self._port = port

    def get(self, number: int) -> int:
        """Have a number doubled; the process that did it."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("GET", f"/?{number}")
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        assert response.status == 200, body
        reply = json.loads(body)
        assert reply["answer"] == 2 * number
        return int(reply["process"])

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


SITES = {
    "sync, preloaded": ("--preload web:eager()", True),
    "sync, a context": ("--preload web:lazy()", False),
    "threads, preloaded": ("--preload --threads 4 web:eager()", True),
    "threads, a context": ("--preload --threads 4 web:lazy()", False),
    "gevent": ("--worker-class gevent web:eager()", False),
    "gevent, a context": ("--preload --worker-class gevent web:lazy()", False),
    "gevent, preloaded": ("--preload --worker-class gevent web:eager()", True),
}


@pytest.mark.stress
@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", kinds(SITES, "threads, preloaded", "gevent, a context"))
def test_row_24_gunicorn(server: Server, attendance: Attendance, figure: Figure, name: str) -> None:
    """Requests side by side get right answers, each worker has one connection, and ends with a goodbye."""
    options, master_connects = SITES[name]
    with gunicorn(options, server.url) as site:
        workers = site.ask_until(WORKERS)
        counts = attendance.counts
        assert workers == set(counts) - {site.child.pid}
        figure("connections of one worker", max(counts.values()), 1, "")
        assert attendance.links == WORKERS + master_connects
        ended = site.child.send(signal.SIGTERM)
        done = site.child.finish()
    assert (done.code, done.complaints) == (0, "")
    figure("SIGTERM to the end of gunicorn", done.at - ended, 5.0, "s")
    eventually(lambda: not server.connections)


def test_row_24_gunicorn_renews_its_workers(server: Server, attendance: Attendance) -> None:
    """After SIGHUP others answer, on connections of their own; the old ones say goodbye, and nothing is said wrong."""
    with gunicorn("--preload --threads 4 web:eager()", server.url) as site:
        before = site.ask_until(WORKERS)
        site.child.send(signal.SIGHUP)
        after = site.ask_until(WORKERS, but=before)
        assert not before & after
        assert set(attendance.counts.values()) == {1}
        eventually(lambda: len(server.connections) == WORKERS + 1, 20)
        site.child.send(signal.SIGTERM)
        done = site.child.finish()
    assert (done.code, "Traceback" in done.complaints) == (0, False)


@pytest.mark.timeout(120)
def test_row_24_celery(tmp_path: Path) -> None:
    """Tasks in prefork workers are done, each worker has one connection, and the end is a clean one."""
    attendance = Gathering()
    with serve(attendance) as server:
        _run_tasks(server, attendance, whole(30, 600), tmp_path)
        eventually(lambda: not server.connections)


def _run_tasks(server: Server, attendance: Attendance, count: int, tmp_path: Path) -> None:
    env = environment("", OWLSOCKET_URL=server.url, QUEUE_FOLDER=str(tmp_path))
    options = "--pool prefork --concurrency 3 --loglevel WARNING --without-gossip --without-mingle --without-heartbeat"
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", *options.split()]
    with Child(command, env) as worker:
        with Child([sys.executable, str(APPS / "tasks.py"), str(count)], env) as client:
            assert client.finish().code == 0
        attendance.wait(lambda counts: len(counts) >= 2)
        eventually(lambda: len(attendance.numbers) == count, 60)
        assert attendance.numbers == set(range(count))
        assert set(attendance.counts.values()) == {1}
        worker.send(signal.SIGTERM)
        done = worker.finish()
    assert done.code == 0
    assert "Traceback" not in done.complaints
    assert "ERROR" not in done.complaints
