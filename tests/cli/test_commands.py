"""The commands as a user sees them: results, messages and exit codes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync import AuthForbidden, Connection, EventMessage, __version__, connect
from owlsocket_sync.cli import REQUIRED, main
from owlsocket_sync.contrib.exit_codes import escape_control
from owlsocket_sync.server import Request, Server, serve
from owlsocket_sync.testing import FaultProxy
from support.command_line import PATIENCE, answers, complaint, finish, run, running
from support.deep_json import JSON_IS_SHALLOW, TOO_DEEP
from support.helpers import VECTORS, Collector, eventually, scaled
from support.proxy_headers import ADDRESSES_4, v1
from support.sockets import TEXT, UPGRADE, ByteServer, RawPeer, client_context, frame, free_port, full_port

pytestmark = pytest.mark.slow

SECRET = "eyJ0IjoiaGlkZGVuIn0"


class Backend:
    """The handlers of the test server; records events, queries and headers."""

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
    """Return the handlers of `server`."""
    return Backend()


@pytest.fixture
def server(backend: Backend) -> Iterator[Server]:
    """Run a server in this process."""
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
def test_an_argument_is_json_or_text(server: Server, arguments: list[str], values: list[Any]) -> None:
    """Invalid JSON is sent as text, and a negative number is not taken for an option."""
    result = run("call", server.url, "echo", *arguments)
    assert (result.returncode, answers(result)) == (0, [values])


def test_results_cannot_control_the_terminal(server: Server) -> None:
    """Control characters, line separators and bidirectional marks are escaped, and mean the same in the JSON."""
    nasty = "\x1b[31m\x07\x7f\x9b\u0085\u2028\u202e\ufeff\r\n"
    result = run("call", server.url, "echo", json.dumps(nasty))
    assert answers(result) == [[nasty]]
    assert escape_control(result.stdout[:-1]) == result.stdout[:-1]
    assert len(result.stdout.splitlines()) == 1


def test_a_lone_surrogate_is_printed_as_an_escape(server: Server) -> None:
    """No encoding has one."""
    result = run("call", server.url, "echo", '"\\ud800"')
    assert (result.returncode, result.stdout) == (0, '["\\ud800"]\n')


@pytest.mark.parametrize(("arguments", "payload"), [([], None), (["7"], 7), (["-7"], -7), (["owl"], "owl")])
def test_notify_sends_an_event(server: Server, backend: Backend, arguments: list[str], payload: Any) -> None:
    """The event has arrived when the command ends, and nothing is printed."""
    result = run("notify", server.url, "news", *arguments)
    assert (result.returncode, answers(result)) == (0, [])
    message: EventMessage = backend.events.wait(1)[0]
    assert (message.event, message.payload) == ("news", payload)


def test_request_prints_responses_up_to_the_limit(server: Server) -> None:
    """It ends at the limit."""
    result = run("request", server.url, "5", "--limit", "3")
    assert (result.returncode, answers(result)) == (0, [0, 1, 2])


def test_request_succeeds_when_responses_stop(server: Server) -> None:
    """After at least one response, a pause ends the command."""
    result = run("request", server.url, "2", "--timeout", str(scaled(0.5)))
    assert (result.returncode, answers(result)) == (0, [0, 1])


def test_listen_receives_an_event_sent_at_connect(server: Server) -> None:
    """An event that is sent right after the handshake is not missed."""
    result = run("listen", f"{server.url}/here", "welcome", "--limit", "1")
    assert (result.returncode, answers(result)) == (0, [{"event": "welcome", "payload": {"path": "/here"}}])


def test_listen_prints_each_event_as_it_arrives(server: Server) -> None:
    """Line by line, not only at the end."""
    with running("listen", server.url, "--limit", "3") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "welcome"
        for number in range(2):
            server.broadcast("tick", number)
            assert json.loads(process.stdout.readline()) == {"event": "tick", "payload": number}
        assert finish(process) == (0, "", "")


def test_listen_prints_events_of_any_depth(server: Server) -> None:
    """As deep as a message may be nested, and it goes on with the next one."""
    text = "[" * 1023 + '"Ü"' + "]" * 1023
    with running("listen", server.url, "--limit", "3") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "welcome"
        for conn in server.connections:
            conn.send(f'{{"type":"event","event":"deep","payload":{text}}}')
        server.broadcast("tick", 1)
        # Compact where the json of this Python, which puts in blanks, cannot write it.
        assert process.stdout.readline().replace(" ", "").strip() == f'{{"event":"deep","payload":{text}}}'
        assert json.loads(process.stdout.readline()) == {"event": "tick", "payload": 1}
        assert finish(process) == (0, "", "")


@pytest.mark.timing
def test_listen_reconnects_on_request(server: Server, backend: Backend) -> None:
    """With ``--reconnect``; the states are printed on stderr."""
    with FaultProxy("127.0.0.1", server.port) as proxy, running("listen", proxy.url(), "--reconnect") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "welcome"
        proxy.cut()
        assert json.loads(process.stdout.readline())["event"] == "welcome"
        process.send_signal(signal.SIGINT)
        code, out, err = finish(process)
    assert (code, out) == (130, "")
    assert [line.split()[0] for line in err.splitlines() if line] == ["open", "reconnecting", "open", "interrupted"]


def test_a_closed_pipe_ends_a_command(server: Server) -> None:
    """``owlsocket listen … | head`` succeeds."""
    with running("listen", server.url) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        server.broadcast("tick")
        assert process.wait(scaled(PATIENCE)) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize("option", ["--token-env", "--token-file"])
def test_a_token_is_sent_and_never_printed(server: Server, backend: Backend, option: str, tmp_path: Path) -> None:
    """Bare in the query, with its scheme in the header, and nowhere else."""
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n", encoding="utf-8")
    value = "OWL_TOKEN" if option == "--token-env" else str(file)
    result = run("call", server.url, "fail", "so", option, value, env={"OWL_TOKEN": SECRET})
    assert (result.returncode, complaint(result)) == (1, "RuntimeError: so\n")
    assert backend.queries == [{"token": SECRET}]
    assert backend.headers == [f"ED25519-BASIC-TOKEN {SECRET}"]


def test_notify_times_out_if_the_peer_does_not_read() -> None:
    """Exit code 0 means that the event has arrived."""
    end = threading.Event()

    def sleep(peer: RawPeer) -> None:
        peer.upgrade()
        end.wait(scaled(PATIENCE))

    with ByteServer(sleep) as server:
        result = run("notify", server.url, "news", "--timeout", "0.3")
        end.set()
    assert (result.returncode, complaint(result) != "") == (4, True), result.stderr


# -- what fails ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fail", "no\nowls\x1b[31m :owl:"], 1, "RuntimeError: no\\u000aowls\\u001b[31m :owl:"),
        (["nosuch"], 1, "nosuch"),
        (["forbidden"], 5, "no owls"),
        (["leave"], 3, "1001 bye"),
        (["never", "--timeout", "0.3"], 4, "call 'never' was not answered within 0.3 s"),
        (["echo", TOO_DEEP], 2, "nested"),
    ],
)
def test_a_failed_call_prints_one_line_and_exits_with_a_code(
    server: Server, arguments: list[str], code: int, words: str
) -> None:
    """No traceback, and nothing on stdout."""
    result = run("call", server.url, *arguments)
    assert (result.returncode, words in complaint(result)) == (code, True), result.stderr


def test_a_request_without_a_response_times_out(server: Server) -> None:
    """Exit code 4."""
    result = run("request", server.url, "who", "--timeout", "0.3")
    assert (result.returncode, "no response came within 0.3 s" in complaint(result)) == (4, True)


def test_listen_reports_a_closed_connection(backend: Backend) -> None:
    """Before its limit: exit code 3, with the close code."""
    with serve(backend) as server, running("listen", server.url) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "welcome"
        server.close()
        code, out, err = finish(process)
    assert (code, out) == (3, "")
    assert err == "connection closed: 1001\n"


@pytest.mark.parametrize(
    ("status", "body", "code", "words"),
    [
        ("401 no", "", 5, "HTTP 401"),
        ("403 no", "AuthFailedError|||api:auth:error", 5, "AuthFailedError: error"),
        ("404 no", "", 3, "HTTP 404"),
        ("500 no", "TypeError|||it broke", 3, "it broke"),
    ],
)
def test_a_refused_handshake_reports_the_reason(status: str, body: str, code: int, words: str) -> None:
    """A refused identity is exit code 5, anything else 3."""

    def refuse(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    with ByteServer(refuse) as server:
        result = run("call", server.url, "echo")
    assert (result.returncode, words in complaint(result)) == (code, True), result.stderr


@pytest.mark.parametrize("command", [["call", "echo"], ["notify", "news"], ["listen"], ["request", "1"]])
def test_connection_refused_is_exit_code_3(command: list[str]) -> None:
    """For every command that connects, at once."""
    result = run(command[0], f"ws://127.0.0.1:{free_port()}", *command[1:])
    assert (result.returncode, "cannot be reached" in complaint(result)) == (3, True)


def test_a_server_that_does_not_answer_is_exit_code_4() -> None:
    """The timeout applies to connecting, too."""
    with full_port() as port:
        result = run("call", f"ws://127.0.0.1:{port}", "echo", "--timeout", "0.3")
    assert (result.returncode, complaint(result) != "") == (4, True), result.stderr


def test_a_token_over_an_unencrypted_connection_warns_in_one_line() -> None:
    """On stderr, before the connection fails; without the token."""
    result = run("call", "ws://nobody.invalid", "echo", "--token-env", "OWL_TOKEN", env={"OWL_TOKEN": SECRET})
    assert (result.returncode, result.stdout) == (3, "")
    warning, error = result.stderr.splitlines()
    assert warning == "warning: the token travels in the clear to nobody.invalid; use wss://"
    assert error.startswith("cannot resolve host 'nobody.invalid'")
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
        pytest.param(
            ["call", "ws://x", "m", TOO_DEEP],
            "nested too deep",
            marks=JSON_IS_SHALLOW,
        ),
        (["call", "ws://x", "m", "--token-env", SECRET], "--token-env"),
        (["call", "ws://x", "m", f"--token-file=/nowhere/{SECRET}"], "--token-file: No such file"),
        (["call", "ws://x", "m", "--token="], "--token: it is empty"),
        (["call", "ws://x", "m", f"--token={SECRET}", "--token-env", "A"], "--token excludes --token-env"),
        (["call", "ws://x", "m", "--token-file", "/dev/null"], "--token-file: it is empty"),
        (["call", "ws://x", "m", "--token-file", sys.executable], "--token-file: it is not a text file"),
        (["call", "ws://x", "m", "--token-env", "A", "--token-file", "b"], "exclude each other"),
        (["listen", "ws://x", "--limit", "0"], "--limit"),
        (["serve", "--port", "65536"], "--port"),
        (["demo", "now"], "unexpected extra argument"),
    ],
)
def test_a_usage_error_is_exit_code_2_and_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the mistake, and contains no secret."""
    code = main(arguments)
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert words in err
    assert SECRET not in err


def test_without_a_command_the_help_is_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """It lists each command and the exit codes."""
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert {"call", "listen", "notify", "request", "serve", "demo"} <= set(err.split())
    assert "130 interrupted" in err.replace("\n ", "")


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """``owlsocket --version``."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"owlsocket, version {__version__}\n"


@pytest.mark.parametrize("package", REQUIRED)
def test_a_missing_package_is_reported_in_one_line(package: str) -> None:
    """With the command that installs it, and exit code 2."""
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
    """Exit code 130 and one word; the connection is closed properly."""
    with running("listen", server.url) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        code, out, err = finish(process)
    assert (code, out, err.strip()) == (130, "", "interrupted")
    eventually(lambda: not server.connections)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_serve_answers_until_a_signal_ends_it(number: signal.Signals, code: int) -> None:
    """Its URL is one line of JSON on stdout, its log is on stderr, without a traceback."""
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
    assert "connected from 127.0.0.1" in err
    assert "Traceback" not in err


def test_a_shout_is_heard_by_whoever_listens() -> None:
    """As the help has it: ``owlsocket listen heard`` in one terminal, ``owlsocket notify shout`` in another."""
    with running("serve") as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with connect(url) as listener, listener.events("heard", limit=1, timeout=scaled(5.0)) as heard:
            assert run("notify", url, "shout", '"owls"').returncode == 0
            assert [event.payload for event in heard] == [{"shout": "owls"}]


def test_serve_speaks_tls() -> None:
    """With ``--cert``; a certificate that cannot be used is reported."""
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


def test_serve_answers_health_checks() -> None:
    """With ``--health``; a path that cannot be one is reported."""
    with running("serve", "--health", "/health") as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"].replace("ws:", "http:")
        with urllib.request.urlopen(f"{url}/health", timeout=scaled(5.0)) as answer:
            assert json.load(answer)["status"] == "ok"
    result = run("serve", "--health", "health")
    assert (result.returncode, "health must be a path such as '/health'" in complaint(result)) == (2, True)


def test_serve_sees_clients_behind_proxies() -> None:
    """With ``--trusted-proxy``, and with ``--proxy-protocol`` from those."""
    with running("serve", "--trusted-proxy", "127.0.0.0/8") as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with connect(url, headers={"X-Forwarded-For": "203.0.113.9"}, call_timeout=scaled(5.0)) as conn:
            assert conn.call("add", 2, 3) == 5
        process.send_signal(signal.SIGTERM)
        assert "connected from 203.0.113.9:0" in finish(process)[2]
    with running("serve", "--trusted-proxy", "127.0.0.1", "--proxy-protocol") as process:
        assert process.stdout is not None
        port = int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])
        peer = RawPeer(socket.create_connection(("127.0.0.1", port), scaled(5.0)))
        with peer.sock:
            peer.send(v1(*ADDRESSES_4) + UPGRADE.encode())
            assert peer.read_header().startswith("HTTP/1.1 101 ")
            peer.send(frame(TEXT, b'{"type":"call","id":"1","method":"add","payload":[2,3]}', masked=True))
            assert b'"payload":5' in peer.read_frame(masked=False).payload
        process.send_signal(signal.SIGTERM)
        assert "connected from 203.0.113.9:4711" in finish(process)[2]
    result = run("serve", "--trusted-proxy", "proxy")
    assert (result.returncode, "trusted_proxies contains 'proxy'" in complaint(result)) == (2, True)


def test_a_port_in_use_is_reported(server: Server) -> None:
    """Exit code 2, in one line."""
    result = run("serve", "--port", str(server.port))
    assert (result.returncode, f"cannot listen on 127.0.0.1:{server.port}" in complaint(result)) == (2, True)
