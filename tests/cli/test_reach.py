"""The way to a server: certificates, proxies, headers and tokens, as the options tell it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from command_line import answers, complaint, run
from helpers import VECTORS
from sockets import ConnectProxy, server_context

from owlsocket_sync import Connection
from owlsocket_sync.cli import main
from owlsocket_sync.server import Request, Server, serve

CA = str(VECTORS / "tls" / "authority.pem")
SERVER = str(VECTORS / "tls" / "server.pem")


class Door:
    """Keeps what came in."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __call__(self, conn: Connection, request: Request) -> None:
        """Answer ``add``, and keep the request."""
        self.requests.append(request)
        conn.perform("add", lambda a, b: a + b)


@pytest.fixture
def door() -> Door:
    """What is behind `secure`."""
    return Door()


@pytest.fixture
def secure(door: Door) -> Iterator[Server]:
    """A server that speaks TLS."""
    with serve(door, ssl_context=server_context()) as server:
        yield server


def test_an_authority_of_our_own_is_trusted(secure: Server) -> None:
    """``--ca``."""
    result = run("call", secure.url, "add", "2", "3", "--ca", CA)
    assert (result.returncode, answers(result)) == (0, [5])


def test_a_certificate_that_nobody_vouches_for_is_told_with_what_to_do(secure: Server) -> None:
    """Exit code 3, and both ways out."""
    result = run("call", secure.url, "add", "2", "3")
    assert (result.returncode, "does not hold" in complaint(result)) == (3, True)
    assert "--ca PATH trusts an authority of your own" in result.stderr


def test_insecure_works_and_warns_each_time(secure: Server) -> None:
    """So that nobody leaves it in a script unawares."""
    result = run("call", secure.url, "add", "2", "3", "--insecure")
    assert (result.returncode, result.stdout) == (0, "5\n")
    assert result.stderr.startswith("warning: the certificate is not checked")


def test_a_client_certificate_is_shown(tmp_path: Path, door: Door) -> None:
    """``--cert``, with its key in it or beside it; without one the server refuses."""
    authority = Authority(tmp_path)
    ours = authority.issue("ours")
    key = tmp_path / "ours.key"
    pem = ours.read_text()
    begin = pem.index("-----BEGIN CERT")
    key.write_text(pem[:begin])
    alone = tmp_path / "ours.crt"
    alone.write_text(pem[begin:])
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.path)
    with serve(door, ssl_context=context) as server:
        call = ["call", server.url, "add", "2", "3", "--ca", CA]
        for options in (["--cert", str(ours)], ["--cert", str(alone), "--key", str(key)]):
            result = run(*call, *options)
            assert (result.returncode, answers(result)) == (0, [5])
        assert run(*call).returncode == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["ws://x", "--ca", CA], "are for wss:// URLs"),
        (["ws://x", "--insecure"], "are for wss:// URLs"),
        (["wss://x", "--ca", CA, "-k"], "--ca and --insecure exclude each other"),
        (["wss://x", "--key", SERVER], "--key needs --cert"),
        (["wss://x", "--ca", "/nowhere/ca.pem"], "--ca: /nowhere/ca.pem: No such file"),
        (["wss://x", "--ca", __file__], "holds no certificate in PEM"),
        (["wss://x", "--cert", "/nowhere/c.pem"], "--cert: /nowhere/c.pem: No such file"),
        (["wss://x", "--cert", CA], "a certificate and its key in PEM"),
        (["ws://x", "--proxy", "socks5://x"], "proxy must be an http:// URL"),
        (["ws://x", "-H", "no colon"], "--header: it is no NAME:VALUE"),
        (["ws://x", "-H", "bad name: s3cret"], "'bad name' is no header name"),
        (["ws://x", "-H", "X: a\nb"], "the value of 'X'"),
        (["ws://x", "-H", "@/nowhere/headers"], "--header: No such file"),
    ],
)
def test_a_mistake_in_the_way_is_exit_code_2(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, without a secret."""
    code = main(["call", options[0], "add", *options[1:]])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n"), words in err) == (2, "", 1, True), err
    assert "s3cret" not in err


def test_headers_are_sent(door: Door, tmp_path: Path) -> None:
    """From options, which are seen, and from a file, which is not; a secret one that is typed warns."""
    file = tmp_path / "headers"
    file.write_text("X-Api-Key: s3cret\n\nX-Two: 2\n")
    with serve(door) as server:
        result = run("call", server.url, "add", "2", "3", "-H", "X-One: a:b", "-H", f"@{file}")
        assert (result.returncode, answers(result)) == (0, [5])
        headers = door.requests[-1].headers
        assert [headers[name] for name in ("X-One", "X-Api-Key", "X-Two")] == ["a:b", "s3cret", "2"]
        result = run("call", server.url, "add", "2", "3", "-H", "Authorization: Basic s3cret")
        assert (result.returncode, result.stdout) == (0, "5\n")
        assert "warning: the header Authorization stands on the command line" in result.stderr
        assert "s3cret" not in result.stderr
        assert door.requests[-1].headers["Authorization"] == "Basic s3cret"


def test_a_token_on_the_command_line_works_and_warns(door: Door) -> None:
    """It says what to use in its place, and does not repeat it."""
    with serve(door) as server:
        result = run("call", server.url, "add", "2", "3", "--token", "s3cret")
        assert (result.returncode, result.stdout) == (0, "5\n")
        assert door.requests[-1].query["token"] == "s3cret"
    assert result.stderr.startswith("warning: the token stands on the command line")
    assert "--token-env or --token-file" in result.stderr
    assert "s3cret" not in result.stderr


def test_a_proxy_is_on_the_way(secure: Server) -> None:
    """One that is named, whose password warns, or that of the environment; a proxy that refuses says why."""
    call = ["call", secure.url, "add", "2", "3", "--ca", CA]
    with ConnectProxy(secure.port, "me:s3cret") as proxy:
        named = proxy.url.replace("//", "//me:s3cret@")
        result = run(*call, "--proxy", named)
        assert (result.returncode, result.stdout) == (0, "5\n")
        assert "warning: the password of the proxy" in result.stderr
        assert "s3cret" not in result.stderr
        result = run(*call, "--proxy", "env", env={"https_proxy": named, "no_proxy": "", "NO_PROXY": ""})
        assert (result.returncode, answers(result)) == (0, [5])
        result = run(*call, "--proxy", proxy.url)
        assert (result.returncode, "407" in complaint(result)) == (3, True)
        assert len(proxy.requests) == 3


def test_verbose_tells_what_the_connection_does(door: Door) -> None:
    """Before or behind the verb, on stderr, and without the token."""
    with serve(door) as server:
        for arguments in (["-v", "call", server.url], ["call", server.url, "-v"]):
            result = run(*arguments, "add", "2", "3", "--token-env", "T", env={"T": "s3cret"})
            assert (result.returncode, result.stdout) == (0, "5\n")
            assert " info " in result.stderr
            assert "s3cret" not in result.stderr
