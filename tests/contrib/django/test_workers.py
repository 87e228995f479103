"""Django in worker processes: gunicorn workers of each kind, under load and during a reload; and Celery."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from owlsocket_sync.server import Server, serve
from support.browsers import THREADS, answer_right, gunicorn, reload_under_load
from support.child_processes import Attendance, Child, Gathering
from support.django_project import PROJECT, environment
from support.figures import Figure
from support.helpers import eventually, whole
from support.variants import kinds

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")]


@pytest.fixture
def attendance() -> Attendance:
    """The processes that called, by connection."""
    return Attendance()


@pytest.fixture
def server(attendance: Attendance) -> Iterator[Server]:
    """A server that doubles numbers."""
    with serve(attendance) as running:
        yield running


APP = "contrib.project.wsgi:application"
SITES = {
    "sync": APP,
    "sync, preloaded": f"--preload {APP}",
    "threads": f"--worker-class gthread --threads {THREADS} {APP}",
    "threads, preloaded": f"--worker-class gthread --threads {THREADS} --preload {APP}",
    "threads, preloaded and connected": f"--threads {THREADS} --preload contrib.project.wsgi:eager()",
}
RELOADED = ["sync", "threads", "threads, preloaded and connected"]


@pytest.mark.stress
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", kinds(SITES, "threads, preloaded"))
def test_each_worker_answers_correctly_on_one_connection(
    server: Server, attendance: Attendance, figure: Figure, name: str
) -> None:
    """Four workers with eight threads and a thousand calls each: no wrong answer, and a clean close at the end."""
    with gunicorn(SITES[name], environment(OWLSOCKET_URL=server.url, PYTHONWARNINGS="")) as site:
        answer_right(server, attendance, figure, site, connected="connected" in name)


@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", kinds(RELOADED, "threads"))
def test_a_reload_under_load_loses_no_answer(server: Server, attendance: Attendance, figure: Figure, name: str) -> None:
    """After SIGHUP, each answer of the server still reaches the browser, and new workers take over."""
    with gunicorn(SITES[name], environment(OWLSOCKET_URL=server.url, PYTHONWARNINGS="")) as site:
        reload_under_load(attendance, figure, site)


@pytest.mark.timeout(120)
def test_each_celery_worker_has_one_connection(tmp_path: Path) -> None:
    """Tasks in prefork workers use the project's client; all tasks succeed, and the shutdown is clean."""
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
