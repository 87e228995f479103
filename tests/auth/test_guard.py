"""Guards and authorities: only verified clients are accepted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pytest
from websockets.datastructures import Headers

from owlsocket_sync import AuthenticationStage
from owlsocket_sync.auth import Authority, Envelope, Guard, KeyPair, MemoryReplayStore, User
from owlsocket_sync.auth.claims import Claim
from owlsocket_sync.auth.replay import FailedChallenges
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
from support.helpers import load, scaled

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
class HandshakeRequest:
    """The part of a handshake request that a guard reads."""

    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


class Clock:
    """A clock that is set manually."""

    def __init__(self, now: float = THEN) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    "handshake",
    [
        HandshakeRequest(headers={"authorization": BEARER}),
        HandshakeRequest(query={"token": BEARER.split()[1]}),
        HandshakeRequest(query={"token": BEARER}),
        HandshakeRequest(query={"token": "garbage"}, headers={"authorization": BEARER}),
        HandshakeRequest(query={"token": BEARER}, headers={"authorization": "Bearer something"}),
    ],
)
def test_token_of_the_reference_is_accepted(handshake: HandshakeRequest) -> None:
    """In the header, or else in the query."""
    auth = Guard(ISSUER.public).admit(handshake)
    assert auth is not None
    assert auth.to_dict() == RECORDED["steps"]["3 message (Auth)"]


def token(message: Any = None, kind: str = "ed25519-basic-token", key: KeyPair = ISSUER, **changed: Any) -> str:
    """Return a bearer token with some fields changed."""
    content = {**RECORDED["steps"]["3 message (Auth)"], **changed} if message is None else message
    return Envelope(kind, dt=THEN * 1000).send(content, ttl=1000).sign(key).tokenize()


@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        (token(key=STRANGER), AuthFailedError, "token signature is not trusted"),
        (token(kind="basic-ed25519"), AuthFailedError, "unsupported token type"),
        (token(message="text"), AuthMalformed, "expected an object, got str"),
        (token(userId=5), AuthMalformed, "Auth.userId: expected text"),
        (token(role="blocked"), AuthForbidden, "blocked"),
        (token(expiresAt="2020-01-01T00:00:00Z"), AuthFailedError, "expired"),
        (token()[:-4], AuthMalformed, "not contain JSON|base64url"),
        ("x" * 10_000, AuthFailedError, "longer than 8192 characters"),
        ("garbage", AuthMalformed, "base64url"),
        (
            Envelope("ed25519-basic-token").send({"userId": "u"}).tokenize(),
            AuthFailedError,
            "token signature is not trusted",
        ),
    ],
)
def test_invalid_token_is_rejected(bad: str, kind: type[AuthError], words: str) -> None:
    """In the header and in the query; the error does not contain it."""
    guard = Guard([AUTH_SERVICE.public, ISSUER], now=Clock())
    for handshake in (
        HandshakeRequest(query={"token": bad}),
        HandshakeRequest(headers={"authorization": f"ED25519-BASIC-TOKEN {bad}"}),
    ):
        with pytest.raises(kind, match=words) as caught:
            guard.admit(handshake)
        assert bad not in str(caught.value)


def test_token_is_valid_until_its_expiry() -> None:
    """The identity carries that expiry."""
    clock = Clock()
    guard = Guard(ISSUER, now=clock)
    end = datetime.fromtimestamp(THEN + 1, timezone.utc)
    auth = guard.verify(token())
    assert auth.expires_at == end
    assert guard.verify(token(expiresAt="2090-01-01T00:00:00Z")).expires_at == end
    clock.now = THEN + 1.001
    with pytest.raises(AuthFailedError, match="expired"):
        guard.verify(token())


def test_multiple_authorization_headers_are_rejected() -> None:
    """A header mapping that raises for them does not make the guard fail."""
    headers = Headers([("authorization", BEARER), ("authorization", BEARER)])
    with pytest.raises(AuthFailedError, match="more than one authorization header"):
        Guard(ISSUER.public).admit(Request("/", {}, headers, ("127.0.0.1", 1)))


@pytest.mark.parametrize("headers", [{}, {"authorization": "ed25519-basic-token x"}, {"authorization": "Bearer x"}])
def test_client_without_a_token_is_rejected_if_one_is_required(headers: dict[str, str]) -> None:
    """A header with another scheme, or in lower case, carries no token."""
    with pytest.raises(AuthFailedError, match="a token is required"):
        Guard(ISSUER).admit(HandshakeRequest(headers=headers))
    assert Guard(ISSUER, required=False).admit(HandshakeRequest(headers=headers)) is None


def test_one_time_token_of_the_reference_is_accepted_once() -> None:
    """Of concurrent threads exactly one succeeds."""
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
    assert sorted(map(str, outcomes)) == [USER.address] + ["one-time token was already used"] * 7


def test_guard_and_authority_share_the_replay_store() -> None:
    """A one-time token that was used at one is rejected by the other."""
    authority = make_authority()
    claim = Claim(USER)
    one_time = authority.authenticate(claim.sign_challenge(authority.init(claim.init_request())["challenge"]))
    Guard(authority=authority, now=Clock()).verify(one_time["token"])
    with pytest.raises(AuthenFailed, match="already used"):
        authority.exchange(one_time)


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"now": THEN + 901}, "expired"), ({"key": STRANGER}, "signature"), ({"ttl": None}, "type")],
)
def test_invalid_one_time_token_is_rejected(changed: dict[str, Any], words: str) -> None:
    """Expired, not trusted, or without an expiry."""
    envelope = Envelope.untokenize(ONE_TIME)
    if "ttl" in changed:
        envelope.ttl = None
    if "key" in changed or "ttl" in changed:
        envelope = envelope.sign(changed.get("key", AUTH_SERVICE))
    with pytest.raises(AuthenFailed, match=words):
        Guard(AUTH_SERVICE, now=Clock(changed.get("now", THEN))).verify(envelope.tokenize())


def test_replay_store_keeps_keys_until_they_expire() -> None:
    """And not longer; a full store refuses new keys instead of forgetting."""
    clock = Clock(0.0)
    store = MemoryReplayStore(limit=2, now=clock)
    assert [store.use_once("a", 10.0), store.use_once("a", 10.0), store.use_once("b", 20.0)] == [True, False, True]
    with pytest.raises(AuthError, match="replay store is full"):
        store.use_once("c", 30.0)
    clock.now = 11.0
    assert store.use_once("c", 30.0)
    assert not store.use_once("b", 20.0)


def make_authority(**options: Any) -> Authority:
    """Return an authority with one user."""
    options = {"now": Clock(), "source": "test", **options}
    return Authority(ISSUER, [User(USER.public, scopes=("read", "write"), profile_id="profile-1")], **options)


def test_user_is_logged_in_step_by_step() -> None:
    """Only allowed scopes are granted; the role is that of the record, not of the request."""
    authority = make_authority(token_ttl=60)
    claim = Claim(USER, scopes=["read", "delete"], role="superuser", source="web")
    challenge = authority.init(claim.init_request())["challenge"]
    assert Envelope.unwrap(challenge).msg.startswith("web:")
    one_time = authority.authenticate(claim.sign_challenge(challenge))
    assert len(one_time["token"]) <= 1024
    bearer = authority.exchange(one_time)["token"]
    auth = Guard(authority=authority, now=Clock()).verify(bearer)
    assert (auth.user_id, auth.role, auth.scopes, auth.profile_id) == (USER.address, "user", ["read"], "profile-1")
    assert auth.expires_at == datetime.fromtimestamp(THEN + 60, timezone.utc)
    with pytest.raises(AuthenFailed, match="already used"):
        authority.exchange(one_time)


def test_challenge_is_used_up_by_any_attempt() -> None:
    """A failed attempt burns it, as in the reference."""
    authority = make_authority()
    challenge = authority.init({"type": "basic-ed25519"})["challenge"]
    good = Claim(USER).sign_challenge(challenge)
    with pytest.raises(AuthenFailed, match=r"^challenge:basic-ed25519$"):
        authority.authenticate({**good, "credential": STRANGER.sign("x")})
    with pytest.raises(AuthenFailed, match=r"^challenge$"):
        authority.authenticate(good)


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"userId": "unknown"}, AuthenFailed),
        ({"userId": None}, AuthenFailed),
        ({"credential": "!!!"}, AuthenFailed),
        ({"type": "google-oauth"}, AuthenFailed),
        ({"challenge": Envelope("basic-ed25519", "mine").sign(STRANGER).wrap()}, AuthenFailed),
        ({"challenge": "x" * 40}, AuthMalformed),
        ({"scopes": None}, AuthMalformed),
    ],
)
def test_invalid_credentials_are_rejected(changed: dict[str, Any], kind: type[AuthError]) -> None:
    """In every field."""
    authority = make_authority()
    answer = Claim(USER).sign_challenge(authority.init({"type": "basic-ed25519"})["challenge"])
    with pytest.raises(kind):
        authority.authenticate({**answer, **changed})


def failed_attempts(authority: Authority, user_id: str, count: int) -> None:
    """Fail to log in, with a good challenge each time."""
    for _ in range(count):
        answer = Claim(STRANGER).sign_challenge(authority.init({"type": "basic-ed25519"})["challenge"])
        with pytest.raises(AuthenFailed):
            authority.authenticate({**answer, "userId": user_id})


@pytest.mark.slow
@pytest.mark.parametrize("user_id", ["unknown", USER.address])
def test_failed_attempts_take_no_room_in_the_replay_store(user_id: str) -> None:
    """Clients without credentials could fill it otherwise, and then no user could log in."""
    authority = make_authority(replay_store=MemoryReplayStore(limit=20, now=Clock()))
    failed_attempts(authority, user_id, 50)
    assert authority.log_in(Claim(USER).sign_challenge(authority.init({"type": "basic-ed25519"})["challenge"]))


def test_an_attempt_tells_nothing_about_which_users_exist() -> None:
    """Neither the first one, nor the second one with the same challenge."""
    authority = make_authority()
    outcomes = []
    for user_id in ("unknown", USER.address):
        answer = Claim(STRANGER).sign_challenge(authority.init({"type": "basic-ed25519"})["challenge"])
        errors = []
        for _ in range(2):
            with pytest.raises(AuthenFailed) as caught:
                authority.authenticate({**answer, "userId": user_id})
            errors.append(str(caught.value))
        outcomes.append(errors)
    assert outcomes[0] == outcomes[1]


def test_a_user_takes_a_share_of_the_replay_store_alone() -> None:
    """One who logs in without end locks no other user out, and may log in again later."""
    clock, other = Clock(), KeyPair.generate()
    store = MemoryReplayStore(limit=100, now=clock)
    authority = Authority(ISSUER, [USER, other], replay_store=store, now=clock)

    def attempt(key: KeyPair) -> None:
        authority.log_in(Claim(key).sign_challenge(authority.init({"type": "basic-ed25519"})["challenge"]))

    for _ in range(10):
        attempt(USER)
    with pytest.raises(AuthenFailed, match="too many logins of one user"):
        attempt(USER)
    attempt(other)
    clock.now += 301
    attempt(USER)


def test_failed_challenges_are_forgotten_one_by_one() -> None:
    """The oldest first: the table is bounded, and never full."""
    failed = FailedChallenges(limit=2)
    for key in ("a", "b", "c"):
        failed.add(key)
    assert [key in failed for key in ("a", "b", "c")] == [False, True, True]


@pytest.mark.parametrize("ids", [("Ada", "Ada"), (None, None), (None, USER.address)])
def test_two_users_of_one_id_are_refused(ids: tuple[str | None, str | None]) -> None:
    """The role of the last one would hold, and the first one could not log in."""
    with pytest.raises(ValueError, match="users contains two users with the ID"):
        Authority(ISSUER, [User(USER, id=ids[0]), User(USER, id=ids[1], role="admin")])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        # Each part of it would be granted, and with a star in it every scope.
        (lambda: User(USER, scopes="read"), "scopes must be a list of strings"),
        (lambda: User(USER, scopes=[5]), "scopes must be a list of strings"),  # type: ignore[list-item]
        (lambda: User(USER, role=None), "role must be str, not NoneType"),  # type: ignore[arg-type]
        (lambda: User(USER, id=5), "id must be a str or None, not 5"),  # type: ignore[arg-type]
        (lambda: Authority(ISSUER, 5), "users must be a list"),  # type: ignore[arg-type]
        (lambda: Authority(ISSUER, [], token_ttl=-1), "token_ttl must be a number of seconds"),
        (lambda: Authority(ISSUER, [], source=5), "source must be a str or None"),  # type: ignore[arg-type]
        (lambda: Authority(ISSUER, [], replay_store=5), "replay_store must have"),  # type: ignore[arg-type]
        (lambda: Guard(5), "trusted must be a key or a list of keys, not int"),  # type: ignore[arg-type]
        (lambda: Guard(USER, required="no"), "required must be bool, not str"),  # type: ignore[arg-type]
        (lambda: Guard(USER, authority=5), "authority must be an Authority or None"),  # type: ignore[arg-type]
        (lambda: Guard(USER, replay_store=5), "replay_store must have a method"),  # type: ignore[arg-type]
    ],
)
def test_an_option_of_the_wrong_type_is_named(make: Callable[[], object], words: str) -> None:
    """Where it is passed: later, it would refuse the wrong clients, or let them in."""
    with pytest.raises(ValueError, match=words):
        make()


def test_challenge_expires() -> None:
    """After five minutes."""
    clock = Clock()
    authority = make_authority(now=clock)
    answer = Claim(USER).sign_challenge(authority.init({"type": "basic-ed25519"})["challenge"])
    clock.now += 301
    with pytest.raises(AuthenFailed, match=r"^challenge$"):
        authority.authenticate(answer)


def test_guard_handles_the_stages_of_a_socket() -> None:
    """Challenge, credentials and identity."""
    authority = make_authority()
    guard = Guard(authority=authority, required=False, now=Clock())
    claim = Claim(USER)
    first = guard.answer(INIT, claim.init_request())
    second = guard.answer("authenticate", claim.sign_challenge(first.response["challenge"]))
    third = guard.answer(AUTHENTICATED, {}, second.auth)
    assert [first.stage, second.stage, third.stage] == [ALLOWENCE, AUTHENTICATED, AUTHENTICATED]
    assert second.auth is not None
    assert second.auth == guard.verify(second.response["token"])
    assert third.response["userId"] == USER.address
    assert first.auth is third.auth is None


def test_token_is_accepted_on_the_socket() -> None:
    """A bearer token is returned; a one-time token is exchanged for one, once."""
    authority = make_authority()
    guard = Guard(AUTH_SERVICE, authority=authority, now=Clock())
    exchanged = guard.answer(AUTHENTICATE, {"token": ONE_TIME})
    assert exchanged.auth is not None
    assert exchanged.auth.user_id == USER.address
    again = guard.answer(AUTHENTICATE, {"token": exchanged.response["token"].split()[1]})
    assert again.response == exchanged.response
    with pytest.raises(AuthenFailed, match="already used"):
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
def test_invalid_step_is_rejected(stage: str, payload: Any, kind: type[AuthError]) -> None:
    """Including the identity object that the reference accepts."""
    with pytest.raises(kind):
        Guard(authority=make_authority()).answer(stage, payload)


def test_guard_without_an_authority_issues_no_tokens() -> None:
    """It only verifies them."""
    for stage, payload in ((INIT, {"type": "basic-ed25519"}), (AUTHENTICATE, {"credential": "c"})):
        with pytest.raises(AuthManagerUnsupported, match="does not issue tokens"):
            Guard(ISSUER).answer(stage, payload)


def test_guard_needs_a_key() -> None:
    """And an authority needs a private key and a list of users."""
    with pytest.raises(ValueError, match="pass at least one trusted public key"):
        Guard()
    with pytest.raises(ValueError, match="key must have a private part"):
        Authority(KeyPair.from_public(ISSUER.public), [])
    for alone in (USER.public, USER, User(USER)):
        with pytest.raises(ValueError, match="users must be a list"):
            Authority(ISSUER.private, alone)  # type: ignore[arg-type]
