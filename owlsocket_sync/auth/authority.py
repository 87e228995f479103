"""The issuing side: challenges, one-time tokens and bearer tokens for users whose public keys are known.

The steps are those of the reference's services, over any carrier: HTTP (`owlsocket_sync.auth.routes`), or the stages
of a socket (`owlsocket_sync.auth.guard`). Any thread may call them.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ..clock import wall_time
from ..deadline import check_timeout
from ..errors import AuthenFailed, AuthenPayloadError, AuthUnknown
from ..options import check_type
from ..urls import strip_token_scheme, with_token_scheme
from .claims import check_replay_store, check_scopes, to_key_pair, to_public_key
from .constants import ALL_SCOPES, AuthenticationType, AuthorizationType, AuthRole
from .encoding import canonical_json, to_base64
from .envelope import Envelope
from .keys import KeyPair, hide
from .models import AllowanceRequest, Auth, AuthCredentials
from .replay import MAX_KEYS, FailedChallenges, MemoryReplayStore, ReplayStore, Shares

CHALLENGE_TTL_MS = 300_000
ONE_TIME_TTL_MS = 900_000
SHARES = 10
NONCE_BYTES = 32


@dataclass(frozen=True)
class User:
    """A user who may log in.

    Attributes:
        key: public key, as a `KeyPair` or as text.
        id: user ID; ``None`` for the address of the key.
        role: role in the user's tokens, whatever the login requests.
        scopes: scopes that the user may request; ``"*"`` allows all.
        profile_id: profile the token is issued for.
        entity_id: entity that the user acts for.

    Raises:
        ValueError: an attribute has the wrong type; the message names it.
    """

    key: KeyPair | str
    id: str | None = None
    role: str = AuthRole.USER
    scopes: Sequence[str] = (ALL_SCOPES,)
    profile_id: str | None = None
    entity_id: str | None = None

    def __post_init__(self) -> None:
        check_scopes(self.scopes)
        check_type("role", self.role, str)
        for option in ("id", "profile_id", "entity_id"):
            check_type(option, getattr(self, option), str, optional=True)


class Authority:
    """Logs users in and issues tokens signed with its key.

    Args:
        key: signing key: a `KeyPair` with its private part, or the private key as text.
        users: users who may log in: `User` objects, public keys, or public keys as text.
        source: name of this authority in its tokens.
        token_ttl: lifetime of bearer tokens in seconds; ``None`` for tokens without an expiry, as the reference issues.
        replay_store: remembers used challenges and one-time tokens; the default is the memory of this process.
        now: clock, seconds since the epoch.

    Raises:
        AuthMalformed: a key cannot be parsed.
        ValueError: ``key`` is a public key, ``users`` is not a list, two users have the same ID, or another option is
            not valid; the message names it.
    """

    def __init__(
        self,
        key: KeyPair | str,
        users: Iterable[User | KeyPair | str],
        *,
        source: str | None = None,
        token_ttl: float | None = None,
        replay_store: ReplayStore | None = None,
        now: Callable[[], float] = wall_time,
    ) -> None:
        key = hide(key)
        self.key = to_key_pair(key)
        if not self.key.can_sign:
            raise ValueError("key must have a private part: tokens are signed with it")
        # Text is iterable: without this check a single key would be taken apart into characters.
        if isinstance(users, (str, bytes, KeyPair, User)) or not isinstance(users, Iterable):
            raise ValueError("users must be a list, even for a single user")
        check_type("source", source, str, optional=True)
        check_replay_store(replay_store)
        self._users: dict[str, User] = {}
        for user_id, user in map(_user_entry, users):
            # Of two users with one ID, the last one's role would be granted, and the first one could not log in.
            if user_id in self._users:
                raise ValueError(f"users contains two users with the ID {user_id!r}")
            self._users[user_id] = user
        self._source = source
        self._token_ttl = None if token_ttl is None else check_timeout(token_ttl, "token_ttl")
        self.replay_store = MemoryReplayStore(now=now) if replay_store is None else replay_store
        self._now = now
        # A user who logs in without end fills a share of the store, and other users can still log in.
        limit = getattr(self.replay_store, "limit", MAX_KEYS)
        self._shares = Shares(max(1, limit // SHARES), now)
        self._failed = FailedChallenges()

    def init(self, request: Any) -> dict[str, str]:
        """Issue a challenge; ``/authentication/init``.

        Raises:
            AuthMalformed: the request does not match the schema.
            AuthUnknown: the authentication type is not supported.
        """
        allowance = AllowanceRequest.from_dict(request)
        if allowance.type != AuthenticationType.BASIC_ED25519:
            raise AuthUnknown(allowance.type)
        # No state is kept for a challenge before it comes back signed: requests without credentials cost no memory.
        nonce = _nonce() if allowance.source is None else f"{allowance.source}:{_nonce()}"
        return {"challenge": self._sign(AuthenticationType.BASIC_ED25519, nonce, CHALLENGE_TTL_MS).wrap()}

    def authenticate(self, credentials: Any) -> dict[str, str]:
        """Issue a one-time token for a signed challenge; ``/authentication/authenticate``.

        The challenge is used up, also by a failed attempt.

        Raises:
            AuthMalformed: the credentials do not match the schema.
            AuthenFailed: the challenge is invalid, has expired or was already used (``challenge``), or the user is
                unknown or the signature invalid (``challenge:`` and the type).
        """
        claimed, user, user_id = self._verify_credentials(credentials)
        message = AuthCredentials(
            user_id=user_id,
            credential=self.key.address,
            type=AuthenticationType.ONE_TIME_TOKEN,
            challenge=_nonce(),
            scopes=_allowed_scopes(user.scopes, claimed.scopes),
            role=str(user.role),  # of the record, never of the request: a client must not choose its role
            profile_id=user.profile_id,
            entity_id=user.entity_id,
        )
        return {"token": self._sign(AuthenticationType.ONE_TIME_TOKEN, message.to_dict(), ONE_TIME_TTL_MS).tokenize()}

    def exchange(self, request: Any) -> dict[str, str]:
        """Exchange a one-time token of this authority for a bearer token, once; ``/authenticate``.

        Raises:
            AuthenPayloadError: the request contains no token.
            AuthenFailed: the token is not signed by this authority, has expired, or was already used.
        """
        token = request.get("token") if isinstance(request, dict) else None
        if not isinstance(token, str):
            raise AuthenPayloadError("token is missing")
        return self.issue_token(self.redeem(Envelope.untokenize(strip_token_scheme(token)), [self.key]))

    def redeem(self, envelope: Envelope, trusted: Iterable[KeyPair]) -> Auth:
        """Use up a one-time token and return the identity that it carries.

        Args:
            envelope: the token.
            trusted: keys that may have signed it.

        Raises:
            AuthenFailed: the token is not signed by a trusted key, has expired, or was already used.
        """
        return redeem(envelope, trusted, self.replay_store, self._now, self._source)

    def issue_token(self, auth: Auth) -> dict[str, str]:
        """Issue a bearer token, with its scheme, for a verified identity; nothing is checked here."""
        kind = AuthorizationType.ED25519_BASIC_TOKEN
        ttl = None if self._token_ttl is None else self._token_ttl * 1000  # seconds here, milliseconds on the wire
        return {"token": with_token_scheme(self._sign(kind, auth.to_dict(), ttl).tokenize())}

    def log_in(self, credentials: Any) -> dict[str, str]:
        """Issue a bearer token for a signed challenge, in one step; raises what `authenticate` raises."""
        return self.exchange(self.authenticate(credentials))

    def _verify_credentials(self, credentials: Any) -> tuple[AuthCredentials, User, str]:
        """Return the credentials, the user and the user ID, if the user signed a challenge of this authority."""
        claimed = AuthCredentials.from_dict(credentials)
        challenge = Envelope.unwrap(claimed.challenge)
        # The type is compared because one-time tokens are envelopes signed with the same key.
        issued_here = challenge.verify(self.key, self._now()) and challenge.type == claimed.type
        key = _replay_key(challenge)
        if not issued_here or key in self._failed:
            # This message and those below are those of the reference service, byte for byte.
            raise AuthenFailed("challenge")
        user_id = claimed.user_id or ""
        user = self._users.get(user_id)
        # One error for both, so that a client cannot find out which users exist.
        if user is None or not to_public_key(user.key).verify(challenge.msg, claimed.credential):
            # A failed attempt burns the challenge, as the reference does, but takes no room in the replay store: a full
            # store refuses every login, and every client may fail.
            self._failed.add(key)
            raise AuthenFailed(f"challenge:{claimed.type}")
        if not self._shares.take(user_id, challenge.expires_at):
            raise AuthenFailed(f"too many logins of one user within {CHALLENGE_TTL_MS // 1000} s")
        if not self.replay_store.use_once(key, challenge.expires_at):
            raise AuthenFailed("challenge")
        return claimed, user, user_id

    def _sign(self, kind: str, message: Any, ttl: float | None) -> Envelope:
        envelope = Envelope(str(kind), dt=int(self._now() * 1000)).send(message, ttl=ttl)
        return envelope.sign(self.key)


def redeem(
    envelope: Envelope,
    trusted: Iterable[KeyPair],
    replay_store: ReplayStore,
    now: Callable[[], float],
    source: str | None = None,
) -> Auth:
    """Use up a one-time token and return the identity that it carries.

    Args:
        envelope: the token.
        trusted: keys that may have signed it.
        replay_store: remembers that it was used.
        now: clock, seconds since the epoch.
        source: name of the authority that issued it.

    Raises:
        AuthenFailed: the token is not signed by a trusted key, has expired, has no expiry, or was already used.
    """
    # A token without an expiry would occupy the replay store until the process ends.
    if envelope.type != AuthenticationType.ONE_TIME_TOKEN or envelope.expires_at == math.inf:
        raise AuthenFailed("unsupported token type: expected a one-time token with an expiry")
    if not any(envelope.signed_by(key) for key in trusted):
        raise AuthenFailed("token signature is not trusted")
    if envelope.expired(now()):
        raise AuthenFailed("token has expired")
    credentials = AuthCredentials.from_dict(envelope.message())
    # Last of all checks: of two threads with the same valid token exactly one passes, and an invalid token occupies
    # no room in the store.
    if not replay_store.use_once(_replay_key(envelope), envelope.expires_at):
        raise AuthenFailed("one-time token was already used")
    return Auth(
        token=credentials.challenge,  # a nonce, where the reference puts one too; not a token that opens anything
        user_id=credentials.user_id or "",
        scopes=credentials.scopes,
        role=credentials.role,
        type=str(AuthorizationType.ED25519_BASIC_TOKEN),
        source=source,
        is_user=True,
        created_at=datetime.fromtimestamp(now(), timezone.utc),
        expires_at=credentials.expires_at,
        profile_id=credentials.profile_id,
        entity_id=credentials.entity_id,
        groups=credentials.groups,
        permissions=credentials.permissions,
        attributes=credentials.attributes,
        permissioned=credentials.permissioned,
    )


def _replay_key(envelope: Envelope) -> str:
    # Over the content and not over the token's text: one signed content has several valid texts, which differ in
    # white space or escapes, and each of them would pass as new.
    content = [envelope.type, envelope.msg, envelope.dt, envelope.ttl]
    return hashlib.sha256(canonical_json(content)).hexdigest()


def _allowed_scopes(allowed: Sequence[str], requested: Sequence[str]) -> list[str]:
    """Return the requested scopes that are allowed; a request for all scopes gets all that are allowed."""
    if ALL_SCOPES in allowed:
        return list(requested)
    if ALL_SCOPES in requested:
        return list(allowed)
    return [scope for scope in requested if scope in allowed]


def _user_entry(user: User | KeyPair | str) -> tuple[str, User]:
    if not isinstance(user, User):
        user = User(user)
    return user.id or to_public_key(user.key).address, user


def _nonce() -> str:
    return to_base64(secrets.token_bytes(NONCE_BYTES))
