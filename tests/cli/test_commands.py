"""The commands, as somebody in front of a terminal sees them: results, words, and exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import PATIENCE, answers, complaint, finish, run, running
from helpers import VECTORS, Collector, eventually, scaled
from sockets import ByteServer, RawPeer, client_context, free_port, full_port

from owlsocket_sync import AuthForbidden, Connection, EventMessage, __version__, connect
from owlsocket_sync.cli import NEEDED, main
from owlsocket_sync.cli.outcome import plain
from owlsocket_sync.server import Request, Server, serve
from owlsocket_sync.testing import FaultProxy

SECRET = "eyJ0IjoiaGlkZGVuIn0"


class Backend:
    """What the commands talk to; it keeps the events and the tokens that came."""

    def __init__(self) -> None:
        self.events = Collector()
        self.queries: list[dict[str, str]] = []
        self.headers: list[str | None] = []
        self.released = 0

    def __call__(self, conn: Connection, request: Request) -> None:
        """Register everything for one client."""
        self.queries.append(dict(request.query))
        self.headers.append(request.headers.get("Authorization"))
        conn.perform("echo", lambda *values: list(values))
        conn.perform("fail", _fail)
        conn.perform("forbidden", _forbid)
        conn.perform("never", lambda: conn.wait_closed(scaled(PATIENCE)).code)
        conn.perform("leave", lambda: conn.close(1001, "bye"))
        conn.observe("*", self.events)
        conn.acknowledge(lambda id, payload: _reply(conn, id, payload))
        conn.notify("welcome", {"path": request.path})


def _fail(message: str) -> None:
    raise RuntimeError(message)


def _forbid() -> None:
    raise AuthForbidden("no owls")


def _reply(conn: Connection, id: Any, payload: Any) -> bool:
    if not isinstance(payload, int):
        return False
    for number in range(payload):
        conn.reply(id, number)
    return True


@pytest.fixture
def backend() -> Backend:
    """The backend behind `server`."""
    return Backend()


@pytest.fixture
def server(backend: Backend) -> Iterator[Server]:
    """A server in this process."""
    with serve(backend) as server:
        yield server


# -- what works ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["2", '"2"', "text", "true", "null", '{"a": [1]}'], [2, "2", "text", True, None, {"a": [1]}]),
        (["-2", "-1.5e3", "--timeout", "15"], [-2, -1500.0]),
        (["--", "-x", "--timeout"], ["-x", "--timeout"]),
        (["NaN", "Infinity", "", " "], ["NaN", "Infinity", "", " "]),
        (["ünï", "🦉"], ["ünï", "🦉"]),
    ],
)
def test_an_argument_is_json_or_else_text(server: Server, arguments: list[str], values: list[Any]) -> None:
    """What is no JSON travels as the text that it is, and a negative number is no option."""
    result = run("call", server.url, "echo", *arguments)
    assert (result.returncode, answers(result)) == (0, [values])


def test_what_a_peer_sends_cannot_steer_a_terminal(server: Server) -> None:
    """Control characters, line separators and changes of direction are escaped, and mean the same in the JSON."""
    nasty = "\x1b[31m\x07\x7f\x9b\u0085\u2028\u202e\ufeff\r\n"
    result = run("call", server.url, "echo", json.dumps(nasty))
    assert answers(result) == [[nasty]]
    assert plain(result.stdout[:-1]) == result.stdout[:-1]
    assert len(result.stdout.splitlines()) == 1


def test_half_a_character_of_a_peer_is_shown_as_it_came(server: Server) -> None:
    """A lone surrogate, which no encoding has, is an escape."""
    result = run("call", server.url, "echo", '"\\ud800"')
    assert (result.returncode, result.stdout) == (0, '["\\ud800"]\n')


@pytest.mark.parametrize(("arguments", "payload"), [([], None), (["7"], 7), (["-7"], -7), (["owl"], "owl")])
def test_notify_sends_an_event(server: Server, backend: Backend, arguments: list[str], payload: Any) -> None:
    """It is there once the command has ended, and nothing is printed."""
    result = run("notify", server.url, "news", *arguments)
    assert (result.returncode, answers(result)) == (0, [])
    message: EventMessage = backend.events.wait(1)[0]
    assert (message.event, message.payload) == ("news", payload)


def test_request_prints_responses_up_to_the_limit(server: Server) -> None:
    """As many as were asked for."""
    result = run("request", server.url, "5", "--limit", "3")
    assert (result.returncode, answers(result)) == (0, [0, 1, 2])


def test_request_ends_well_when_responses_cease(server: Server) -> None:
    """After at least one, a pause is the end."""
    result = run("request", server.url, "2", "--timeout", str(scaled(0.5)))
    assert (result.returncode, answers(result)) == (0, [0, 1])


def test_listen_hears_what_a_server_says_at_once(server: Server) -> None:
    """An event that is sent right after the upgrade is not missed."""
    result = run("listen", f"{server.url}/here", "welcome", "--limit", "1")
    assert (result.returncode, answers(result)) == (0, [{"event": "welcome", "payload": {"path": "/here"}}])


def test_listen_prints_each_event_as_it_comes(server: Server) -> None:
    """Line by line, not only at the end."""
    with running("listen", server.url, "--limit", "3") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "welcome"
        for number in range(2):
            server.broadcast("tick", number)
            assert json.loads(process.stdout.readline()) == {"event": "tick", "payload": number}
        assert finish(process) == (0, "", "")


def test_listen_may_outlive_a_lost_connection(server: Server, backend: Backend) -> None:
    """With ``--reconnect``; what happens is told on stderr."""
    with FaultProxy("127.0.0.1", server.port) as proxy, running("listen", proxy.url(), "--reconnect") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "welcome"
        proxy.cut()
        assert json.loads(process.stdout.readline())["event"] == "welcome"
        process.send_signal(signal.SIGINT)
        code, out, err = finish(process)
    assert (code, out) == (130, "")
    assert [line.split()[0] for line in err.splitlines() if line] == ["open", "reconnecting", "open", "interrupted"]


def test_a_reader_that_has_enough_ends_a_command(server: Server) -> None:
    """``owlsocket listen … | head`` is no failure."""
    with running("listen", server.url) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        server.broadcast("tick")
        assert process.wait(scaled(PATIENCE)) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize("option", ["--token-env", "--token-file"])
def test_a_token_travels_and_is_never_shown(server: Server, backend: Backend, option: str, tmp_path: Path) -> None:
    """Bare in the query, whole in the header, and nowhere else."""
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n", encoding="utf-8")
    value = "OWL_TOKEN" if option == "--token-env" else str(file)
    result = run("call", server.url, "fail", "so", option, value, env={"OWL_TOKEN": SECRET})
    assert (result.returncode, complaint(result)) == (1, "RuntimeError: so\n")
    assert backend.queries == [{"token": SECRET}]
    assert backend.headers == [f"ED25519-BASIC-TOKEN {SECRET}"]


def test_notify_fails_when_the_peer_does_not_read() -> None:
    """Exit code 0 means that it arrived: a peer that gives no sign of life is a timeout."""
    end = threading.Event()

    def sleep(peer: RawPeer) -> None:
        peer.upgrade()
        end.wait(scaled(PATIENCE))

    with ByteServer(sleep) as server:
        result = run("notify", server.url, "news", "--timeout", "0.3")
        end.set()
    assert (result.returncode, complaint(result) != "") == (4, True)


# -- what fails ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fail", "no\nowls\x1b[31m :owl:"], 1, "RuntimeError: no\\u000aowls\\u001b[31m :owl:"),
        (["nosuch"], 1, "nosuch"),
        (["forbidden"], 5, "no owls"),
        (["leave"], 3, "1001 bye"),
        (["never", "--timeout", "0.3"], 4, "call 'never' was not answered within 0.3 s"),
        (["echo", "123456789012345678901234567890"], 2, "cannot be sent as JSON"),
    ],
)
def test_a_failed_call_is_one_line_and_a_code(server: Server, arguments: list[str], code: int, words: str) -> None:
    """No traceback, and nothing on stdout."""
    result = run("call", server.url, *arguments)
    assert (result.returncode, words in complaint(result)) == (code, True), result.stderr


def test_a_request_that_nobody_answers_is_a_timeout(server: Server) -> None:
    """Not even one response came."""
    result = run("request", server.url, "who", "--timeout", "0.3")
    assert (result.returncode, "no response came within 0.3 s" in complaint(result)) == (4, True)


def test_listen_tells_when_the_connection_ends(backend: Backend) -> None:
    """Before its limit: exit code 3, with the code of the close."""
    with serve(backend) as server, running("listen", server.url) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "welcome"
        server.close()
        code, out, err = finish(process)
    assert (code, out) == (3, "")
    assert err == "the connection ended: 1001\n"


@pytest.mark.parametrize(
    ("status", "body", "code", "words"),
    [
        ("401 no", "", 5, "HTTP 401"),
        ("403 no", "AuthFailedError|||api:auth:error", 5, "api:auth:error"),
        ("404 no", "", 3, "HTTP 404"),
        ("500 no", "TypeError|||it broke", 3, "it broke"),
    ],
)
def test_a_refused_upgrade_tells_why(status: str, body: str, code: int, words: str) -> None:
    """Who we are is exit code 5, anything else 3."""

    def refuse(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    with ByteServer(refuse) as server:
        result = run("call", server.url, "echo")
    assert (result.returncode, words in complaint(result)) == (code, True), result.stderr


@pytest.mark.parametrize("command", [["call", "echo"], ["notify", "news"], ["listen"], ["request", "1"]])
def test_nobody_there_is_exit_code_3(command: list[str]) -> None:
    """For every command that connects, at once."""
    result = run(command[0], f"ws://127.0.0.1:{free_port()}", *command[1:])
    assert (result.returncode, "cannot be reached" in complaint(result)) == (3, True)


def test_a_server_that_does_not_answer_is_exit_code_4() -> None:
    """The timeout holds for connecting too."""
    with full_port() as port:
        result = run("call", f"ws://127.0.0.1:{port}", "echo", "--timeout", "0.3")
    assert (result.returncode, complaint(result) != "") == (4, True)


def test_a_token_in_the_clear_warns_in_one_line() -> None:
    """On stderr, before the connection fails; without the token."""
    result = run("call", "ws://nobody.invalid", "echo", "--token-env", "OWL_TOKEN", env={"OWL_TOKEN": SECRET})
    assert (result.returncode, result.stdout) == (3, "")
    warning, error = result.stderr.splitlines()
    assert warning == "warning: the token travels in the clear to nobody.invalid; use wss://"
    assert error.startswith("nobody.invalid")
    assert SECRET not in result.stderr


# -- mistakes on the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["call"], "Missing argument 'URL'"),
        (["call", "ws://x"], "Missing argument 'METHOD'"),
        (["cal", "ws://x"], "No such command 'cal'"),
        (["call", "localhost:80", "m"], "url must start with ws://"),
        (["call", "add", "2"], "url must start with ws://"),
        (["call", "http://x", "m"], "url must start with ws://"),
        (["call", f"ws://me:{SECRET}@x/?token={SECRET}", "m"], "***"),
        (["call", "ws://x", "m", "--timeout", "soon"], "'soon' is not a valid number of seconds"),
        (["call", "ws://x", "m", "--timeout", "nan"], "'nan' is not a valid number of seconds"),
        (["call", "ws://x", "m", "--timeout", "-1"], "--timeout"),
        (["call", "ws://x", "m", "--timeot", "1"], "No such option '--timeot'"),
        (["call", "ws://x", "m", "-2", "--timeot=1"], "No such option '--timeot'"),
        (["call", "ws://x", "m", "1e999"], "1e999 is too large"),
        (["call", "ws://x", "m", "[" * 50_000], "nested too deep"),
        (["call", "ws://x", "m", "--token-env", SECRET], "--token-env"),
        (["call", "ws://x", "m", f"--token-file=/nowhere/{SECRET}"], "--token-file: No such file"),
        (["call", "ws://x", "m", "--token="], "--token: it is empty"),
        (["call", "ws://x", "m", f"--token={SECRET}", "--token-env", "A"], "--token excludes --token-env"),
        (["call", "ws://x", "m", "--token-file", "/dev/null"], "--token-file: it is empty"),
        (["call", "ws://x", "m", "--token-file", sys.executable], "--token-file: it holds no text"),
        (["call", "ws://x", "m", "--token-env", "A", "--token-file", "b"], "exclude each other"),
        (["listen", "ws://x", "--limit", "0"], "--limit"),
        (["serve", "--port", "65536"], "--port"),
        (["demo", "now"], "unexpected extra argument"),
    ],
)
def test_a_mistake_is_exit_code_2_and_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names what is wrong, and repeats no secret."""
    code = main(arguments)
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert words in err
    assert SECRET not in err


def test_without_a_command_the_help_is_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """It is no result; and it names each command, and the exit codes."""
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert {"call", "listen", "notify", "request", "serve", "demo"} <= set(err.split())
    assert "130 interrupted" in err.replace("\n ", "")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """``owlsocket --version``."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"owlsocket, version {__version__}\n"


@pytest.mark.parametrize("package", NEEDED)
def test_a_missing_package_is_one_line(package: str) -> None:
    """It says what to install, and exits with 2."""
    script = (
        f"import sys; sys.modules[{package!r}] = None; from owlsocket_sync.cli import main; sys.exit(main(['demo']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", timeout=scaled(PATIENCE)
    )
    assert result.returncode == 2
    assert complaint(result) == f"owlsocket needs {package}: python -m pip install 'owlsocket-sync[cli]'\n"


# -- interrupted, and serving --------------------------------------------------------------------------------


def test_ctrl_c_ends_listening(server: Server) -> None:
    """Exit code 130 and one word, and the server sees a proper goodbye."""
    with running("listen", server.url) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        code, out, err = finish(process)
    assert (code, out, err.strip()) == (130, "", "interrupted")
    eventually(lambda: not server.connections)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_serve_answers_until_it_is_told_to_end(number: signal.Signals, code: int) -> None:
    """Its URL is one line of JSON on stdout, what it does is on stderr, without a traceback."""
    with running("serve") as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with connect(url, call_timeout=scaled(5.0)) as conn:
            assert conn.call("add", 2, 3) == 5
            assert conn.call("echo", "a", 1) == ["a", 1]
            assert conn.call("slow", 0) == "slept 0 s"
            assert abs(conn.call("time") - conn.call("time")) < scaled(5.0)
            with conn.events("hello", limit=1, timeout=scaled(5.0)) as events:
                conn.call("notifyMe", "hello", 1)
                assert [event.payload for event in events] == [1]
        process.send_signal(number)
        ended, out, err = finish(process)
    assert (ended, out) == (code, "")
    assert "comes from 127.0.0.1" in err
    assert "Traceback" not in err


def test_serve_speaks_tls() -> None:
    """With ``--cert``; a certificate that cannot be used is told."""
    certificate = str(VECTORS / "tls" / "server.pem")
    with running("serve", "--cert", certificate) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with connect(url, ssl_context=client_context(), call_timeout=scaled(5.0)) as conn:
            assert conn.call("add", 2, 3) == 5
    result = run("serve", "--cert", str(VECTORS / "consts.json"))
    assert (result.returncode, "a certificate and its key in PEM" in complaint(result)) == (2, True)
    result = run("serve", "--key", certificate)
    assert (result.returncode, "--key needs --cert" in complaint(result)) == (2, True)


def test_a_port_that_is_taken_is_told(server: Server) -> None:
    """Exit code 2, in one line."""
    result = run("serve", "--port", str(server.port))
    assert (result.returncode, f"cannot listen on 127.0.0.1:{server.port}" in complaint(result)) == (2, True)
