"""Guards: nobody comes in who did not prove who they are."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pytest
from helpers import load, scaled
from websockets.datastructures import Headers

from owlsocket_sync import AuthenticationStage
from owlsocket_sync.auth import Authority, Envelope, Guard, KeyPair, Spent, User
from owlsocket_sync.auth.proof import Claim
from owlsocket_sync.errors import (
    AuthenFailed,
    AuthenPayloadError,
    AuthError,
    AuthFailedError,
    AuthForbidden,
    AuthMalformed,
    AuthManagerUnsupported,
    AuthUnknown,
)
from owlsocket_sync.server import Request

RECORDED = load("login.json")
ISSUER = KeyPair.parse(RECORDED["keys"]["app"]["export"])
AUTH_SERVICE = KeyPair.parse(RECORDED["keys"]["authSrv"]["export"])
USER = KeyPair.parse(RECORDED["keys"]["user"]["export"])
STRANGER = KeyPair.parse(RECORDED["keys"]["other"]["export"])
BEARER: str = RECORDED["steps"]["3 bearer"]
ONE_TIME: str = RECORDED["steps"]["2 one-time token"]["token"]
THEN = RECORDED["steps"]["2 envelope"]["dt"] / 1000
INIT, ALLOWENCE, AUTHENTICATE, AUTHENTICATED = (
    AuthenticationStage.INIT,
    AuthenticationStage.ALLOWENCE,
    AuthenticationStage.AUTHENTICATE,
    AuthenticationStage.AUTHENTICATED,
)


@dataclass
class Knock:
    """The part of a request that a guard looks at."""

    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float = THEN) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    "knock",
    [
        Knock(headers={"authorization": BEARER}),
        Knock(query={"token": BEARER.split()[1]}),
        Knock(query={"token": BEARER}),
        Knock(query={"token": "garbage"}, headers={"authorization": BEARER}),
        Knock(query={"token": BEARER}, headers={"authorization": "Bearer something"}),
    ],
)
def test_a_token_of_the_reference_lets_its_owner_in(knock: Knock) -> None:
    """From the header, or else from the query."""
    auth = Guard(ISSUER.public).admit(knock)
    assert auth is not None
    assert auth.to_dict() == RECORDED["steps"]["3 message (Auth)"]


def token(message: Any = None, kind: str = "ed25519-basic-token", key: KeyPair = ISSUER, **changed: Any) -> str:
    """A bearer token, with something changed."""
    said = {**RECORDED["steps"]["3 message (Auth)"], **changed} if message is None else message
    return Envelope(kind, dt=THEN * 1000).send(said, ttl=1000).sign(key).tokenize()


@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        (token(key=STRANGER), AuthFailedError, "signed by nobody who is trusted"),
        (token(kind="basic-ed25519"), AuthFailedError, "of a type that lets nobody in"),
        (token(message="text"), AuthMalformed, "expected an object, got str"),
        (token(userId=5), AuthMalformed, "Auth.userId: expected text"),
        (token(role="blocked"), AuthForbidden, "blocked"),
        (token(expiresAt="2020-01-01T00:00:00Z"), AuthFailedError, "expired"),
        (token()[:-4], AuthMalformed, "no JSON|base64url"),
        ("x" * 10_000, AuthFailedError, "too long"),
        ("garbage", AuthMalformed, "base64url"),
        (Envelope("ed25519-basic-token").send({"userId": "u"}).tokenize(), AuthFailedError, "signed by nobody"),
    ],
)
def test_what_does_not_hold_lets_nobody_in(bad: str, kind: type[AuthError], words: str) -> None:
    """In the header as in the query; and the error does not repeat it."""
    guard = Guard([AUTH_SERVICE.public, ISSUER], now=Clock())
    for knock in (Knock(query={"token": bad}), Knock(headers={"authorization": f"ED25519-BASIC-TOKEN {bad}"})):
        with pytest.raises(kind, match=words) as caught:
            guard.admit(knock)
        assert bad not in str(caught.value)


def test_a_token_holds_until_its_end() -> None:
    """And the guard tells when that is."""
    clock = Clock()
    guard = Guard(ISSUER, now=clock)
    end = datetime.fromtimestamp(THEN + 1, timezone.utc)
    auth = guard.verify(token())
    assert auth.expires_at == end
    assert guard.verify(token(expiresAt="2090-01-01T00:00:00Z")).expires_at == end
    clock.now = THEN + 1.001
    with pytest.raises(AuthFailedError, match="expired"):
        guard.verify(token())


def test_several_tokens_are_none() -> None:
    """Headers that give no value where there are several do not make the guard fail."""
    headers = Headers([("authorization", BEARER), ("authorization", BEARER)])
    with pytest.raises(AuthFailedError, match="not several"):
        Guard(ISSUER.public).admit(Request("/", {}, headers, ("127.0.0.1", 1)))


@pytest.mark.parametrize("headers", [{}, {"authorization": "ed25519-basic-token x"}, {"authorization": "Bearer x"}])
def test_without_a_token_one_stays_outside_or_proves_it_inside(headers: dict[str, str]) -> None:
    """As the guard was told; the scheme is upper case, exactly."""
    with pytest.raises(AuthFailedError, match="a token is required"):
        Guard(ISSUER).admit(Knock(headers=headers))
    assert Guard(ISSUER, required=False).admit(Knock(headers=headers)) is None


def test_a_one_time_token_of_the_reference_comes_once() -> None:
    """From whatever connection, and whoever is quicker; then it is spent."""
    guard = Guard(AUTH_SERVICE.public, now=Clock())
    outcomes: list[object] = []

    def use() -> None:
        try:
            outcomes.append(guard.verify(ONE_TIME).user_id)
        except AuthError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(5))
    assert sorted(map(str, outcomes)) == ["auth:manager:authen:spent"] * 7 + [USER.address]


def test_a_one_time_token_is_spent_at_every_door() -> None:
    """A guard and the authority behind it share their memory."""
    authority = make_authority()
    claim = Claim(USER)
    one_time = authority.authenticate(claim.answer(authority.init(claim.ask())["challenge"]))
    Guard(authority=authority, now=Clock()).verify(one_time["token"])
    with pytest.raises(AuthenFailed, match="spent"):
        authority.exchange(one_time)


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"now": THEN + 901}, "expired"), ({"key": STRANGER}, "signature"), ({"ttl": None}, "type")],
)
def test_a_one_time_token_that_does_not_hold_is_refused(changed: dict[str, Any], words: str) -> None:
    """Too old, of a stranger, or without an end: it could not be remembered for ever."""
    envelope = Envelope.untokenize(ONE_TIME)
    if "ttl" in changed:
        envelope.ttl = None
    if "key" in changed or "ttl" in changed:
        envelope = envelope.sign(changed.get("key", AUTH_SERVICE))
    with pytest.raises(AuthenFailed, match=words):
        Guard(AUTH_SERVICE, now=Clock(changed.get("now", THEN))).verify(envelope.tokenize())


def test_what_is_spent_is_remembered_until_its_time_is_over() -> None:
    """And not a moment longer; a full memory takes nothing more rather than forget."""
    clock = Clock(0.0)
    spent = Spent(limit=2, now=clock)
    assert [spent.spend("a", 10.0), spent.spend("a", 10.0), spent.spend("b", 20.0)] == [True, False, True]
    with pytest.raises(AuthError, match="2 one-time tokens are remembered already"):
        spent.spend("c", 30.0)
    clock.now = 11.0
    assert spent.spend("c", 30.0)
    assert not spent.spend("b", 20.0)


def make_authority(**options: Any) -> Authority:
    """Who knows one user."""
    options = {"now": Clock(), "source": "test", **options}
    return Authority(ISSUER, [User(USER.public, scopes=("read", "write"), profile_id="profile-1")], **options)


def test_a_user_is_logged_in_step_by_step() -> None:
    """What they asked for beyond what is theirs is not granted; the role is what we know, not what they say."""
    authority = make_authority(token_ttl=60)
    claim = Claim(USER, scopes=["read", "delete"], role="superuser", source="web")
    challenge = authority.init(claim.ask())["challenge"]
    assert Envelope.unwrap(challenge).msg.startswith("web:")
    one_time = authority.authenticate(claim.answer(challenge))
    assert len(one_time["token"]) <= 1024
    bearer = authority.exchange(one_time)["token"]
    auth = Guard(authority=authority, now=Clock()).verify(bearer)
    assert (auth.user_id, auth.role, auth.scopes, auth.profile_id) == (USER.address, "user", ["read"], "profile-1")
    assert auth.expires_at == datetime.fromtimestamp(THEN + 60, timezone.utc)
    with pytest.raises(AuthenFailed, match="spent"):
        authority.exchange(one_time)


def test_a_challenge_is_good_once_whatever_comes_of_it() -> None:
    """A failure burns it, as the reference has it."""
    authority = make_authority()
    challenge = authority.init({"type": "basic-ed25519"})["challenge"]
    good = Claim(USER).answer(challenge)
    with pytest.raises(AuthenFailed, match="challenge:basic-ed25519"):
        authority.authenticate({**good, "credential": STRANGER.sign("x")})
    with pytest.raises(AuthenFailed, match=r"challenge$"):
        authority.authenticate(good)


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"userId": "nobody"}, AuthenFailed),
        ({"userId": None}, AuthenFailed),
        ({"credential": "!!!"}, AuthenFailed),
        ({"type": "google-oauth"}, AuthenFailed),
        ({"challenge": Envelope("basic-ed25519", "mine").sign(STRANGER).wrap()}, AuthenFailed),
        ({"challenge": "x" * 40}, AuthMalformed),
        ({"scopes": None}, AuthMalformed),
    ],
)
def test_credentials_that_prove_nothing_are_refused(changed: dict[str, Any], kind: type[AuthError]) -> None:
    """Whatever is wrong with them."""
    authority = make_authority()
    answer = Claim(USER).answer(authority.init({"type": "basic-ed25519"})["challenge"])
    with pytest.raises(kind):
        authority.authenticate({**answer, **changed})


def test_a_challenge_ends_too() -> None:
    """After a quarter of an hour."""
    clock = Clock()
    authority = make_authority(now=clock)
    answer = Claim(USER).answer(authority.init({"type": "basic-ed25519"})["challenge"])
    clock.now += 901
    with pytest.raises(AuthenFailed, match=r"challenge$"):
        authority.authenticate(answer)


def test_a_socket_is_walked_through_the_stages() -> None:
    """Challenge, credentials, and who one is."""
    authority = make_authority()
    guard = Guard(authority=authority, required=False, now=Clock())
    claim = Claim(USER)
    first = guard.answer(INIT, claim.ask())
    second = guard.answer("authenticate", claim.answer(first.response["challenge"]))
    third = guard.answer(AUTHENTICATED, {}, second.auth)
    assert [first.stage, second.stage, third.stage] == [ALLOWENCE, AUTHENTICATED, AUTHENTICATED]
    assert second.auth is not None
    assert second.auth == guard.verify(second.response["token"])
    assert third.response["userId"] == USER.address
    assert first.auth is third.auth is None


def test_a_token_may_be_brought_to_the_socket_too() -> None:
    """A bearer token is given back, a one-time token exchanged for one, once."""
    authority = make_authority()
    guard = Guard(AUTH_SERVICE, authority=authority, now=Clock())
    exchanged = guard.answer(AUTHENTICATE, {"token": ONE_TIME})
    assert exchanged.auth is not None
    assert exchanged.auth.user_id == USER.address
    again = guard.answer(AUTHENTICATE, {"token": exchanged.response["token"].split()[1]})
    assert again.response == exchanged.response
    with pytest.raises(AuthenFailed, match="spent"):
        guard.answer(AUTHENTICATE, {"token": ONE_TIME})


@pytest.mark.parametrize(
    ("stage", "payload", "kind"),
    [
        (INIT, {"type": "nope"}, AuthUnknown),
        (INIT, {}, AuthMalformed),
        (INIT, None, AuthMalformed),
        (AUTHENTICATE, None, AuthenPayloadError),
        (AUTHENTICATE, {"token": 1, "isUser": True, "userId": "forged"}, AuthenFailed),
        (AUTHENTICATE, {"token": "garbage"}, AuthMalformed),
        (AUTHENTICATE, {"credential": "c"}, AuthMalformed),
        (AUTHENTICATED, {}, AuthFailedError),
        ("unheard-of", {}, AuthManagerUnsupported),
    ],
)
def test_a_step_that_proves_nothing_is_refused(stage: str, payload: Any, kind: type[AuthError]) -> None:
    """The object that the reference believes, too."""
    with pytest.raises(kind):
        Guard(authority=make_authority()).answer(stage, payload)


def test_a_guard_that_issues_nothing_says_so() -> None:
    """It only verifies."""
    for stage, payload in ((INIT, {"type": "basic-ed25519"}), (AUTHENTICATE, {"credential": "c"})):
        with pytest.raises(AuthManagerUnsupported, match="issues no tokens"):
            Guard(ISSUER).answer(stage, payload)


def test_a_guard_without_keys_is_no_guard() -> None:
    """Nobody could come in; an authority must be able to sign."""
    with pytest.raises(ValueError, match="trusted must hold a public key"):
        Guard()
    with pytest.raises(ValueError, match="key must hold its private part"):
        Authority(KeyPair.from_public(ISSUER.public), [])
    for alone in (USER.public, USER, User(USER)):
        with pytest.raises(ValueError, match="users must be a list"):
            Authority(ISSUER.private, alone)  # type: ignore[arg-type]
