"""Terminals: colors, escapes and shell completion."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from owlsocket_sync.cli import main
from owlsocket_sync.cli.commands import MODULES
from owlsocket_sync.cli.completion import SHELLS
from owlsocket_sync.server import Server
from support.command_line import OWLSOCKET, PATIENCE, Terminal, run
from support.helpers import scaled

pytestmark = pytest.mark.slow

ESCAPE = "\x1b["
NASTY = "\x1b[31m\x07\x9b\u061c\u202e\u2066"


def test_output_is_colored_on_a_terminal(demo_server: Server) -> None:
    """A warning, an error, and JSON."""
    with Terminal("call", demo_server.url, "echo", "{a", "1") as terminal:
        assert terminal.finish() == 0
    assert "\x1b[33mwarning: " in terminal.shown
    assert '["{a", 1]' in terminal.words
    assert terminal.shown.count(ESCAPE) > 2
    with Terminal("call", demo_server.url, "fail", "x") as terminal:
        assert terminal.finish() == 1
    assert terminal.shown == "\x1b[31mRuntimeError: x\x1b[0m\r\n"


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_output_is_not_colored_on_request(demo_server: Server, env: dict[str, str]) -> None:
    """Of the user, or of the terminal."""
    for arguments, shown in ((["echo", "{}"], "{}\r\n"), (["fail", "x"], "RuntimeError: x\r\n")):
        with Terminal("call", demo_server.url, *arguments, env=env) as terminal:
            terminal.finish()
        assert terminal.shown == shown


def test_output_in_a_pipe_is_not_colored(demo_server: Server) -> None:
    """Not even with FORCE_COLOR."""
    result = run("call", demo_server.url, "echo", "1", env={"FORCE_COLOR": "1"})
    assert (result.stdout, result.stderr) == ("1\n", "")
    result = run("call", demo_server.url, "fail", env={"FORCE_COLOR": "1"})
    assert result.stderr == "RuntimeError: this method always fails\n"


def test_a_peer_cannot_control_the_terminal(demo_server: Server) -> None:
    """Neither by a result nor by an error: control characters and bidirectional marks are escaped."""
    for method in ("echo", "fail"):
        with Terminal("call", demo_server.url, method, json.dumps(NASTY), env={"NO_COLOR": "1"}) as terminal:
            terminal.finish()
        assert "\\u001b[31m\\u0007\\u009b\\u061c\\u202e\\u2066" in terminal.shown
        assert not set(NASTY) - set("[31m") & set(terminal.shown)


def test_a_closed_stderr_is_ignored(demo_server: Server) -> None:
    """The exit code is that of the command."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ran = subprocess.run(
            [*OWLSOCKET, "call", demo_server.url, "fail"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=writer,
            timeout=scaled(PATIENCE),
        )
    finally:
        os.close(writer)
    assert (ran.returncode, ran.stdout) == (1, b"")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_completion_script_is_printed(shell: str) -> None:
    """The script runs our command for the completions."""
    result = run("completion", shell)
    assert (result.returncode, result.stderr) == (0, "")
    assert "_OWLSOCKET_COMPLETE" in result.stdout


def test_commands_and_options_are_completed() -> None:
    """Without a connection."""
    for words, cword, expected in (("owlsocket l", "1", "listen"), ("owlsocket call --tok", "2", "--token-env")):
        env = {"_OWLSOCKET_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": cword}
        result = run(env=env)
        assert (result.returncode, f"plain,{expected}" in result.stdout.splitlines()) == (0, True), result.stdout


def test_bash_parses_the_completion_script() -> None:
    """Without an error."""
    script = run("completion", "bash").stdout
    ran = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, timeout=scaled(PATIENCE))
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    "verb",
    [
        *MODULES,
        "queue push",
        "queue pull",
        "hub members",
        "hub publish",
        "hub servers",
        "keys new",
        "keys show",
        "keys address",
    ],
)
def test_help_begins_with_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Right after the sentence that describes the command."""
    assert main([*verb.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: owlsocket {verb} ")
    examples = [number for number, line in enumerate(out.splitlines()) if f"  owlsocket {verb}" in line]
    assert examples
    assert examples[0] <= 6
