"""The end that logs others in: challenges, one-time tokens and bearer tokens, for those whose keys it knows.

The steps are those of the reference's services, whatever carries them: HTTP (`owlsocket_sync.auth.routes`), or the
stages of a socket (`owlsocket_sync.auth.guard`). They may be taken from any thread.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ..errors import AuthenFailed, AuthenPayloadError, AuthUnknown
from ..urls import bare_token, whole_token
from .encoding import canonical, to_base64
from .envelope import Envelope
from .keys import KeyPair
from .models import AllowanceRequest, Auth, AuthCredentials
from .proof import key_pair
from .spent import Spent, SpentStore
from .words import ALL_SCOPES, AuthenticationType, AuthorizationType, AuthRole

STEP_TTL = 900_000
NONCE_BYTES = 32


@dataclass(frozen=True)
class User:
    """Somebody who may log in.

    Attributes:
        key: their public key, as a `KeyPair` or as text.
        id: who they are; ``None`` for the address of the key.
        role: as what they come, whatever they ask for.
        scopes: what they may ask for; ``"*"`` among them is everything.
        profile_id: one of their faces.
        entity_id: for whom they act.
    """

    key: KeyPair | str
    id: str | None = None
    role: str = AuthRole.USER
    scopes: Sequence[str] = (ALL_SCOPES,)
    profile_id: str | None = None
    entity_id: str | None = None


class Authority:
    """Logs users in, and vouches for them with its key.

    Args:
        key: signs what it gives out: a `KeyPair` with its private part, or the private key as text.
        users: who may log in: `User` objects, public keys, or their texts.
        source: how it calls itself in its tokens.
        token_ttl: seconds for which a bearer token holds; ``None`` for ever, as with the reference.
        spent: remembers what was used; the default is the memory of this process.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        key: KeyPair | str,
        users: Iterable[User | KeyPair | str],
        *,
        source: str | None = None,
        token_ttl: float | None = None,
        spent: SpentStore | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.key = key_pair(key)
        if not self.key.can_sign:
            raise ValueError("key must hold its private part: tokens are signed with it")
        if isinstance(users, (str, KeyPair, User)):
            raise ValueError("users must be a list, also of one user")
        self._users = dict(map(_known, users))
        self._source = source
        self._token_ttl = token_ttl
        self.spent = Spent(now=now) if spent is None else spent
        self._now = now

    def init(self, request: Any) -> dict[str, str]:
        """Give a challenge; ``/authentication/init``.

        Raises:
            AuthMalformed: the request is of another shape.
            AuthUnknown: it wants to prove itself in a way that is not known here.
        """
        asked = AllowanceRequest.from_dict(request)
        if asked.type != AuthenticationType.BASIC_ED25519:
            raise AuthUnknown(asked.type)
        nonce = _nonce() if asked.source is None else f"{asked.source}:{_nonce()}"
        return {"challenge": self._sign(AuthenticationType.BASIC_ED25519, nonce, STEP_TTL).wrap()}

    def authenticate(self, credentials: Any) -> dict[str, str]:
        """Give a one-time token for a signature; ``/authentication/authenticate``. Burns the challenge, come what may.

        Raises:
            AuthMalformed: the credentials are of another shape.
            AuthenFailed: they prove nothing.
        """
        asked, user, id = self._prove(credentials)
        message = AuthCredentials(
            user_id=id,
            credential=self.key.address,
            type=AuthenticationType.ONE_TIME_TOKEN,
            challenge=_nonce(),
            scopes=_granted(user.scopes, asked.scopes),
            role=str(user.role),
            profile_id=user.profile_id,
            entity_id=user.entity_id,
        )
        return {"token": self._sign(AuthenticationType.ONE_TIME_TOKEN, message.to_dict(), STEP_TTL).tokenize()}

    def exchange(self, request: Any) -> dict[str, str]:
        """Give a bearer token for a one-time token of ours, once; ``/authenticate``.

        Raises:
            AuthenPayloadError: there is none.
            AuthenFailed: it is not ours, is too old, or was used before.
        """
        token = request.get("token") if isinstance(request, dict) else None
        if not isinstance(token, str):
            raise AuthenPayloadError("token is missing")
        return self.vouch(self.redeem(Envelope.untokenize(bare_token(token)), [self.key]))

    def redeem(self, envelope: Envelope, trusted: Iterable[KeyPair]) -> Auth:
        """Use a one-time token up, of ours or of somebody who is trusted; who it stands for.

        Raises:
            AuthenFailed: it is nobody's, is too old, or was used before.
        """
        return redeem(envelope, trusted, self.spent, self._now, self._source)

    def vouch(self, auth: Auth) -> dict[str, str]:
        """A bearer token for somebody, behind its scheme."""
        kind = AuthorizationType.ED25519_BASIC_TOKEN
        ttl = None if self._token_ttl is None else self._token_ttl * 1000
        return {"token": whole_token(self._sign(kind, auth.to_dict(), ttl).tokenize())}

    def log_in(self, credentials: Any) -> dict[str, str]:
        """A bearer token for a signature, in one step, as a socket has it; raises what `authenticate` raises."""
        return self.exchange(self.authenticate(credentials))

    def _prove(self, credentials: Any) -> tuple[AuthCredentials, User, str]:
        """Whether a challenge of ours was signed by a user of ours."""
        asked = AuthCredentials.from_dict(credentials)
        challenge = Envelope.unwrap(asked.challenge)
        ours = challenge.verify(self.key, self._now()) and challenge.type == asked.type
        if not ours or not self.spent.spend(_mark(challenge), challenge.ends):
            raise AuthenFailed("challenge")
        id = asked.user_id or ""
        user = self._users.get(id)
        if user is None or not _public(user.key).verify(challenge.msg, asked.credential):
            raise AuthenFailed(f"challenge:{asked.type}")
        return asked, user, id

    def _sign(self, kind: str, message: Any, ttl: float | None) -> Envelope:
        envelope = Envelope(str(kind), dt=int(self._now() * 1000)).send(message, ttl=ttl)
        return envelope.sign(self.key)


def redeem(
    envelope: Envelope,
    trusted: Iterable[KeyPair],
    spent: SpentStore,
    now: Callable[[], float],
    source: str | None = None,
) -> Auth:
    """Use a one-time token up, and tell who it stands for.

    Raises:
        AuthenFailed: it is nobody's, is too old, has no end, or was used before.
    """
    if envelope.type != AuthenticationType.ONE_TIME_TOKEN or envelope.ends == math.inf:
        raise AuthenFailed("type")
    if not any(envelope.signed_by(key) for key in trusted):
        raise AuthenFailed("signature")
    if envelope.expired(now()):
        raise AuthenFailed("expired")
    credentials = AuthCredentials.from_dict(envelope.message())
    if not spent.spend(_mark(envelope), envelope.ends):
        raise AuthenFailed("spent")
    return Auth(
        token=credentials.challenge,
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


def _mark(envelope: Envelope) -> str:
    """What an envelope is remembered by: what it says, whoever wrote its signature how."""
    said = [envelope.type, envelope.msg, envelope.dt, envelope.ttl]
    return hashlib.sha256(canonical(said)).hexdigest()


def _granted(allowed: Sequence[str], asked: Sequence[str]) -> list[str]:
    """The scopes that were asked for and are allowed."""
    if ALL_SCOPES in allowed:
        return list(asked)
    if ALL_SCOPES in asked:
        return list(allowed)
    return [scope for scope in asked if scope in allowed]


def _known(user: User | KeyPair | str) -> tuple[str, User]:
    if not isinstance(user, User):
        user = User(user)
    return user.id or _public(user.key).address, user


def _public(key: KeyPair | str) -> KeyPair:
    return key if isinstance(key, KeyPair) else KeyPair.from_public(key)


def _nonce() -> str:
    return to_base64(secrets.token_bytes(NONCE_BYTES))
