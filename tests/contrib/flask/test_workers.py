"""Flask in worker processes: gunicorn workers of each kind, under load and during a reload; and a plain fork."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from owlsocket_sync.server import Server, serve
from support.browsers import THREADS, answer_right, gunicorn, reload_under_load
from support.child_processes import Attendance, environment, run
from support.figures import Figure
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


APP = "flask_site:create_app()"
SITES = {
    "sync": APP,
    "sync, preloaded": f"--preload {APP}",
    "threads": f"--worker-class gthread --threads {THREADS} {APP}",
    "threads, preloaded": f"--worker-class gthread --threads {THREADS} --preload {APP}",
    "threads, preloaded and connected": f"--threads {THREADS} --preload flask_site:eager()",
}
RELOADED = ["sync", "threads", "threads, preloaded and connected"]


@pytest.mark.stress
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", kinds(SITES, "sync"))
def test_each_worker_answers_correctly_on_one_connection(
    server: Server, attendance: Attendance, figure: Figure, name: str
) -> None:
    """Four workers with eight threads and a thousand calls each: no wrong answer, and a clean close at the end."""
    with gunicorn(SITES[name], environment("", OWLSOCKET_URL=server.url)) as site:
        answer_right(server, attendance, figure, site, connected="connected" in name)


@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", kinds(RELOADED, "threads, preloaded and connected"))
def test_a_reload_under_load_loses_no_answer(server: Server, attendance: Attendance, figure: Figure, name: str) -> None:
    """After SIGHUP, each answer of the server still reaches the browser, and new workers take over."""
    with gunicorn(SITES[name], environment("", OWLSOCKET_URL=server.url)) as site:
        reload_under_load(attendance, figure, site)


FORKED = """
import flask_site
app = flask_site.eager()
children = []
for _ in range(4):
    child = os.fork()  # as uWSGI does, after the app was loaded, and here even used
    if child == 0:
        client = app.test_client()
        right = [client.get(f'/double/{n}').json['answer'] for n in range(10)] == [2 * n for n in range(10)]
        os._exit(0 if right else 1)
    children.append(child)
assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
assert app.test_client().get('/double/4').json == {'answer': 8, 'process': os.getpid()}
"""


def test_each_forked_worker_has_one_connection(
    server: Server, attendance: Attendance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After use in the parent, each child connects by itself, and the parent's connection stays open."""
    monkeypatch.setenv("OWLSOCKET_URL", server.url)
    done = run(FORKED, server.url)
    assert (done.code, done.complaints) == (0, "")
    assert len(attendance.counts) == 5
    assert set(attendance.counts.values()) == {1}
