"""Logging in over HTTP: every branch, step by step."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import responses
from helpers import load, scaled
from sockets import ByteServer, RawPeer

from owlsocket_sync.auth import Auth, Envelope, KeyPair, Login
from owlsocket_sync.auth.exchange import ANSWER_BYTES, new_session
from owlsocket_sync.errors import (
    AccessError,
    AuthenFailed,
    AuthError,
    AuthFailedError,
    AuthMalformed,
    AuthUnknown,
    InsecureTransportWarning,
    LoginTimeout,
    SocketConnectionError,
)

RECORDED = load("login.json")
STEPS = RECORDED["steps"]
KEY = KeyPair.parse(RECORDED["keys"]["user"]["export"])
ISSUER = KeyPair.parse(RECORDED["keys"]["app"]["export"])
BASE = "https://auth.example"
INIT, AUTHENTICATE, EXCHANGE = "/authentication/init", "/authentication/authenticate", "/authenticate"
ANSWERS: dict[str, dict[str, Any]] = {
    INIT: STEPS["1 challenge (base64 Wrap envelope)"],
    AUTHENTICATE: STEPS["2 one-time token"],
    EXCHANGE: {"token": STEPS["3 bearer"]},
}


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    """No request leaves this process."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def answer_all(http: responses.RequestsMock, **changed: Any) -> None:
    """The recorded answers to the steps."""
    for step, answer in ANSWERS.items():
        http.post(BASE + step, json=answer, **changed)


def asked(http: responses.RequestsMock) -> list[str]:
    """The steps that were taken."""
    return [str(call.request.url).removeprefix(BASE) for call in http.calls]


def bearer(ttl: float | None, dt: float = 1_000_000, **message: Any) -> str:
    """A bearer token."""
    return Envelope("ed25519-basic-token", dt=dt).send({"n": ttl, **message}, ttl=ttl).sign(ISSUER).tokenize()


def test_a_login_asks_what_the_reference_asks(http: responses.RequestsMock) -> None:
    """The bodies are the recorded ones, the signature included; the token comes back whole."""
    answer_all(http)
    login = Login(BASE + "/", KEY)
    assert login.auth is None
    assert login.token() == STEPS["3 bearer"]
    bodies = [json.loads(call.request.body or b"") for call in http.calls]
    recorded = [json.loads(one["request"].partition("\r\n\r\n")[2]) for one in RECORDED["http"][:3]]
    assert asked(http) == [INIT, AUTHENTICATE, EXCHANGE]
    assert bodies == recorded
    assert login.auth == Auth.from_dict(STEPS["3 message (Auth)"])


def test_the_service_may_be_another_one(http: responses.RequestsMock) -> None:
    """Then the one-time token goes there."""
    answer_all(http)
    service = "https://service.example/api"
    http.post(f"{service}/authenticate", json={"token": bearer(None)})
    login = Login(BASE, KEY.private, service, session=requests.Session(), source="web", role="guest")
    assert login.token() == f"ED25519-BASIC-TOKEN {bearer(None)}"
    assert http.calls[2].request.url == "https://service.example/api/authenticate"
    assert json.loads(http.calls[0].request.body or b"")["source"] == "web"
    assert json.loads(http.calls[1].request.body or b"")["role"] == "guest"


MARSHALLED = "AuthManagerErrorAuthenFailed|||auth:manager:authen:error|||Error: auth:manager:authen:error\n    at x"
REFUSALS: list[tuple[dict[str, Any], type[AuthError], str, bool]] = [
    ({"status": 500, "body": MARSHALLED}, AuthenFailed, r"auth:manager:authen:error \(HTTP 500\)", False),
    ({"status": 500, "body": "AuthErrorUnknown|||auth:unknown:nope|||S"}, AuthUnknown, "auth:unknown:nope", False),
    ({"status": 401, "body": "AuthFailedError|||api:auth:error|||S"}, AuthFailedError, "api:auth:error", False),
    ({"status": 403, "body": "AccessAuthFailedError|||api:access:no|||S"}, AccessError, "api:access:no", False),
    ({"status": 500, "body": "boom|||Error: boom\n    at x"}, AuthError, r"refused: boom \(HTTP 500\)", False),
    ({"status": 500, "body": "ResourceError|||resource:gone"}, AuthError, "refused: resource:gone", False),
    (
        {"status": 400, "json": {"statusCode": 400, "code": "FST", "error": "Bad", "message": "body must have 'x'"}},
        AuthError,
        r"refused: body must have 'x' \(HTTP 400\)",
        False,
    ),
    ({"status": 401, "body": ""}, AuthFailedError, "HTTP 401 with nothing at all", False),
    ({"status": 403, "body": "no"}, AccessError, "HTTP 403 with something else", False),
    ({"status": 404, "json": {"message": "Route not found"}}, AuthError, "Route not found", False),
    ({"status": 500, "body": "<!DOCTYPE html><p>"}, AuthError, "HTTP 500 with an HTML page", False),
    ({"status": 503, "body": "<html>"}, AuthError, "HTTP 503 with an HTML page", True),
    ({"status": 429, "body": b"\xff"}, AuthError, "HTTP 429", True),
    ({"status": 200, "body": "<html></html>"}, AuthError, "no JSON object, but an HTML page", False),
    ({"status": 200, "body": "[]"}, AuthError, "no JSON object, but something else", False),
    ({"status": 200, "body": "[" * 100_000}, AuthError, "no JSON object", False),
    ({"status": 200, "json": {}}, AuthMalformed, "in the answer: (missing|the challenge is no text)", False),
    ({"status": 200, "json": {"challenge": 5, "token": 5}}, AuthMalformed, "in the answer", False),
    ({"status": 200, "json": {"challenge": "x y", "token": "x y"}}, AuthMalformed, "in the answer", False),
    ({"status": 200, "json": {"challenge": "x\r\nA: b", "token": "x\r\nA: b"}}, AuthMalformed, "in the answer", False),
    (
        {"status": 302, "headers": {"location": "https://evil.example/x?token=s"}},
        AuthError,
        r"redirects to .*\*\*\*",
        False,
    ),
    ({"status": 307, "headers": {"location": "/elsewhere"}}, AuthError, f"redirects to {BASE}/elsewhere", False),
    ({"body": requests.ReadTimeout("slow")}, LoginTimeout, "no answer within", False),
    ({"body": requests.exceptions.ConnectTimeout("slow")}, LoginTimeout, "no answer within", False),
    ({"body": requests.exceptions.SSLError("bad certificate")}, AuthError, "certificate .* bad certificate", False),
    ({"body": requests.exceptions.ContentDecodingError("gzip")}, AuthError, "cannot be read", False),
]


@pytest.mark.parametrize("step", [INIT, AUTHENTICATE, EXCHANGE])
@pytest.mark.parametrize(("answer", "kind", "words", "retryable"), REFUSALS)
def test_a_refusal_is_an_auth_error_that_names_its_step(
    http: responses.RequestsMock,
    step: str,
    answer: dict[str, Any],
    kind: type[AuthError],
    words: str,
    retryable: bool,
) -> None:
    """Of the right class, with the status; nothing is asked again, but for a failed authentication, once."""
    for other, good in ANSWERS.items():
        http.post(BASE + other, **(answer if other == step else {"json": good}))
    with pytest.raises(kind, match=words) as caught:
        Login(BASE, KEY).token()
    error = caught.value
    assert isinstance(error, AuthError)
    assert (error.code, error.retryable, error.step) == ("AUTH_FAILED", retryable, step)
    assert f"login step {step}: " in str(error)
    assert error.status == (None if isinstance(answer.get("body"), Exception) else error.status)
    walked = [INIT, AUTHENTICATE, EXCHANGE][: list(ANSWERS).index(step) + 1]
    again = step == AUTHENTICATE and answer.get("status", 200) >= 400
    assert asked(http) == (walked * 2 if again else walked)


def test_a_failed_authentication_begins_again_with_a_new_challenge(http: responses.RequestsMock) -> None:
    """Once, for the failure burnt the first one."""
    second = Envelope("basic-ed25519", "second").sign(ISSUER).wrap()
    http.post(BASE + INIT, json=ANSWERS[INIT])
    http.post(BASE + INIT, json={"challenge": second})
    http.post(BASE + AUTHENTICATE, status=500, body=MARSHALLED)
    http.post(BASE + AUTHENTICATE, json=ANSWERS[AUTHENTICATE])
    http.post(BASE + EXCHANGE, json=ANSWERS[EXCHANGE])
    assert Login(BASE, KEY).token() == STEPS["3 bearer"]
    assert asked(http) == [INIT, AUTHENTICATE, INIT, AUTHENTICATE, EXCHANGE]
    assert json.loads(http.calls[3].request.body or b"")["challenge"] == second


@pytest.mark.parametrize("text", ['{"t":"ed25519-basic-token"}', " [1]"])
def test_a_challenge_that_could_be_something_else_is_not_signed(http: responses.RequestsMock, text: str) -> None:
    """Tokens and requests are signed as JSON: a signature over JSON would be one."""
    http.post(BASE + INIT, json={"challenge": Envelope("basic-ed25519", text).wrap()})
    with pytest.raises(AuthError, match="it is not signed"):
        Login(BASE, KEY).token()
    assert asked(http) == [INIT]


def test_a_session_of_ours_checks_certificates_and_speaks_modern_tls() -> None:
    """TLS 1.2 or newer; whoever brings a session of their own decides for themselves."""
    with new_session() as session:
        adapter = session.get_adapter("https://auth.example")
        context = adapter.poolmanager.connection_pool_kw["ssl_context"]  # type: ignore[attr-defined]
    assert session.verify is True
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_server_that_cannot_be_reached_is_a_network_error() -> None:
    """Which heals."""
    words = f"login step {INIT}: 127.0.0.1:1 cannot be reached: .*refused"
    with pytest.raises(SocketConnectionError, match=words) as caught:
        Login("http://127.0.0.1:1", KEY).token()
    assert caught.value.retryable


def test_an_answer_of_100_mib_is_not_read(http: responses.RequestsMock) -> None:
    """Nor is a refusal of that size."""
    sent: list[int] = []

    def pour(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n")
        for _ in range(1600):
            peer.send(b"x" * 65_536)
            sent.append(65_536)

    http.add_passthru("http://127.0.0.1")
    with ByteServer(pour) as server, pytest.raises(AuthError, match=f"more than {ANSWER_BYTES} bytes"):
        Login(f"http://127.0.0.1:{server.port}", KEY, timeout=scaled(5)).token()
    assert sum(sent) < 50 * ANSWER_BYTES


@pytest.mark.parametrize(
    "beginning", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"], ids=str
)
def test_a_server_that_drips_is_given_up_in_time(beginning: bytes) -> None:
    """Whatever it drips, a header or a body; the deadline is one over all of it."""
    over = threading.Event()

    def drip(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(beginning)
        while not over.wait(0.01):
            peer.send(b"x" if beginning else b"")

    with ByteServer(drip) as server:
        with pytest.raises(LoginTimeout, match=f"login step {INIT}: auth:no answer within 0.3 s") as caught:
            Login(f"http://127.0.0.1:{server.port}", KEY, timeout=0.3).token()
        over.set()
    assert isinstance(caught.value, TimeoutError)


def test_a_login_that_worked_before_may_be_late_once(http: responses.RequestsMock) -> None:
    """A time-out is for good where a login never worked, and heals where it did."""
    answer_all(http)
    login = Login(BASE, KEY)
    login.token()
    http.replace(responses.POST, BASE + INIT, body=requests.ReadTimeout("slow"))
    with pytest.raises(LoginTimeout) as caught:
        login.token()
    assert caught.value.retryable


def test_a_token_without_an_end_is_used_for_one_link(http: responses.RequestsMock) -> None:
    """Nobody can tell for how long it holds; one login for each link."""
    answer_all(http)
    login = Login(BASE, KEY)
    login.token()
    login.token()
    assert asked(http) == [INIT, AUTHENTICATE, EXCHANGE] * 2


@pytest.mark.parametrize("message", [{}, {"expiresAt": "1970-01-01T00:17:40.000Z"}])
def test_a_token_with_an_end_is_used_until_it_is_near(http: responses.RequestsMock, message: dict[str, Any]) -> None:
    """The end of the envelope, or of what it says of its owner."""
    now = [1000.0]
    ttl = None if message else 60_000
    for step, answer in ANSWERS.items():
        http.post(BASE + step, json=answer if step != EXCHANGE else {"token": bearer(ttl, **message)})
    login = Login(BASE, KEY, margin=10.0, now=lambda: now[0])
    for moment, logins in [(1000.0, 1), (1049.0, 1), (1050.0, 2)]:
        now[0] = moment
        login.token()
        assert len(http.calls) == 3 * logins


def test_a_refused_token_is_forgotten(http: responses.RequestsMock) -> None:
    """And another one helps only where that one was not just made."""
    answer_all(http)
    http.replace(responses.POST, BASE + EXCHANGE, json={"token": bearer(10**12, dt=10**12)})
    login = Login(BASE, KEY)
    token = login.token()
    assert not login.refused("another")
    assert not login.refused(token)
    assert login.token() == token
    assert login.token() == token
    assert login.refused(token.split()[1])
    assert not login.refused(token)
    assert len(http.calls) == 6


def test_a_newer_token_is_taken_from_a_header(http: responses.RequestsMock) -> None:
    """An older one is not, nor what is none."""
    answer_all(http)
    http.replace(
        responses.POST,
        BASE + EXCHANGE,
        json={"token": bearer(None, dt=1000)},
        headers={"auth-token-refresh": bearer(None, dt=2000)},
    )
    login = Login(BASE, KEY)
    assert login.token() == f"ED25519-BASIC-TOKEN {bearer(None, dt=2000)}"
    login.refresh(bearer(None, dt=1500))
    login.refresh("two words")
    login.refresh(f"ED25519-BASIC-TOKEN {bearer(None, dt=3000)}")
    assert login.token() == f"ED25519-BASIC-TOKEN {bearer(None, dt=3000)}"
    assert len(http.calls) == 3
    assert login.refused(bearer(None, dt=3000))


def test_threads_that_need_a_token_at_once_get_one_login(http: responses.RequestsMock) -> None:
    """While one logs in, the others wait for what comes of it."""
    answer_all(http)
    http.replace(responses.POST, BASE + EXCHANGE, json={"token": bearer(10**12, dt=10**12)})
    login = Login(BASE, KEY)
    tokens: list[str] = []
    threads = [threading.Thread(target=lambda: tokens.append(login.token())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(5))
    assert len(set(tokens)) == 1
    assert len(tokens) == 8
    assert len(http.calls) == 3


def suppressed(action: Callable[[], object]) -> None:
    """Do it, whatever comes of it."""
    with contextlib.suppress(Exception):
        action()


def test_who_waits_for_a_login_waits_under_a_deadline() -> None:
    """And can change his mind."""
    over = threading.Event()
    with ByteServer(lambda peer: bool(peer.read_header()) and over.wait(scaled(5))) as server:
        login = Login(f"http://127.0.0.1:{server.port}", KEY, timeout=scaled(5))
        first = threading.Thread(target=lambda: suppressed(login.token))
        first.start()
        while not server.accepted:
            over.wait(0.01)
        with pytest.raises(LoginTimeout, match=r"another login took all of 0\.05 s"):
            login.token(0.05)
        with pytest.raises(LoginTimeout):
            login.token(wanted=lambda: False)
        over.set()
        first.join(scaled(10))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_in_the_middle_of_a_login_does_not_block_the_child(http: responses.RequestsMock) -> None:
    """The lock that a thread of the parent held is nobody's there."""
    answer_all(http)
    login = Login(BASE, KEY)
    with login._turn(_deadline()):
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if login.token(scaled(5)) == STEPS["3 bearer"] else 1)
            finally:
                os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def _deadline() -> Any:
    from owlsocket_sync.deadline import Deadline

    return Deadline(scaled(5))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base_url": "ftp://x"}, "base_url must be http"),
        ({"base_url": "https://u:s3cret@x"}, "base_url"),
        ({"base_url": "https://x/?token=s3cret"}, "base_url"),
        ({"base_url": "https://x\r\n"}, "base_url"),
        ({"base_url": None}, "base_url"),
        ({"service_url": "nowhere"}, "service_url"),
        ({"key": KeyPair.from_public(KEY.public)}, "key must hold its private part"),
        ({"key": "s3cret"}, "private key"),
        ({"timeout": -1}, "timeout"),
        ({"margin": "x"}, "margin"),
        ({"scopes": "all"}, "scopes"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], words: str) -> None:
    """And never repeated where it could be a secret."""
    with pytest.raises(ValueError, match=words) as caught:
        Login(**{"base_url": BASE, "key": KEY, **options})
    assert "s3cret" not in str(caught.value)


def test_a_login_in_the_clear_warns() -> None:
    """Not on this machine."""
    with pytest.warns(InsecureTransportWarning, match="a login travels in the clear to auth.example"):
        Login("http://auth.example", KEY)


@pytest.mark.parametrize("fails", [lambda text: (500, {}, text), lambda text: (200, {}, text)])
def test_no_error_shows_what_was_asked(
    http: responses.RequestsMock, fails: Callable[[str], tuple[int, dict[str, str], str]]
) -> None:
    """Not even one of a server that repeats it; the chain of the error is clean too."""
    http.post(BASE + INIT, json=ANSWERS[INIT])
    http.post(BASE + AUTHENTICATE, json=ANSWERS[AUTHENTICATE])
    http.add_callback(responses.POST, BASE + EXCHANGE, lambda request: fails(f"bad {request.body!r}"))
    with pytest.raises(AuthError) as caught:
        Login(BASE, KEY).token()
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__dict__)
    assert STEPS["2 one-time token"]["token"] not in told
    assert KEY.private.partition(":")[2] not in told
    assert KEY.private.partition(":")[2] not in repr(Login(BASE, KEY))
