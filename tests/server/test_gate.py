"""The door of the server: who comes in, who stays out, and who has to go when the time is over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from helpers import Collector, eventually, scaled
from sockets import header_of, knock

from owlsocket_sync import (
    AuthenticationStage,
    AuthError,
    AuthFailedError,
    Backoff,
    Connection,
    ConnectionState,
    ResilientError,
    SocketUnauthorized,
    connect,
)
from owlsocket_sync.auth import Auth, Authority, Guard, KeyPair, Login, StageLogin, login_app
from owlsocket_sync.server import Request, serve

KEY, ISSUER = KeyPair.generate(), KeyPair.generate()
AUTHENTICATED = AuthenticationStage.AUTHENTICATED
QUICK = Backoff(initial=0.01, cap=0.05)


def handler(conn: Connection, request: Request) -> None:
    """Tells who came."""

    def who() -> Any:
        return [
            request.auth.user_id if request.auth else None,
            conn.auth_info.user_id if conn.auth_info else None,
            conn.stage,
        ]

    conn.perform("who", who)
    conn.perform("secret", lambda: "treasure", stage=AUTHENTICATED)


class Quiet(WSGIRequestHandler):
    """Says nothing on stderr."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def http_service(authority: Authority) -> Iterator[str]:
    """The steps of a login, over HTTP."""
    with make_server("127.0.0.1", 0, login_app(authority), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(scaled(5))


def vouched(authority: Authority) -> str:
    """A token for our key."""
    from owlsocket_sync.auth.proof import Claim

    claim = Claim(KEY)
    return authority.log_in(claim.answer(authority.init(claim.ask())["challenge"]))["token"]


def refusal(port: int) -> str:
    """All of the answer to somebody who brings no token."""
    peer, header = knock(port)
    with peer.sock:
        return header + peer.read(int(header_of(header, "Content-Length") or 0)).decode()


@pytest.mark.parametrize("place", ["query", "header"])
def test_a_token_lets_its_owner_in(place: str) -> None:
    """From either place; the handler knows who it is, and the stage is the last one."""
    authority = Authority(ISSUER, [KEY])
    with (
        serve(handler, authenticate=Guard(ISSUER.public)) as server,
        connect(server.url, token=vouched(authority), token_in=[place]) as conn,
    ):
        assert conn.call("who") == [KEY.address, KEY.address, "authenticated"]
        assert conn.call("secret") == "treasure"


def test_who_has_no_token_is_refused_before_the_upgrade() -> None:
    """With HTTP 401 and a marshalled error; the handler never hears of them, and it is not tried again."""
    came = Collector()
    with serve(lambda conn, request: came(request), authenticate=Guard(ISSUER)) as server:
        with pytest.raises(AuthFailedError, match="a token is required") as caught:
            connect(server.url)
        assert (caught.value.status, caught.value.code, caught.value.retryable) == (401, "AUTH_FAILED", False)
        with pytest.raises(AuthError, match="base64url"):
            connect(server.url, token="garbage")
        answer = refusal(server.port)
        assert answer.startswith("HTTP/1.1 401 Unauthorized\r\n")
        assert "www-authenticate: ed25519-basic-token" in answer.lower()
        assert answer.endswith("AuthFailedError|||api:auth:a token is required")
        assert came.items == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(PermissionError("no"), 401), (ZeroDivisionError("s3cret"), 500), (ResilientError("X", "s3cret"), 500)],
)
def test_a_callable_may_guard_too(error: Exception, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """What it returns is who came; what it raises refuses, and what is no refusal is told as a failure."""

    def guard(request: Request) -> str:
        if "name" in request.query:
            return request.query["name"]
        raise error

    def tell(conn: Connection, request: Request) -> None:
        conn.perform("who", lambda: [request.auth, conn.auth_info, conn.stage])

    with serve(tell, authenticate=guard) as server:
        with connect(server.url, query={"name": "Ada"}) as conn:
            assert conn.call("who") == ["Ada", "Ada", None]
        answer = refusal(server.port)
        assert answer.startswith(f"HTTP/1.1 {status} ")
        assert "s3cret" not in answer


def test_authenticate_must_be_a_guard_or_a_callable() -> None:
    """Anything else is named."""
    with pytest.raises(ValueError, match="authenticate must be a Guard or a callable, not str"):
        serve(handler, authenticate="token")  # type: ignore[arg-type]


def test_one_may_authenticate_on_the_socket() -> None:
    """At first a stranger; then by a key; and again on every new link."""
    guard = Guard(authority=Authority(ISSUER, [KEY]), required=False)
    with serve(handler, authenticate=guard) as server:
        with connect(server.url) as conn:
            assert conn.call("who") == [None, None, "init"]
            with pytest.raises(SocketUnauthorized, match="method 'secret' is for those who are 'authenticated'"):
                conn.call("secret")
            with pytest.raises(AuthError, match="nobody is authenticated"):
                conn.auth(AUTHENTICATED)
            StageLogin(KEY)(conn)
            assert conn.stage is AUTHENTICATED
            assert conn.call("who") == [None, KEY.address, "authenticated"]
            assert Auth.from_dict(conn.auth(AUTHENTICATED)).user_id == KEY.address
        with connect(server.url, auth=StageLogin(KEY.private), reconnect=QUICK) as conn:
            for links in (1, 2):
                conn.wait_open(scaled(5))
                assert conn.call("secret", retry=True) == "treasure"
                if links == 1:
                    conn.reconnect()
                    eventually(lambda: conn.stats.reconnects == 1)


def test_a_stranger_is_refused_on_the_socket() -> None:
    """And the connection ends with the reason, without trying again."""
    guard = Guard(authority=Authority(ISSUER, [KEY]), required=False)
    with serve(handler, authenticate=guard) as server, pytest.raises(AuthError, match="challenge:basic-ed25519"):
        connect(server.url, auth=StageLogin(KeyPair.generate()))


def test_a_whole_login_leads_to_a_connection_that_outlives_its_token() -> None:
    """Over real HTTP; the server closes the link when the token runs out, and a fresh one brings it back."""
    authority = Authority(ISSUER, [KEY], token_ttl=0.6)
    endings, states = Collector(), Collector()
    with http_service(authority) as base, serve(handler, authenticate=Guard(ISSUER)) as server:
        login = Login(base, KEY, margin=0.0)
        with connect(server.url, auth=login, reconnect=QUICK) as conn:
            conn.listen(lambda message: endings(message.payload["code"]))
            conn.on_state(states)
            assert conn.call("who") == [KEY.address, KEY.address, "authenticated"]
            assert endings.wait(1) == [1008]
            eventually(lambda: conn.state is ConnectionState.OPEN and conn.stats.reconnects >= 1)
            assert conn.call("secret", retry=True) == "treasure"
            assert states.items[0].reason == "the token has expired"


def test_busy_handlers_do_not_keep_a_link_alive() -> None:
    """Whose token has run out."""
    over, endings = threading.Event(), Collector()

    def busy(conn: Connection, request: Request) -> None:
        conn.perform("hold", lambda: over.wait(scaled(10)))

    authority = Authority(ISSUER, [KEY], token_ttl=0.3)
    with (
        serve(busy, authenticate=Guard(ISSUER), workers=1) as server,
        connect(server.url, token=vouched(authority), reconnect=None) as conn,
    ):
        conn.listen(lambda message: endings(message.payload["code"]))
        conn.submit("hold")
        assert endings.wait(1) == [1008]
        over.set()


def test_a_refused_token_is_replaced_at_once() -> None:
    """A server that forgot a token gets another one within the same attempt."""
    authority = Authority(ISSUER, [KEY], token_ttl=3600)
    guard, refuse = Guard(ISSUER), Collector()

    def picky(request: Request) -> Any:
        if request.query["token"] in refuse.items:
            raise AuthFailedError("revoked")
        return guard.admit(request)

    with http_service(authority) as base, serve(handler, authenticate=picky) as server:
        login = Login(base, KEY)
        with connect(server.url, auth=login, reconnect=QUICK) as conn:
            refuse(login.token().split()[1])
            conn.reconnect()
            eventually(lambda: conn.stats.reconnects == 1 and conn.state is ConnectionState.OPEN)
            assert conn.call("who")[0] == KEY.address


def test_a_login_and_a_token_exclude_each_other() -> None:
    """And what is neither a login nor callable is named."""
    with pytest.raises(ValueError, match="token must be left out"):
        connect("ws://127.0.0.1:1", token="t", auth=Login("http://127.0.0.1:1", KEY))
    with pytest.raises(ValueError, match="auth must be callable or a login"):
        connect("ws://127.0.0.1:1", auth=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="auth must be callable or a login, not the class Login"):
        connect("ws://127.0.0.1:1", auth=Login)  # type: ignore[arg-type]


def test_no_log_shows_a_token(caplog: pytest.LogCaptureFixture) -> None:
    """Neither of ours nor of the libraries beneath, at DEBUG, of those who came in and those who did not."""
    caplog.set_level(logging.DEBUG)
    authority = Authority(ISSUER, [KEY])
    with http_service(authority) as base, serve(handler, authenticate=Guard(ISSUER)) as server:
        login = Login(base, KEY)
        with connect(server.url, auth=login) as conn:
            conn.call("who")
        token = login.token(reuse=True).split()[1]
        bad = token[:-6] + "AAAAAA"
        with pytest.raises(AuthError) as caught:
            connect(server.url, token=bad)
    told = caplog.text + repr(conn) + repr(login) + repr(server) + repr(caught.value.__dict__) + str(caught.value)
    for secret in (token, bad, token[40:], KEY.private.partition(":")[2]):
        assert secret not in told
