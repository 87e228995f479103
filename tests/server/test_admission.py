"""Admission: which clients are accepted, which are rejected, and which are closed when their identity expires."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from owlsocket_sync import (
    ANONYMOUS,
    AuthenticationStage,
    AuthError,
    AuthFailedError,
    Backoff,
    Connection,
    ConnectionState,
    ResilientError,
    SocketConnectionError,
    SocketUnauthorized,
    SocketUnsupported,
    connect,
)
from owlsocket_sync.auth import Auth, Authority, AuthStepResult, Guard, KeyPair, Login, StageLogin, login_app
from owlsocket_sync.server import Request, serve
from support.helpers import Collector, eventually, scaled
from support.sockets import header_of, knock

KEY, ISSUER = KeyPair.generate(), KeyPair.generate()
AUTHENTICATED = AuthenticationStage.AUTHENTICATED
QUICK = Backoff(initial=0.01, cap=0.05)


def handler(conn: Connection, request: Request) -> None:
    """Answer with the identity of the client."""

    def who() -> Any:
        return [
            request.auth.user_id if request.auth else None,
            conn.auth_info.user_id if conn.auth_info else None,
            conn.stage,
        ]

    conn.perform("who", who)
    conn.perform("secret", lambda: "treasure", stage=AUTHENTICATED)


class Quiet(WSGIRequestHandler):
    """Log no requests on stderr."""

    def log_message(self, *_: Any) -> None:
        """Discard the line."""


@contextmanager
def http_service(authority: Authority) -> Iterator[str]:
    """Serve the steps of a login over HTTP."""
    with make_server("127.0.0.1", 0, login_app(authority), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(scaled(5))


def vouched(authority: Authority) -> str:
    """Return a token for our key."""
    from owlsocket_sync.auth.claims import Claim

    claim = Claim(KEY)
    return authority.log_in(claim.sign_challenge(authority.init(claim.init_request())["challenge"]))["token"]


def refusal(port: int) -> str:
    """Return the whole response to a client without a token."""
    peer, header = knock(port)
    with peer.sock:
        return header + peer.read(int(header_of(header, "Content-Length") or 0)).decode()


@pytest.mark.parametrize("place", ["query", "header"])
def test_a_token_authenticates_its_owner(place: str) -> None:
    """From either place; the handler sees the identity, and the stage is the last one."""
    authority = Authority(ISSUER, [KEY])
    with (
        serve(handler, authenticate=Guard(ISSUER.public)) as server,
        connect(server.url, token=vouched(authority), token_in=[place]) as conn,
    ):
        assert conn.call("who") == [KEY.address, KEY.address, "authenticated"]
        assert conn.call("secret") == "treasure"


def test_a_client_without_a_token_is_rejected_before_the_upgrade() -> None:
    """With HTTP 401 and a marshalled error; the handler is not called, and the client does not retry."""
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
def test_authenticate_may_be_a_callable(error: Exception, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Its result is the identity; an authentication error rejects the client, any other error is a failure (500)."""

    def guard(request: Request) -> str:
        if "name" in request.query:
            return request.query["name"]
        raise error

    def tell(conn: Connection, request: Request) -> None:
        conn.perform("who", lambda: [request.auth, conn.auth_info, conn.stage])

    with serve(tell, authenticate=guard) as server:
        with connect(server.url, query={"name": "Ada"}) as conn:
            assert conn.call("who") == ["Ada", "Ada", "init"]
        answer = refusal(server.port)
        assert answer.startswith(f"HTTP/1.1 {status} ")
        assert "s3cret" not in answer


def test_an_authenticate_that_is_broken_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Anybody may connect: one record for each kind of error and second."""
    with serve(lambda conn, request: None, authenticate=lambda request: request.query["key"]) as server:
        for _ in range(5):
            with pytest.raises(SocketConnectionError, match="HTTP 500"):
                connect(server.url, reconnect=None)
    records = [record for record in caplog.records if "authenticate raised" in record.getMessage()]
    assert 1 <= len(records) <= 2
    assert records[0].exc_info is not None


@pytest.mark.parametrize("returned", [None, False])
def test_a_callable_that_returns_no_identity_rejects_the_client(returned: Any) -> None:
    """With 401, as for an invalid token: ``users.get(token)`` must not admit a client that it does not know."""
    came = Collector()
    with serve(lambda conn, request: came(request), authenticate=lambda request: returned) as server:
        with pytest.raises(AuthFailedError, match="not authenticated") as caught:
            connect(server.url)
        assert caught.value.status == 401
        assert came.items == []


@pytest.mark.parametrize("returned", [None, False])
def test_a_guard_that_returns_no_identity_rejects_the_client(returned: Any) -> None:
    """A guard of one's own fails closed too; only `Guard(required=False)` says otherwise."""

    class Own:
        def admit(self, request: Request) -> Any:
            return returned

        def answer(self, stage: str, payload: Any, identity: Any = None) -> AuthStepResult:
            raise AuthError("no step is offered")

    with serve(handler, authenticate=Own()) as server:
        assert refusal(server.port).startswith("HTTP/1.1 401 ")


def test_anonymous_admits_a_client_without_an_identity() -> None:
    """It is what a callable returns for a stranger who may come in; the handler sees no identity."""
    with (
        serve(handler, authenticate=lambda request: ANONYMOUS) as server,
        connect(server.url) as conn,
    ):
        assert conn.call("who")[:2] == [None, None]
        with pytest.raises(SocketUnauthorized):
            conn.call("secret")


def test_an_awaitable_is_not_an_identity(caplog: pytest.LogCaptureFixture) -> None:
    """What an async function returns proves nothing: the client is rejected, and the log says why."""

    async def later(request: Request) -> str:
        return "Ada"

    with serve(handler, authenticate=lambda request: later(request)) as server:
        assert refusal(server.port).startswith("HTTP/1.1 500 ")
    assert "it must not be async" in caplog.text


def test_authenticate_must_be_a_guard_or_a_callable() -> None:
    """Anything else is named."""
    with pytest.raises(ValueError, match="authenticate must be a Guard or a callable, not str"):
        serve(handler, authenticate="token")  # type: ignore[arg-type]


def test_a_call_above_the_stage_of_its_client_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """As a call without a handler is: a traceback would show nothing but our own frames."""
    guard = Guard(authority=Authority(ISSUER, [KEY]), required=False)
    with serve(handler, authenticate=guard) as server, connect(server.url) as conn:
        with pytest.raises(SocketUnauthorized) as refused:
            conn.call("secret")
        with pytest.raises(SocketUnsupported):
            conn.call("nothing")
    lines = [(record.getMessage(), record.exc_info) for record in caplog.records if record.levelname == "ERROR"]
    assert [exc_info for _, exc_info in lines] == [None, None]
    assert lines[0][0].endswith(f"perform secret: {refused.value}")
    assert [vars(record)["owlsocket_error"] for record in caplog.records][:1] == ["SocketUnauthorized"]


def test_a_client_may_authenticate_on_the_socket() -> None:
    """The client is anonymous first, then authenticates by its key, and again on every new link."""
    guard = Guard(authority=Authority(ISSUER, [KEY]), required=False)
    with serve(handler, authenticate=guard) as server:
        with connect(server.url) as conn:
            assert conn.call("who") == [None, None, "init"]
            with pytest.raises(SocketUnauthorized, match="method 'secret' requires stage 'authenticated'"):
                conn.call("secret")
            with pytest.raises(AuthError, match="not authenticated"):
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


def test_an_untrusted_key_is_refused_on_the_socket() -> None:
    """The connection is closed with the reason, and does not retry."""
    guard = Guard(authority=Authority(ISSUER, [KEY]), required=False)
    with (
        serve(handler, authenticate=guard) as server,
        pytest.raises(AuthError, match=r"^challenge:basic-ed25519$"),
    ):
        connect(server.url, auth=StageLogin(KeyPair.generate()))


@pytest.mark.slow
def test_a_whole_login_leads_to_a_connection_that_outlives_its_token() -> None:
    """Over real HTTP; the server closes the link when the token expires, and the client reconnects with a fresh one."""
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
    """The link is closed when its token has expired, whatever the workers do."""
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
    """When the server rejects a token, the client gets another one within the same attempt."""
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
    """A value that is neither a login nor callable is named."""
    with pytest.raises(ValueError, match="token must be left out"):
        connect("ws://127.0.0.1:1", token="t", auth=Login("http://127.0.0.1:1", KEY))
    with pytest.raises(ValueError, match="auth must be callable or a login"):
        connect("ws://127.0.0.1:1", auth=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="auth must be callable or a login, not the class Login"):
        connect("ws://127.0.0.1:1", auth=Login)  # type: ignore[arg-type]


def test_no_log_shows_a_token(caplog: pytest.LogCaptureFixture) -> None:
    """Neither our logs nor those of the libraries, at DEBUG, for accepted and for rejected clients."""
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
    output = caplog.text + repr(conn) + repr(login) + repr(server) + repr(caught.value.__dict__) + str(caught.value)
    for secret in (token, bad, token[40:], KEY.private.partition(":")[2]):
        assert secret not in output
