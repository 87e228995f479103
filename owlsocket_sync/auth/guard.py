"""Whom a server lets in: tokens at the door, and the stages of authentication behind it.

Nothing is believed that was not verified here: the signature, the age, that a one-time token comes once. May be used
from any thread, and by several servers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Protocol

from ..errors import (
    AuthenFailed,
    AuthenPayloadError,
    AuthFailedError,
    AuthForbidden,
    AuthManagerUnsupported,
)
from ..stages import AuthenticationStage
from ..urls import TOKEN_SCHEME, bare_token, whole_token
from .authority import Authority, redeem
from .envelope import Envelope
from .keys import KeyPair
from .models import Auth
from .spent import Spent, SpentStore
from .words import AUTH_HEADER, AUTH_QUERY, AuthenticationType, AuthorizationType, AuthRole

TOKEN_CHARACTERS = 8192


class Knock(Protocol):
    """The part of a request that a guard looks at."""

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of the URL."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        ...


@dataclass(frozen=True)
class Step:
    """What answers a step of authentication on a socket.

    Attributes:
        stage: how far it has come.
        response: what the peer gets.
        auth: who the peer is from now on; ``None`` when this step did not tell.
    """

    stage: AuthenticationStage
    response: Any
    auth: Auth | None = None


class Guard:
    """Verifies tokens, and answers the flow; what ``serve(authenticate=Guard(...))`` takes.

    Args:
        trusted: the public keys whose tokens are believed: one, or several, as `KeyPair` or text.
        authority: logs users in on the socket itself; its key is trusted too.
        required: refuse whoever brings no token; otherwise they come in at the stage ``INIT``, to authenticate there.
        spent: remembers one-time tokens; the default is the memory of the authority, or of this process.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        trusted: KeyPair | str | Iterable[KeyPair | str] = (),
        *,
        authority: Authority | None = None,
        required: bool = True,
        spent: SpentStore | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        keys = [trusted] if isinstance(trusted, (KeyPair, str)) else list(trusted)
        self._trusted = [key if isinstance(key, KeyPair) else KeyPair.from_public(key) for key in keys]
        if authority is not None:
            self._trusted.append(authority.key)
        if not self._trusted:
            raise ValueError("trusted must hold a public key, or authority be given: nobody could come in")
        self._authority = authority
        self._required = required
        if spent is None:
            spent = Spent(now=now) if authority is None else authority.spent
        self._spent = spent
        self._now = now

    def admit(self, request: Knock) -> Auth | None:
        """Who comes, by the token in the header or else in the query; ``None`` for somebody who may prove it inside.

        Raises:
            AuthError: the token does not hold, or there is none and one is required.
        """
        try:
            header = request.headers.get(AUTH_HEADER) or ""
        except LookupError:  # the headers of websockets give no value where there are several
            raise AuthFailedError("one authorization header is allowed, not several") from None
        scheme, _, envelope = header.partition(" ")
        token = envelope.strip() if scheme == TOKEN_SCHEME else request.query.get(AUTH_QUERY)
        if token:
            return self.verify(token)
        if self._required:
            raise AuthFailedError("a token is required")
        return None

    def verify(self, token: str) -> Auth:
        """Who a token stands for; a one-time token is used up.

        Raises:
            AuthError: it does not hold.
        """
        if len(token) > TOKEN_CHARACTERS:
            raise AuthFailedError("the token is too long")
        envelope = Envelope.untokenize(bare_token(token))
        if envelope.type == AuthenticationType.ONE_TIME_TOKEN:
            auth = redeem(envelope, self._trusted, self._spent, self._now)
        else:
            auth = self._read(envelope)
        if auth.role == AuthRole.BLOCKED:
            raise AuthForbidden("this user is blocked")
        return auth

    def _read(self, envelope: Envelope) -> Auth:
        """Who a bearer token stands for, and until when."""
        if envelope.type != AuthorizationType.ED25519_BASIC_TOKEN:
            raise AuthFailedError("the token is of a type that lets nobody in")
        if not any(envelope.signed_by(key) for key in self._trusted):
            raise AuthFailedError("the token is signed by nobody who is trusted")
        auth = Auth.from_dict(envelope.message())
        ends = envelope.ends
        if auth.expires_at is not None:
            ends = min(ends, auth.expires_at.timestamp())
        if self._now() > ends:
            raise AuthFailedError("the token has expired")
        return replace(auth, expires_at=_moment(ends))

    def answer(self, stage: str, payload: Any, known: Auth | None = None) -> Step:
        """Answer a step of authentication on a socket.

        Args:
            stage: ``init`` asks for a challenge, ``authenticate`` brings credentials or a token, ``authenticated``
                asks who one is.
            payload: what the step carries.
            known: who the peer is so far.

        Raises:
            AuthError: the step is refused.
        """
        if stage == AuthenticationStage.INIT:
            return Step(AuthenticationStage.ALLOWENCE, self._issuer().init(payload))
        if stage == AuthenticationStage.AUTHENTICATE:
            return self._authenticate(payload)
        if stage == AuthenticationStage.AUTHENTICATED:
            if known is None:
                raise AuthFailedError("nobody is authenticated here")
            return Step(AuthenticationStage.AUTHENTICATED, known.to_dict())
        raise AuthManagerUnsupported(f"stage:{stage.value if isinstance(stage, AuthenticationStage) else stage}")

    def _authenticate(self, payload: Any) -> Step:
        if not isinstance(payload, dict):
            raise AuthenPayloadError("neither credentials nor a token")
        token = payload.get("token")
        if token is None:
            response = self._issuer().log_in(payload)
            return Step(AuthenticationStage.AUTHENTICATED, response, self.verify(response["token"]))
        if not isinstance(token, str):
            raise AuthenFailed("token")
        auth = self.verify(token)
        if Envelope.untokenize(bare_token(token)).type == AuthenticationType.ONE_TIME_TOKEN:
            response = self._issuer().vouch(auth)
            return Step(AuthenticationStage.AUTHENTICATED, response, self.verify(response["token"]))
        return Step(AuthenticationStage.AUTHENTICATED, {"token": whole_token(token)}, auth)

    def _issuer(self) -> Authority:
        if self._authority is None:
            raise AuthManagerUnsupported("this server issues no tokens: bring one")
        return self._authority


def _moment(seconds: float) -> datetime | None:
    """The moment so many seconds after the epoch; ``None`` where that is beyond all calendars."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return None
