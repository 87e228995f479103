"""HTTP requests with a signature, or with the token of a login."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
import requests
import responses

from owlsocket_sync.auth import Envelope, KeyPair, Login, SignatureAuth, TokenAuth
from owlsocket_sync.errors import AuthMalformed
from support.helpers import load

KEY = KeyPair.parse(load("keys.json")["key"]["export"])
URL = "https://api.example/signed"
LOGIN = "https://auth.example"


def prepared(auth: SignatureAuth, **options: Any) -> requests.PreparedRequest:
    """Return a prepared request."""
    return requests.Request("POST", URL, auth=auth, **options).prepare()


@pytest.mark.parametrize(
    ("options", "signed_body"),
    [
        ({"json": {"b": 1, "a": "ż"}}, {"body": {"a": "ż", "b": 1}}),
        ({"json": []}, {"body": []}),
        ({"data": '{"x": null}'}, {"body": {"x": None}}),
        ({"data": "null"}, {"body": {}}),
        ({}, {"body": {}}),
    ],
)
def test_signature_covers_body_time_and_nonce(options: dict[str, Any], signed_body: dict[str, Any]) -> None:
    """As canonical JSON; no body counts as an empty object, which is what the services of the reference verify."""
    auth = SignatureAuth(KEY, "service-1", now=lambda: 1_700_000_000.25, nonce=lambda: "nonce-of-16-char")
    request = prepared(auth, **options)
    signed = {"x-auth-time": "2023-11-14T22:13:20.250Z", "x-auth-nonce": "nonce-of-16-char"}
    assert {name: request.headers[name] for name in signed} == signed
    found = re.fullmatch(
        r"ED25519-BASIC-SIGNATURE Credential=(\S+) Signature=(\S+)", str(request.headers["authorization"])
    )
    assert found
    assert found[1] == "service-1"
    assert KEY.verify({**signed_body, "headers": signed}, found[2])


def test_each_request_has_a_new_nonce() -> None:
    """Of 16 characters; the default ID is the address of the key, and the key is never shown."""
    auth = SignatureAuth(KEY.private)
    nonces = {str(prepared(auth, json=1).headers["x-auth-nonce"]) for _ in range(50)}
    assert len(nonces) == 50
    assert all(re.fullmatch("[A-Za-z0-9]{16}", nonce) for nonce in nonces)
    assert f"Credential={KEY.address} " in str(prepared(auth).headers["authorization"])
    assert KEY.private.partition(":")[2] not in repr(auth)


@pytest.mark.parametrize(("body", "words"), [("no json", "not JSON"), (io.BytesIO(b"{}"), "stream")])
def test_only_json_bodies_are_signed(body: Any, words: str) -> None:
    """A stream is rejected too: it can be read only once."""
    with pytest.raises(AuthMalformed, match=words):
        prepared(SignatureAuth(KEY), data=body)


def bearer(dt: float) -> str:
    """Return a token without an expiry."""
    return Envelope("ed25519-basic-token", "m", dt=dt, ttl=None).sign(KEY).tokenize()


def test_login_token_is_sent_and_refreshed() -> None:
    """One login serves many requests; a refused token is dropped."""
    challenge = Envelope("basic-ed25519", "text").sign(KEY).wrap()
    with responses.RequestsMock() as http:
        http.post(f"{LOGIN}/authentication/init", json={"challenge": challenge})
        http.post(f"{LOGIN}/authentication/authenticate", json={"token": bearer(0)})
        http.post(f"{LOGIN}/authenticate", json={"token": bearer(1)})
        http.get(URL, headers={"auth-token-refresh": bearer(2)})
        auth = TokenAuth(Login(LOGIN, KEY))
        for _ in range(2):
            requests.get(URL, auth=auth, timeout=5)
        sent = [call.request.headers["authorization"] for call in http.calls if call.request.url == URL]
        assert sent == [f"ED25519-BASIC-TOKEN {bearer(1)}", f"ED25519-BASIC-TOKEN {bearer(2)}"]
        http.replace(responses.GET, URL, status=401)
        requests.get(URL, auth=auth, timeout=5)
        requests.get(URL, auth=auth, timeout=5)
        steps = [json.loads(call.request.body or b"") for call in http.calls if call.request.method == "POST"]
        assert len(steps) == 6


def log_in(http: responses.RequestsMock) -> Login:
    """Return a login that has a token."""
    challenge = Envelope("basic-ed25519", "text").sign(KEY).wrap()
    http.post(f"{LOGIN}/authentication/init", json={"challenge": challenge})
    http.post(f"{LOGIN}/authentication/authenticate", json={"token": bearer(0)})
    http.post(f"{LOGIN}/authenticate", json={"token": bearer(1)})
    login = Login(LOGIN, KEY)
    login.token()
    return login


@pytest.mark.parametrize(
    "answer", [{"headers": {"auth-token-refresh": bearer(2)}}, {"status": 401}], ids=["refresh", "refusal"]
)
def test_only_the_host_that_got_the_token_replaces_or_refuses_it(answer: dict[str, Any]) -> None:
    """A redirect leads to another host, which does not get the token."""
    with responses.RequestsMock() as http:
        login = log_in(http)
        http.get(URL, status=302, headers={"location": "https://elsewhere.example/x"})
        http.get("https://elsewhere.example/x", **answer)
        requests.get(URL, auth=TokenAuth(login), timeout=5)
        assert "authorization" not in http.calls[-1].request.headers
        assert login.token(reuse=True) == f"ED25519-BASIC-TOKEN {bearer(1)}"


def test_a_redirect_on_the_same_host_keeps_token_and_refresh() -> None:
    """That host got the token."""
    with responses.RequestsMock() as http:
        login = log_in(http)
        http.get(URL, status=302, headers={"location": "/moved"})
        http.get("https://api.example/moved", headers={"auth-token-refresh": bearer(2)})
        requests.get(URL, auth=TokenAuth(login), timeout=5)
        assert login.token(reuse=True) == f"ED25519-BASIC-TOKEN {bearer(2)}"
