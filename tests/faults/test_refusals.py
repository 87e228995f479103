"""Refusals of the upgrade: told as what they are, whatever their body is like, and wherever they would lead."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from owlsocket_sync import Backoff, SocketConnectionError, SocketUnauthorized, connect
from support.figures import Figure
from support.helpers import scaled
from support.sockets import ByteServer, RawPeer, client_context, server_context

pytestmark = pytest.mark.slow

KINDS = pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
QUICK = Backoff(initial=0.02, factor=1.0, cap=0.02, jitter="none")
SECRET = "marked-secret"
STATUSES = [401, 403, 404, 500]
WHY = b"the reason"

Refuse = Callable[[RawPeer, int], None]


def _refuse(peer: RawPeer, status: int, announced: int, body: bytes) -> None:
    peer.read_header()
    peer.send(b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%s" % (status, announced, body))


def whole(peer: RawPeer, status: int) -> None:
    """As much as it says, and more than is read."""
    _refuse(peer, status, 200_000, WHY + b"x" * (200_000 - len(WHY)))
    peer.at_end()


def endless(peer: RawPeer, status: int) -> None:
    """A tebibyte, of which a mebibyte comes."""
    _refuse(peer, status, 2**40, WHY + b"x" * 1024 * 1024)
    peer.at_end()


def stalled(peer: RawPeer, status: int) -> None:
    """Less than it says, and then nothing more."""
    _refuse(peer, status, 60_000, WHY)
    peer.at_end()


def cut(peer: RawPeer, status: int) -> None:
    """Less than it says, and then the end."""
    _refuse(peer, status, 60_000, WHY)


def unreadable(peer: RawPeer, status: int) -> None:
    """No text at all."""
    _refuse(peer, status, 70_000, WHY + b"\xff" * 70_000)
    peer.at_end()


@KINDS
@pytest.mark.parametrize("refuse", [whole, endless, stalled, cut, unreadable], ids=lambda refuse: refuse.__name__)
@pytest.mark.parametrize("status", STATUSES)
def test_row_07_a_refusal_has_its_http_status(status: int, refuse: Refuse, secure: bool, figure: Figure) -> None:
    """However its body is, the status and the beginning of the body are known, by the timeout at the latest."""
    with ByteServer(lambda peer: refuse(peer, status), server_context() if secure else None) as server:
        began = time.monotonic()
        with pytest.raises(SocketConnectionError) as caught:
            connect(server.url, ssl_context=client_context(), timeout=0.6)
        figure("a refusal was told after", time.monotonic() - began, 0.6 + scaled(0.5), "s")
    assert caught.value.status == status
    assert isinstance(caught.value, SocketUnauthorized) is (status in (401, 403))
    assert f"HTTP {status}: {WHY.decode()}" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("refuse", [whole, endless, cut], ids=lambda refuse: refuse.__name__)
@pytest.mark.parametrize("status", [401, 403])
def test_row_07_a_refused_client_does_not_retry(status: int, refuse: Refuse) -> None:
    """A refusal of who we are ends the connection, also when its body is too large to be read."""
    with ByteServer(lambda peer: refuse(peer, status)) as server:
        connection = connect(server.url, wait=False, reconnect=QUICK, timeout=scaled(5))
        assert connection.wait_closed(scaled(5)) is not None
        assert server.accepted == 1


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("wss://elsewhere.example/way?v=1", "wss://elsewhere.example/way?v=1"),
        (f"wss://elsewhere.example/way?next={SECRET}", "wss://elsewhere.example/way?next=***"),
        ("ws://elsewhere.example/", "ws://elsewhere.example/"),
        ("/login", "/login"),
        (f"ws://elsewhere.example/?token={SECRET}", "ws://elsewhere.example/?token=***"),
        (f"ws://elsewhere.example/{SECRET}/", "ws://elsewhere.example/***/"),
        (f"ws://me:{SECRET}@elsewhere.example/", "ws://***@elsewhere.example/"),
        ("ws://elsewhere.example/\x1b[2J", r"ws://elsewhere.example/\x1b[2J"),
    ],
)
@pytest.mark.parametrize("token_in", ["query", "header"])
@KINDS
def test_row_28_a_redirect_names_its_target(location: str, shown: str, token_in: str, secure: bool) -> None:
    """The error says where the server would have led us, and nothing that nobody may see."""

    def lead(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())
        peer.at_end()

    with ByteServer(lead, server_context() if secure else None) as server:
        with pytest.raises(SocketConnectionError) as caught:
            connect(server.url, token=SECRET, token_in=[token_in], ssl_context=client_context(), timeout=scaled(5))
        assert server.accepted == 1
    assert caught.value.status == 302
    assert f"redirect to '{shown}'" in str(caught.value)
    assert SECRET not in repr(caught.value)


def test_row_28_a_redirect_without_a_target() -> None:
    """It is a refusal like any other."""
    with (
        ByteServer(lambda peer: _refuse(peer, 302, 0, b"")) as server,
        pytest.raises(SocketConnectionError, match="redirect without a Location header") as caught,
    ):
        connect(server.url, timeout=scaled(5))
    assert caught.value.status == 302


@pytest.mark.parametrize("token_in", ["query", "header"])
def test_a_refusal_that_repeats_our_token(token_in: str) -> None:
    """It is cleared of it, by whatever way the token got there."""
    body = f"no such token: {SECRET}".encode()
    with (
        ByteServer(lambda peer: _refuse(peer, 401, len(body), body)) as server,
        pytest.raises(SocketUnauthorized, match=r"no such token: \*\*\*") as caught,
    ):
        connect(server.url, token=SECRET, token_in=[token_in], timeout=scaled(5))
    assert SECRET not in repr(caught.value)
