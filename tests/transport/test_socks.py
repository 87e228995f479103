"""`dial` through SOCKS proxies: who resolves the host, who may pass, and what a refusal means for the next attempt."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator

import pytest

from owlsocket_sync import Backoff, MissingExtra, connect
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.errors import SocketConnectionError, SocketTimeout
from owlsocket_sync.server import serve
from owlsocket_sync.transport.dial import dial
from owlsocket_sync.transport.proxies import parse_proxy
from owlsocket_sync.urls import parse
from support.handlers import echo
from support.helpers import eventually, scaled
from support.sockets import ByteServer, ConnectProxy, RawPeer, client_context, free_port, server_context
from support.socks import SocksProxy


def _within() -> Deadline:
    return Deadline(scaled(5))


def _refused(proxy: str, deadline: Deadline | None = None) -> SocketConnectionError:
    with pytest.raises(SocketConnectionError) as caught:
        dial(parse("ws://far.example"), deadline or _within(), proxy=parse_proxy(proxy))
    return caught.value


LOOPBACK = ["127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("scheme", "host", "version", "asked"),
    [
        ("socks5h", "far.example", 5, ["far.example"]),
        ("socks5", "localhost", 5, LOOPBACK),
        ("socks5", "127.0.0.1", 5, ["127.0.0.1"]),
        ("socks5h", "[::1]", 5, ["::1"]),
        ("socks4", "localhost", 4, ["127.0.0.1"]),
        ("socks4a", "far.example", 4, ["far.example"]),
    ],
)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_connection_through_a_proxy(scheme: str, host: str, version: int, asked: list[str], secure: bool) -> None:
    """The proxy gets the name, or the address that this machine has for it; TLS is between the two ends."""
    context = client_context()
    context.check_hostname = False
    url = f"ws{'s' if secure else ''}://{host}:81"
    with (
        serve(echo, origins="*", ssl_context=server_context() if secure else None) as server,
        SocksProxy(server.port) as proxy,
        connect(url, proxy=proxy.url_of(scheme), ssl_context=context, timeout=scaled(5)) as conn,
    ):
        assert conn.call("echo", "owl") == "owl"
        ((found, name, port),) = proxy.requests
    assert (found, port) == (version, 81)
    assert name in asked


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_login_is_sent_and_shown_nowhere(scheme: str) -> None:
    """Not in a repr, and not in a traceback with the locals of its frames."""
    with serve(echo) as server, SocksProxy(server.port, ("me", "s3cret")) as proxy:
        url = proxy.url_of(scheme, "me:s3cret@")
        dial(parse(server.url), _within(), proxy=parse_proxy(url)).close()
        assert "s3cret" not in repr(parse_proxy(url))
        wrong = _refused(proxy.url_of("socks5h", "me:wr0ng-word@"))
    assert "check user and password in the URL of the proxy" in str(wrong)
    assert not wrong.retryable
    lines = traceback.TracebackException.from_exception(wrong, capture_locals=True).format()
    assert "wr0ng-word" not in "".join(line for line in lines if "test_socks.py" not in line).replace(url, "")


def test_a_proxy_that_requires_a_login() -> None:
    """The next attempt would end in the same way: it is not made."""
    with SocksProxy(1, ("me", "s3cret")) as proxy:
        error = _refused(proxy.url_of("socks5h"))
        assert "add user and password to the URL of the proxy" in str(error)
        assert not error.retryable
        other = _refused(proxy.url_of("socks4a", "you@"))
        assert not other.retryable


@pytest.mark.parametrize(
    ("reply", "words", "retryable"),
    [
        (1, "failure", True),
        (2, "ruleset", False),
        (3, "unreachable", True),
        (4, "unreachable", True),
        (5, "refused", True),
        (6, "expired", True),
        (7, "not supported", False),
        (8, "not supported", False),
        (0x42, "0X42", True),
    ],
)
def test_a_refusal_decides_about_the_next_attempt(reply: int, words: str, retryable: bool) -> None:
    """A rule of the proxy stays, a host that is down may come back."""
    with SocksProxy(1, reply=reply) as proxy:
        error = _refused(proxy.url_of("socks5h"))
    assert words in str(error)
    assert f"proxy 127.0.0.1:{proxy.port} refused to connect to far.example:80 by SOCKS5H" in str(error)
    assert error.retryable is retryable


def test_a_refusal_by_socks4_may_pass() -> None:
    """Its one code stands for anything."""
    with SocksProxy(1, reply=1) as proxy:
        assert _refused(proxy.url_of("socks4a")).retryable


def test_socks4_reaches_no_ipv6() -> None:
    """The error says so, and nothing is tried again."""
    with SocksProxy(1) as proxy, pytest.raises(SocketConnectionError, match="IPv4 addresses only") as caught:
        dial(parse("ws://[::1]"), _within(), proxy=parse_proxy(proxy.url_of("socks4a")))
    assert not caught.value.retryable
    assert proxy.requests == []


def _silent(peer: RawPeer) -> None:
    peer.at_end()


def _dripping(peer: RawPeer) -> None:
    for byte in b"\x05\0\x05\0\0\x03\xff":
        peer.send(bytes([byte]))
        peer.sock.settimeout(0.1)
        try:
            while peer.sock.recv(100):
                pass
            return
        except TimeoutError:
            continue
    peer.at_end()


@pytest.mark.parametrize("script", [_silent, _dripping])
def test_one_deadline_holds_for_all_steps(script: Callable[[RawPeer], None]) -> None:
    """Also where the proxy sends a byte now and then."""
    with ByteServer(script) as proxy:
        began = time.monotonic()
        with pytest.raises(SocketTimeout, match=rf"proxy 127\.0\.0\.1:{proxy.port} timed out after 0\.4 s"):
            dial(parse("ws://far.example"), Deadline(0.4), proxy=parse_proxy(f"socks5h://127.0.0.1:{proxy.port}"))
        assert time.monotonic() - began < scaled(1)


def test_a_connection_that_is_closed_waits_for_no_proxy() -> None:
    """As for one that does not answer by HTTP."""
    answers = iter([True, True, True])
    with ByteServer(_silent) as proxy:
        began = time.monotonic()
        with pytest.raises(SocketConnectionError, match=r"^closed while connecting$"):
            dial(
                parse("ws://far.example"),
                _within(),
                proxy=parse_proxy(f"socks5h://127.0.0.1:{proxy.port}"),
                should_continue=lambda: next(answers, False),
            )
        assert time.monotonic() - began < scaled(1)


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x05", b""])
def test_what_is_no_socks_proxy(garbage: bytes) -> None:
    """An HTTP proxy is named as such, the end of the stream is an error."""

    def script(peer: RawPeer) -> None:
        peer.read(3)
        peer.send(garbage)
        if garbage.startswith(b"HTTP"):
            peer.at_end()

    with ByteServer(script) as proxy:
        error = _refused(f"socks5h://127.0.0.1:{proxy.port}")
    assert ("it may be an HTTP proxy" in str(error)) is garbage.startswith(b"HTTP")
    assert error.retryable


def test_a_proxy_that_resets_is_named() -> None:
    """By its address, as the server has not been reached."""
    with ByteServer(RawPeer.reset) as proxy:
        error = _refused(f"socks5h://127.0.0.1:{proxy.port}")
    assert f"127.0.0.1:{proxy.port}" in str(error)
    assert error.retryable


def test_a_host_that_the_protocol_cannot_name_is_final() -> None:
    """The next attempt would meet the same name."""
    with SocksProxy(1) as proxy, pytest.raises(SocketConnectionError) as caught:
        dial(parse(f"ws://{'a' * 64}.example"), _within(), proxy=parse_proxy(proxy.url_of("socks5h")))
    assert not caught.value.retryable


def test_a_reconnect_goes_through_the_proxy_again() -> None:
    """Each link is made by the same way."""
    with serve(echo, origins="*") as server, SocksProxy(server.port) as proxy:
        quick = Backoff(initial=0.02, cap=0.02, jitter="none")
        with connect("ws://far.example", proxy=proxy.url_of("socks5h"), reconnect=quick) as conn:
            conn.reconnect()
            eventually(lambda: len(proxy.requests) == 2)
            assert conn.call("echo", 1, timeout=scaled(5)) == 1


def test_the_proxy_of_the_environment_may_speak_socks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `requests` reads ``ALL_PROXY``."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serve(echo, origins="*") as server, SocksProxy(server.port) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url_of("socks5h"))
        with connect("ws://far.example", proxy="env") as conn:
            assert conn.call("echo", 1) == 1
    assert proxy.requests == [(5, "far.example", 80)]


@pytest.mark.slow
def test_without_the_extra_the_error_has_the_command_that_installs_it() -> None:
    """Before anything is dialled, and without another attempt."""
    script = (
        "import sys; sys.modules['python_socks'] = None\n"
        "from owlsocket_sync import MissingExtra, connect\n"
        f"url = 'socks5://127.0.0.1:{free_port()}'\n"
        "try:\n    connect('ws://far.example', proxy=url)\n"
        "except MissingExtra as error:\n    print(error, error.retryable)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=scaled(30))
    assert ran.stderr == ""
    assert "python -m pip install 'owlsocket-sync[socks]' False" in ran.stdout
    assert issubclass(MissingExtra, ModuleNotFoundError)


def test_nothing_of_socks_is_loaded_without_such_a_proxy() -> None:
    """Nor what reads the environment, keeps cookies, or finds out a version."""
    script = (
        "import sys\nfrom owlsocket_sync import connect\n"
        "connect('ws://127.0.0.1:{port}', proxy='http://127.0.0.1:{proxy}').close()\n"
        "dear = ['owlsocket_sync.transport.socks', 'requests', 'http.cookiejar', 'importlib.metadata']\n"
        "print([name for name in dear if name in sys.modules])"
    )
    with serve(echo) as server, ConnectProxy(server.port) as proxy:
        text = script.format(port=server.port, proxy=proxy.port)
        ran = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=scaled(30))
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


MICROSOCKS = shutil.which("microsocks")


@pytest.fixture
def microsocks() -> Iterator[str]:
    """The URL of a proxy that other people wrote, with a login."""
    assert MICROSOCKS is not None
    port = free_port()
    command = [MICROSOCKS, "-i", "127.0.0.1", "-p", str(port), "-u", "me", "-P", "s3cret"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield f"socks5h://me:s3cret@127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(scaled(5))


@pytest.mark.slow
@pytest.mark.skipif(MICROSOCKS is None, reason="no microsocks on this machine: apt-get install microsocks")
def test_a_real_proxy(microsocks: str) -> None:
    """It lets us pass by the right login only; and it resolves the name."""
    with serve(echo) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        patient = Backoff(initial=0.05, cap=0.05, jitter="none")  # until the proxy listens
        with connect(url, proxy=microsocks, reconnect=patient, wait=False) as conn:
            assert conn.wait_open(scaled(10)).call("echo", "owl") == "owl"
        with pytest.raises(SocketConnectionError, match="check user and password"):
            connect(url, proxy=microsocks.replace("s3cret", "wrong"))
