"""Django in real workers: gunicorn's, of each kind, under load and while they are renewed; and Celery's."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsers import THREADS, answer_right, gunicorn, reload_under_load
from child_processes import Attendance, Child, Gathering
from django_project import PROJECT, environment
from figures import Figure
from helpers import eventually, whole

from owlsocket_sync.server import Server, serve

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
    with gunicorn(SITES[name], environment(OWLSOCKET_URL=server.url, PYTHONWARNINGS="")) as site:
        answer_right(server, attendance, figure, site, connected="connected" in name)


@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["sync", "threads", "threads, preloaded and connected"])
def test_a_reload_under_load_loses_no_answered_call(
    server: Server, attendance: Attendance, figure: Figure, name: str
) -> None:
    """After SIGHUP, whoever had an answer of the server's gets it to the browser, and others take over."""
    with gunicorn(SITES[name], environment(OWLSOCKET_URL=server.url, PYTHONWARNINGS="")) as site:
        reload_under_load(attendance, figure, site)


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
