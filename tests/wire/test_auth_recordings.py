"""Recorded authentication: errors that a client reports, and tokens that a server must reject."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import responses

from owlsocket_sync import (
    AuthenFailed,
    AuthenticationStage,
    AuthError,
    AuthFailedError,
    ResilientError,
    SocketConnectionError,
    connect,
)
from owlsocket_sync.auth import Authority, Envelope, Guard, KeyPair, Login, StageLogin
from owlsocket_sync.auth.claims import Claim
from owlsocket_sync.server import serve
from support.helpers import VECTORS
from support.sockets import ByteServer, RawPeer

KEYS = json.loads((VECTORS / "login.json").read_text())["keys"]
APP, AUTH_SERVICE, USER = (KeyPair.parse(KEYS[name]["export"]) for name in ("app", "authSrv", "user"))


def rows(name: str) -> list[dict[str, Any]]:
    """Return the rows of a recording."""
    lines = (VECTORS / "recordings" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def answers(name: str) -> list[str]:
    """Return the HTTP responses in a recording."""
    return [row["raw"] for row in rows(name) if row["dir"] == "s2c" and row.get("http")]


REFUSALS = sorted({raw for raw in answers("http-login-errors") if not raw.startswith("HTTP/1.1 2")})


@pytest.mark.parametrize("raw", REFUSALS, ids=lambda raw: re.sub(r"\s+", " ", raw.partition("\r\n\r\n")[2])[:60])
def test_recorded_login_refusal_is_an_auth_error(raw: str) -> None:
    """With status and message, in every format; the step is not repeated."""
    header, _, body = raw.partition("\r\n\r\n")
    status = int(header.split()[1])
    with responses.RequestsMock() as http:
        http.post("https://auth.example/authentication/init", status=status, body=body)
        with pytest.raises(AuthError) as caught:
            Login("https://auth.example", USER).token()
        assert len(http.calls) == 1
    error = caught.value
    assert (error.step, error.status, error.retryable) == ("/authentication/init", status, False)
    text = json.loads(body)["message"] if body.startswith("{") else body.split("|||")[1 if body[:4] == "Auth" else 0]
    assert text in error.message
    if body.startswith("Auth"):
        assert error.type == body.split("|||")[0]


@pytest.mark.parametrize(
    ("name", "kind", "status", "retryable"),
    [
        ("ws-full-guarded-none", AuthFailedError, 401, False),
        ("ws-full-guarded-query", AuthFailedError, 401, False),
        ("ws-full-guarded-badsig", AuthFailedError, 401, False),
        ("ws-full-guarded-bad", SocketConnectionError, 500, True),
        ("ws-full-missing", SocketConnectionError, 404, False),
    ],
)
def test_recorded_handshake_refusal_keeps_its_class(
    name: str, kind: type[Exception], status: int, retryable: bool
) -> None:
    """The client of the reference waits without end."""
    raw = answers(name)[0].encode()
    raw = re.sub(rb"(?i)content-length: \d+", b"content-length: %d" % len(raw.partition(b"\r\n\r\n")[2]), raw)

    def refuse(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(raw)

    with ByteServer(refuse) as server, pytest.raises(kind) as caught:
        connect(server.url, reconnect=None)
    assert (getattr(caught.value, "status", None), getattr(caught.value, "retryable", None)) == (status, retryable)


def recorded_refusal(step: str) -> str:
    """Return type and message of the refusal that follows a note in the recording of login errors."""
    recorded = rows("http-login-errors")
    [place] = [place for place, row in enumerate(recorded) if row.get("kind", "").startswith(step)]
    body = next(row["raw"] for row in recorded[place:] if row["dir"] == "s2c").partition("\r\n\r\n")[2]
    return "|||".join(body.split("|||")[:2])


def test_challenge_is_refused_with_the_recorded_messages() -> None:
    """A wrong signature and a challenge that was used up differ by the message, as recorded."""
    authority = Authority(AUTH_SERVICE, [USER])
    credentials = Claim(USER).sign_challenge(authority.init({"type": "basic-ed25519"})["challenge"])
    for step, credential in (
        ("next: authenticate, wrong signature", USER.sign("another text")),
        ("next: authenticate, same challenge again", credentials["credential"]),
    ):
        with pytest.raises(AuthenFailed) as caught:
            authority.authenticate({**credentials, "credential": credential})
        assert caught.value.marshal() == recorded_refusal(step)


def token_in(name: str) -> str:
    """Return the token of a recorded client."""
    [url] = [row["value"]["url"] for row in rows(name) if row.get("kind") == "connection"]
    return str(url).partition("token=")[2]


@pytest.mark.parametrize(("name", "profile"), [("token-valid", "profile-1"), ("token-no-profile", None)])
def test_recorded_valid_token_is_accepted(name: str, profile: str | None) -> None:
    """Only if its issuer is trusted."""
    auth = Guard(APP.public).verify(token_in(name))
    assert (auth.user_id, auth.profile_id) == ("user-1", profile)
    with pytest.raises(AuthError):
        Guard(AUTH_SERVICE).verify(token_in(name))


@pytest.mark.parametrize(
    "name", ["token-forged", "token-unsigned", "token-expired", "token-garbage", "token-credentials"]
)
def test_recorded_invalid_token_is_rejected(name: str) -> None:
    """The reference accepted all of them."""
    with serve(lambda conn, request: None, authenticate=Guard([APP, AUTH_SERVICE])) as server:
        with pytest.raises(AuthError) as caught:
            connect(server.url, token=token_in(name))
        assert getattr(caught.value, "status", None) == 401


def test_recorded_socket_flow_gets_explicit_errors() -> None:
    """A challenge for a valid request; an error with a reason where the reference has none, or does not respond."""
    asked = [json.loads(row["raw"]) for row in rows("ws-full-rely") if row["dir"] == "c2s" and not row.get("http")]
    assert [message["stage"] for message in asked] == ["init", "authenticated", "allowence", "init"]
    guard = Guard(authority=Authority(APP, [USER]), required=False)
    with serve(lambda conn, request: None, authenticate=guard) as server, connect(server.url) as conn:
        challenge = conn.auth(asked[0]["stage"], asked[0]["payload"])["challenge"]
        assert Envelope.unwrap(challenge).type == "basic-ed25519"
        for step, words in zip(
            asked[1:], ["not authenticated", "stage 'allowence' is not supported", "nope"], strict=True
        ):
            with pytest.raises(AuthError, match=words):
                conn.auth(step["stage"], step["payload"])


def test_recorded_forged_identity_is_rejected() -> None:
    """Neither an identity object nor a token of an untrusted key is accepted; each error has a reason."""
    asked = [json.loads(row["raw"]) for row in rows("auth-real-hook") if row["dir"] == "c2s" and '"auth"' in row["raw"]]
    assert any(message["payload"].get("isUser") for message in asked)
    guard = Guard([APP, AUTH_SERVICE], required=False)
    with serve(lambda conn, request: None, authenticate=guard) as server, connect(server.url) as conn:
        for step in asked:
            with pytest.raises(ResilientError) as caught:
                conn.auth(step["stage"], step["payload"])
            assert isinstance(caught.value, AuthError)
            assert "without a reason" not in str(caught.value)
        assert all(connection.auth_info is None for connection in server.connections)


def test_recorded_bearer_token_is_returned_unchanged() -> None:
    """As the client of the reference received it, with or without its scheme."""
    [answer] = [
        json.loads(row["raw"])
        for row in rows("auth-real-hook-bare")
        if row["dir"] == "s2c" and '"token":"eyJ' in row["raw"]
    ]

    def play(conn: Any, request: Any) -> None:
        conn.authenticate = lambda stage, payload: (answer["stage"], answer["payload"])

    with serve(play) as server, connect(server.url, wait=True) as conn:
        assert conn.auth(AuthenticationStage.AUTHENTICATE, {"token": "one-time"}) == answer["payload"]
        assert conn.stage is AuthenticationStage.AUTHENTICATED
        with pytest.raises(AuthError, match="contains no challenge"):
            StageLogin(USER)(conn)
