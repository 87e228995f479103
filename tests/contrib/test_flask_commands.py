"""``flask owlsocket``: JSON on stdout, and exit codes that scripts rely on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from child_processes import ROOT, Child, environment
from click.testing import Result
from flask import Flask, current_app
from helpers import Collector, scaled

from owlsocket_sync import AuthForbidden, Connection
from owlsocket_sync.contrib.flask import OwlSocket
from owlsocket_sync.server import Request, Server, serve


def refuse_token(request: Request) -> None:
    """Nobody comes in with this one."""
    if request.query.get("token") == "bad":
        raise AuthForbidden("not you")


@pytest.fixture
def came() -> Collector:
    """The connections that came to the server."""
    return Collector()


@pytest.fixture
def server(came: Collector) -> Iterator[Server]:
    """Adds, fails, keeps quiet and tells what happens."""

    def handler(conn: Connection, request: Request) -> None:
        conn.on_error(lambda error, context: None)
        conn.perform("add", lambda a, b: a + b)
        conn.perform("fail", lambda: int("x"))
        conn.perform("slow", lambda: conn.wait_closed(scaled(20)) and None)
        conn.perform("ask", lambda method: conn.call(method))
        conn.observe("*", lambda message: None)
        came(conn)
        if "X-Events" in request.headers:
            for number in range(3):
                conn.notify("tick", number)

    with serve(handler, authenticate=refuse_token) as running:
        yield running


@pytest.fixture
def owl() -> OwlSocket:
    """An extension with a handler."""
    owl = OwlSocket()
    owl.perform("whoami", lambda: current_app.name)
    return owl


@pytest.fixture
def app(owl: OwlSocket, server: Server) -> Flask:
    """An app that knows the server."""
    app = Flask("shop")
    app.config["OWLSOCKET_URL"] = server.url
    owl.init_app(app)
    return app


def run(app: Flask, *arguments: str) -> Result:
    """Run ``flask owlsocket`` with these arguments."""
    return app.test_cli_runner().invoke(args=["owlsocket", *arguments])


def test_call_prints_the_result(app: Flask) -> None:
    """Arguments are JSON, or text where they are no JSON; numbers may be negative."""
    assert json.loads(run(app, "call", "add", "2", "-3").stdout) == -1
    assert json.loads(run(app, "call", "add", "[1]", '["x"]').stdout) == [1, "x"]
    assert json.loads(run(app, "call", "add", "ho", "ho").stdout) == "hoho"
    assert run(app, "call", "add", "ho", "NaN").stdout == '"hoNaN"\n'


def test_no_handler_of_the_app_runs_meanwhile(app: Flask) -> None:
    """They belong to the processes that stay: a command that looks on does no work of theirs."""
    ended = run(app, "call", "ask", "whoami")
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert "'whoami' is not performed here" in ended.stderr


def test_commands_talk_to_what_a_test_puts_in_place(app: Flask, owl: OwlSocket) -> None:
    """A double, or a server of the test."""
    with owl.double() as double:
        double.answer("add", "a double")
        assert run(app, "call", "add").stdout == '"a double"\n'
    with owl.test_server(handler=lambda conn, request: conn.perform("add", lambda: "a server")):
        assert run(app, "call", "add").stdout == '"a server"\n'
    assert run(app, "call", "add", "1", "1").stdout == "2\n"


def test_ping_prints_seconds(app: Flask) -> None:
    """As many as asked for, one a line."""
    told = run(app, "ping", "--count", "3").stdout.splitlines()
    assert len(told) == 3
    assert all(json.loads(line)["seconds"] > 0 for line in told)


def test_listen_prints_events(app: Flask) -> None:
    """Until there were enough."""
    app.config["OWLSOCKET_HEADERS"] = {"X-Events": "1"}
    ended = run(app, "listen", "tick", "--limit", "2")
    assert ended.exit_code == 0
    assert [json.loads(line)["event"] for line in ended.stdout.splitlines()] == ["tick", "tick"]


def test_each_command_has_a_connection_of_its_own(app: Flask, came: Collector, server: Server) -> None:
    """And closes it; the app's services are left alone."""
    for _ in range(2):
        assert run(app, "ping").exit_code == 0
    assert len(came.items) == 2
    for conn in came.items:
        conn.wait_closed(scaled(5))


def test_another_service_is_chosen_by_name(app: Flask, server: Server) -> None:
    """One that is not configured is told to be so."""
    app.config["OWLSOCKET_SERVICES"] = {"numbers": {"URL": server.url}}
    assert run(app, "call", "--service", "numbers", "add", "1", "1").stdout == "2\n"
    wrong = run(app, "call", "--service", "number", "add", "1", "1")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "'number'" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "config", "code", "told"),
    [
        (("call", "fail"), {}, 1, "invalid literal"),
        (("call", "nothing"), {}, 1, "'nothing' is not performed here"),
        (("call",), {}, 2, "Missing argument 'METHOD'"),
        (("call", "add", "--timeout", "-1"), {}, 2, "is not in the range"),
        (("ping",), {"OWLSOCKET_URL": "https://example.com"}, 2, "url must start with ws://"),
        (("ping",), {"OWLSOCKET_TOEKN": "x"}, 2, "did you mean OWLSOCKET_TOKEN?"),
        (("ping",), {"OWLSOCKET_URL": "ws://127.0.0.1:1"}, 3, "refused"),
        (("call", "--timeout", "0.2", "slow"), {}, 4, "'slow' was not answered within 0.2 s"),
        (("ping",), {"OWLSOCKET_TOKEN": "bad"}, 5, "not you"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(
    app: Flask, arguments: tuple[str, ...], config: dict[str, Any], code: int, told: str
) -> None:
    """With nothing on stdout, and no traceback."""
    app.config.update(config)
    ended = run(app, *arguments)
    assert (ended.exit_code, ended.stdout) == (code, "")
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_listener_whose_connection_ends_says_so(app: Flask, came: Collector, server: Server) -> None:
    """It found no end of its own: exit code 3."""
    server._handler = lambda conn, request: conn.notify("tick", 1) or conn.close(4001, "enough")
    ended = run(app, "listen")
    assert ended.exit_code == 3
    assert "the connection ended: 4001 enough" in ended.stderr


APP = """
import os
from flask import Flask
from owlsocket_sync.contrib.flask import OwlSocket

app = Flask(__name__)
app.config["OWLSOCKET_URL"] = os.environ["URL"]
owl = OwlSocket(app)
"""


def flask(folder: Path, url: str) -> tuple[list[str], dict[str, str]]:
    """The real ``flask`` command, and its environment."""
    (folder / "site_of_ours.py").write_text(APP, encoding="utf-8")
    env = environment("", URL=url)
    env["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(folder)))
    return [sys.executable, "-m", "flask", "--app", "site_of_ours", "owlsocket"], env


def test_the_real_command(server: Server, tmp_path: Path) -> None:
    """In a process of its own, as a script runs it."""
    command, env = flask(tmp_path, server.url)
    ran = subprocess.run([*command, "call", "add", "20", "22"], env=env, capture_output=True, timeout=scaled(30))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"42\n", b"")


def test_an_interrupt_ends_a_listener(server: Server, tmp_path: Path, came: Collector) -> None:
    """With 130, and a goodbye to the server."""
    command, env = flask(tmp_path, server.url)
    with Child([*command, "listen"], env) as child:
        came.wait(1, 20)
        came.items[0].notify("here", {"n": 1})
        assert json.loads(child.line()) == {"event": "here", "payload": {"n": 1}}
        child.send(signal.SIGINT)
        done = child.finish()
    assert done.code == 130
    assert came.items[0].wait_closed(scaled(5)).code == 1000
