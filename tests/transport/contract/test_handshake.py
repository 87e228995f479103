"""What websocket-client does in its handshake, row by row, and that ours is not led, read or remembered that way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from http.cookies import CookieError, SimpleCookie
from typing import Any

import pytest
import websocket
from websocket import _handshake as handshake_module
from websocket import _logging as logging_module

from owlsocket_sync import Backoff, SocketConnectionError, SocketTimeout, connect
from support.helpers import scaled
from support.sockets import ByteServer, ConnectProxy, RawPeer, client_context, granted, header_of, server_context
from support.upstream import VERSION, Upstream, connect_upstream, our_framing, our_handshake

SECRET = "marked-secret"
ONCE = Backoff(max_attempts=1)


class BlockingCall:
    """A script that grants every upgrade, and keeps what was asked for."""

    def __init__(self, extra: str = "") -> None:
        self.requests: list[str] = []
        self._extra = extra

    def __call__(self, peer: RawPeer) -> None:
        request = peer.read_header()
        self.requests.append(request)
        peer.send(granted(request, self._extra))
        peer.at_end()


def _redirect(location: str) -> Callable[[RawPeer], None]:
    def script(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())
        peer.at_end()

    return script


# -- where it is led ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True], ids=["ws to ws", "wss to ws"])
def test_row_d12_redirects(secure: bool) -> None:
    """Upstream follows them anywhere, into the clear too, with every header; ours goes nowhere."""
    asked = BlockingCall()
    context = server_context() if secure else None
    with ByteServer(asked) as other, ByteServer(_redirect(other.url), context) as first:
        options = {"sslopt": {"context": client_context()}, "header": {"Authorization": SECRET}}
        connect_upstream(first.url, **options).shutdown()
        assert [header_of(request, "Authorization") for request in asked.requests] == [SECRET]
        with pytest.raises(SocketConnectionError) as caught:
            connect(first.url, headers={"Authorization": SECRET}, ssl_context=client_context(), timeout=scaled(5))
        assert caught.value.status == 302
        assert (first.accepted, other.accepted) == (2, 1)


def test_row_d12_a_redirect_that_is_not_followed() -> None:
    """Without redirects upstream raises from 1.9.1 on; before that it says that it is connected."""
    with ByteServer(_redirect("ws://127.0.0.1:1/")) as server:
        ws = Upstream()
        if VERSION >= (1, 9, 1):
            with pytest.raises(websocket.WebSocketException, match="Redirect limit"):
                ws.connect(server.url, redirect_limit=0)
        else:
            ws.connect(server.url, redirect_limit=0)
            assert ws.connected
            ws.shutdown()
        assert ws.status == 302


@pytest.mark.parametrize("host", ["127.0.0.1", "far.example"])
def test_row_d18_proxies_of_the_environment(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream uses them unasked, before 1.9.0 not for this machine; ours only where it is asked to."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    asked = BlockingCall()
    with ByteServer(asked) as server, ConnectProxy(server.port) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        connect_upstream(f"ws://{host}:{server.port}/").shutdown()
        unasked = host != "127.0.0.1" or VERSION >= (1, 9, 0)
        assert [request.split()[:2] for request in proxy.requests] == [["CONNECT", f"{host}:{server.port}"]] * unasked
        seen = proxy.accepted
        connect(server.url, timeout=scaled(5)).close(timeout=0.1)
        assert proxy.accepted == seen
        connect(f"ws://{host}:{server.port}/", proxy=proxy.url, timeout=scaled(5)).close(timeout=0.1)
        assert proxy.accepted == seen + 1


# -- what it sends -----------------------------------------------------------------------------------------------------

BROKEN = "a\r\nInjected: yes"


@pytest.mark.parametrize(
    "options",
    [
        {"header": [f"X-Own: {BROKEN}"]},
        {"header": {"X-Own": BROKEN}},
        {"host": BROKEN},
        {"origin": BROKEN},
        {"cookie": BROKEN},
        {"connection": f"Connection: Upgrade\r\n{BROKEN[3:]}"},
        {"subprotocols": [BROKEN]},
    ],
    ids=["list", "dict", "host", "origin", "cookie", "connection", "subprotocols"],
)
def test_row_d13_line_breaks_in_what_is_sent(options: dict[str, Any]) -> None:
    """Upstream lets a value begin a header of its own; ours refuses such values before it dials."""
    asked = BlockingCall("Sec-WebSocket-Protocol: a" if "subprotocols" in options else "")
    with ByteServer(asked) as server:
        try:
            connect_upstream(server.url, **options).shutdown()
        except websocket.WebSocketException:
            assert "subprotocols" in options
        assert header_of(asked.requests[0], "Injected") == "yes"
        with pytest.raises(ValueError, match="headers"):
            connect(server.url, headers={"X-Own": BROKEN})
        assert server.accepted == 1


@pytest.fixture
def empty_jar() -> Iterator[dict[str, Any]]:
    """The cookies that all of this process share."""
    jar = handshake_module.CookieJar.jar
    jar.clear()
    yield jar
    jar.clear()


def test_row_d14_cookies_are_shared_by_the_whole_process(empty_jar: dict[str, Any]) -> None:
    """What a server told one client is sent by each later one of upstream, and by none of ours."""
    asked = BlockingCall(f"Set-Cookie: session={SECRET}; Domain=127.0.0.1")
    with ByteServer(asked) as server:
        for _ in range(2):
            connect_upstream(server.url).shutdown()
        with our_framing(server):
            pass
    assert [header_of(request, "Cookie") for request in asked.requests] == ["", f"session={SECRET}", ""]


@pytest.mark.parametrize("domain", ["127.0.0.1", "owlsocket.invalid", "example.com"])
def test_row_d14_no_cookie_of_ours_reaches_others(domain: str, empty_jar: dict[str, Any]) -> None:
    """What our servers set is in no jar afterwards, and goes out with no later connection."""
    asked = BlockingCall(f"Set-Cookie: session={SECRET}; Domain={domain}")
    with ByteServer(asked) as server:
        for _ in range(2):
            with our_framing(server):
                assert not empty_jar
        connect_upstream(server.url).shutdown()
    assert [header_of(request, "Cookie") for request in asked.requests] == ["", "", ""]


def test_row_d14_cookies_of_others_stay_in_the_jar(empty_jar: dict[str, Any]) -> None:
    """A cookie for one of our connections takes nothing from those who share the process."""
    theirs, ours = (
        BlockingCall("Set-Cookie: own=1; Domain=127.0.0.1"),
        BlockingCall("Set-Cookie: a=b; Domain=.Example.com; Path=/"),
    )
    with ByteServer(theirs) as server, ByteServer(ours) as other:
        connect_upstream(server.url).shutdown()
        with our_framing(other):
            assert list(empty_jar) == [".127.0.0.1"]
        connect_upstream(server.url).shutdown()
    assert header_of(theirs.requests[1], "Cookie") == "own=1"


def test_row_d14_a_cookie_that_cannot_be_read(empty_jar: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer Pythons refuse control characters in cookies; then an answer is no handshake, and no other error."""

    def refuse(*_: object) -> None:
        raise CookieError("control characters are not allowed in cookies")

    monkeypatch.setattr(SimpleCookie, "load", refuse)
    with ByteServer(BlockingCall("Set-Cookie: a=b; Domain=example.com")) as server:
        with pytest.raises(CookieError):
            connect_upstream(server.url)
        with pytest.raises(SocketConnectionError, match="control characters"):
            connect(server.url, timeout=scaled(5))


def test_row_d22_what_is_sent_unasked_and_compared_loosely() -> None:
    """Upstream names an origin, and takes an accept value and a subprotocol in any case; ours names neither."""
    requests: list[str] = []

    def shout(peer: RawPeer) -> None:
        request = peer.read_header()
        requests.append(request)
        extra = "Sec-WebSocket-Protocol: CHAT" if header_of(request, "Sec-WebSocket-Protocol") else ""
        lines = granted(request, extra).decode().split("\r\n")
        shouted = [line[:22] + line[22:].upper() if line.startswith("Sec-WebSocket-Accept") else line for line in lines]
        peer.send("\r\n".join(shouted).encode())
        peer.at_end()

    with ByteServer(shout) as server:
        ws = connect_upstream(server.url, subprotocols=["Chat"])
        assert ws.subprotocol == "chat"
        ws.shutdown()
        with our_handshake(server) as (_, handshake):
            assert handshake._websocket.subprotocol is None
    assert header_of(requests[0], "Origin") == f"http://127.0.0.1:{server.port}"
    assert [header_of(requests[1], name) for name in ("Origin", "Sec-WebSocket-Protocol")] == ["", ""]


# -- what it takes in --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_row_d15_a_handshake_that_drips() -> None:
    """Each byte gives upstream all of its time again; ours ends by its deadline."""
    over = threading.Event()

    def drip(peer: RawPeer) -> None:
        answer = granted(peer.read_header())
        peer.send(answer[:-10])
        for byte in answer[-10:]:
            over.wait(0.12)
            peer.send(bytes([byte]))

    with ByteServer(drip) as server:
        ws = connect_upstream(server.url, timeout=scaled(0.9))
        assert ws.connected
        ws.shutdown()
        with pytest.raises(SocketTimeout):
            connect(server.url, timeout=0.5)
        over.set()


def test_row_d15_an_answer_without_end() -> None:
    """Upstream reads lines of any size, and any number of them; ours takes no more than 64 KiB."""
    extra = "X-Long: " + "x" * 50_000 + "\r\n" + "\r\n".join(f"X-{number}: y" for number in range(3000))
    with ByteServer(BlockingCall(extra)) as server:
        ws = connect_upstream(server.url)
        assert len(ws.headers) > 3000
        ws.shutdown()
        with pytest.raises(SocketConnectionError, match="65536 bytes"):
            connect(server.url, timeout=scaled(20))


def test_row_d15_the_body_of_a_refusal() -> None:
    """Upstream keeps as much as is announced, before 1.9.0 as much of it as one read gives; ours tells little of it."""
    body = b"x" * 200_000

    def refuse(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        peer.at_end()

    with ByteServer(refuse) as server:
        with pytest.raises(websocket.WebSocketBadStatusException) as kept:
            connect_upstream(server.url)
        size = len(kept.value.resp_body or b"")
        assert size == len(body) if VERSION >= (1, 9, 0) else 0 < size <= len(body)
        with pytest.raises(SocketConnectionError) as caught:
            connect(server.url, timeout=scaled(5), reconnect=ONCE)
        assert len(str(caught.value)) < 400


# -- what it tells -----------------------------------------------------------------------------------------------------


def test_row_d19_tracing_is_one_switch_for_the_process(caplog: pytest.LogCaptureFixture) -> None:
    """Once it is on, upstream logs requests as they travel; nothing of ours turns it on, and without it nothing is."""
    caplog.set_level(logging.DEBUG)
    handler = logging.NullHandler()
    with ByteServer(BlockingCall()) as server:
        connect(server.url, headers={"Authorization": SECRET}, timeout=scaled(5)).close(timeout=0.1)
        assert not logging_module.isEnabledForTrace()
        assert SECRET not in caplog.text
        websocket.enableTrace(True, handler)
        try:
            connect_upstream(server.url, header={"Authorization": SECRET}).shutdown()
            assert SECRET in caplog.text
        finally:
            websocket.enableTrace(False)
            logger = logging.getLogger("websocket")
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)
