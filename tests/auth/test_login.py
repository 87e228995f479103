"""Login over HTTP: every branch of every step."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import responses

from owlsocket_sync.auth import Auth, Envelope, KeyPair, Login
from owlsocket_sync.auth.http_session import LoginSession
from owlsocket_sync.auth.http_step import MAX_RESPONSE_BYTES
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
from owlsocket_sync.runtime.run_with_deadline import MAX_ABANDONED
from support.helpers import load, scaled
from support.sockets import ByteServer, RawPeer, header_of

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
    """Mock HTTP, so that no request leaves this process."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def mock_all(http: responses.RequestsMock, **changed: Any) -> None:
    """Mock the recorded responses to all steps."""
    for step, answer in ANSWERS.items():
        http.post(BASE + step, json=answer, **changed)


def steps_taken(http: responses.RequestsMock) -> list[str]:
    """Return the paths of the requests."""
    return [str(call.request.url).removeprefix(BASE) for call in http.calls]


def bearer(ttl: float | None, dt: float = 1_000_000, **message: Any) -> str:
    """Return a bearer token."""
    return Envelope("ed25519-basic-token", dt=dt).send({"n": ttl, **message}, ttl=ttl).sign(ISSUER).tokenize()


def test_requests_match_the_reference(http: responses.RequestsMock) -> None:
    """The bodies equal the recorded ones, including the signature."""
    mock_all(http)
    login = Login(BASE + "/", KEY)
    assert login.auth is None
    assert login.token() == STEPS["3 bearer"]
    bodies = [json.loads(call.request.body or b"") for call in http.calls]
    recorded = [json.loads(exchange["request"].partition("\r\n\r\n")[2]) for exchange in RECORDED["http"][:3]]
    assert steps_taken(http) == [INIT, AUTHENTICATE, EXCHANGE]
    assert bodies == recorded
    assert login.auth == Auth.from_dict(STEPS["3 message (Auth)"])


def test_service_url_may_differ_from_base_url(http: responses.RequestsMock) -> None:
    """The one-time token is sent there."""
    mock_all(http)
    service = "https://service.example/api"
    http.post(f"{service}/authenticate", json={"token": bearer(None)})
    login = Login(BASE, KEY.private, service, session=requests.Session(), source="web", role="guest")
    assert login.token() == f"ED25519-BASIC-TOKEN {bearer(None)}"
    assert http.calls[2].request.url == "https://service.example/api/authenticate"
    assert json.loads(http.calls[0].request.body or b"")["source"] == "web"
    assert json.loads(http.calls[1].request.body or b"")["role"] == "guest"


MARSHALLED = "AuthManagerErrorAuthenFailed|||auth:manager:authen:error|||Error: auth:manager:authen:error\n    at x"
REFUSALS: list[tuple[dict[str, Any], type[AuthError], str, bool]] = [
    ({"status": 500, "body": MARSHALLED}, AuthenFailed, r"AuthenFailed: error \(HTTP 500\)", False),
    ({"status": 500, "body": "AuthErrorUnknown|||auth:unknown:nope|||S"}, AuthUnknown, ": nope", False),
    ({"status": 401, "body": "AuthFailedError|||api:auth:error|||S"}, AuthFailedError, "AuthFailedError: error", False),
    ({"status": 403, "body": "AccessAuthFailedError|||api:access:no|||S"}, AccessError, ": no ", False),
    ({"status": 500, "body": "boom|||Error: boom\n    at x"}, AuthError, r"refused: boom \(HTTP 500\)", False),
    ({"status": 500, "body": "ResourceError|||resource:gone"}, AuthError, "refused: gone", False),
    (
        {"status": 400, "json": {"statusCode": 400, "code": "FST", "error": "Bad", "message": "body must have 'x'"}},
        AuthError,
        r"refused: body must have 'x' \(HTTP 400\)",
        False,
    ),
    (
        {"status": 401, "body": ""},
        AuthFailedError,
        r"refused without an error message \(empty body\) \(HTTP 401\)",
        False,
    ),
    ({"status": 403, "body": "no"}, AccessError, r"\(unknown format\) \(HTTP 403\)", False),
    ({"status": 404, "json": {"message": "Route not found"}}, AuthError, "Route not found", False),
    ({"status": 500, "body": "<!DOCTYPE html><p>"}, AuthError, r"\(HTML page\) \(HTTP 500\)", False),
    ({"status": 503, "body": "<html>"}, AuthError, r"\(HTML page\) \(HTTP 503\)", True),
    ({"status": 429, "body": b"\xff"}, AuthError, "HTTP 429", True),
    ({"status": 200, "body": "<html></html>"}, AuthError, r"not a JSON object \(HTML page\)", False),
    ({"status": 200, "body": "[]"}, AuthError, r"not a JSON object \(unknown format\)", False),
    ({"status": 200, "body": "[" * 100_000}, AuthError, "not a JSON object", False),
    ({"status": 200, "json": {}}, AuthMalformed, "of the response: (missing|the challenge is not a string)", False),
    ({"status": 200, "json": {"challenge": 5, "token": 5}}, AuthMalformed, "of the response", False),
    ({"status": 200, "json": {"challenge": "x y", "token": "x y"}}, AuthMalformed, "of the response", False),
    (
        {"status": 200, "json": {"challenge": "x\r\nA: b", "token": "x\r\nA: b"}},
        AuthMalformed,
        "of the response",
        False,
    ),
    (
        {"status": 302, "headers": {"location": "https://evil.example/x?token=s"}},
        AuthError,
        r"redirects to .*\*\*\*",
        False,
    ),
    ({"status": 307, "headers": {"location": "/elsewhere"}}, AuthError, f"redirects to {BASE}/elsewhere", False),
    ({"body": requests.ReadTimeout("slow")}, LoginTimeout, "timed out after", False),
    ({"body": requests.exceptions.ConnectTimeout("slow")}, LoginTimeout, "timed out after", False),
    (
        {"body": requests.exceptions.SSLError("bad certificate")},
        AuthError,
        "TLS certificate verification failed for .*: bad certificate",
        False,
    ),
    ({"body": requests.exceptions.ContentDecodingError("gzip")}, AuthError, "cannot decode the response", False),
]


@pytest.mark.slow
@pytest.mark.parametrize("step", [INIT, AUTHENTICATE, EXCHANGE])
@pytest.mark.parametrize(("answer", "kind", "words", "retryable"), REFUSALS)
def test_refusal_is_an_auth_error_with_its_step(
    http: responses.RequestsMock,
    step: str,
    answer: dict[str, Any],
    kind: type[AuthError],
    words: str,
    retryable: bool,
) -> None:
    """Class and status match; no step is repeated, except once after a failed authentication."""
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
    assert steps_taken(http) == (walked * 2 if again else walked)


def test_failed_authentication_is_retried_with_a_new_challenge(http: responses.RequestsMock) -> None:
    """Once: the failed attempt burnt the first challenge."""
    second = Envelope("basic-ed25519", "second").sign(ISSUER).wrap()
    http.post(BASE + INIT, json=ANSWERS[INIT])
    http.post(BASE + INIT, json={"challenge": second})
    http.post(BASE + AUTHENTICATE, status=500, body=MARSHALLED)
    http.post(BASE + AUTHENTICATE, json=ANSWERS[AUTHENTICATE])
    http.post(BASE + EXCHANGE, json=ANSWERS[EXCHANGE])
    assert Login(BASE, KEY).token() == STEPS["3 bearer"]
    assert steps_taken(http) == [INIT, AUTHENTICATE, INIT, AUTHENTICATE, EXCHANGE]
    assert json.loads(http.calls[3].request.body or b"")["challenge"] == second


def test_a_service_that_asks_for_a_pause_is_not_asked_again_at_once(http: responses.RequestsMock) -> None:
    """The error has the seconds, which a connection waits for before its next attempt."""
    http.post(BASE + INIT, json=ANSWERS[INIT])
    http.post(BASE + AUTHENTICATE, status=429, headers={"retry-after": "60"})
    with pytest.raises(AuthError, match="retry after 60 s") as caught:
        Login(BASE, KEY).token()
    assert (caught.value.retry_after, caught.value.retryable) == (60, True)
    assert steps_taken(http) == [INIT, AUTHENTICATE]


@pytest.mark.parametrize("text", ['{"t":"ed25519-basic-token"}', " [1]"])
def test_challenge_that_is_json_is_not_signed(http: responses.RequestsMock, text: str) -> None:
    """Tokens and requests are signed as JSON: the signature could be used as one."""
    http.post(BASE + INIT, json={"challenge": Envelope("basic-ed25519", text).wrap()})
    with pytest.raises(AuthError, match="refused to sign a challenge that is JSON"):
        Login(BASE, KEY).token()
    assert steps_taken(http) == [INIT]


def test_own_session_verifies_certificates() -> None:
    """And uses TLS 1.2 or newer, through a proxy as well."""
    with LoginSession() as session:
        adapter: Any = session.get_adapter("https://auth.example")
        assert session.verify is True
        for manager in (adapter.poolmanager, adapter.proxy_manager_for("http://proxy.example:1")):
            context = manager.connection_pool_kw["ssl_context"]
            assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
            assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_unreachable_server_is_a_retryable_network_error() -> None:
    """The error names the step and the host."""
    words = f"login step {INIT}: cannot connect to 127.0.0.1:1: .*refused"
    with pytest.raises(SocketConnectionError, match=words) as caught:
        Login("http://127.0.0.1:1", KEY).token()
    assert caught.value.retryable


def test_oversized_response_is_not_read(http: responses.RequestsMock) -> None:
    """100 MiB, of which only the beginning is read."""
    sent: list[int] = []

    def pour(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n")
        for _ in range(1600):
            peer.send(b"x" * 65_536)
            sent.append(65_536)

    http.add_passthru("http://127.0.0.1")
    with ByteServer(pour) as server, pytest.raises(AuthError, match=f"exceeds {MAX_RESPONSE_BYTES} bytes"):
        Login(f"http://127.0.0.1:{server.port}", KEY, timeout=scaled(5)).token()
    assert sum(sent) < 50 * MAX_RESPONSE_BYTES


@pytest.mark.slow
@pytest.mark.parametrize(
    "beginning", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"], ids=str
)
def test_slow_server_runs_into_the_deadline(beginning: bytes) -> None:
    """In the header and in the body; one deadline covers the whole login."""
    over = threading.Event()

    def drip(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(beginning)
        while not over.wait(0.01):
            peer.send(b"x" if beginning else b"")

    with ByteServer(drip) as server:
        with pytest.raises(LoginTimeout, match=f"login step {INIT}: timed out after 0.3 s") as caught:
            Login(f"http://127.0.0.1:{server.port}", KEY, timeout=0.3).token()
        over.set()
    assert isinstance(caught.value, TimeoutError)


def test_timeout_is_retryable_after_a_successful_login(http: responses.RequestsMock) -> None:
    """A timeout is final if no login has worked yet."""
    mock_all(http)
    login = Login(BASE, KEY)
    login.token()
    http.replace(responses.POST, BASE + INIT, body=requests.ReadTimeout("slow"))
    with pytest.raises(LoginTimeout) as caught:
        login.token()
    assert caught.value.retryable


def test_token_without_expiry_is_used_for_one_link(http: responses.RequestsMock) -> None:
    """Its lifetime is unknown: one login for each link."""
    mock_all(http)
    login = Login(BASE, KEY)
    login.token()
    login.token()
    assert steps_taken(http) == [INIT, AUTHENTICATE, EXCHANGE] * 2


@pytest.mark.parametrize("message", [{}, {"expiresAt": "1970-01-01T00:17:40.000Z"}])
def test_token_is_reused_until_shortly_before_its_expiry(http: responses.RequestsMock, message: dict[str, Any]) -> None:
    """The expiry of the envelope, or of the identity in it."""
    now = [1000.0]
    ttl = None if message else 60_000
    for step, answer in ANSWERS.items():
        http.post(BASE + step, json=answer if step != EXCHANGE else {"token": bearer(ttl, **message)})
    login = Login(BASE, KEY, margin=10.0, now=lambda: now[0])
    for moment, logins in [(1000.0, 1), (1049.0, 1), (1050.0, 2)]:
        now[0] = moment
        login.token()
        assert len(http.calls) == 3 * logins


def test_refused_token_is_dropped(http: responses.RequestsMock) -> None:
    """Another token may help only if the refused one was not new."""
    mock_all(http)
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


def test_refreshed_token_is_taken_over(http: responses.RequestsMock) -> None:
    """An older or malformed token is ignored."""
    mock_all(http)
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


def test_concurrent_threads_share_one_login(http: responses.RequestsMock) -> None:
    """One thread logs in, the others wait for the result."""
    mock_all(http)
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
    """Call an action and ignore its exceptions."""
    with contextlib.suppress(Exception):
        action()


def test_waiting_for_another_login_has_a_deadline() -> None:
    """And ends as soon as ``should_continue`` returns false."""
    over = threading.Event()
    with ByteServer(lambda peer: bool(peer.read_header()) and over.wait(scaled(5))) as server:
        login = Login(f"http://127.0.0.1:{server.port}", KEY, timeout=scaled(5))
        first = threading.Thread(target=lambda: suppressed(login.token))
        first.start()
        while not server.accepted:
            over.wait(0.01)
        with pytest.raises(LoginTimeout, match=r"timed out after 0\.05 s waiting for another authentication to finish"):
            login.token(0.05)
        with pytest.raises(LoginTimeout):
            login.token(should_continue=lambda: False)
        over.set()
        first.join(scaled(10))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_fork_during_a_login_does_not_block_the_child(http: responses.RequestsMock) -> None:
    """The child has a lock of its own."""
    mock_all(http)
    login = Login(BASE, KEY)
    with login._exclusive(_deadline()):
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
        ({"key": KeyPair.from_public(KEY.public)}, "key must have a private part"),
        ({"key": "s3cret"}, "private key"),
        ({"timeout": -1}, "timeout"),
        ({"margin": "x"}, "margin"),
        ({"scopes": "all"}, "scopes"),
        ({"scopes": None}, "scopes must be a list of strings"),
        ({"scopes": [5]}, "scopes must be a list of strings"),
        ({"session": 5}, "session must be a requests.Session or None, not int"),
        ({"role": None}, "role must be str, not NoneType"),
        ({"user_id": 5}, "user_id must be a str or None, not 5"),
        ({"source": 5}, "source must be a str or None, not 5"),
        ({"proxy": "socks5://u:s3cret@x:1"}, "proxy must be an http:// URL"),
        ({"proxy": "http://u:s3cret@"}, "proxy"),
        ({"proxy": "http://x:1", "session": requests.Session()}, "proxy must be left out"),
    ],
)
def test_invalid_option_is_named(options: dict[str, Any], words: str) -> None:
    """The error never contains a value that may be a secret."""
    with pytest.raises(ValueError, match=words) as caught:
        Login(**{"base_url": BASE, "key": KEY, **options})
    assert "s3cret" not in str(caught.value)


def test_login_over_unencrypted_http_warns() -> None:
    """Loopback is exempt."""
    with pytest.warns(InsecureTransportWarning, match="login over unencrypted HTTP to auth.example"):
        Login("http://auth.example", KEY)


@pytest.mark.parametrize("fails", [lambda text: (500, {}, text), lambda text: (200, {}, text)])
def test_no_error_contains_a_secret(
    http: responses.RequestsMock, fails: Callable[[str], tuple[int, dict[str, str], str]]
) -> None:
    """Not even if the server repeats it; neither does the chain of the error."""
    http.post(BASE + INIT, json=ANSWERS[INIT])
    http.post(BASE + AUTHENTICATE, json=ANSWERS[AUTHENTICATE])
    http.add_callback(responses.POST, BASE + EXCHANGE, lambda request: fails(f"bad {request.body!r}"))
    with pytest.raises(AuthError) as caught:
        Login(BASE, KEY).token()
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__dict__)
    assert STEPS["2 one-time token"]["token"] not in shown
    assert KEY.private.partition(":")[2] not in shown
    assert KEY.private.partition(":")[2] not in repr(Login(BASE, KEY))


# -- proxies and the environment ---------------------------------------------------------------------------------------


def answer_steps(peer: RawPeer) -> None:
    """Answer the steps of a login, one connection after the other."""
    for answer in ANSWERS.values():
        header = peer.read_header()
        peer.read(int(header_of(header, "content-length")))
        body = json.dumps(answer).encode()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        requests_seen.append(header)


requests_seen: list[str] = []


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> pytest.MonkeyPatch:
    """Clear the proxies of the environment, and set a .netrc with a password for every host."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    requests_seen.clear()
    return monkeypatch


def test_nothing_of_the_environment_is_used(environment: pytest.MonkeyPatch) -> None:
    """No proxy that nobody named, and no password of a .netrc file."""
    environment.setenv("http_proxy", "http://127.0.0.1:1")
    with ByteServer(answer_steps) as server:
        assert Login(f"http://127.0.0.1:{server.port}", KEY).token() == STEPS["3 bearer"]
    assert len(requests_seen) == 3
    assert not [header for header in requests_seen if header_of(header, "authorization")]


@pytest.mark.parametrize("proxy", ["http://me:s3cret@127.0.0.1:{port}", "127.0.0.1:{port}", "env"])
def test_a_login_goes_through_the_proxy_that_was_named(environment: pytest.MonkeyPatch, proxy: str) -> None:
    """By its URL, with a scheme or without, or as the one of the environment."""
    with ByteServer(answer_steps) as server:
        environment.setenv("http_proxy", f"127.0.0.1:{server.port}")
        with pytest.warns(InsecureTransportWarning):
            login = Login("http://auth.invalid", KEY, proxy=proxy.format(port=server.port))
        assert login.token() == STEPS["3 bearer"]
    assert requests_seen[0].startswith(f"POST http://auth.invalid{INIT} ")
    assert bool(header_of(requests_seen[0], "proxy-authorization")) is ("s3cret" in proxy)
    assert not header_of(requests_seen[0], "authorization")
    assert "s3cret" not in repr(login)


# -- servers that never finish -----------------------------------------------------------------------------------------


def drip_forever(over: threading.Event) -> Callable[[RawPeer], None]:
    """Return a script that sends a header, byte by byte, until its end is set."""

    def script(peer: RawPeer) -> None:
        peer.read_header()
        with contextlib.suppress(OSError):
            peer.send(b"HTTP/1.1 200 OK\r\nX: ")
            while not over.wait(0.01):
                peer.send(b"x")

    return script


def login_threads() -> list[threading.Thread]:
    """Return the threads on which logins run."""
    return [thread for thread in threading.enumerate() if thread.name == "owlsocket-login"]


@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
def test_a_dripping_server_costs_no_thread_and_no_socket(encrypted: bool) -> None:
    """Each attempt ends at its deadline, with all that it began; over TLS, a handshake that never ends."""
    over = threading.Event()
    script = (lambda peer: over.wait(scaled(10))) if encrypted else drip_forever(over)
    with ByteServer(script) as server:
        login = Login(f"{'https' if encrypted else 'http'}://127.0.0.1:{server.port}", KEY, timeout=0.1)
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        for _ in range(3):
            with pytest.raises(LoginTimeout):
                login.token()
        end = time.monotonic() + scaled(2)
        while login_threads() and time.monotonic() < end:
            time.sleep(0.01)
        assert not login_threads()
        # The ends of the server are in this process as well: what it accepted is still open there.
        opened = len(os.listdir("/proc/self/fd")) - before if before else 0
        assert opened <= server.accepted
        over.set()


def test_a_session_of_the_users_leaves_a_bounded_number_of_threads() -> None:
    """Its sockets are not ours to close: past the bound an attempt waits for one of them, and times out."""
    over = threading.Event()
    with ByteServer(drip_forever(over)) as server, requests.Session() as session:
        login = Login(f"http://127.0.0.1:{server.port}", KEY, session=session, timeout=scaled(0.2))
        for _ in range(MAX_ABANDONED + 3):
            with pytest.raises(LoginTimeout):
                login.token()
        assert len(login_threads()) == MAX_ABANDONED
        over.set()
