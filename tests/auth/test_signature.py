"""Requests of one's own over HTTP: signed, or with the token of a login."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
import requests
import responses
from helpers import load

from owlsocket_sync.auth import Envelope, KeyPair, Login, SignatureAuth, TokenAuth
from owlsocket_sync.errors import AuthMalformed

KEY = KeyPair.parse(load("keys.json")["key"]["export"])
URL = "https://api.example/signed"
LOGIN = "https://auth.example"


def prepared(auth: SignatureAuth, **options: Any) -> requests.PreparedRequest:
    """A request as it would leave."""
    return requests.Request("POST", URL, auth=auth, **options).prepare()


@pytest.mark.parametrize(
    ("options", "signed_body"),
    [
        ({"json": {"b": 1, "a": "ż"}}, {"body": {"a": "ż", "b": 1}}),
        ({"json": []}, {"body": []}),
        ({"data": '{"x": null}'}, {"body": {"x": None}}),
        ({}, {}),
    ],
)
def test_a_request_is_signed_with_a_time_and_a_nonce(options: dict[str, Any], signed_body: dict[str, Any]) -> None:
    """Over the canonical JSON of its body and of those two."""
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


def test_each_request_has_a_nonce_of_its_own() -> None:
    """Of 16 characters; without an id the address of the key is named, and the key never."""
    auth = SignatureAuth(KEY.private)
    nonces = {str(prepared(auth, json=1).headers["x-auth-nonce"]) for _ in range(50)}
    assert len(nonces) == 50
    assert all(re.fullmatch("[A-Za-z0-9]{16}", nonce) for nonce in nonces)
    assert f"Credential={KEY.address} " in str(prepared(auth).headers["authorization"])
    assert KEY.private.partition(":")[2] not in repr(auth)


@pytest.mark.parametrize(("body", "words"), [("no json", "no JSON"), (io.BytesIO(b"{}"), "stream")])
def test_what_is_no_json_cannot_be_signed(body: Any, words: str) -> None:
    """Nor can a stream: it could be read once only."""
    with pytest.raises(AuthMalformed, match=words):
        prepared(SignatureAuth(KEY), data=body)


def bearer(dt: float) -> str:
    """A token that names no end."""
    return Envelope("ed25519-basic-token", "m", dt=dt, ttl=None).sign(KEY).tokenize()


def test_the_token_of_a_login_goes_along_and_comes_back_newer() -> None:
    """One login for many requests; a token that is refused is forgotten."""
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
