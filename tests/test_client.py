"""`connect()` against real servers: who we are, where it travels, and what handlers may do."""

from __future__ import annotations

import gc
import json
import logging
import struct
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from owlsocket_sync import (
    AuthError,
    Backoff,
    Connection,
    InsecureTransportWarning,
    SocketConnectionError,
    SocketTimeout,
    connect,
    connections,
)
from owlsocket_sync.client_options import ClientOptions
from owlsocket_sync.server import Server, serve
from support.handlers import echo
from support.helpers import Collector, eventually, scaled
from support.sockets import (
    CLOSE,
    TEXT,
    ByteServer,
    ConnectProxy,
    RawPeer,
    frame,
    free_port,
    granted,
)

QUICK = Backoff(initial=0.02, factor=1.0, cap=0.02, jitter="none", healthy_after=0.0)
SECRET = "eyJ0Ijoic2VjcmV0In0"


def _result(message: Any, payload: Any) -> bytes:
    return frame(TEXT, json.dumps({"type": "result", "id": message["id"], "payload": payload}).encode())


# -- who we are --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("token_in", "in_query", "in_header"),
    [
        (("query", "header"), True, True),
        (("query",), True, False),
        (["header"], False, True),
        ((), False, False),
    ],
)
def test_where_the_token_travels(whole: bool, token_in: tuple[str, ...], in_query: bool, in_header: bool) -> None:
    """Bare in the query and whole in the header, however it was handed over."""
    seen = Collector()
    token = f"ED25519-BASIC-TOKEN {SECRET}" if whole else SECRET
    headers = {"X-Y": "z"}
    with serve(lambda conn, request: seen(request)) as server:
        conn = connect(f"{server.url}/ws?a=1", token=token, token_in=token_in, query={"b": "2 3"}, headers=headers)
        request = seen.wait(1)[0]
        conn.close()
    assert request.path == "/ws"
    assert dict(request.query) == {"a": "1", "b": "2 3", **({"token": SECRET} if in_query else {})}
    assert request.headers.get("authorization") == (f"ED25519-BASIC-TOKEN {SECRET}" if in_header else None)
    assert request.headers["x-y"] == "z"


def test_token_and_address_are_asked_for_on_every_attempt() -> None:
    """A callable gives the token, and the address, of each attempt anew."""
    requests = Collector()

    def script(peer: RawPeer) -> None:
        requests(peer.upgrade().split(" ")[1])
        peer.read_frame()
        peer.reset()

    tokens = iter(f"t{number}" for number in range(100))
    with ByteServer(script) as server:
        paths = iter(f"{server.url}/{number}" for number in range(100))
        with connect(lambda: next(paths), token=lambda: next(tokens), reconnect=QUICK) as conn:
            conn.notify("break")
            assert requests.wait(2) == ["/0?token=t0", "/1?token=t1"]


@pytest.mark.parametrize("option", ["url", "token"])
def test_a_callable_that_raises(option: str) -> None:
    """What it raises comes out of `connect`."""
    tokens: dict[str, str] = {}
    with serve(echo) as server:
        options: dict[str, Any] = {"url": server.url, option: lambda: tokens["no token"]}
        with pytest.raises(KeyError, match="no token"):
            connect(**options, reconnect=QUICK)


@pytest.mark.parametrize(
    ("url", "token", "warned"),
    [
        ("ws://{}", SECRET, True),
        ("ws://{}", None, False),
        ("wss://{}", SECRET, False),
        ("ws://127.0.0.1", SECRET, False),
    ],
)
def test_a_token_in_the_clear_is_warned_of(url: str, token: str | None, warned: bool) -> None:
    """Only to another machine, only without TLS, and only with a token; the warning does not show it."""
    with ConnectProxy(1, status="502 no") as proxy, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(SocketConnectionError):
            connect(url.format("far.example"), token=token, proxy=proxy.url, reconnect=None)
    insecure = [warning for warning in caught if warning.category is InsecureTransportWarning]
    assert bool(insecure) is warned
    assert SECRET not in "".join(str(warning.message) for warning in insecure)


def test_an_insecure_transport_can_be_made_an_error() -> None:
    """With warnings as errors nothing is sent, and the caller gets the warning."""
    with ConnectProxy(1, status="502 no") as proxy, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InsecureTransportWarning):
            connect("ws://far.example", token=SECRET, proxy=proxy.url)
    assert proxy.requests == []


def _refused(peer: RawPeer) -> None:
    request = peer.read_header().encode()
    body = b"refused: " + request
    peer.send(b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def _broken(peer: RawPeer) -> None:
    peer.read_header()
    peer.send(b"garbage\r\n\r\n")


def _lost(peer: RawPeer) -> None:
    peer.upgrade()
    peer.reset()


@pytest.mark.parametrize("script", [_refused, _broken, _lost, None])
def test_secrets_stay_secret(script: Callable[[RawPeer], None] | None, caplog: pytest.LogCaptureFixture) -> None:
    """Neither token nor password is in an error, its chain, a repr, an address or a log line."""
    shown: list[str] = []
    port = free_port()
    with caplog.at_level(logging.DEBUG), ExitStack() as stack:
        proxy = stack.enter_context(ConnectProxy(port, "me:pass-word"))
        server: ByteServer | Server = ByteServer(script, port=port) if script else serve(echo, port=port)
        stack.enter_context(server)
        options: dict[str, Any] = {"token": SECRET, "query": {"api_key": "key-in-query"}}
        conn = connect(
            f"{server.url}/ws",
            **options,
            proxy=f"http://me:pass-word@127.0.0.1:{proxy.port}",
            reconnect=QUICK,
            wait=False,
        )
        stack.callback(conn.close)
        shown += [repr(conn), conn.url, conn.name]
        eventually(lambda: conn.state.name != "CONNECTING" or proxy.accepted > 1)
        conn.close()
        ending = conn.wait_closed(scaled(5))
    error: BaseException | None = ending.error
    while error is not None:
        shown += [repr(error), str(error)]
        error = error.__cause__ or error.__context__
    everything = "\n".join([*shown, repr(ending), caplog.text])
    assert "/ws" in everything
    assert [word for word in (SECRET, "pass-word", "key-in-query", "bWU6cGFzcy13b3Jk") if word in everything] == []


# -- authentication on each link ---------------------------------------------------------------------------------------


def test_auth_runs_before_anything_buffered_on_every_link() -> None:
    """What it sends comes first on each link, and what waited comes after it."""
    seen = Collector()

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        link: list[str] = []
        while len(link) < 2:
            came = peer.read_frame()
            message = json.loads(came.payload)
            link.append(message["method"])
            peer.send(_result(message, None))
        seen(link)
        peer.reset()

    with ByteServer(script) as server:
        conn = connect(server.url, wait=False, reconnect=QUICK, auth=lambda conn: conn.call("login"))
        first = conn.submit("first")
        first.result(scaled(5))
        second = conn.submit("second", retry=True)
        second.result(scaled(5))
        assert seen.wait(2) == [["login", "first"], ["login", "second"]]
        conn.close()


@pytest.mark.parametrize("error", [AuthError("no such user"), ValueError("no key")])
def test_a_failure_of_auth_is_raised_by_connect(error: Exception) -> None:
    """The very error, after one attempt: it would fail again."""

    attempts: list[Connection] = []

    def auth(conn: Connection) -> None:
        attempts.append(conn)
        raise error

    with serve(echo) as server:
        with pytest.raises(type(error)) as caught:
            connect(server.url, auth=auth, reconnect=QUICK)
        assert caught.value is error
        conn = connect(server.url, auth=auth, reconnect=QUICK, wait=False)
        assert conn.wait_closed(scaled(5)).error is error
    assert len(attempts) == 2


@pytest.mark.parametrize("option", ["auth", "token", "url"])
def test_an_error_of_code_that_runs_for_a_later_link_is_reported(option: str) -> None:
    """It has no caller; on the first link, `connect` raises it."""
    reports = Collector()
    calls: list[None] = []

    def fail_later(*arguments: object) -> str:
        calls.append(None)
        if len(calls) > 1:
            raise LookupError("no such dish")
        return server.url

    with serve(echo) as server:
        options: dict[str, Any] = {"url": server.url, option: fail_later}
        with connect(**options, reconnect=QUICK, setup=lambda conn: conn.on_error(reports)) as conn:
            assert reports.items == []
            server.connections[0].close()
            error, context = reports.wait(1)[0]
            assert (type(error), context.source) == (LookupError, "auth" if option == "auth" else "connect")
            conn.close()


@pytest.mark.parametrize("option", ["auth", "setup"])
def test_what_returns_an_awaitable_has_not_run(option: str) -> None:
    """A lambda that calls an async function is not seen before: it would open the link without authentication."""

    async def log_in(conn: Connection) -> None: ...

    options: dict[str, Any] = {option: lambda conn: log_in(conn)}
    with serve(echo) as server, pytest.raises(TypeError, match=f"{option} returned an awaitable"):
        connect(server.url, reconnect=None, **options)


def test_auth_that_may_succeed_later_is_tried_again() -> None:
    """A time-out of the first login does not end a connection that keeps trying."""
    attempts = Collector()

    def auth(conn: Connection) -> None:
        attempts(conn)
        if len(attempts.items) < 3:
            raise SocketTimeout("the login server is slow")

    with serve(echo) as server, connect(server.url, auth=auth, wait=False, reconnect=QUICK) as conn:
        assert conn.call("echo", 1, timeout=scaled(5)) == 1
        assert len(attempts.items) == 3


def test_auth_that_takes_too_long() -> None:
    """The timeout is one deadline over the link and who we are on it."""
    with ByteServer(lambda peer: (peer.upgrade(), peer.at_end())) as server:
        began = time.monotonic()
        with pytest.raises(SocketTimeout):
            connect(server.url, auth=lambda conn: conn.call("login"), timeout=0.3)
        assert time.monotonic() - began < scaled(1)


def test_a_link_that_ends_as_soon_as_it_is_open() -> None:
    """`connect` returns it, each time: how it ended is for `wait_closed` to tell."""

    def grant_and_close(peer: RawPeer) -> None:
        peer.send(granted(peer.read_header()) + frame(CLOSE, struct.pack("!H", 1011) + b"no"))
        peer.at_end()

    with ByteServer(grant_and_close) as server:
        for _ in range(20):
            assert connect(server.url, reconnect=None).wait_closed(scaled(5)).code == 1011


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 0},
        {"heartbeat": 3},
        {"compression": "gzip"},
        {"timeout": -1},
        {"call_timeout": float("nan")},
        {"proxy": "ftp://a"},
        {"token_in": "query"},
        {"headers": {"X": "a\r\nb"}},
        {"auth": 5},
        {"name": 5},
        {"sender": b"me"},
        {"token": b"x"},
        {"token": 5},
        {"proxy": 5},
        {"proxy": b"http://h:1"},
        {"replace": 1, "name": "a"},
        {"wait": "no"},
        {"setup": 5},
        {"token_in": 5},
        {"token_in": [["query"]]},
        {"ssl_context": True},
        {"reconnect": 5},
        {"reconnect": Backoff},
        {"limits": None},
        {"workers": "4"},
        {"timeout": "5"},
        {"headers": ["X: y"]},
        {"query": "a=1"},
        {"worker": 4},
    ],
)
def test_options_can_be_checked_without_connecting(options: dict[str, Any]) -> None:
    """What `connect` refuses is refused in its words; what it takes is not even tried."""
    with pytest.raises((ValueError, TypeError)) as refused:
        connect("ws://127.0.0.1:1/", **options)
    with pytest.raises(refused.type) as found:
        ClientOptions(url="ws://127.0.0.1:1/", **options)
    # Each names the function that it is; Python 3.13 has a hint of its own.
    assert str(found.value).split("() ")[-1].partition(". Did you mean")[0] in str(refused.value)
    assert next(iter(options)) in str(refused.value)
    ClientOptions(url="ws://127.0.0.1:1/", workers=2, token=lambda: "t", auth=lambda conn: None)


@pytest.mark.parametrize("option", ["url", "token"])
def test_a_callable_that_returns_no_text_ends_the_connection(option: str) -> None:
    """Each attempt would end like the first one: the option is named, and nothing is tried again."""
    returned: dict[str, Any] = {"url": "ws://127.0.0.1:1/", option: lambda: b"s3cret"}
    with pytest.raises(ValueError, match=f"the {option} must be text, not bytes"):
        connect(**returned, timeout=scaled(5.0))
    with connect(**returned, wait=False) as conn:
        assert conn.wait_closed(scaled(5.0)) is not None


def test_what_a_failed_connect_came_from_is_kept() -> None:
    """The error of the system stands behind ours."""
    with pytest.raises(SocketConnectionError) as caught:
        connect(f"ws://127.0.0.1:{free_port()}", timeout=scaled(5.0))
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


# -- setup -------------------------------------------------------------------------------------------------------------


def _observe_welcome(heard: Collector, conn: Connection) -> None:
    conn.observe("welcome", heard)


def test_what_setup_registers_misses_nothing_of_the_first_instant() -> None:
    """A server that greets at once is heard, however often it is tried."""
    with serve(lambda conn, request: conn.notify("welcome", request.path)) as server:
        for _ in range(20):
            heard = Collector()
            with connect(server.url, setup=partial(_observe_welcome, heard)):
                heard.wait(1)


def test_an_iterator_that_setup_makes_connects_nothing_yet() -> None:
    """What is registered after it misses nothing either."""
    seen: list[str] = []

    def setup(conn: Connection) -> None:
        conn.events("welcome")
        seen.extend(
            (
                conn.state.value,
                *(thread.name for thread in threading.enumerate() if thread.name.startswith("iterating")),
            )
        )

    with serve(echo) as server, connect(server.url, setup=setup, name="iterating"):
        assert seen == ["connecting"]


def test_setup_runs_once_before_anything_is_sent() -> None:
    """On the connection that `connect` returns; not again after a reconnect."""
    given_to: list[tuple[Connection, str]] = []
    with serve(lambda conn, request: None) as server:
        conn = connect(server.url, reconnect=QUICK, setup=lambda conn: given_to.append((conn, conn.state.value)))
        conn.reconnect()
        eventually(lambda: conn.stats.reconnects == 1)
        conn.close()
    assert given_to == [(conn, "connecting")]


def test_setup_that_raises_closes_the_connection() -> None:
    """Nothing is connected, and the caller gets the error."""
    made: list[Connection] = []

    def setup(conn: Connection) -> None:
        made.append(conn)
        raise LookupError("no handlers today")

    with serve(lambda conn, request: None) as server, pytest.raises(LookupError, match="no handlers today"):
        connect(server.url, setup=setup)
    assert made[0].state.value == "closed"


def test_setup_may_already_use_the_connection() -> None:
    """It connects then, as at any first use."""
    with serve(echo) as server, connect(server.url, setup=lambda conn: conn.call("echo", 1, timeout=scaled(5))) as conn:
        assert conn.call("echo", 2) == 2


class Held:
    """An object among the locals of who calls `connect`."""


@pytest.mark.parametrize("way", ["no server", "no time", "a refusal", "no token", "no setup"])
def test_a_connect_that_fails_leaves_nothing(way: str) -> None:
    """Neither the connection nor what its caller's frames held, while the program keeps trying."""
    held: list[weakref.ref[Held]] = []

    def fail() -> None:
        raise LookupError

    def refuse(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    def attempt(url: str) -> None:
        mark = Held()
        held.append(weakref.ref(mark))
        options: dict[str, dict[str, Any]] = {
            "no time": {"reconnect": QUICK, "timeout": 0.05},
            "no token": {"token": fail},
            "no setup": {"setup": lambda conn: fail()},
        }
        with pytest.raises((SocketConnectionError, SocketTimeout, LookupError)):
            connect(url, **{"reconnect": None, **options.get(way, {})})

    with ByteServer(refuse) as server:
        url = server.url if way == "a refusal" else f"ws://127.0.0.1:{free_port()}"
        known = connections()
        for _ in range(3):
            attempt(url)
        eventually(lambda: gc.collect() >= 0 and not any(reference() for reference in held))
        assert [conn for conn in connections() if conn not in known] == []
