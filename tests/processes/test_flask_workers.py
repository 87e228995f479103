"""A Flask app under real workers: right answers, one connection per process, and nothing lost when they are renewed."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from child_processes import APPS, Attendance, Child, environment
from helpers import Collector, eventually, scaled, whole
from sites import WORKERS, Site, gunicorn

from owlsocket_sync import Connection, connect
from owlsocket_sync.server import Server, serve

THREADS = 8
CALLS = 50
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


@pytest.fixture(autouse=True)
def _configuration(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the app reads from its environment."""
    monkeypatch.setenv("FLASK_OWLSOCKET_URL", server.url)
    monkeypatch.setenv("FLASK_OWLSOCKET_TIMEOUT", "20")
    monkeypatch.setenv("FLASK_OWLSOCKET_CALL_TIMEOUT", "20")


SITES = {
    "sync": ("flask_site:create_app()", False),
    "sync, preloaded": ("--preload flask_site:create_app()", False),
    "threads": (f"--worker-class gthread --threads {THREADS} flask_site:create_app()", False),
    "threads, preloaded": (f"--preload --worker-class gthread --threads {THREADS} flask_site:create_app()", False),
    "threads, preloaded and used": (
        f"--preload --worker-class gthread --threads {THREADS} flask_site:create_app(used=True)",
        True,
    ),
}


def ask_all(site: Site, threads: int, calls: int) -> None:
    """Ask for so many numbers on each of so many threads, each number once; every answer is right."""

    def ask(thread: int) -> None:
        for call in range(calls):
            site.get(thread * calls + call)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(ask, range(threads)))


@pytest.mark.stress
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SITES)
def test_row_24_flask_under_gunicorn(server: Server, attendance: Attendance, name: str) -> None:
    """No wrong answer, however many ask at once; one connection in each worker, and none in a master that did not ask;
    each says goodbye at the end."""
    options, master_asks = SITES[name]
    count = whole(CALLS, 1000)
    with gunicorn(options, server.url) as site:
        workers = site.ask_until(WORKERS)
        ask_all(site, WORKERS * THREADS, count)
        assert set(range(WORKERS * THREADS * count)) <= attendance.numbers
        assert workers == set(attendance.counts) - {site.child.pid}
        assert set(attendance.counts.values()) == {1}
        assert attendance.links == WORKERS + master_asks
        told = [conn.call("whoami") for conn in server.connections]
        assert sorted(told) == sorted([process, "site"] for process in attendance.counts)
        site.child.send(signal.SIGTERM)
        done = site.child.finish()
    assert (done.code, done.complaints) == (0, "")
    eventually(lambda: not server.connections)


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_row_24_flask_in_forks_of_a_process_that_asked(server: Server, attendance: Attendance) -> None:
    """As uWSGI makes its workers: the parent's connection stays the parent's, and is none the worse for it."""
    count = whole(CALLS, 1000)
    command = [sys.executable, str(APPS / "flask_site.py"), *map(str, (WORKERS, THREADS, count))]
    with Child(command, environment()) as child:
        done = child.finish(whole(40.0, 400.0))
    assert (done.code, done.complaints) == (0, "")
    assert set(attendance.counts) == {child.pid, *map(int, done.words)}
    assert set(attendance.counts.values()) == {1}
    assert set(range(WORKERS * THREADS * count)) <= attendance.numbers
    eventually(lambda: not server.connections)


class Crowd:
    """Those who ask without a pause, each number once, and keep what they were told."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._numbers = iter(range(1_000_000, 10_000_000))
        self._over = threading.Event()
        self.processes = Collector()
        self.unanswered = Collector()
        self.wrong = Collector()
        self._threads = [threading.Thread(target=self._ask) for _ in range(WORKERS * THREADS // 2)]

    def _ask(self) -> None:
        while not self._over.is_set():
            number = next(self._numbers)
            try:
                self.processes(self._site.get(number))
            except ConnectionError:
                self.unanswered(number)
            except Exception as error:
                self.wrong(error)

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(scaled(30))


@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["sync", "threads", "threads, preloaded and used"])
def test_row_24_a_reload_loses_no_answer(server: Server, attendance: Attendance, name: str) -> None:
    """Workers are renewed under load: whatever reached the app is answered, rightly.

    gunicorn itself may drop a connection that a worker accepted and of which it read nothing: the app never knew of it.
    """
    options, _ = SITES[name]
    with gunicorn(options, server.url) as site:
        old = site.ask_until(WORKERS)
        with Crowd(site) as crowd:
            for _ in range(whole(1, 5)):
                before = len(crowd.processes.items)
                site.child.send(signal.SIGHUP)
                crowd.processes.wait(before + 50, 20)
                known = old
                eventually(lambda: len(set(crowd.processes.items[-200:]) - known) >= WORKERS, 20)  # noqa: B023
                old = old | set(crowd.processes.items)
        assert crowd.wrong.items == []
        assert [number for number in crowd.unanswered.items if number in attendance.numbers] == []
        assert len(crowd.unanswered.items) < len(crowd.processes.items) / 20
        assert set(attendance.counts.values()) == {1}
        eventually(lambda: len(server.connections) <= WORKERS + 1, 30)
        site.child.send(signal.SIGTERM)
        done = site.child.finish()
    assert (done.code, "Traceback" in done.complaints) == (0, False)
    eventually(lambda: not server.connections)


ACCEPTING = {
    # A link keeps its thread: a worker that accepted more of them would keep the last ones waiting.
    "threads": f"--worker-class gthread --threads {THREADS} --worker-connections {THREADS}",
    "gevent": "--worker-class gevent",
}


@pytest.mark.parametrize("kind", ACCEPTING)
def test_clients_are_accepted_by_workers(server: Server, kind: str) -> None:
    """By each of them, many at once; each keeps its link until it leaves."""
    with gunicorn(f"{ACCEPTING[kind]} flask_site:create_app()", server.url) as site, ExitStack() as clients:
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


LEAVING = """
import signal
import threading


def post_worker_init(worker):
    from flask_site import owl

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
    options = f"--config {hook} --worker-class gthread --threads {THREADS} flask_site:create_app()"
    with gunicorn(options, server.url) as site:
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
