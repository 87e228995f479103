"""A Flask app in forks that share its memory, and routes that accept clients in real workers."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import pytest

from owlsocket_sync import Backoff, Connection, connect
from owlsocket_sync.server import Server, serve
from support.browsers import THREADS, WORKERS, gunicorn
from support.child_processes import APPS, Attendance, Child, environment
from support.helpers import Collector, eventually, scaled, whole
from support.sockets import free_port

CALLS = 50
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


@pytest.fixture(autouse=True)
def _configuration(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the app reads from its environment."""
    monkeypatch.setenv("FLASK_OWLSOCKET_URL", server.url)
    monkeypatch.setenv("FLASK_OWLSOCKET_TIMEOUT", "20")
    monkeypatch.setenv("FLASK_OWLSOCKET_CALL_TIMEOUT", "20")


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_forks_of_a_process_that_asked(server: Server, attendance: Attendance) -> None:
    """As uWSGI makes its workers: the parent's connection stays the parent's, and is none the worse for it."""
    count = whole(CALLS, 1000)
    command = [sys.executable, str(APPS / "flask_workers.py"), *map(str, (WORKERS, THREADS, count))]
    with Child(command, environment()) as child:
        done = child.finish(whole(40.0, 400.0))
    assert (done.code, done.complaints) == (0, "")
    assert set(attendance.counts) == {child.pid, *map(int, done.words)}
    assert set(attendance.counts.values()) == {1}
    assert set(range(WORKERS * THREADS * count)) <= attendance.numbers
    eventually(lambda: not server.connections)


ACCEPTING = {
    # A link keeps its thread: a worker that accepted more of them would keep the last ones waiting.
    "threads": f"--worker-class gthread --threads {THREADS} --worker-connections {THREADS}",
    "gevent": "--worker-class gevent",
}


@pytest.mark.parametrize("kind", ACCEPTING)
def test_clients_are_accepted_by_workers(server: Server, kind: str) -> None:
    """By each of them, many at once; each keeps its link until it leaves."""
    with gunicorn(f"{ACCEPTING[kind]} flask_workers:create_app()", environment("")) as site, ExitStack() as clients:
        url = f"ws://127.0.0.1:{site.port}/ws"

        def visit(number: int) -> tuple[Connection, int]:
            conn = clients.enter_context(connect(url, timeout=20, reconnect=None))
            process, value = conn.call("echo", number)
            assert value == number
            return conn, process

        with ThreadPoolExecutor(8) as pool:
            came = list(pool.map(visit, range(12)))
        for conn, process in came:
            assert conn.call("echo", "again") == [process, "again"]
        came[0][0].close()
        assert came[0][0].wait_closed(scaled(5)).code == 1000
        assert came[1][0].ping() > 0


@pytest.mark.timing
def test_the_development_server_accepts_and_says_goodbye(server: Server) -> None:
    """``flask run``: an interrupt ends it at once, and its clients are told."""
    port = free_port()
    command = [sys.executable, "-m", "flask", "--app", "flask_workers:create_app", "run", "--port", str(port)]
    with Child(command, environment("")) as child:
        conn = connect(f"ws://127.0.0.1:{port}/ws", timeout=20, reconnect=Backoff(initial=0.05), wait=False)
        with conn:
            process, value = conn.wait_open(scaled(20)).call("echo", "hoot")
            assert (process, value) == (child.pid, "hoot")
            # socketserver closes the socket of a request that is interrupted while its thread is started. Requests are
            # accepted one after the other: the answer to the next one shows that this is over.
            visit = HTTPConnection("127.0.0.1", port, timeout=scaled(20))
            with closing(visit):
                visit.request("GET", "/nowhere")
                assert visit.getresponse().status == HTTPStatus.NOT_FOUND
            ended = Collector()
            conn.on_state(lambda change: ended(change.code))
            child.send(signal.SIGINT)
            assert ended.wait(1, 10) == [1001]
            done = child.finish()
    assert (done.code, "Traceback" in done.complaints) == (0, False)


LEAVING = """
import signal
import threading


def post_worker_init(worker):
    from flask_workers import owl

    leave = signal.getsignal(signal.SIGTERM)

    def say_goodbye(number, frame):
        threading.Thread(target=owl.close_clients, daemon=True).start()
        leave(number, frame)

    signal.signal(signal.SIGTERM, say_goodbye)
"""


def test_a_worker_that_is_renewed_says_goodbye(server: Server, tmp_path: Path) -> None:
    """With the hook that the documentation shows: its clients leave at once, and come back to its successor."""
    hook = tmp_path / "gunicorn.conf.py"
    hook.write_text(LEAVING, encoding="utf-8")
    options = f"--config {hook} --worker-class gthread --threads {THREADS} flask_workers:create_app()"
    with gunicorn(options, environment("")) as site:
        with connect(f"ws://127.0.0.1:{site.port}/ws", timeout=20) as conn:
            first, _ = conn.call("echo", 1)
            states = Collector()
            conn.on_state(lambda change: states(change.state.value, change.code))
            site.child.send(signal.SIGHUP)
            assert states.wait(2, 20) == [("reconnecting", 1001), ("open", None)]
            second, _ = conn.call("echo", 2, timeout=20)
            assert second != first
        site.child.send(signal.SIGTERM)
        done = site.child.finish()
    assert (done.code, "Traceback" in done.complaints) == (0, False)
