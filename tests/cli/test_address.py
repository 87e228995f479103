"""Which server is meant, with and without ``OWLSOCKET_URL``; and what a slip in a URL is answered with."""

from __future__ import annotations

from typing import Any

import pytest
from command_line import answers, complaint, run
from sockets import free_port

from owlsocket_sync.cli import main
from owlsocket_sync.server import Server


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
def test_the_url_may_be_left_out_where_the_environment_has_it(
    playing: Server, arguments: list[str], printed: list[Any]
) -> None:
    """The first argument then belongs to what follows."""
    result = run(*arguments, env={"OWLSOCKET_URL": playing.url})
    assert (result.returncode, answers(result)) == (0, printed)


def test_a_url_that_is_given_wins(playing: Server) -> None:
    """The environment is for when there is none."""
    result = run("call", playing.url, "add", "2", "3", env={"OWLSOCKET_URL": f"ws://127.0.0.1:{free_port()}"})
    assert (result.returncode, answers(result)) == (0, [5])


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://localhost:8080/ws", "not with http:: 'http://localhost:8080/ws' (write ws://localhost:8080/ws)"),
        ("https://api.example.com/ws", "(write wss://api.example.com/ws)"),
        ("localhost:8080", "(write ws://localhost:8080, or wss://localhost:8080 where it is encrypted)"),
        ("api.example.com/ws", "(write ws://api.example.com/ws, or wss://api.example.com/ws where it is encrypted)"),
        ("127.0.0.1:80", "(write ws://127.0.0.1:80,"),
        ("[::1]:80", "(write ws://[::1]:80,"),
        ("ws:localhost", "(write ws://localhost)"),
        ("wss:/localhost/x", "(write wss://localhost/x)"),
        ("add", "(the URL comes first; it may be left out where OWLSOCKET_URL is set)"),
        ("ws://", "url must name a host"),
        ("ws://host:port", "a port is a number up to 65535"),
    ],
)
def test_a_slip_in_a_url_is_told_with_what_to_write(
    url: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with exit code 2; also where the environment has one, unless it is the name of a method there."""
    for variable in ("", "ws://elsewhere"):
        if variable and url in ("add", "api.example.com/ws"):
            continue
        monkeypatch.setenv("OWLSOCKET_URL", variable)
        code = main(["call", url, "add", "2"])
        out, err = capsys.readouterr()
        assert (code, out, err.count("\n"), words in err) == (2, "", 1, True), err


def test_a_slip_in_the_environment_is_told_as_such() -> None:
    """The variable is named, and its secrets are not."""
    result = run("ping", env={"OWLSOCKET_URL": "http://x/?token=s3cret"})
    assert result.returncode == 2
    assert complaint(result).startswith("OWLSOCKET_URL: url must start with ws://")
    assert "s3cret" not in result.stderr


def test_a_url_that_is_nowhere_is_told_with_both_ways() -> None:
    """As an argument, or in the environment."""
    result = run("ping")
    assert result.returncode == 2
    assert "Missing argument 'URL'" in complaint(result)
    assert "set OWLSOCKET_URL to leave it out" in result.stderr


def test_where_there_is_nothing_else_the_argument_is_the_url() -> None:
    """However it looks."""
    result = run("doctor", "somewhere", env={"OWLSOCKET_URL": "ws://elsewhere"})
    assert (result.returncode, "no scheme at all: 'somewhere'" in complaint(result)) == (2, True)


def test_a_token_in_a_url_that_is_typed_warns(playing: Server) -> None:
    """One in the environment, which others cannot read, does not."""
    url = f"{playing.url}/?token=s3cret"
    typed = run("call", url, "add", "2", "3")
    assert (typed.returncode, typed.stdout) == (0, "5\n")
    assert typed.stderr.startswith("warning: a token in the URL stands on the command line")
    assert "s3cret" not in typed.stderr
    kept = run("call", "add", "2", "3", env={"OWLSOCKET_URL": url})
    assert (kept.returncode, answers(kept)) == (0, [5])
