"""``owlsocket repl``: commands, completion and history."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync.cli.history import MAX_LINES, History, is_secret
from owlsocket_sync.cli.repl_syntax import ReplSyntaxError, split
from owlsocket_sync.server import Server, serve
from support.command_line import Terminal, run
from support.helpers import eventually

SECRET = "s3cret-envelope"
PROMPT = "> "
END = "\x04"  # at a prompt only: a terminal that is not in raw mode swallows it


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("call add 2 3", ["call", "add", 2, 3]),
        ('call echo {"a": [1, 2]} two', ["call", "echo", {"a": [1, 2]}, "two"]),
        ("""call echo 'two words' "a b" it's""", ["call", "echo", "two words", "a b", "it's"]),
        ("call echo -1.5e3 null true nullable 12abc", ["call", "echo", -1500.0, None, True, "nullable", "12abc"]),
        ("call echo NaN Infinity ''", ["call", "echo", "NaN", "Infinity", ""]),
        ("  \t ", []),
    ],
)
def test_a_word_is_json_or_text(line: str, words: list[Any]) -> None:
    """Without the rules of a shell."""
    assert split(line) == words


@pytest.mark.parametrize("line", ["call {'a': 1}", "call [1, 2", 'call "a', "call " + "[" * 50_000])
def test_invalid_json_is_a_syntax_error(line: str) -> None:
    """It is not sent as text."""
    with pytest.raises(ReplSyntaxError):
        split(line)


def test_each_command_works(demo_server: Server) -> None:
    """From a pipe: no prompt, results on stdout, everything else on stderr."""
    lines = [
        "# a comment",
        "call add 2 3",
        'call echo {"name": "Ada"}',
        "",
        "notify shout owls",
        'request {"count": 2} 2',
        "push {} o-7",
        "call queue",
        "call enqueueMe 1 a",
        "pull",
        "ping",
        "timeout 7.5",
        "timeout",
        "reconnect",
        "stats",
        "help",
        "exit",
        "call add 1 1",
    ]
    result = run("repl", demo_server.url, stdin="\n".join(lines))
    printed = [json.loads(line) for line in result.stdout.splitlines()]
    stats = printed.pop()
    assert 0 < printed.pop(7) < 60_000
    assert printed == [
        5,
        {"name": "Ada"},
        {"data": 0, "hasMore": True},
        {"data": 1, "hasMore": False},
        [[{}, "o-7", 0]],
        None,
        {"payload": 1, "id": "a"},
        7.5,
    ]
    assert stats["reconnects"] == 1
    assert result.returncode == 0
    assert "call METHOD [ARG]..." in result.stderr
    assert "connected" not in result.stderr


def test_listen_prints_events(demo_server: Server) -> None:
    """Up to the limit."""
    with Terminal("repl", demo_server.url, env={"NO_COLOR": "1"}) as terminal:
        terminal.await_words(PROMPT)
        terminal.enter("listen tick 2\n")
        eventually(lambda: demo_server.connections)
        terminal.await_words("listen tick 2")
        eventually(lambda: demo_server.broadcast("tick", 1) or '"tick"' in _read_on(terminal), 10)
        demo_server.broadcast("tick", 2)
        terminal.await_words('{"event": "tick", "payload"', 2)
        terminal.await_words(PROMPT, 2)


def _read_on(terminal: Terminal) -> str:
    terminal.take(0.05)
    return terminal.words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("hoot", 2, "unknown command 'hoot'; the commands are call, notify"),
        ("7", 2, "unknown command 7"),
        ("call", 2, "usage: call METHOD [ARG]..."),
        ("pull 1", 2, "usage: pull"),
        ("call 7", 2, "the name must be text, not 7"),
        ("call echo {a}", 2, "is not valid JSON"),
        ("call echo 1e999", 2, "too large"),
        ("request {} 0", 2, "the limit must be a whole number"),
        ("timeout soon", 2, "a number of seconds"),
        ("call fail \\u001b[31m", 1, "RuntimeError"),
        ("call nosuch", 1, "nosuch"),
    ],
)
def test_a_failed_line_does_not_end_the_session(demo_server: Server, line: str, code: int, words: str) -> None:
    """Its error is one line; the exit code is that of the first failed line."""
    result = run("repl", demo_server.url, stdin=f"{line}\ncall fail later\ncall add 2 3\n")
    assert (result.returncode, result.stdout) == (code, "5\n")
    first, second = result.stderr.splitlines()
    assert words in first
    assert second == "RuntimeError: later"


def test_a_refused_connection_ends_the_session() -> None:
    """Before the first prompt, with its exit code."""
    result = run("repl", "ws://127.0.0.1:1", stdin="call add 2 3\n")
    assert (result.returncode, "is the server running" in result.stderr) == (3, True)


# -- in front of a terminal --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_tab_completes_commands_and_names(demo_server: Server, tmp_path: Path) -> None:
    """Also the names of earlier sessions."""
    env = {"XDG_STATE_HOME": str(tmp_path), "NO_COLOR": "1"}
    for before in ("call enq", "ca\tenqu\t"):  # the second knows the method from the first
        with Terminal("repl", demo_server.url, env=env) as terminal:
            terminal.await_words(PROMPT)
            terminal.enter(before + ("ueueMe 7\n" if before == "call enq" else "8\n"))
            terminal.await_words("null")
            terminal.enter("cal\tenqueueM\t9\n")
            terminal.await_words("null", 2)
            terminal.enter("pull\n")
            terminal.await_words('"payload": 9')
            terminal.await_words(PROMPT, 4)
            terminal.enter(END)
            assert terminal.finish() == 0
    assert '"payload": 8' in terminal.words


def test_history_is_private_and_without_secrets(demo_server: Server, tmp_path: Path) -> None:
    """Without the token in use, without lines that look secret or begin with a space."""
    env = {"XDG_STATE_HOME": str(tmp_path), "T": SECRET}
    with Terminal("repl", demo_server.url, "--token-env", "T", env=env) as terminal:
        terminal.await_words(PROMPT)
        secret = [f"call echo {SECRET}", ' call echo "hidden"', 'call echo {"password": "x"}']
        for count, line in enumerate(["call echo 1", *secret, "call echo 2"], 1):
            terminal.enter(f"{line}\n")
            terminal.await_words(PROMPT, count + 1)
        terminal.enter("exit\n")
        assert terminal.finish() == 0
    file = tmp_path / "owlsocket" / "history"
    assert file.read_text() == "call echo 1\ncall echo 2\nexit\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.slow
def test_ctrl_c_interrupts_the_command_and_not_the_session(demo_server: Server) -> None:
    """The connection stays open."""
    with Terminal("repl", demo_server.url, env={"NO_COLOR": "1"}) as terminal:
        terminal.await_words(PROMPT)
        terminal.enter("call slow 2\n")
        terminal.await_words("call slow 2")
        eventually(lambda: demo_server.connections)
        terminal.take(0.3)
        terminal.process.send_signal(2)
        terminal.await_words("interrupted")
        terminal.enter("call add 20 3\n")
        terminal.await_words("23")
        terminal.await_words(PROMPT, 3)
        terminal.enter(END)
        assert terminal.finish() == 0


def test_a_pipe_leaves_no_history(demo_server: Server, tmp_path: Path) -> None:
    """Only typed lines are kept."""
    run("repl", demo_server.url, env={"XDG_STATE_HOME": str(tmp_path)}, stdin="call add 2 3\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_server_that_refuses_to_reconnect_ends_the_session() -> None:
    """Exit code 3, with the close code."""
    with serve(lambda conn, request: conn.perform("leave", lambda: conn.close(1001, "bye"))) as server:
        result = run("repl", server.url, stdin="call leave\nping\n")
    assert result.returncode == 3
    assert "1001 bye" in result.stderr


# -- what is kept ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        " call x",
        "call login eyJ0eXBlIjoiYXV0aCJ9",
        "call x ED25519-BASIC-TOKEN abc",
        "call setPassword x",
        'call x {"apiKey": 1}',
        "call x known",
    ],
)
def test_a_secret_is_recognized(line: str) -> None:
    """Rather too many lines than too few."""
    assert is_secret(line, ["known"])
    assert not is_secret("call add 2 3", ["known", ""])


def test_history_is_truncated_and_filtered_when_loaded(tmp_path: Path) -> None:
    """A file that others could read becomes private."""
    path = tmp_path / "history"
    path.write_text("".join(f"call echo {number}\n" for number in range(MAX_LINES + 5)) + "call x known\n")
    path.chmod(0o644)
    lines = History(path, ["known"]).load()
    assert lines == [f"call echo {number}" for number in range(5, MAX_LINES + 5)]
    assert path.read_text().splitlines() == lines
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_history_errors_are_ignored(tmp_path: Path) -> None:
    """The folder may be a file."""
    (tmp_path / "owlsocket").write_text("")
    history = History(tmp_path / "owlsocket" / "history")
    history.add("call x")
    assert history.load() == []
