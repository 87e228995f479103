"""Servers that answer the upgrade badly, slowly or with a way elsewhere, and names that lead nowhere for a while."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from owlsocket_sync import (
    Backoff,
    ConnectionState,
    SocketConnectionError,
    SocketTimeout,
    connect,
)
from support.figures import Figure
from support.helpers import Collector, eventually, scaled
from support.sockets import ByteServer, RawPeer, client_context, full_port, granted, header_of, server_context

pytestmark = pytest.mark.slow

Script = Callable[[RawPeer], object]

TIMEOUT = 0.6
GRACE = scaled(0.5)
MIB = 1024 * 1024
SECRET = "marked-secret"
QUICK = Backoff(initial=0.02, factor=1.0, cap=0.02, jitter="none")
KINDS = pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])


@contextmanager
def serving(script: Script, secure: bool = False) -> Iterator[ByteServer]:
    """A server, plain or encrypted."""
    with ByteServer(script, server_context() if secure else None) as server:
        yield server


def attempt(server: ByteServer, **options: Any) -> Exception:
    """What comes of connecting to it: an error."""
    options = {"timeout": TIMEOUT, "ssl_context": client_context(), **options}
    with pytest.raises((SocketConnectionError, SocketTimeout)) as caught:
        connect(server.url, **options).close(timeout=0.1)
    return caught.value


# -- row 7: answers that are slow, endless or huge ---------------------------------------------------------------------


def _pour(peer: RawPeer, head: bytes, piece: bytes, size: int) -> None:
    """Send a head and then pieces, until so much was sent or the peer has gone."""
    peer.read_header()
    peer.send(head)
    for _ in range(size // len(piece)):
        peer.send(piece)
    peer.at_end()


def silent(peer: RawPeer) -> None:
    """Reads, and says nothing."""
    peer.at_end()


def dripping(peer: RawPeer) -> None:
    """Says what it has to say, over minutes."""
    for byte in granted(peer.read_header()):
        peer.send(bytes([byte]))
        peer.sock.settimeout(1.0)
        with contextlib.suppress(TimeoutError):
            if not peer.sock.recv(1):
                return


def dripping_body(peer: RawPeer) -> None:
    """Begins a refusal, and never ends it."""
    _pour(peer, b"HTTP/1.1 500 No\r\nContent-Length: 60000\r\n\r\n", b"x", 10)


def huge_header(peer: RawPeer) -> None:
    """A hundred mebibytes of short lines."""
    _pour(peer, b"HTTP/1.1 101 Go\r\n", b"X-Line: some value that is none of our business\r\n" * 1000, 100 * MIB)


def long_line(peer: RawPeer) -> None:
    """One line of 64 KiB, and an end behind it."""
    _pour(peer, b"HTTP/1.1 101 Go\r\nX-Long: " + b"x" * 65_536, b"\r\n\r\n", 4)


def endless_line(peer: RawPeer) -> None:
    """One line that never ends."""
    _pour(peer, b"HTTP/1.1 101 Go\r\nX-Long: ", b"x" * 65_536, 100 * MIB)


def huge_body(peer: RawPeer) -> None:
    """A refusal whose body is as long as it says."""
    size = 100 * MIB
    _pour(peer, b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n" % size, b"x" * 65_536, size)


def huge_body_of_no_length(peer: RawPeer) -> None:
    """A refusal that does not say how long its body is."""
    _pour(peer, b"HTTP/1.1 400 No\r\n\r\n", b"x" * 65_536, 100 * MIB)


def lying_body(peer: RawPeer) -> None:
    """A refusal that announces a tebibyte, and sends a little of it."""
    _pour(peer, b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n" % 2**40, b"x" * 100, 100)


SLOW = [silent, dripping]
LARGE = [dripping_body, huge_header, long_line, endless_line, huge_body, huge_body_of_no_length, lying_body]


@KINDS
@pytest.mark.parametrize("script", [*SLOW, *LARGE], ids=lambda script: script.__name__)
def test_row_07_connect_ends_by_its_timeout(script: Script, secure: bool, figure: Figure) -> None:
    """However an answer is late or large, ``connect`` has failed by its timeout, and no memory went into it."""
    with serving(script, secure) as server:
        began = time.monotonic()
        error = attempt(server)
        seconds = time.monotonic() - began
        tracemalloc.start()  # which takes its time, and so has an attempt of its own
        try:
            attempt(server)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    figure("connect failed after", seconds, TIMEOUT + GRACE, "s")
    figure("memory at most", peak / MIB, 4.0, "MiB")
    assert isinstance(error, SocketTimeout) or script not in SLOW
    assert len(str(error)) < 400


@KINDS
def test_row_07_a_slow_tls_handshake(secure: bool, figure: Figure) -> None:
    """Before TLS stands, and inside of a proxy's answer, the same deadline holds."""

    def trickle(peer: RawPeer) -> None:
        for _ in range(60):
            peer.send(b"\x16" if not secure else b"H")
            peer.sock.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                while peer.sock.recv(65_536):
                    pass
                return

    with serving(trickle) as server:
        began = time.monotonic()
        with pytest.raises((SocketTimeout, SocketConnectionError)):
            if secure:
                connect("ws://far.example/", proxy=f"http://127.0.0.1:{server.port}", timeout=TIMEOUT)
            else:
                connect(f"wss://127.0.0.1:{server.port}/", timeout=TIMEOUT)
    figure("connect failed after", time.monotonic() - began, TIMEOUT + GRACE, "s")


# -- row 17: names that lead nowhere -----------------------------------------------------------------------------------

Found = tuple[object, ...]


def found(host: str, port: int) -> Found:
    """An address, as ``getaddrinfo`` gives it."""
    if ":" in host:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))


class Names:
    """A DNS that can be out of order."""

    def __init__(self, *addresses: Found) -> None:
        self.addresses = list(addresses)
        self.down = False
        self.failures = 0

    def __call__(self, host: str, *_: object, **__: object) -> list[Found]:
        assert host == "known.example"
        if self.down:
            self.failures += 1
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self.addresses


def stay(peer: RawPeer) -> None:
    """Grants the upgrade, and says nothing more."""
    peer.upgrade()
    peer.at_end()


@pytest.mark.parametrize("opened", [False, True], ids=["at first", "after a drop"])
def test_row_17_dns_fails_and_recovers(opened: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage of the DNS is waited out, at the start and between links; nothing has to be made anew."""
    drop = threading.Event()

    def until_dropped(peer: RawPeer) -> None:
        peer.upgrade()
        drop.wait(scaled(5))

    with ByteServer(until_dropped) as server:
        names = Names(found("127.0.0.1", server.port))
        names.down = not opened
        with monkeypatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", names)
            connection = connect("ws://known.example/", wait=False, reconnect=QUICK, timeout=scaled(5))
            if opened:
                connection.wait_open(scaled(5))
                names.down = True
                drop.set()
            eventually(lambda: names.failures >= 3)
            assert connection.state in (ConnectionState.CONNECTING, ConnectionState.RECONNECTING)
            drop.clear()
            names.down = False
            connection.wait_open(scaled(5))
            assert server.accepted == 1 + opened
            connection.close(timeout=0.1)
        drop.set()


@contextmanager
def dead_ipv6() -> Iterator[int]:
    """A port on this machine's IPv6 address that swallows everything; where there is none, it refuses."""
    with contextlib.ExitStack() as stack:
        try:
            port = stack.enter_context(full_port("::1"))
        except OSError:
            port = 9
        yield port


@pytest.mark.timing
@pytest.mark.parametrize("dead", [1, 2, 5])
def test_row_17_dead_ipv6_addresses_first(dead: int, monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    """IPv4 is tried after half of the time at most, however many addresses of the other kind come before it."""
    with ByteServer(stay) as server, dead_ipv6() as port, monkeypatch.context() as patch:
        names = Names(*[found("::1", port)] * dead, found("127.0.0.1", server.port))
        patch.setattr(socket, "getaddrinfo", names)
        began = time.monotonic()
        connection = connect("ws://known.example/", timeout=2.0)
        figure("past dead addresses, of 2 s", time.monotonic() - began, 1.0 + scaled(0.2), "s")
        connection.close(timeout=0.1)


# -- row 28: ways elsewhere --------------------------------------------------------------------------------------------


def leading(location: Callable[[str], str], status: str = "302 Found") -> Script:
    """Answers with a redirect that is made from the request."""

    def script(peer: RawPeer) -> None:
        request = peer.read_header()
        peer.send(f"HTTP/1.1 {status}\r\nLocation: {location(request)}\r\nContent-Length: 0\r\n\r\n".encode())
        peer.at_end()

    return script


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
@KINDS
def test_row_28_a_redirect_to_another_host(status: str, secure: bool, figure: Figure) -> None:
    """It is refused, from TLS into the clear as well; nobody there hears of us."""
    with ByteServer(stay) as other, serving(leading(lambda request: f"{other.url}/?next=1", status), secure) as server:
        error = attempt(server, headers={"Authorization": SECRET}, timeout=scaled(5))
        assert isinstance(error, SocketConnectionError)
        assert error.status == int(status[:3])
        assert "redirect" in str(error)
        assert server.accepted == 1
        figure("connections to where a redirect leads", other.accepted, 0, "connections")


def test_row_28_a_redirect_in_a_circle() -> None:
    """One request is made, however often the server would lead us on."""
    with ByteServer(leading(lambda request: f"http://{header_of(request, 'Host')}/")) as server:
        error = attempt(server, token=SECRET, timeout=scaled(5))
        assert isinstance(error, SocketConnectionError)
        assert server.accepted == 1
        assert SECRET not in str(error)


# -- line breaks in what we send ---------------------------------------------------------------------------------------

BREAKS = ["\r\nX-Injected: yes", "\nX-Injected: yes", "\r", "\0"]


@pytest.mark.parametrize("broken", BREAKS, ids=["crlf", "lf", "cr", "nul"])
@pytest.mark.parametrize(
    "options",
    [
        lambda url, broken: {"headers": {"X-Own": f"a{broken}"}},
        lambda url, broken: {"headers": {f"X-Own{broken}": "a"}},
        lambda url, broken: {"token": f"a{broken}b"},
        lambda url, broken: {"token": lambda: f"a{broken}b"},
        lambda url, broken: {"url": f"{url}/a{broken}"},
        lambda url, broken: {"url": f"{url}/?a={broken}"},
        lambda url, broken: {"url": f"{url[:-6]}{broken}{url[-6:]}/"},
        lambda url, broken: {"url": lambda: f"{url}/a{broken}"},
    ],
    ids=["value", "name", "token", "late token", "path", "query of the url", "host", "late url"],
)
def test_line_breaks_are_refused_before_anything_is_sent(options: Callable[..., dict[str, Any]], broken: str) -> None:
    """Whatever could begin a line of its own in the request is an error here, and nobody is dialled."""
    with ByteServer(stay) as server:
        arguments = {"url": server.url, "timeout": scaled(5), **options(server.url, broken)}
        with pytest.raises(ValueError, match=r"headers|token|url"):
            connect(**arguments).close(timeout=0.1)
    assert server.accepted == 0


@pytest.mark.parametrize("broken", BREAKS, ids=["crlf", "lf", "cr", "nul"])
@pytest.mark.parametrize(
    "options",
    [lambda text: {"query": {text: "a"}}, lambda text: {"query": {"a": text}}, lambda text: {"token": text}],
    ids=["name", "value", "token"],
)
def test_line_breaks_in_a_query_are_encoded(options: Callable[[str], dict[str, Any]], broken: str) -> None:
    """There they are data like any other: percent-encoded, in the one line that they belong to."""
    requests = Collector()
    with ByteServer(lambda peer: (requests(peer.upgrade()), peer.at_end())) as server:
        arguments = {**options(f"a{broken}b"), "token_in": ["query"]}
        connect(server.url, timeout=scaled(5), **arguments).close(timeout=0.1)
    request: str = requests.wait(1)[0]
    assert re.fullmatch(r"GET /\?[\x21-\x7e]+ HTTP/1\.1", request.split("\r\n")[0])
    assert header_of(request, "X-Injected") == ""
    assert "\0" not in request
