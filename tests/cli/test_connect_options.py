"""The connection options: certificates, proxies, headers and tokens."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from owlsocket_sync import Connection, connect
from owlsocket_sync.cli import main
from owlsocket_sync.server import Request, Server, serve
from support.certificates import Authority
from support.command_line import answers, complaint, run, running
from support.helpers import VECTORS
from support.sockets import ConnectProxy, server_context
from support.socks import SocksProxy

pytestmark = pytest.mark.slow

CA = str(VECTORS / "tls" / "authority.pem")
SERVER = str(VECTORS / "tls" / "server.pem")


class RequestRecorder:
    """A handler that records requests."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __call__(self, conn: Connection, request: Request) -> None:
        """Answer ``add``, and keep the request."""
        self.requests.append(request)
        conn.perform("add", lambda a, b: a + b)


@pytest.fixture
def recorder() -> RequestRecorder:
    """Return the handler of `secure`."""
    return RequestRecorder()


@pytest.fixture
def secure(recorder: RequestRecorder) -> Iterator[Server]:
    """Run a server with TLS."""
    with serve(recorder, ssl_context=server_context()) as server:
        yield server


def test_a_certificate_authority_can_be_added(secure: Server) -> None:
    """``--ca``."""
    result = run("call", secure.url, "add", "2", "3", "--ca", CA)
    assert (result.returncode, answers(result)) == (0, [5])


def test_subprotocols_are_offered() -> None:
    """``--subprotocol``, also of ``serve``; doctor shows the one that was selected."""
    with running("serve", "--subprotocol", "v2", "--subprotocol", "v1") as child:
        assert child.stdout is not None
        url = json.loads(child.stdout.readline())["url"]
        with connect(url, subprotocols=["v1", "v2"]) as conn:
            assert conn.subprotocol == "v2"
        result = run("call", url, "add", "2", "3", "--subprotocol", "v3", "--subprotocol", "v1")
        assert (result.returncode, answers(result)) == (0, [5])
        details = [step["detail"] for step in answers(run("doctor", url, "--subprotocol", "v1"))]
        assert "HTTP 101, subprotocol v1" in details
        refused = run("call", url, "add", "2", "3", "--subprotocol", "v3")
        assert (refused.returncode, "this server has v2, v1" in refused.stderr) == (3, True)
    assert run("call", url, "add", "--subprotocol", "v 1").returncode == 2


def test_a_socks_proxy(recorder: RequestRecorder) -> None:
    """``--proxy``, for commands and for each step of doctor; a refusal names what to do."""
    with serve(recorder, origins="*") as server, SocksProxy(server.port, ("me", "s3cret")) as proxy:
        url = proxy.url_of("socks5h", "me:s3cret@")
        result = run("call", "ws://far.example", "add", "2", "3", "--proxy", "env", env={"ALL_PROXY": url})
        assert (result.returncode, answers(result)) == (0, [5])
        steps = answers(run("doctor", "ws://far.example", "--proxy", "env", env={"ALL_PROXY": url}))
        assert [step["step"] for step in steps if step["ok"]][:3] == ["dns", "tcp", "proxy"]
        assert steps[2]["detail"] == f"through 127.0.0.1:{proxy.port}, socks5h"
        refused = run("doctor", "ws://far.example", "--proxy", proxy.url_of("socks5h"))
        last = answers(refused)[-1]
        assert (last["step"], last["ok"], "add user and password" in last["error"]) == ("proxy", False, True)


def test_compression_is_offered(recorder: RequestRecorder) -> None:
    """``--compression``, also of ``serve``; any other than deflate is a mistake."""
    with running("serve", "--compression", "deflate") as child:
        assert child.stdout is not None
        url = json.loads(child.stdout.readline())["url"]
        with connect(url, compression="deflate") as conn:
            assert conn.call("echo", "x" * 5000) == "x" * 5000
            assert conn.stats.wire_bytes_in < 1000 < conn.stats.bytes_in
    with serve(recorder, compression="deflate") as server:
        result = run("call", server.url, "add", "2", "3", "--compression", "deflate")
        assert (result.returncode, answers(result)) == (0, [5])
        assert recorder.requests[0].headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")
        assert run("call", server.url, "add", "2", "3", "--compression", "gzip").returncode == 2


def test_an_untrusted_certificate_is_reported_with_a_hint(secure: Server) -> None:
    """Exit code 3, and both options that help."""
    result = run("call", secure.url, "add", "2", "3")
    assert (result.returncode, "certificate verification failed" in complaint(result)) == (3, True)
    assert "--ca PATH trusts your own certificate authority" in result.stderr


def test_insecure_works_and_warns_each_time(secure: Server) -> None:
    """So that it is not left in a script unnoticed."""
    result = run("call", secure.url, "add", "2", "3", "--insecure")
    assert (result.returncode, result.stdout) == (0, "5\n")
    assert result.stderr.startswith("warning: the certificate is not verified")


def test_a_client_certificate_is_sent(tmp_path: Path, recorder: RequestRecorder) -> None:
    """``--cert``, with its key in the same file or another one; without a certificate the server refuses."""
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
    with serve(recorder, ssl_context=context) as server:
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
        (["ws://x", "--proxy", "ftp://x"], "proxy must be an http:// or socks5://"),
        (["ws://x", "-H", "no colon"], "--header: it must be NAME:VALUE"),
        (["ws://x", "-H", "bad name: s3cret"], "'bad name' is not a valid header name"),
        (["ws://x", "-H", "X: a\nb"], "the value of 'X'"),
        (["ws://x", "-H", "@/nowhere/headers"], "--header: No such file"),
    ],
)
def test_invalid_connection_options_are_exit_code_2(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, without a secret."""
    code = main(["call", options[0], "add", *options[1:]])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n"), words in err) == (2, "", 1, True), err
    assert "s3cret" not in err


def test_headers_are_sent(recorder: RequestRecorder, tmp_path: Path) -> None:
    """From options and from a file; a secret header on the command line warns."""
    file = tmp_path / "headers"
    file.write_text("X-Api-Key: s3cret\n\nX-Two: 2\n")
    with serve(recorder) as server:
        result = run("call", server.url, "add", "2", "3", "-H", "X-One: a:b", "-H", f"@{file}")
        assert (result.returncode, answers(result)) == (0, [5])
        headers = recorder.requests[-1].headers
        assert [headers[name] for name in ("X-One", "X-Api-Key", "X-Two")] == ["a:b", "s3cret", "2"]
        result = run("call", server.url, "add", "2", "3", "-H", "Authorization: Basic s3cret")
        assert (result.returncode, result.stdout) == (0, "5\n")
        assert "warning: the header Authorization is on the command line" in result.stderr
        assert "s3cret" not in result.stderr
        assert recorder.requests[-1].headers["Authorization"] == "Basic s3cret"


def test_a_token_on_the_command_line_works_and_warns(recorder: RequestRecorder) -> None:
    """The warning names the alternatives, and does not repeat the token."""
    with serve(recorder) as server:
        result = run("call", server.url, "add", "2", "3", "--token", "s3cret")
        assert (result.returncode, result.stdout) == (0, "5\n")
        assert recorder.requests[-1].query["token"] == "s3cret"
    assert result.stderr.startswith("warning: the token is on the command line")
    assert "--token-env or --token-file" in result.stderr
    assert "s3cret" not in result.stderr


def test_a_proxy_is_used(secure: Server) -> None:
    """By its URL, whose password warns, or from the environment; a proxy that refuses is reported."""
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


def test_verbose_logs_what_the_connection_does(recorder: RequestRecorder) -> None:
    """Before or after the command, on stderr, and without the token."""
    with serve(recorder) as server:
        for arguments in (["-v", "call", server.url], ["call", server.url, "-v"]):
            result = run(*arguments, "add", "2", "3", "--token-env", "T", env={"T": "s3cret"})
            assert (result.returncode, result.stdout) == (0, "5\n")
            assert " info " in result.stderr
            assert "s3cret" not in result.stderr
