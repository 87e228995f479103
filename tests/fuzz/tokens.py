"""Readers of what proves who somebody is: envelopes, keys, tokens at the door, and steps on the socket."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime, timezone
from functools import cache, partial
from typing import Any, TypeVar

from fuzz.target import Target, as_text, pure
from fuzz.texts import JSON_WORDS
from owlsocket_sync.auth import Auth, Authority, Envelope, Guard, KeyPair
from owlsocket_sync.errors import AuthError, AuthMalformed
from owlsocket_sync.server import Request
from support.helpers import load

LOGIN = load("login.json")
KEYS = load("keys.json")
ISSUER = KeyPair.parse(LOGIN["keys"]["authSrv"]["export"])
SERVICE = KeyPair.parse(LOGIN["keys"]["app"]["export"])
STEPS = LOGIN["steps"]
FIRST_MOMENT = 1_795_464_758.7
"""When the recorded login took place."""

HERE = ("127.0.0.1", 1)
KNOCKS: tuple[tuple[dict[str, str], dict[str, str]], ...] = (
    ({"token": "%s"}, {}),
    ({}, {"authorization": "%s"}),
    ({}, {"authorization": "ED25519-BASIC-TOKEN %s"}),
)
"""Where a token may stand: in the query, in the header as it is, in the header behind its scheme."""

Read = TypeVar("Read")


@cache
def _guard() -> Guard:
    authority = Authority(ISSUER, [LOGIN["keys"]["user"]["exportPublic"]], now=lambda: FIRST_MOMENT)
    return Guard(ISSUER, authority=authority, required=False, now=lambda: FIRST_MOMENT)


def _or(kind: type[Exception], read: Callable[[], Read], secret: str = "") -> Read | None:
    """What was read, or nothing where it was refused with this kind of error, which does not repeat what it was."""
    try:
        return read()
    except kind as error:
        assert len(secret) < 16 or secret not in str(error)
        return None


def read_token(data: bytes) -> None:
    """Any text as an envelope, a key, and a token: `AuthMalformed`, and at the door `AuthError`."""
    text = as_text(data)
    for envelope in (
        _or(AuthMalformed, lambda: Envelope.untokenize(text), text),
        _or(AuthMalformed, lambda: Envelope.unwrap(text), text),
    ):
        if envelope is not None:
            _use(envelope)
    for read in (KeyPair.parse, KeyPair.from_public):
        key = _or(AuthMalformed, partial(read, text), text)
        if key is not None:
            assert key.address
            assert not key.verify(b"data", text)
    for query, headers in KNOCKS:
        request = Request("/", _with(text, query), _with(text, headers), HERE)
        who = _or(AuthError, partial(_guard().admit, request))
        assert who is None or isinstance(who, Auth)
    assert not ISSUER.verify("what it says", text)


def _with(text: str, forms: dict[str, str]) -> dict[str, str]:
    return {name: form % text for name, form in forms.items()}


def _use(envelope: Envelope) -> None:
    """Whatever was read can be asked, shown, and written again as the very same."""
    assert envelope.verify(ISSUER) in (True, False)
    assert envelope.expired() in (True, False)
    assert repr(envelope)
    envelope.message()
    written = _or(AuthMalformed, envelope.tokenize)
    if written is not None:
        assert Envelope.untokenize(written) == envelope


def read_envelope(data: bytes) -> None:
    """Any bytes in the place of an envelope's JSON."""
    read_token(base64.urlsafe_b64encode(data).rstrip(b"="))
    read_token(base64.b64encode(data))


def read_vouched(data: bytes) -> None:
    """Any JSON as what a token says that is signed by somebody who is trusted: confused, but no stranger."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        content = as_text(data)
    for kind in ("ed25519-basic-token", "one-time-token"):
        for ttl in (None, 900_000):
            token = _or(AuthMalformed, partial(_vouched, kind, ttl, content))
            if token is None:
                continue
            auth = _or(AuthError, partial(_guard().verify, token))
            if auth is not None:
                assert repr(auth)
                assert auth.to_dict()["userId"] == auth.user_id


def _vouched(kind: str, ttl: float | None, content: object) -> str:
    return Envelope(kind, dt=int(FIRST_MOMENT * 1000)).send(content, ttl=ttl).sign(ISSUER).tokenize()


def read_step(data: bytes) -> None:
    """Any payload of any step of authentication on a socket: an answer, or `AuthError`."""
    try:
        payload: Any = json.loads(data)
    except (ValueError, RecursionError):
        payload = as_text(data)
    for stage in ("init", "authenticate", "authenticated", as_text(data)[:20]):
        step = _or(AuthError, partial(_guard().answer, stage, payload))
        assert step is None or step.stage


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _tokens() -> list[bytes]:
    texts = [*_texts(STEPS), *_texts(KEYS["key"]), *_texts(KEYS["other"]), *_texts(load("envelope.json")["cases"])]
    return sorted({text.encode() for text in texts if 16 < len(text) < 4000})


def _objects(*kinds: type) -> list[bytes]:
    found: list[bytes] = []
    for value in [*STEPS.values(), *(case["envelope"] for case in load("envelope.json")["cases"])]:
        if isinstance(value, kinds):
            found.append(json.dumps(value).encode())
    return found


def _spoken() -> list[bytes]:
    """What tokens of the recorded login say, and payloads of steps."""
    bearer = {"token": STEPS["2 one-time token"]["token"]}
    contents = [Envelope.untokenize(bearer["token"]).message(), {"type": "basic-ed25519"}, bearer]
    whole = Auth(
        token="n" * 44,
        user_id="u",
        role="user",
        type="ed25519-basic-token",
        is_user=True,
        created_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
        scopes=["*"],
    ).to_dict()
    more = {
        "permissions": [{"scope": "s", "permissions": {"read": True}}],
        "attributes": [{"scope": "s", "attributes": []}],
    }
    contents += [whole, {**whole, **more, "expiresAt": "2099-01-01T00:00:00.000Z", "extra": 1, "user_id": None}]
    return [json.dumps(content).encode() for content in contents] + _objects(dict)


TOKEN_WORDS = (
    b"ED25519-BASIC-TOKEN ",
    b"ed25519:",
    b"=",
    b"==",
    b"-",
    b"_",
    b"+",
    b"/",
    b" ",
    b"A" * 43,
    b"\xc3\xa4",
    b"e30",
    b"W10",
)
FIELD_WORDS = (
    *JSON_WORDS,
    *(
        b'"%s"' % word
        for word in b"t msg dt ttl sig token userId role isUser createdAt expiresAt scopes permissions".split()
    ),
    *(
        b'"%s":' % word
        for word in b"extra groups attributes permissioned source challenge credential user_id type".split()
    ),
    b'"2026-13-01T00:00:00Z"',
    b'"9999-12-31T23:59:59-14:00"',
    b'"blocked"',
    b"9007199254740993",
    b'"basic-ed25519"',
)

TARGETS: tuple[Target, ...] = (
    pure("token", read_token, _tokens, TOKEN_WORDS),
    pure("envelope", read_envelope, lambda: _objects(dict), FIELD_WORDS),
    pure("vouched", read_vouched, _spoken, FIELD_WORDS),
    pure("step", read_step, _spoken, FIELD_WORDS),
)
