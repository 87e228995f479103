"""Arguments from the command line, from files and from stdin, as JSON or as text."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from owlsocket_sync.server import Server
from support.command_line import OWLSOCKET, PATIENCE, answers, complaint, run
from support.deep_json import JSON_IS_SHALLOW, TOO_DEEP
from support.helpers import scaled

pytestmark = pytest.mark.slow


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
def test_a_payload_is_read_from_a_file_or_stdin(
    demo_server: Server, tmp_path: Path, content: str, value: object
) -> None:
    """As JSON, or as text without the final line end."""
    file = tmp_path / "payload"
    file.write_bytes(content.encode())
    for argument, stdin in ((f"@{file}", ""), ("-", content)):
        result = run("call", demo_server.url, "echo", argument, stdin=stdin)
        assert (result.returncode, answers(result)) == (0, [value])


def test_one_of_several_arguments_may_be_stdin(demo_server: Server) -> None:
    """The arguments keep their order."""
    result = run("call", demo_server.url, "echo", "1", "-", '"-"', '"@x"', "@", stdin='{"b": 2}')
    assert (result.returncode, answers(result)) == (0, [[1, {"b": 2}, "-", "@x", "@"]])


@pytest.mark.parametrize("text", ["{'a': 1}", "{a: 1}", "[1, 2", '{"a": NaN}'])
def test_invalid_json_warns_and_is_sent_as_text(demo_server: Server, text: str) -> None:
    """The warning names the position of the mistake, and the quotes for a shell."""
    result = run("call", demo_server.url, "echo", text)
    assert (result.returncode, result.stdout) == (0, answers_of(text))
    assert result.stderr.startswith(f"warning: {text!r} is not valid JSON (")
    assert """with single quotes, and its names with double quotes: '{"name": 1}'""" in result.stderr
    assert result.stderr.count("\n") == 1


def answers_of(text: str) -> str:
    """Return a text as it is printed."""
    return '"' + text.replace('"', '\\"') + '"\n'


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("broken.json", b'{"a": 1,}', "broken.json is not valid JSON: "),
        pytest.param("deep.json", TOO_DEEP.encode(), "nested", marks=JSON_IS_SHALLOW),
        ("large.json", b"1e999", "1e999 is too large"),
        ("bytes", b"\xff\xfe\x00", "is not UTF-8 text"),
    ],
)
def test_an_invalid_file_is_a_usage_error(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    """Exit code 2, before anything is connected."""
    file = tmp_path / name
    file.write_bytes(content)
    result = run("call", "ws://x", "echo", f"@{file}")
    assert (result.returncode, words in complaint(result)) == (2, True), result.stderr


def test_a_missing_file_is_reported_with_the_syntax_for_an_at_sign() -> None:
    """``@ada`` may have been meant as text."""
    result = run("call", "ws://x", "echo", "@ada")
    assert result.returncode == 2
    assert complaint(result).startswith(
        """@ada: No such file or directory (to send text that begins with @, write it as"""
    )


def test_stdin_can_be_read_once() -> None:
    """A second ``-`` is a usage error."""
    result = run("call", "ws://x", "echo", "-", "-", stdin="1")
    assert (result.returncode, "stdin (-) can be read only once" in complaint(result)) == (2, True)


@pytest.mark.parametrize("arguments", [["call", "ws://x", "echo", "-"], ["submit", "{url}"], ["repl", "{url}"]])
def test_a_closed_stdin_is_reported(demo_server: Server, arguments: list[str]) -> None:
    """Exit code 2."""
    words = [word.format(url=demo_server.url) for word in arguments]
    ran = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *OWLSOCKET, *words],
        capture_output=True,
        text=True,
        timeout=scaled(PATIENCE),
    )
    assert (ran.returncode, "stdin is closed" in complaint(ran)) == (2, True), ran.stderr


def test_stdin_must_be_utf_8() -> None:
    """Exit code 2."""
    result = run("notify", "ws://x", "news", "-", stdin=b"\xff")
    assert (result.returncode, "stdin is not UTF-8 text" in complaint(result)) == (2, True)
