"""``manage.py owlsocket``: JSON on stdout, messages on stderr, and exit codes for scripts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from owlsocket_sync import AuthForbidden, Connection
from owlsocket_sync.server import Request, Server, serve
from support import django_project
from support.django_project import answers, manage
from support.helpers import Collector, eventually, scaled
from support.sockets import free_port

pytestmark = pytest.mark.slow


class Backend:
    """A handler of the server that records requests."""

    def __init__(self) -> None:
        self.requests = Collector()
        self.events = Collector()

    def __call__(self, conn: Connection, request: Request) -> None:
        self.requests(request)
        conn.perform("echo", lambda *values: list(values))
        conn.perform("fail", _fail)
        conn.perform("forbidden", _forbid)
        conn.perform("never", lambda: conn.wait_closed(scaled(30)).code)
        conn.perform("leave", lambda: conn.close(1001, "bye"))
        conn.observe("*", lambda message: self.events((message.event, message.payload)))
        conn.on_error(lambda error, context: None)
        conn.notify("welcome", {"path": request.path})


def _fail(message: str) -> None:
    raise RuntimeError(message)


def _forbid() -> None:
    raise AuthForbidden("no owls")


@pytest.fixture
def backend() -> Backend:
    """The records of the server."""
    return Backend()


@pytest.fixture
def server(backend: Backend) -> Iterator[Server]:
    """The server of the project."""
    with serve(backend) as server:
        yield server


def owlsocket(*arguments: str, url: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``manage.py owlsocket`` with a server."""
    return manage("owlsocket", *arguments, OWLSOCKET_URL=url, **more)


SIGINT_HEARD = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Starts a command; whoever started us in the background may have had the signal ignored."""


@contextmanager
def running(*arguments: str, url: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``manage.py owlsocket`` in the background, and kill it at the end."""
    pipe, env = subprocess.PIPE, django_project.environment(OWLSOCKET_URL=url, **more)
    line = django_project.command("owlsocket", *arguments)
    start = [sys.executable, "-c", SIGINT_HEARD, *line]
    with subprocess.Popen(start, stdout=pipe, stderr=pipe, encoding="utf-8", env=env) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the process; return exit code, stdout and stderr."""
    out, err = process.communicate(timeout=scaled(30))
    return process.returncode, out, err


def test_call_prints_the_result(server: Server, backend: Backend) -> None:
    """An argument is JSON, or plain text if it does not parse; the token is that of the settings."""
    ran = owlsocket("call", "echo", "2", '"2"', "text", '{"a": [1]}', "-2", "--using", "default", url=server.url)
    assert (ran.returncode, answers(ran)) == (0, [[2, "2", "text", {"a": [1]}, -2]])
    assert backend.requests.items[0].query["token"] == "c2hvcA"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("call", "fail", "no owls today"), 1, "RuntimeError: no owls today"),
        (("call", "fail", "red\u001b[31m"), 1, "red\\u001b[31m"),
        (("call", "forbidden"), 5, "no owls"),
        (("call", "never", "--timeout", "0.4"), 4, "0.4 s"),
        (("call", "leave"), 3, "the link was lost before the answer came: 1001 bye"),
        (("call", "echo", "--using", "stok"), 2, "OWLSOCKET has no alias 'stok'; known aliases: 'default', 'stock'"),
        (("listen", "--limit", "0"), 2, "argument --limit: invalid"),
        (("ping", "--timeout", "-1"), 2, "argument --timeout: invalid"),
        (("fly",), 2, "invalid choice: 'fly'"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    server: Server, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """An error is one line on stderr and an exit code, without a traceback."""
    ran = owlsocket(*arguments, url=server.url)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr


def test_invalid_settings_are_usage_errors() -> None:
    """The system checks run before anything connects."""
    ran = owlsocket("ping", url="https://a")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "owlsocket.E001" in ran.stderr


def test_check_reports_each_server(server: Server, backend: Backend) -> None:
    """The exit code is 0 if all servers answer, otherwise that of the first error."""
    ran = owlsocket("check", url=server.url, STOCK_URL=f"{server.url}/stock")
    assert [(line["alias"], line["ok"]) for line in answers(ran)] == [("default", True), ("stock", True)]
    assert ran.returncode == 0
    ran = owlsocket("check", "--timeout", "3", url=server.url, STOCK_URL=f"ws://127.0.0.1:{free_port()}/")
    first, second = map(json.loads, ran.stdout.splitlines())
    assert (ran.returncode, first["ok"], second["ok"]) == (3, True, False)
    assert "cannot be reached" in second["error"]
    assert "not every server is reachable" in ran.stderr


def test_ping_prints_round_trips(server: Server) -> None:
    """One line for each ping."""
    ran = owlsocket("ping", "-c", "2", url=server.url)
    first, second = answers(ran)
    assert 0 < first["seconds"] < scaled(5)
    assert (first["alias"], first["url"], ran.returncode) == ("default", second["url"], 0)


def test_listen_prints_events_without_handling_them(server: Server, backend: Backend) -> None:
    """Events of the first instant are printed; the handlers of the apps do not run."""
    with running("listen", "--limit", "2", url=f"{server.url}/here") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"event": "welcome", "payload": {"path": "/here"}}
        server.broadcast("order.paid", {"order": 7})
        assert json.loads(process.stdout.readline()) == {"event": "order.paid", "payload": {"order": 7}}
        assert finish(process) == (0, "", "")
    assert backend.events.items == []


def test_listen_ends_by_interrupt_and_by_close(server: Server) -> None:
    """The exit codes are 130 and 3."""
    with running("listen", url=server.url) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        code, _, words = finish(process)
        assert (code, "interrupted" in words, "Traceback" in words) == (130, True, False)
    with running("listen", url=server.url) as process:
        assert process.stdout is not None
        process.stdout.readline()
        server.connections[0].close(1001, "bye")
        code, _, words = finish(process)
        assert (code, "connection closed: 1001 bye" in words) == (3, True)


def test_serve_runs_the_handlers_until_sigterm(server: Server, backend: Backend, tmp_path: Path) -> None:
    """Entries with AUTOSTART connect; SIGTERM lets handlers finish and exits with 0."""
    database = f"{tmp_path}/shop.sqlite3"
    assert manage("migrate", "--run-syncdb", "--verbosity", "0", PROJECT_DATABASE=database).returncode == 0
    with running("serve", url=server.url, PROJECT_DATABASE=database) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["alias"] == "default"
        assert len(server.connections) == 1
        server.broadcast("order.paid", {"order": 7})
        assert backend.events.wait(1, 20) == [("order.noted", 7)]
        assert server.connections[0].call("countOrders", "paid", timeout=scaled(20)) == 1
        process.send_signal(signal.SIGTERM)
        assert finish(process) == (0, "", "")
    eventually(lambda: not server.connections)


def test_serve_exits_with_a_code_without_a_server_or_when_interrupted(server: Server) -> None:
    """A service manager can restart the process."""
    ran = manage(
        "owlsocket", "serve", "--using", "stock", STOCK_URL=f"ws://127.0.0.1:{free_port()}/", STOCK_SECONDS="0.3"
    )
    assert ran.returncode == 4, ran.stderr
    assert "Traceback" not in ran.stderr
    with running("serve", url=server.url) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        code, _, words = finish(process)
        assert (code, "interrupted" in words, "Traceback" in words) == (130, True, False)


def test_other_commands_do_not_connect(server: Server, backend: Backend) -> None:
    """With AUTOSTART or without, starting Django does not connect."""
    for arguments in (("check",), ("migrate", "--run-syncdb", "--verbosity", "0"), ("shell", "-c", "import time")):
        ran = manage(*arguments, OWLSOCKET_URL=server.url)
        assert ran.returncode == 0, ran.stderr
    assert backend.requests.items == []


def test_runserver_connects_once_at_its_first_call() -> None:
    """Of the two processes of the reloader, only the one that calls connects."""
    came = Collector()

    def handler(conn: Connection, request: Request) -> None:
        came(conn)
        conn.perform("double", lambda process, number: 2 * number)

    port = free_port()
    with serve(handler) as double:
        line = django_project.command("runserver", f"127.0.0.1:{port}")
        env = django_project.environment(OWLSOCKET_URL=double.url)
        with subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env, start_new_session=True
        ) as process:
            try:
                eventually(lambda: _is_there(port), 30)
                assert came.items == []
                assert _fetch(port, 4)["answer"] == 8
                assert _fetch(port, 5)["answer"] == 10
                assert len(came.items) == 1
            finally:
                _kill_group(process.pid)


def _is_there(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _fetch(port: int, number: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/double/{number}", timeout=scaled(20)) as answer:
        page: dict[str, int] = json.load(answer)
        return page


def _kill_group(pid: int) -> None:
    os.killpg(pid, signal.SIGKILL)
