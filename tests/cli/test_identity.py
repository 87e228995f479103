"""Keys and logins from the command line: secrets stay in their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from helpers import load

from owlsocket_sync.auth import KeyPair
from owlsocket_sync.cli import main

RECORDED = load("login.json")
KEY = KeyPair.parse(RECORDED["keys"]["user"]["export"])
BASE = "https://auth.example"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A private key."""
    path = tmp_path / "user.key"
    path.write_text(KEY.private + "\n")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any, str]:
    """Exit code, what came on stdout as JSON, and stderr."""
    code = main([str(one) for one in arguments])
    told = capsys.readouterr()
    return code, json.loads(told.out) if told.out else None, told.err


def test_a_new_key_goes_into_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which only its owner can read, and which was not there before."""
    path = tmp_path / "new.key"
    code, told, _ = run(capsys, "keys", "new", path)
    pair = KeyPair.parse(path.read_text().strip())
    assert (code, told) == (0, {"public": pair.public, "address": pair.address})
    assert path.stat().st_mode & 0o777 == 0o600
    code, told, words = run(capsys, "keys", "new", path)
    assert (code, told) == (2, None)
    assert "File exists" in words
    assert KeyPair.parse(path.read_text().strip()) == pair


def test_a_new_key_may_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Where no file is named."""
    _, told, _ = run(capsys, "keys", "new")
    pair = KeyPair.parse(told["private"])
    assert told == {"private": pair.private, "public": pair.public, "address": pair.address}


def test_a_key_is_shown_without_its_secret(
    key_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file, or from the environment."""
    monkeypatch.setenv("MY_KEY", KEY.private)
    for source in (["--key-file", key_file], ["--key-env", "MY_KEY"]):
        assert run(capsys, "keys", "show", *source) == (0, {"public": KEY.public, "address": KEY.address}, "")
    assert run(capsys, "keys", "address", KEY.public) == (0, KEY.address, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["keys", "show"], "--key-file or --key-env must say where"),
        (["keys", "show", "--key-file", "/nowhere/at/all"], "--key-file: No such file"),
        (["keys", "show", "--key-env", "NOBODY_SET_THIS"], "--key-env: no environment variable"),
        (["keys", "show", "--key-env", "BAD"], "--key-env: the private key is no standard base64"),
        (["keys", "show", "--key-env", "BAD", "--key-file", "x"], "exclude each other"),
        (["keys", "address", "s3cret"], "the public key is no standard base64"),
        (["login", BASE], "--key-file or --key-env must say where"),
        (["login", "ftp://x", "--key-env", "GOOD"], "base_url must be http"),
        (["login", BASE, "--key-env", "GOOD", "--timeout", "-1"], "timeout"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With exit code 2, and without what could be a secret."""
    monkeypatch.setenv("BAD", "s3cret")
    monkeypatch.setenv("GOOD", KEY.private)
    code, told, line = run(capsys, *arguments)
    assert (code, told) == (2, None)
    assert words in line
    assert line.count("\n") == 1
    assert "s3cret" not in line


def test_a_login_prints_its_token(key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And whose it is."""
    steps = RECORDED["steps"]
    with responses.RequestsMock() as http:
        http.post(f"{BASE}/authentication/init", json=steps["1 challenge (base64 Wrap envelope)"])
        http.post(f"{BASE}/authentication/authenticate", json=steps["2 one-time token"])
        http.post("https://service.example/authenticate", json={"token": steps["3 bearer"]})
        code, told, words = run(
            capsys, "login", BASE, "--key-file", key_file, "--service-url", "https://service.example"
        )
    assert (code, words) == (0, "")
    assert told == {"token": steps["3 bearer"], "user": KEY.address, "role": "superuser"}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status": 401, "body": "AuthFailedError|||api:auth:error"}, 5),
        ({"body": requests.ConnectionError("nobody there")}, 3),
        ({"status": 200, "body": "<html>"}, 5),
    ],
)
def test_a_login_that_fails_tells_its_step(
    answer: dict[str, Any], code: int, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the exit code of what failed."""
    with responses.RequestsMock() as http:
        http.post(f"{BASE}/authentication/init", **answer)
        found, told, words = run(capsys, "login", BASE, "--key-file", key_file)
    assert (found, told) == (code, None)
    assert "login step /authentication/init" in words
