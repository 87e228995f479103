"""What depends on a terminal: colours; and what a peer must not do to one."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from command_line import OWLSOCKET, PATIENCE, Terminal, run
from helpers import scaled

from owlsocket_sync.cli import main
from owlsocket_sync.cli.commands import HOMES
from owlsocket_sync.cli.completion import SHELLS
from owlsocket_sync.server import Server

ESCAPE = "\x1b["
NASTY = "\x1b[31m\x07\x9b\u061c\u202e\u2066"


def test_results_and_errors_have_colours_on_a_terminal(playing: Server) -> None:
    """A warning, an error, and JSON."""
    with Terminal("call", playing.url, "echo", "{a", "1") as terminal:
        assert terminal.finish() == 0
    assert "\x1b[33mwarning: " in terminal.shown
    assert '["{a", 1]' in terminal.words
    assert terminal.shown.count(ESCAPE) > 2
    with Terminal("call", playing.url, "fail", "x") as terminal:
        assert terminal.finish() == 1
    assert terminal.shown == "\x1b[31mRuntimeError: x\x1b[0m\r\n"


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_are_left_out_where_nobody_wants_them(playing: Server, env: dict[str, str]) -> None:
    """By the user, or by the terminal."""
    for arguments, shown in ((["echo", "{}"], "{}\r\n"), (["fail", "x"], "RuntimeError: x\r\n")):
        with Terminal("call", playing.url, *arguments, env=env) as terminal:
            terminal.finish()
        assert terminal.shown == shown


def test_pipes_have_no_colours(playing: Server) -> None:
    """Not even where colours are forced upon others."""
    result = run("call", playing.url, "echo", "1", env={"FORCE_COLOR": "1"})
    assert (result.stdout, result.stderr) == ("1\n", "")
    result = run("call", playing.url, "fail", env={"FORCE_COLOR": "1"})
    assert result.stderr == "RuntimeError: as you wished\n"


def test_a_peer_cannot_steer_the_terminal(playing: Server) -> None:
    """Neither by a result nor by an error: escapes, C1 and changes of direction are spelled out."""
    for method in ("echo", "fail"):
        with Terminal("call", playing.url, method, json.dumps(NASTY), env={"NO_COLOR": "1"}) as terminal:
            terminal.finish()
        assert "\\u001b[31m\\u0007\\u009b\\u061c\\u202e\\u2066" in terminal.shown
        assert not set(NASTY) - set("[31m") & set(terminal.shown)


def test_stderr_that_nobody_reads_is_no_failure(playing: Server) -> None:
    """The exit code is that of the command."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ran = subprocess.run(
            [*OWLSOCKET, "call", playing.url, "fail"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=writer,
            timeout=scaled(PATIENCE),
        )
    finally:
        os.close(writer)
    assert (ran.returncode, ran.stdout) == (1, b"")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_is_told_how_to_complete(shell: str) -> None:
    """The script asks us for the words."""
    result = run("completion", shell)
    assert (result.returncode, result.stderr) == (0, "")
    assert "_OWLSOCKET_COMPLETE" in result.stdout


def test_a_completion_names_verbs_and_options() -> None:
    """What the script asks is answered, without a connection."""
    for words, cword, expected in (("owlsocket l", "1", "listen"), ("owlsocket call --tok", "2", "--token-env")):
        env = {"_OWLSOCKET_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": cword}
        result = run(env=env)
        assert (result.returncode, f"plain,{expected}" in result.stdout.splitlines()) == (0, True), result.stdout


def test_bash_takes_the_script() -> None:
    """As its user would load it."""
    script = run("completion", "bash").stdout
    ran = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, timeout=scaled(PATIENCE))
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("verb", [*HOMES, "queue push", "queue pull", "keys new", "keys show", "keys address"])
def test_a_help_has_examples_before_everything_else(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Right behind the sentence that says what it does."""
    assert main([*verb.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: owlsocket {verb} ")
    examples = [number for number, line in enumerate(out.splitlines()) if f"  owlsocket {verb}" in line]
    assert examples
    assert examples[0] <= 6
