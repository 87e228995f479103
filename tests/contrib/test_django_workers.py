"""Django in real workers: gunicorn's, of each kind, under load and while they are renewed; and Celery's."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from child_processes import Attendance, Child, listening
from django_project import PROJECT, environment
from figures import Figure
from helpers import eventually, scaled, whole

from owlsocket_sync import Connection
from owlsocket_sync.server import Server, serve

WORKERS = 4
THREADS = 8
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@pytest.fixture
def attendance() -> Attendance:
    """Who asked, and on which connection."""
    return Attendance()


@pytest.fixture
def server(attendance: Attendance) -> Iterator[Server]:
    """Doubles numbers."""
    with serve(attendance) as running:
        yield running


class Browsers:
    """Many threads that ask a gunicorn for numbers, each of which is asked for once."""

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self._port = port
        self._numbers = itertools.count()
        self.answered: dict[int, int] = {}
        self.dropped: set[int] = set()

    def get(self, _: object = None) -> None:
        """Ask for the next number; note the process that doubled it, or that the request was dropped."""
        number = next(self._numbers)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=scaled(30))
        try:
            connection.request("GET", f"/double/{number}")
            response = connection.getresponse()
            body = response.read()
        except ConnectionError:
            self.dropped.add(number)
            return
        finally:
            connection.close()
        assert response.status == 200, body
        said = json.loads(body)
        assert said["answer"] == 2 * number
        self.answered[number] = said["process"]

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
def gunicorn(options: str, url: str) -> Iterator[Browsers]:
    """A gunicorn that serves the project, on a socket that it inherits."""
    with listening() as sock:
        bind = ["--bind", f"fd://{sock.fileno()}", "--workers", str(WORKERS)]
        command = [sys.executable, "-m", "gunicorn", *bind, *options.split(), "--log-level", "warning"]
        env = environment(OWLSOCKET_URL=url, PYTHONWARNINGS="")
        with Child(command, env, [sock.fileno()]) as child:
            yield Browsers(child, sock.getsockname()[1])


APP = "contrib.project.wsgi:application"
SITES = {
    "sync": APP,
    "sync, preloaded": f"--preload {APP}",
    "threads": f"--worker-class gthread --threads {THREADS} {APP}",
    "threads, preloaded": f"--worker-class gthread --threads {THREADS} --preload {APP}",
    "threads, preloaded and connected": f"--threads {THREADS} --preload contrib.project.wsgi:eager()",
}


@pytest.mark.stress
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SITES)
def test_workers_answer_right_on_one_connection_each(
    server: Server, attendance: Attendance, figure: Figure, name: str
) -> None:
    """Four workers, eight threads, a thousand calls each: no wrong answer; and a goodbye at the end."""
    with gunicorn(SITES[name], server.url) as browsers:
        browsers.storm(whole(4, 1000))
        workers = browsers.ask_until_all_answered()
        assert browsers.dropped == set()
        counts = attendance.counts
        assert workers == set(counts) - {browsers.child.pid}
        figure("connections of one worker", max(counts.values()), 1, "")
        assert attendance.links == WORKERS + ("connected" in name)
        browsers.child.send(signal.SIGTERM)
        done = browsers.child.finish()
    assert (done.code, "Traceback" in done.complaints) == (0, False), done.complaints
    eventually(lambda: not server.connections)


@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["sync", "threads", "threads, preloaded and connected"])
def test_a_reload_under_load_loses_no_answered_call(
    server: Server, attendance: Attendance, figure: Figure, name: str
) -> None:
    """After SIGHUP, whoever had an answer of the server's gets it to the browser, and others take over."""
    with gunicorn(SITES[name], server.url) as browsers:
        before = browsers.ask_until_all_answered()
        for _ in range(whole(1, 10)):
            over = threading.Event()
            with ThreadPoolExecutor(WORKERS * THREADS) as threads:
                asking = [threads.submit(_ask_until, browsers, over) for _ in range(WORKERS * THREADS)]
                browsers.child.send(signal.SIGHUP)
                try:
                    eventually(lambda: len(set(browsers.answered.values()) - before) >= WORKERS, 60)  # noqa: B023
                finally:
                    over.set()
                for one in asking:
                    one.result()
            before = set(browsers.answered.values())
        lost = browsers.dropped & attendance.numbers
        figure("answered calls that a reload lost", len(lost), 0, "")
        assert attendance.numbers >= set(browsers.answered)
        figure("connections of one worker", max(attendance.counts.values()), 1, "")
        browsers.child.send(signal.SIGTERM)
        assert browsers.child.finish().code == 0


def _ask_until(browsers: Browsers, over: threading.Event) -> None:
    while not over.is_set():
        browsers.get()


class Gathering(Attendance):
    """Holds every answer until two processes have asked: one of them alone could be done with all tasks before."""

    def _double(self, conn: Connection, process: int, number: int) -> int:
        answer = super()._double(conn, process, number)
        self.wait(lambda counts: len(counts) >= 2)
        return answer


@pytest.mark.timeout(120)
def test_celery_workers_have_one_connection_each(tmp_path: Path) -> None:
    """Tasks in prefork workers use the project's client; all are done, and the end is a clean one."""
    count, attendance = whole(12, 600), Gathering()
    with serve(attendance) as server:
        _run_tasks(server, attendance, count, tmp_path)
        eventually(lambda: not server.connections)


def _run_tasks(server: Server, attendance: Attendance, count: int, folder: Path) -> None:
    env = environment(OWLSOCKET_URL=server.url, QUEUE_FOLDER=str(folder), PYTHONWARNINGS="")
    options = "--pool prefork --concurrency 3 --loglevel WARNING --without-gossip --without-mingle --without-heartbeat"
    command = [sys.executable, "-m", "celery", "-A", "contrib.project.jobs", "worker", *options.split()]
    with Child(command, env) as worker:
        with Child([sys.executable, str(PROJECT / "jobs.py"), str(count)], env) as client:
            assert client.finish().code == 0
        eventually(lambda: len(attendance.numbers) == count, 60)
        assert attendance.numbers == set(range(count))
        assert len(attendance.counts) >= 2
        assert set(attendance.counts.values()) == {1}
        assert worker.pid not in attendance.counts
        worker.send(signal.SIGTERM)
        done = worker.finish()
    assert done.code == 0
    assert "Traceback" not in done.complaints
    assert "ERROR" not in done.complaints
