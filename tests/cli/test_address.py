"""The URL of a command, with and without ``OWLSOCKET_URL``, and errors about invalid URLs."""

from __future__ import annotations

from typing import Any

import pytest

from owlsocket_sync.cli import main
from owlsocket_sync.server import Server
from support.command_line import answers, complaint, run
from support.sockets import free_port

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["call", "add", "2", "3"], [5]),
        (["call", "--timeout", "9", "add", "-2", "3"], [1]),
        (["call", "echo", '{"link": "https://x"}'], [{"link": "https://x"}]),
        (["call", "echo", "https://x"], ["https://x"]),
        (["call", "--", "echo", "-x"], ["-x"]),
        (["request", '{"count": 1}', "--limit", "1"], [{"data": 0, "hasMore": False}]),
        (["queue", "push", "1", "2"], []),
        (["notify", "shout", "-"], []),
    ],
)
def test_the_url_may_be_omitted_if_the_environment_has_it(
    demo_server: Server, arguments: list[str], printed: list[Any]
) -> None:
    """The first argument is then an argument of the command."""
    result = run(*arguments, env={"OWLSOCKET_URL": demo_server.url})
    assert (result.returncode, answers(result)) == (0, printed)


def test_a_url_argument_overrides_the_environment(demo_server: Server) -> None:
    """The environment is the default only."""
    result = run("call", demo_server.url, "add", "2", "3", env={"OWLSOCKET_URL": f"ws://127.0.0.1:{free_port()}"})
    assert (result.returncode, answers(result)) == (0, [5])


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            "http://localhost:8080/ws",
            "url must start with ws:// or wss://: 'http://localhost:8080/ws' (write ws://localhost:8080/ws)",
        ),
        ("https://api.example.com/ws", "(write wss://api.example.com/ws)"),
        ("localhost:8080", "(write ws://localhost:8080, or wss://localhost:8080 for TLS)"),
        ("api.example.com/ws", "(write ws://api.example.com/ws, or wss://api.example.com/ws for TLS)"),
        ("127.0.0.1:80", "(write ws://127.0.0.1:80,"),
        ("[::1]:80", "(write ws://[::1]:80,"),
        ("ws:localhost", "(write ws://localhost)"),
        ("wss:/localhost/x", "(write wss://localhost/x)"),
        ("add", "(the URL comes first; it may be omitted where OWLSOCKET_URL is set)"),
        ("ws://", "url must have a host"),
        ("ws://host:port", "a port is a number up to 65535"),
    ],
)
def test_an_invalid_url_is_reported_with_a_suggestion(
    url: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with exit code 2; also if the environment has a URL, unless the argument may be a method then."""
    for variable in ("", "ws://elsewhere"):
        if variable and url in ("add", "api.example.com/ws"):
            continue
        monkeypatch.setenv("OWLSOCKET_URL", variable)
        code = main(["call", url, "add", "2"])
        out, err = capsys.readouterr()
        assert (code, out, err.count("\n"), words in err) == (2, "", 1, True), err


def test_an_invalid_url_in_the_environment_names_the_variable() -> None:
    """The error shows no secret of the URL."""
    result = run("ping", env={"OWLSOCKET_URL": "http://x/?token=s3cret"})
    assert result.returncode == 2
    assert complaint(result).startswith("OWLSOCKET_URL: url must start with ws://")
    assert "s3cret" not in result.stderr


def test_a_missing_url_is_reported_with_both_ways_to_pass_it() -> None:
    """As an argument, or in the environment."""
    result = run("ping")
    assert result.returncode == 2
    assert "Missing argument 'URL'" in complaint(result)
    assert "set OWLSOCKET_URL to omit it" in result.stderr


def test_the_only_argument_of_a_command_is_the_url() -> None:
    """Whatever it looks like."""
    result = run("doctor", "somewhere", env={"OWLSOCKET_URL": "ws://elsewhere"})
    assert (result.returncode, "must start with ws:// or wss://: 'somewhere'" in complaint(result)) == (2, True)


def test_a_token_in_a_url_on_the_command_line_warns(demo_server: Server) -> None:
    """A token in the environment, which others cannot read, does not."""
    url = f"{demo_server.url}/?token=s3cret"
    typed = run("call", url, "add", "2", "3")
    assert (typed.returncode, typed.stdout) == (0, "5\n")
    assert typed.stderr.startswith("warning: a token in the URL is on the command line")
    assert "s3cret" not in typed.stderr
    kept = run("call", "add", "2", "3", env={"OWLSOCKET_URL": url})
    assert (kept.returncode, answers(kept)) == (0, [5])
