"""Authentication as it was recorded: what a client gets told, and what a server must not believe."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import responses
from helpers import VECTORS
from sockets import ByteServer, RawPeer

from owlsocket_sync import (
    AuthenticationStage,
    AuthError,
    AuthFailedError,
    ResilientError,
    SocketConnectionError,
    connect,
)
from owlsocket_sync.auth import Authority, Envelope, Guard, KeyPair, Login, StageLogin
from owlsocket_sync.server import serve

KEYS = json.loads((VECTORS / "login.json").read_text())["keys"]
APP, AUTH_SERVICE, USER = (KeyPair.parse(KEYS[name]["export"]) for name in ("app", "authSrv", "user"))


def rows(name: str) -> list[dict[str, Any]]:
    """A recording."""
    lines = (VECTORS / "recordings" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def answers(name: str) -> list[str]:
    """The HTTP answers in a recording."""
    return [row["raw"] for row in rows(name) if row["dir"] == "s2c" and row.get("http")]


REFUSALS = sorted({raw for raw in answers("http-login-errors") if not raw.startswith("HTTP/1.1 2")})


@pytest.mark.parametrize("raw", REFUSALS, ids=lambda raw: re.sub(r"\s+", " ", raw.partition("\r\n\r\n")[2])[:60])
def test_every_recorded_refusal_of_a_login_is_an_auth_error(raw: str) -> None:
    """With its status and its words, whatever its shape; and nobody asks again."""
    header, _, body = raw.partition("\r\n\r\n")
    status = int(header.split()[1])
    with responses.RequestsMock() as http:
        http.post("https://auth.example/authentication/init", status=status, body=body)
        with pytest.raises(AuthError) as caught:
            Login("https://auth.example", USER).token()
        assert len(http.calls) == 1
    error = caught.value
    assert (error.step, error.status, error.retryable) == ("/authentication/init", status, False)
    told = json.loads(body)["message"] if body.startswith("{") else body.split("|||")[1 if body[:4] == "Auth" else 0]
    assert told in error.message
    if body.startswith("Auth"):
        assert error.type == body.split("|||")[0]


@pytest.mark.parametrize(
    ("name", "kind", "status", "retryable"),
    [
        ("ws-full-guarded-none", AuthFailedError, 401, False),
        ("ws-full-guarded-query", AuthFailedError, 401, False),
        ("ws-full-guarded-badsig", AuthFailedError, 401, False),
        ("ws-full-guarded-bad", SocketConnectionError, 500, True),
        ("ws-full-missing", SocketConnectionError, 404, True),
    ],
)
def test_a_recorded_refusal_of_the_upgrade_is_told_as_what_it_is(
    name: str, kind: type[Exception], status: int, retryable: bool
) -> None:
    """Where the reference's client waits for ever."""
    raw = answers(name)[0].encode()
    raw = re.sub(rb"(?i)content-length: \d+", b"content-length: %d" % len(raw.partition(b"\r\n\r\n")[2]), raw)

    def refuse(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(raw)

    with ByteServer(refuse) as server, pytest.raises(kind) as caught:
        connect(server.url, reconnect=None)
    assert (getattr(caught.value, "status", None), getattr(caught.value, "retryable", None)) == (status, retryable)


def token_in(name: str) -> str:
    """The token with which a recorded client came."""
    [url] = [row["value"]["url"] for row in rows(name) if row.get("kind") == "connection"]
    return str(url).partition("token=")[2]


@pytest.mark.parametrize(("name", "profile"), [("token-valid", "profile-1"), ("token-no-profile", None)])
def test_a_recorded_token_that_holds_is_believed(name: str, profile: str | None) -> None:
    """By whoever trusts its issuer, and by nobody else."""
    auth = Guard(APP.public).verify(token_in(name))
    assert (auth.user_id, auth.profile_id) == ("user-1", profile)
    with pytest.raises(AuthError):
        Guard(AUTH_SERVICE).verify(token_in(name))


@pytest.mark.parametrize(
    "name", ["token-forged", "token-unsigned", "token-expired", "token-garbage", "token-credentials"]
)
def test_a_recorded_token_that_proves_nothing_is_refused(name: str) -> None:
    """All of them were let in by the reference."""
    with serve(lambda conn, request: None, authenticate=Guard([APP, AUTH_SERVICE])) as server:
        with pytest.raises(AuthError) as caught:
            connect(server.url, token=token_in(name))
        assert getattr(caught.value, "status", None) == 401


def test_the_recorded_flow_on_a_socket_gets_better_answers() -> None:
    """A challenge for whom asks rightly; a reason, or any answer at all, where the reference has none."""
    asked = [json.loads(row["raw"]) for row in rows("ws-full-rely") if row["dir"] == "c2s" and not row.get("http")]
    assert [one["stage"] for one in asked] == ["init", "authenticated", "allowence", "init"]
    guard = Guard(authority=Authority(APP, [USER]), required=False)
    with serve(lambda conn, request: None, authenticate=guard) as server, connect(server.url) as conn:
        challenge = conn.auth(asked[0]["stage"], asked[0]["payload"])["challenge"]
        assert Envelope.unwrap(challenge).type == "basic-ed25519"
        for step, words in zip(asked[1:], ["nobody is authenticated", "stage:allowence", "unknown:nope"], strict=True):
            with pytest.raises(AuthError, match=words):
                conn.auth(step["stage"], step["payload"])


def test_what_the_recorded_hook_believed_is_not_believed() -> None:
    """Neither an object that says who it is, nor a stranger's token; each refusal says why."""
    asked = [json.loads(row["raw"]) for row in rows("auth-real-hook") if row["dir"] == "c2s" and '"auth"' in row["raw"]]
    assert any(one["payload"].get("isUser") for one in asked)
    guard = Guard([APP, AUTH_SERVICE], required=False)
    with serve(lambda conn, request: None, authenticate=guard) as server, connect(server.url) as conn:
        for step in asked:
            with pytest.raises(ResilientError) as caught:
                conn.auth(step["stage"], step["payload"])
            assert isinstance(caught.value, AuthError)
            assert "without a reason" not in str(caught.value)
        assert all(one.auth_info is None for one in server.connections)


def test_a_recorded_bearer_token_is_given_back_by_a_server() -> None:
    """As the client of the reference got it, with or without its scheme."""
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
        with pytest.raises(AuthError, match="holds no challenge"):
            StageLogin(USER)(conn)
