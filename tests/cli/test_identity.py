"""``owlsocket keys`` and ``owlsocket login``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests
import responses

from owlsocket_sync.auth import KeyPair
from owlsocket_sync.cli import main
from support.helpers import load

RECORDED = load("login.json")
KEY = KeyPair.parse(RECORDED["keys"]["user"]["export"])
BASE = "https://auth.example"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """Return a file with a private key."""
    path = tmp_path / "user.key"
    path.write_text(KEY.private + "\n")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any, str]:
    """Return the exit code, stdout as JSON, and stderr."""
    code = main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return code, json.loads(output.out) if output.out else None, output.err


def test_a_new_key_is_written_to_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only its owner can read the file, which must not exist before."""
    path = tmp_path / "new.key"
    code, printed, _ = run(capsys, "keys", "new", path)
    pair = KeyPair.parse(path.read_text().strip())
    assert (code, printed) == (0, {"public": pair.public, "address": pair.address})
    assert path.stat().st_mode & 0o777 == 0o600
    code, printed, words = run(capsys, "keys", "new", path)
    assert (code, printed) == (2, None)
    assert "exists already and is not overwritten" in words
    assert KeyPair.parse(path.read_text().strip()) == pair


def test_a_new_key_is_printed_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """With its private part."""
    _, printed, _ = run(capsys, "keys", "new")
    pair = KeyPair.parse(printed["private"])
    assert printed == {"private": pair.private, "public": pair.public, "address": pair.address}


def test_the_public_part_of_a_key_is_shown(
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
        (["keys", "show"], "one of --key-file and --key-env is required"),
        (["keys", "show", "--key-file", "/nowhere/at/all"], "--key-file: No such file"),
        (["keys", "show", "--key-env", "NOBODY_SET_THIS"], "--key-env: the environment variable is not set"),
        (["keys", "show", "--key-env", "BAD"], "--key-env: the private key is not standard base64"),
        (["keys", "show", "--key-env", "BAD", "--key-file", "x"], "exclude each other"),
        (["keys", "address", "s3cret"], "the public key is not standard base64"),
        (["login", BASE], "one of --key-file and --key-env is required"),
        (["login", "ftp://x", "--key-env", "GOOD"], "base_url must be http"),
        (["login", BASE, "--key-env", "GOOD", "--timeout", "-1"], "timeout"),
    ],
)
def test_a_usage_error_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With exit code 2, and without a possible secret."""
    monkeypatch.setenv("BAD", "s3cret")
    monkeypatch.setenv("GOOD", KEY.private)
    code, printed, line = run(capsys, *arguments)
    assert (code, printed) == (2, None)
    assert words in line
    assert line.count("\n") == 1
    assert "s3cret" not in line


def test_a_login_prints_its_token(key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the user and the role."""
    steps = RECORDED["steps"]
    with responses.RequestsMock() as http:
        http.post(f"{BASE}/authentication/init", json=steps["1 challenge (base64 Wrap envelope)"])
        http.post(f"{BASE}/authentication/authenticate", json=steps["2 one-time token"])
        http.post("https://service.example/authenticate", json={"token": steps["3 bearer"]})
        code, printed, words = run(
            capsys, "login", BASE, "--key-file", key_file, "--service-url", "https://service.example"
        )
    assert (code, words) == (0, "")
    assert printed == {"token": steps["3 bearer"], "user": KEY.address, "role": "superuser"}


@pytest.mark.parametrize("proxy", ["http://me:s3cret@127.0.0.1:1", "me:s3cret@127.0.0.1:1"])
def test_a_login_goes_through_the_proxy(proxy: str, key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A password in its URL warns, as other users can read it; no error shows it."""
    code, printed, words = run(capsys, "login", BASE, "--key-file", key_file, "--proxy", proxy)
    assert (code, printed) == (3, None)
    assert "the password of the proxy is on the command line" in words
    assert "login step /authentication/init" in words
    assert "s3cret" not in words


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status": 401, "body": "AuthFailedError|||api:auth:error"}, 5),
        ({"body": requests.ConnectionError("nobody there")}, 3),
        ({"status": 200, "body": "<html>"}, 5),
    ],
)
def test_a_failed_login_names_its_step(
    answer: dict[str, Any], code: int, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the exit code of its error."""
    with responses.RequestsMock() as http:
        http.post(f"{BASE}/authentication/init", **answer)
        found, printed, words = run(capsys, "login", BASE, "--key-file", key_file)
    assert (found, printed) == (code, None)
    assert "login step /authentication/init" in words
