"""What is sent: from the command line, from files, and from stdin; and what was meant to be JSON."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from command_line import OWLSOCKET, PATIENCE, answers, complaint, run
from helpers import scaled

from owlsocket_sync.server import Server


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ('{"a": [1, 2]}\n', {"a": [1, 2]}),
        ("plain words\n", "plain words"),
        ("two\nlines\r\n", "two\nlines"),
        ("", ""),
        ("ünï 🦉", "ünï 🦉"),
    ],
)
def test_a_payload_comes_from_a_file_or_from_stdin(
    playing: Server, tmp_path: Path, content: str, value: object
) -> None:
    """As JSON, or as text without its last line's end."""
    file = tmp_path / "payload"
    file.write_bytes(content.encode())
    for argument, stdin in ((f"@{file}", ""), ("-", content)):
        result = run("call", playing.url, "echo", argument, stdin=stdin)
        assert (result.returncode, answers(result)) == (0, [value])


def test_one_of_several_may_come_from_stdin(playing: Server) -> None:
    """The others stay where they are."""
    result = run("call", playing.url, "echo", "1", "-", '"-"', '"@x"', "@", stdin='{"b": 2}')
    assert (result.returncode, answers(result)) == (0, [[1, {"b": 2}, "-", "@x", "@"]])


@pytest.mark.parametrize("text", ["{'a': 1}", "{a: 1}", "[1, 2", '{"a": NaN}'])
def test_what_seems_to_be_json_warns_and_travels_as_text(playing: Server, text: str) -> None:
    """The warning says where it is wrong, and how a shell wants it."""
    result = run("call", playing.url, "echo", text)
    assert (result.returncode, result.stdout) == (0, answers_of(text))
    assert result.stderr.startswith(f"warning: {text!r} begins like JSON but is none (")
    assert """in single quotes, and its names in double ones: '{"name": 1}'""" in result.stderr
    assert result.stderr.count("\n") == 1


def answers_of(text: str) -> str:
    """A text as it is printed."""
    return '"' + text.replace('"', '\\"') + '"\n'


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("broken.json", b'{"a": 1,}', "broken.json is no JSON: "),
        ("deep.json", b"[" * 50_000, "nested too deep"),
        ("large.json", b"1e999", "1e999 is too large"),
        ("bytes", b"\xff\xfe\x00", "holds no UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_sent_is_a_mistake(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    """Exit code 2, before anything is connected to."""
    file = tmp_path / name
    file.write_bytes(content)
    result = run("call", "ws://x", "echo", f"@{file}")
    assert (result.returncode, words in complaint(result)) == (2, True), result.stderr


def test_a_file_that_is_not_there_says_how_to_write_an_at_sign(tmp_path: Path) -> None:
    """It may be that ``@ada`` was meant as text."""
    result = run("call", "ws://x", "echo", "@ada")
    assert result.returncode == 2
    assert complaint(result).startswith("""@ada: No such file or directory (text that begins with @ is written as""")


def test_stdin_can_be_read_once() -> None:
    """A second ``-`` is a mistake."""
    result = run("call", "ws://x", "echo", "-", "-", stdin="1")
    assert (result.returncode, "stdin (-) can be read once only" in complaint(result)) == (2, True)


@pytest.mark.parametrize("arguments", [["call", "ws://x", "echo", "-"], ["submit", "{url}"], ["repl", "{url}"]])
def test_a_stdin_that_is_closed_is_told(playing: Server, arguments: list[str]) -> None:
    """As a shell closes it: exit code 2."""
    words = [word.format(url=playing.url) for word in arguments]
    ran = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *OWLSOCKET, *words],
        capture_output=True,
        text=True,
        timeout=scaled(PATIENCE),
    )
    assert (ran.returncode, "stdin is closed" in complaint(ran)) == (2, True), ran.stderr


def test_stdin_that_is_no_text_is_a_mistake() -> None:
    """It is told as such."""
    result = run("notify", "ws://x", "news", "-", stdin=b"\xff")
    assert (result.returncode, "stdin holds no UTF-8 text" in complaint(result)) == (2, True)
