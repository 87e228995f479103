"""``flask owlsocket``: JSON on stdout, and exit codes for scripts."""

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
from click.testing import Result
from flask import Flask, current_app

from owlsocket_sync import AuthForbidden, Connection
from owlsocket_sync.contrib.exit_codes import to_json_line
from owlsocket_sync.contrib.flask import OwlSocket
from owlsocket_sync.server import ANONYMOUS, Request, Server, serve
from support.child_processes import ROOT, Child, environment
from support.helpers import Collector, scaled


def refuse_token(request: Request) -> object:
    """Reject a bad token, and let all others in."""
    if request.query.get("token") == "bad":
        raise AuthForbidden("not you")
    return ANONYMOUS


@pytest.fixture
def came() -> Collector:
    """The connections of the server."""
    return Collector()


@pytest.fixture
def server(came: Collector) -> Iterator[Server]:
    """A server that adds, fails, does not answer, and sends events."""

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
    """An app that connects to the server."""
    app = Flask("shop")
    app.config["OWLSOCKET_URL"] = server.url
    owl.init_app(app)
    return app


def run(app: Flask, *arguments: str) -> Result:
    """Run ``flask owlsocket`` with these arguments."""
    return app.test_cli_runner().invoke(args=["owlsocket", *arguments])


def test_call_prints_the_result(app: Flask) -> None:
    """Arguments are JSON, or plain text if they do not parse; numbers may be negative."""
    assert json.loads(run(app, "call", "add", "2", "-3").stdout) == -1
    assert json.loads(run(app, "call", "add", "[1]", '["x"]').stdout) == [1, "x"]
    assert json.loads(run(app, "call", "add", "ho", "ho").stdout) == "hoho"
    assert run(app, "call", "add", "ho", "NaN").stdout == '"hoNaN"\n'


def test_a_result_of_any_depth_is_printed(app: Flask) -> None:
    """In ASCII, like every other one."""
    deep: Any = "Ü"
    for _ in range(1000):
        deep = [deep]
    assert to_json_line(deep) == "[" * 1000 + '"\\u00dc"' + "]" * 1000
    half = "[" * 500 + "]" * 500
    assert run(app, "call", "add", half, "[]").stdout == half + "\n"


def test_commands_run_no_handlers_of_the_app(app: Flask) -> None:
    """Handlers belong to servers: a command does none of their work."""
    ended = run(app, "call", "ask", "whoami")
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert "no handler registered for method 'whoami'" in ended.stderr


def test_commands_use_the_overrides_of_a_test(app: Flask, owl: OwlSocket) -> None:
    """A command uses a fake peer, or the server of a test."""
    with owl.fake_peer() as fake:
        fake.answer("add", "a fake")
        assert run(app, "call", "add").stdout == '"a fake"\n'
    with owl.test_server(handler=lambda conn, request: conn.perform("add", lambda: "a server")):
        assert run(app, "call", "add").stdout == '"a server"\n'
    assert run(app, "call", "add", "1", "1").stdout == "2\n"


def test_ping_prints_seconds(app: Flask) -> None:
    """One line for each ping."""
    lines = run(app, "ping", "--count", "3").stdout.splitlines()
    assert len(lines) == 3
    assert all(json.loads(line)["seconds"] > 0 for line in lines)


def test_listen_prints_events(app: Flask) -> None:
    """The command ends after the limit."""
    app.config["OWLSOCKET_HEADERS"] = {"X-Events": "1"}
    ended = run(app, "listen", "tick", "--limit", "2")
    assert ended.exit_code == 0
    assert [json.loads(line)["event"] for line in ended.stdout.splitlines()] == ["tick", "tick"]


def test_each_command_has_its_own_connection(app: Flask, came: Collector, server: Server) -> None:
    """The command closes its connection and leaves the services of the app alone."""
    for _ in range(2):
        assert run(app, "ping").exit_code == 0
    assert len(came.wait(2)) == len(came.items)
    for conn in came.items:
        conn.wait_closed(scaled(5))


def test_service_selects_a_service_by_name(app: Flask, server: Server) -> None:
    """A service that is not configured is an error of usage."""
    app.config["OWLSOCKET_SERVICES"] = {"numbers": {"URL": server.url}}
    assert run(app, "call", "--service", "numbers", "add", "1", "1").stdout == "2\n"
    wrong = run(app, "call", "--service", "number", "add", "1", "1")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "'number'" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "config", "code", "message"),
    [
        (("call", "fail"), {}, 1, "invalid literal"),
        (("call", "nothing"), {}, 1, "no handler registered for method 'nothing'"),
        (("call",), {}, 2, "Missing argument 'METHOD'"),
        (("call", "add", "--timeout", "-1"), {}, 2, "is not in the range"),
        (("ping",), {"OWLSOCKET_URL": "https://example.com"}, 2, "url must start with ws://"),
        (("ping",), {"OWLSOCKET_TOEKN": "x"}, 2, "did you mean OWLSOCKET_TOKEN?"),
        (("ping",), {"OWLSOCKET_URL": "ws://127.0.0.1:1"}, 3, "refused"),
        (("call", "--timeout", "0.2", "slow"), {}, 4, "'slow' was not answered within 0.2 s"),
        (("ping",), {"OWLSOCKET_TOKEN": "bad"}, 5, "not you"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    app: Flask, arguments: tuple[str, ...], config: dict[str, Any], code: int, message: str
) -> None:
    """Nothing is printed on stdout, and no traceback on stderr."""
    app.config.update(config)
    ended = run(app, *arguments)
    assert (ended.exit_code, ended.stdout) == (code, "")
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_listen_fails_when_the_connection_closes(app: Flask, came: Collector, server: Server) -> None:
    """The exit code is 3, as the limit was not reached."""
    server._handler = lambda conn, request: conn.notify("tick", 1) or conn.close(4001, "enough")
    ended = run(app, "listen")
    assert ended.exit_code == 3
    # The second where it closes before the command listens.
    endings = ("connection closed: 4001 enough", "shop is closed: 4001 enough")
    assert any(ending in ended.stderr for ending in endings), ended.stderr


APP = """
import os
from flask import Flask
from owlsocket_sync.contrib.flask import OwlSocket

app = Flask(__name__)
app.config["OWLSOCKET_URL"] = os.environ["URL"]
owl = OwlSocket(app)
"""


def flask(folder: Path, url: str) -> tuple[list[str], dict[str, str]]:
    """The real ``flask`` command and its environment."""
    (folder / "site_of_ours.py").write_text(APP, encoding="utf-8")
    env = environment("", URL=url)
    env["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(folder)))
    return [sys.executable, "-m", "flask", "--app", "site_of_ours", "owlsocket"], env


@pytest.mark.slow
def test_the_real_command(server: Server, tmp_path: Path) -> None:
    """In a process of its own, as a script runs it."""
    command, env = flask(tmp_path, server.url)
    ran = subprocess.run([*command, "call", "add", "20", "22"], env=env, capture_output=True, timeout=scaled(30))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"42\n", b"")


@pytest.mark.slow
def test_an_interrupt_ends_listen(server: Server, tmp_path: Path, came: Collector) -> None:
    """The exit code is 130, and the server receives a close frame."""
    command, env = flask(tmp_path, server.url)
    with Child([*command, "listen"], env) as child:
        came.wait(1, 20)
        came.items[0].notify("here", {"n": 1})
        assert json.loads(child.line()) == {"event": "here", "payload": {"n": 1}}
        child.send(signal.SIGINT)
        done = child.finish()
    assert done.code == 130
    assert came.items[0].wait_closed(scaled(5)).code == 1000
