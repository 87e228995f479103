"""``owlsocket demo``: it succeeds or fails with its steps, and leaves no process."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from owlsocket_sync.auth import KeyPair
from owlsocket_sync.cli import demo as demo_module
from owlsocket_sync.cli import main
from owlsocket_sync.cli.demo import SERVER, ServerProcess, UnexpectedResult, run_demo
from support.helpers import eventually, scaled

pytestmark = pytest.mark.slow

PATIENCE = 30.0
STEPS = 12

STUCK = """
import sys, time
from owlsocket_sync.cli import demo, main

def stuck(conn):
    print("stuck", flush=True)
    while True:
        time.sleep(0.05)  # one long sleep could miss a signal that comes just before it

demo._parallel = stuck
sys.exit(main(["demo"]))
"""


def is_served(port: int) -> bool:
    """Return whether a server listens on the port."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def port_in(text: str) -> int:
    """Return the port of the first URL in a text."""
    found = re.search(r"ws://127\.0\.0\.1:(\d+)", text)
    assert found, text
    return int(found.group(1))


def test_the_demo_works_and_is_quick() -> None:
    """Exit code 0 in less than 10 s, a line for each step, nothing on stderr, and no server left."""
    began = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-m", "owlsocket_sync", "demo"], capture_output=True, encoding="utf-8", timeout=PATIENCE
    )
    took = time.monotonic() - began
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    *steps, last = result.stdout.splitlines()
    assert [step[:4] for step in steps] == ["ok  "] * STEPS
    assert last.startswith("All steps succeeded")
    assert took < scaled(10.0)
    assert not is_served(port_in(result.stdout))


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("_outage", 12),
        *(
            pytest.param(*each, marks=pytest.mark.variant)
            for each in (("_connect", 2), ("_parallel", 5), ("_error", 11))
        ),
        pytest.param("_consume", 10, marks=pytest.mark.variant),
    ],
)
def test_an_unexpected_result_fails_the_demo(
    step: str, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1; the last line shows the expected and the actual result."""
    monkeypatch.setattr(demo_module, step, lambda *_: demo_module._expect("a crow", "an owl"))
    assert main(["demo"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[:2] for line in lines] == ["ok"] * (number - 1) + ["no"]
    assert lines[-1].endswith("expected 'an owl', got 'a crow'")
    assert not is_served(port_in(lines[0]))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("conn.perform('add', lambda a, b: a * b)", "expected 5, got 6"),
        ("conn.perform('add', lambda a, b: 1 / 0)", "ResilientError: ZeroDivisionError: division by zero"),
        ("conn.perform('echo', lambda value: 0)", "expected [0, 1, 2"),
        ("conn.perform('fail', lambda text: text)", "expected an error, got 'no owls today'"),
        ("conn.perform('callMe', lambda method, text: 'nobody')", "I am the client', got 'nobody'"),
        ("conn.perform('queue', lambda: [])", "got []"),
    ],
)
def test_a_wrong_answer_of_the_server_fails_the_demo(
    source: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps check what the server really answered."""
    script = (
        "from owlsocket_sync.cli import demo_server as it\nright = it.register_handlers\n"
        f"def wrong(conn, request):\n    right(conn, request)\n    {source}\nit.register_handlers = wrong\nit.main()"
    )
    with _server_command([sys.executable, "-c", script], monkeypatch):
        assert run_demo() is False
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("no  ")
    assert words in last


@contextmanager
def _server_command(command: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start this in place of the demo's server; its ``--port`` stays."""
    popen = subprocess.Popen

    def start(original: list[str], **options: object) -> object:
        return popen([*command, *original[original.index(SERVER) + 1 :]], **options)  # type: ignore[call-overload]

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", start)
        yield


@pytest.mark.parametrize(
    ("script", "words"),
    [("", "expected a server within"), ("print('owls')", "got 'owls"), ("print('{}')", "got '{}")],
)
def test_a_server_that_does_not_start_fails_the_demo(
    script: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first line reports it, and is the only one."""
    with _server_command([sys.executable, "-c", script], monkeypatch):
        assert run_demo() is False
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("no  start a server")
    assert words in lines[0]


def test_a_silent_server_is_killed_after_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for its URL ends, and so does the process."""
    monkeypatch.setattr(demo_module, "START_SECONDS", 0.3)
    server = ServerProcess(KeyPair.generate().public)
    silent = [sys.executable, "-c", "import threading; threading.Event().wait(60)"]
    try:
        with _server_command(silent, monkeypatch), pytest.raises(UnexpectedResult, match="got none"):
            server.start()
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_an_interrupted_demo_leaves_no_server(number: signal.Signals, code: int) -> None:
    """Its server ends with it, also after Ctrl-C at the whole process group."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-u", "-c", STUCK]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, encoding="utf-8", start_new_session=True) as process:
        try:
            assert process.stdout is not None
            port = port_in(process.stdout.readline())
            # No call is in flight then: the answer to one that is interrupted is logged as unexpected.
            while process.stdout.readline() != "stuck\n":
                assert process.poll() is None
            assert is_served(port)
            process.send_signal(number)
            _, err = process.communicate(timeout=scaled(PATIENCE))
        finally:
            process.kill()
    assert process.returncode == code
    assert err.strip() == ("interrupted" if number is signal.SIGINT else "")
    eventually(lambda: not is_served(port))


def test_the_demo_server_ignores_ctrl_c() -> None:
    """A terminal sends it to the whole process group; only the end of stdin ends the server."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", SERVER, "--user", KeyPair.generate().public]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, encoding="utf-8") as process:
        try:
            assert process.stdout is not None
            port = port_in(json.loads(process.stdout.readline())["url"])
            process.send_signal(signal.SIGINT)
            assert is_served(port)
            process.communicate(timeout=scaled(PATIENCE))
        finally:
            process.kill()
    assert process.returncode == 0
    assert not is_served(port)
