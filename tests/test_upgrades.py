"""What the two ends agree on in an upgrade, and what a client keeps of it: subprotocol, headers, cookies."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync import Backoff, Connection, SocketConnectionError, __version__, connect
from owlsocket_sync.handshake_fields import USER_AGENT, ResponseHeaders
from owlsocket_sync.server import Request, serve
from support.handlers import echo
from support.helpers import Collector, eventually, scaled
from support.pair import make_pair
from support.sockets import ByteServer, RawPeer, free_port, header_of

QUICK = Backoff(initial=0.02, factor=1.0, cap=0.02, jitter="none", healthy_after=0.0)
SECRET = "c00kie-s3cret"


# -- subprotocols ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "offered", "selected"),
    [
        (None, None, None),
        (None, ["v2", "v1"], "v2"),
        (["v1", "v2"], ["v2", "v1"], "v1"),
        (("v3", "v1"), ("v2", "v1"), "v1"),
        (["v1"], None, None),
        (["V1", "v1"], ["v1"], "v1"),
    ],
)
def test_both_ends_know_the_subprotocol(
    known: Sequence[str] | None, offered: Sequence[str] | None, selected: str | None
) -> None:
    """The first of the server's that the client offers; without a list of the server, the first that is offered."""
    seen = Collector()
    with (
        serve(lambda conn, request: seen(conn.subprotocol), subprotocols=known) as server,
        connect(server.url, subprotocols=offered) as conn,
    ):
        assert conn.subprotocol == selected
        assert seen.wait(1) == [selected]


def test_offers_without_a_common_subprotocol_are_refused() -> None:
    """With the names of those that there are; and for good, as the next attempt would offer the same."""
    with (
        serve(echo, subprotocols=["v1", "v2"]) as server,
        pytest.raises(SocketConnectionError, match="no common subprotocol; this server has v1, v2") as caught,
    ):
        connect(server.url, subprotocols=["v3"])
    assert (caught.value.status, caught.value.retryable) == (400, False)


def test_a_server_may_select_none() -> None:
    """The client decides by `Connection.subprotocol` whether it goes on (RFC 6455, section 4.1)."""
    requests = Collector()
    with (
        ByteServer(lambda peer: (requests(peer.upgrade()), peer.consent())) as server,
        connect(server.url, subprotocols=["v2", "v1"]) as conn,
    ):
        assert conn.subprotocol is None
    assert header_of(requests.items[0], "Sec-WebSocket-Protocol") == "v2, v1"


@pytest.mark.parametrize(
    "extra", ["v3", "V1", "v1, v2", "v1\r\nSec-WebSocket-Protocol: v2", "v1\r\nSec-WebSocket-Protocol: v1"]
)
def test_what_was_not_offered_is_refused(extra: str) -> None:
    """RFC 6455, section 4.1: one name, and one of those that were offered, by letter."""
    with (
        ByteServer(lambda peer: (peer.upgrade(f"Sec-WebSocket-Protocol: {extra}"), peer.at_end())) as server,
        pytest.raises(SocketConnectionError, match=r"Sec-WebSocket-Protocol.*not offered"),
    ):
        connect(server.url, subprotocols=["v1", "v2"], reconnect=None)


def test_each_link_has_its_own_subprotocol() -> None:
    """A server that was updated meanwhile may select another one."""
    names = iter(["v1", "v2"])

    def script(peer: RawPeer) -> None:
        peer.upgrade(f"Sec-WebSocket-Protocol: {next(names)}")
        peer.consent()

    with ByteServer(script) as server, connect(server.url, subprotocols=["v2", "v1"], reconnect=QUICK) as conn:
        assert conn.subprotocol == "v1"
        conn.reconnect()
        eventually(lambda: conn.subprotocol == "v2")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("v1", r"must be a list of names, such as \['v1'\], not str"),
        ({"v1"}, "must be a list of names, .* not set"),
        (5, "must be a list of names, .* not int"),
        ([], "at least one"),
        (["v1", "v1"], "once"),
        (["v 1"], "'v 1' must be a name without spaces"),
        (["v1,v2"], "must be a name"),
        ([""], "must be a name"),
        ([None], "must be a name"),
        (["v1\r\nX: y"], "must be a name"),
        (["é"], "must be a name"),
    ],
)
def test_a_list_that_cannot_be_offered_is_named(value: Any, words: str) -> None:
    """At both ends, before anything is sent."""
    with pytest.raises(ValueError, match=f"subprotocols.*{words}"):
        connect("ws://127.0.0.1:1", subprotocols=value)
    with pytest.raises(ValueError, match=f"subprotocols.*{words}"):
        serve(echo, subprotocols=value)


def test_connections_in_memory_have_no_handshake() -> None:
    """Neither a subprotocol nor headers."""
    for conn in make_pair()[:2]:
        assert conn.subprotocol is None
        assert dict(conn.response_headers) == {}


# -- headers -----------------------------------------------------------------------------------------------------------


def test_the_headers_of_the_response_can_be_read() -> None:
    """By name in any case; those of the latest handshake, also while there is no link."""
    numbers = iter(range(1, 9))

    def script(peer: RawPeer) -> None:
        peer.upgrade(f"X-Node: n{next(numbers)}\r\nSet-Cookie: a={SECRET}\r\nset-cookie: b=2\r\nX-Latin: \xe9t\xe9")
        peer.consent()

    with ByteServer(script) as server, connect(server.url, reconnect=QUICK) as conn:
        headers = conn.response_headers
        assert headers["x-node"] == headers["X-NODE"] == "n1"
        assert headers.get("x-none") is None
        assert headers.get_all("Set-Cookie") == [f"a={SECRET}", "b=2"]
        assert headers["set-cookie"] == f"a={SECRET}, b=2"
        assert {"upgrade", "connection", "sec-websocket-accept", "x-node"} <= set(headers)
        assert SECRET not in repr(headers) + repr(dict(headers)) + repr(conn)
        assert "x-node" in repr(headers)
        with pytest.raises(TypeError):
            headers["x-node"] = "other"  # type: ignore[index]
        conn.reconnect()
        eventually(lambda: conn.response_headers["x-node"] == "n2")
    assert conn.response_headers["x-node"] == "n2"


def test_before_the_first_handshake_there_are_none() -> None:
    """And at the end of a server."""
    seen = Collector()
    with serve(lambda conn, request: seen(conn.response_headers)) as server, connect(server.url):
        assert dict(seen.wait(1)[0]) == {}
    with connect(f"ws://127.0.0.1:{free_port()}", wait=False, reconnect=QUICK) as conn:
        assert dict(conn.response_headers) == {}


def test_lines_that_are_no_headers_are_passed_over() -> None:
    """As by any reader of HTTP."""
    assert dict(ResponseHeaders(b"HTTP/1.1 101 Go\r\nnothing\r\n A: 1\r\nb:2\r\n")) == {" a": "1", "b": "2"}
    assert len(ResponseHeaders()) == 0


def test_the_client_names_itself() -> None:
    """Unless the user gives another name."""
    seen = Collector()
    with serve(lambda conn, request: seen(request.headers["User-Agent"])) as server:
        connect(server.url).close()
        connect(server.url, headers={"user-agent": "shop/1"}).close()
    assert seen.wait(2) == [USER_AGENT, "shop/1"]
    assert USER_AGENT.startswith("owlsocket-sync/")
    assert __version__ in (USER_AGENT.rpartition("/")[2], "0+unknown")


# -- cookies -----------------------------------------------------------------------------------------------------------


def test_a_reconnect_sends_the_cookies_of_the_upgrade(caplog: pytest.LogCaptureFixture) -> None:
    """Beside those of the user; no log has their values."""
    caplog.set_level(logging.DEBUG)
    requests = Collector()

    def script(peer: RawPeer) -> None:
        requests(peer.upgrade(f"Set-Cookie: srv={SECRET}; Path=/; HttpOnly"))
        peer.consent()

    with ByteServer(script) as server, connect(server.url, headers={"Cookie": "own=1"}, reconnect=QUICK) as conn:
        conn.reconnect()
        requests.wait(2)
        with connect(server.url) as other:
            assert other.state.value == "open"
    sent = [header_of(request, "Cookie") for request in requests.wait(3)]
    assert sent == ["own=1", f"own=1; srv={SECRET}", ""]
    assert SECRET not in caplog.text


def test_another_host_gets_no_cookies() -> None:
    """Not even where the URL of the next attempt leads there."""
    requests = Collector()

    def script(peer: RawPeer) -> None:
        requests(peer.upgrade("Set-Cookie: srv=b2; Path=/"))
        peer.consent()

    with ByteServer(script) as server:
        urls = iter([server.url, server.url.replace("127.0.0.1", "localhost")])
        with connect(lambda: next(urls), reconnect=QUICK) as conn:
            conn.reconnect()
            assert [header_of(request, "Cookie") for request in requests.wait(2)] == ["", ""]


def test_a_refusal_that_repeats_a_cookie_does_not_show_it() -> None:
    """An error is read by many."""
    answers = iter([True, False])

    def script(peer: RawPeer) -> None:
        if next(answers):
            peer.upgrade(f"Set-Cookie: srv={SECRET}; Path=/")
            peer.consent()
        else:
            body = peer.read_header().encode()
            peer.send(b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with ByteServer(script) as server, connect(server.url, reconnect=QUICK) as conn:
        conn.reconnect()
        error = conn.wait_closed(scaled(5)).error
    assert "HTTP 403" in str(error)
    assert SECRET not in str(error)


HAPROXY = shutil.which("haproxy")
CONFIGURATION = """
global
    maxconn 50
defaults
    mode http
    timeout connect 5s
    timeout client 1m
    timeout server 1m
    timeout tunnel 1m
listen chat
    bind 127.0.0.1:{port}
    balance roundrobin
    cookie SRV insert indirect nocache
    server one 127.0.0.1:{first} cookie one
    server two 127.0.0.1:{second} cookie two
"""


@contextmanager
def haproxy(folder: Path, first: int, second: int) -> Iterator[str]:
    """A load balancer with sticky sessions in front of two servers; its URL."""
    assert HAPROXY is not None
    port = free_port()
    (folder / "haproxy.cfg").write_text(CONFIGURATION.format(port=port, first=first, second=second))
    process = subprocess.Popen([HAPROXY, "-db", "-q", "-f", str(folder / "haproxy.cfg")], stderr=subprocess.DEVNULL)
    try:
        yield f"ws://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(scaled(5))


def _has_links(conn: Connection, links: int) -> bool:
    return conn.stats.reconnects == links - 1


@pytest.mark.slow
@pytest.mark.skipif(HAPROXY is None, reason="no haproxy on this machine: apt-get install haproxy")
def test_a_sticky_session_of_haproxy_holds(tmp_path: Path) -> None:
    """Each link of a connection leads to the same server, where others take turns."""

    def named(name: str) -> Any:
        def handler(conn: Connection, request: Request) -> None:
            conn.perform("who", lambda: name)

        return handler

    with serve(named("one")) as first, serve(named("two")) as second, haproxy(tmp_path, first.port, second.port) as url:
        patient = Backoff(initial=0.05, cap=0.05, jitter="none")
        with connect(url, reconnect=patient, wait=False) as conn:
            conn.wait_open(scaled(10))
            home = conn.call("who")
            seen = set()
            for links in range(2, 6):
                conn.reconnect()
                eventually(partial(_has_links, conn, links))
                seen.add(conn.call("who", timeout=scaled(5)))
                with connect(url) as other:
                    other.call("who")
        assert seen == {home}
        with connect(url) as left, connect(url) as right:
            assert {left.call("who"), right.call("who")} == {"one", "two"}


# -- refusals ----------------------------------------------------------------------------------------------------------

FINAL = [301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 406, 407, 410, 421, 426, 431, 501, 505]
TEMPORARY = [408, 425, 429, 500, 502, 503, 504, 520]


def refusing(status: int) -> ByteServer:
    """A server, or a proxy, that refuses each request."""
    location = f"https://me:{SECRET}@there.example/?key={SECRET}"
    answer = f"HTTP/1.1 {status} No\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    return ByteServer(lambda peer: (peer.read_header(), peer.send(answer.encode())))


@pytest.mark.parametrize("status", FINAL)
@pytest.mark.parametrize("proxied", [False, True], ids=["server", "proxy"])
def test_a_refusal_that_stays_is_not_tried_again(status: int, proxied: bool) -> None:
    """By the server and by a proxy alike; a redirect has its target in the error, without secrets."""
    with refusing(status) as server:
        proxy = f"http://127.0.0.1:{server.port}" if proxied else None
        url = "ws://far.example" if proxied else server.url
        with connect(url, wait=False, reconnect=QUICK, proxy=proxy) as conn:
            error = conn.wait_closed(scaled(5)).error
    assert isinstance(error, SocketConnectionError)
    assert (error.status, error.retryable, server.accepted) == (status, False, 1)
    assert SECRET not in str(error)
    if 300 <= status < 400:
        assert "https://***@there.example/" in str(error)


@pytest.mark.parametrize("status", TEMPORARY)
@pytest.mark.parametrize("proxied", [False, True], ids=["server", "proxy"])
def test_a_refusal_that_may_pass_is_tried_again(status: int, proxied: bool) -> None:
    """A service that restarts answers so."""
    with refusing(status) as server:
        proxy = f"http://127.0.0.1:{server.port}" if proxied else None
        url = "ws://far.example" if proxied else server.url
        with connect(url, wait=False, reconnect=QUICK, proxy=proxy) as conn:
            eventually(lambda: server.accepted >= 2)
            conn.close()
