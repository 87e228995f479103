"""The verifying side: tokens during the handshake, and the authentication stages of an open socket.

Nothing is trusted before it is verified here: signature, expiry, single use of one-time tokens. Any thread may use a
guard, and several servers may share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, Protocol

from ..clock import wall_time
from ..errors import (
    AuthenFailed,
    AuthenPayloadError,
    AuthFailedError,
    AuthForbidden,
    AuthManagerUnsupported,
)
from ..options import check_type
from ..states import AuthenticationStage, AuthStepResult
from ..urls import TOKEN_SCHEME, strip_token_scheme, with_token_scheme
from ..values import Secret
from .authority import Authority, redeem
from .claims import check_replay_store, to_public_key
from .constants import AUTH_HEADER, AUTH_QUERY, AuthenticationType, AuthorizationType, AuthRole
from .envelope import Envelope
from .keys import KeyPair
from .models import Auth
from .replay import MemoryReplayStore, ReplayStore

MAX_TOKEN_LENGTH = 8192


class HandshakeRequest(Protocol):
    """The part of a handshake request that a guard reads."""

    @property
    def query(self) -> Mapping[str, str]:
        """URL parameters."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP headers."""
        ...


class Guard:
    """Verifies tokens and handles authentication steps; pass it as ``serve(authenticate=Guard(...))``.

    Args:
        trusted: public keys whose tokens are accepted: a key or an iterable of keys, as `KeyPair` or as text.
        authority: logs users in on the socket itself; its key is trusted too.
        required: reject clients without a token; otherwise they are accepted at the stage ``INIT``, to authenticate
            on the socket.
        replay_store: remembers used one-time tokens; the default is the store of the authority, or the memory of this
            process.
        now: clock, seconds since the epoch.

    Attributes:
        required: clients without a token are rejected; a server asks for it.

    Raises:
        AuthMalformed: a key cannot be parsed.
        ValueError: there is neither a trusted key nor an authority, or an option is not valid; the message names it.
    """

    def __init__(
        self,
        trusted: KeyPair | str | Iterable[KeyPair | str] = (),
        *,
        authority: Authority | None = None,
        required: bool = True,
        replay_store: ReplayStore | None = None,
        now: Callable[[], float] = wall_time,
    ) -> None:
        if isinstance(trusted, bytes) or not isinstance(trusted, (KeyPair, Iterable)):
            raise ValueError(f"trusted must be a key or a list of keys, not {type(trusted).__name__}")
        check_type("authority", authority, Authority, optional=True)
        check_type("required", required, bool)
        check_replay_store(replay_store)
        keys = [trusted] if isinstance(trusted, (KeyPair, str)) else list(trusted)
        self._trusted = [to_public_key(key) for key in keys]
        if authority is not None:
            self._trusted.append(authority.key)
        if not self._trusted:
            raise ValueError("pass at least one trusted public key, or an authority: no token could be verified")
        self._authority = authority
        self.required = required
        # The authority's store is shared: a one-time token that was used over HTTP must not open a socket.
        if replay_store is None:
            replay_store = MemoryReplayStore(now=now) if authority is None else authority.replay_store
        self._replay_store = replay_store
        self._now = now

    def admit(self, request: HandshakeRequest) -> Auth | None:
        """Return the identity of a client, by the token in its header or else in its URL.

        Returns:
            The identity; ``None`` for a client without a token, if none is required.

        Raises:
            AuthError: the token is not valid, or a required token is missing.
        """
        token = _token_of(request)
        if token:
            return self.verify(token)
        if self.required:
            raise AuthFailedError("a token is required")
        return None

    def verify(self, token: str) -> Auth:
        """Return the identity that a token carries; a one-time token is used up.

        Raises:
            AuthError: the token is not valid.
        """
        # Before any decoding: clients that are not authenticated must not cost much.
        if len(token) > MAX_TOKEN_LENGTH:
            raise AuthFailedError(f"token is longer than {MAX_TOKEN_LENGTH} characters")
        envelope = Envelope.untokenize(strip_token_scheme(token))
        if envelope.type == AuthenticationType.ONE_TIME_TOKEN:
            auth = redeem(envelope, self._trusted, self._replay_store, self._now)
        else:
            auth = self._verify_bearer(envelope)
        # Only after the signature: an unsigned role says nothing.
        if auth.role == AuthRole.BLOCKED:
            raise AuthForbidden("user is blocked")
        return auth

    def _verify_bearer(self, envelope: Envelope) -> Auth:
        """Return the identity that a bearer token carries, with the expiry of the token."""
        # A challenge is signed with the same key: the type keeps it from being used as a token.
        if envelope.type != AuthorizationType.ED25519_BASIC_TOKEN:
            raise AuthFailedError("unsupported token type")
        if not any(envelope.signed_by(key) for key in self._trusted):
            raise AuthFailedError("token signature is not trusted")
        auth = Auth.from_dict(envelope.message())
        # Two lifetimes, of the envelope and of the identity in it: the earlier one ends the connection.
        expires_at = envelope.expires_at
        if auth.expires_at is not None:
            expires_at = min(expires_at, auth.expires_at.timestamp())
        if self._now() > expires_at:
            raise AuthFailedError("token has expired")
        return replace(auth, expires_at=_to_datetime(expires_at))

    def answer(self, stage: str, payload: Any, identity: Auth | None = None) -> AuthStepResult:
        """Handle an authentication step of a client on an open socket.

        Args:
            stage: ``init`` requests a challenge, ``authenticate`` sends credentials or a token, ``authenticated``
                requests the current identity.
            payload: payload of the step.
            identity: current identity of the client.

        Raises:
            AuthError: the step is rejected.
        """
        if stage == AuthenticationStage.INIT:
            return AuthStepResult(AuthenticationStage.ALLOWENCE, self._require_authority().init(payload))
        if stage == AuthenticationStage.AUTHENTICATE:
            return self._authenticate(payload)
        if stage == AuthenticationStage.AUTHENTICATED:
            # Never from the payload: a client could claim any identity.
            if identity is None:
                raise AuthFailedError("not authenticated")
            return AuthStepResult(AuthenticationStage.AUTHENTICATED, identity.to_dict())
        name = stage.value if isinstance(stage, AuthenticationStage) else stage
        raise AuthManagerUnsupported(f"stage {name!r} is not supported")

    def _authenticate(self, payload: Any) -> AuthStepResult:
        if not isinstance(payload, dict):
            raise AuthenPayloadError("payload contains neither credentials nor a token")
        token = payload.get("token")
        if token is None:
            response = self._require_authority().log_in(payload)
            # Our own token is verified too, for its expiry and for a blocked role.
            return AuthStepResult(AuthenticationStage.AUTHENTICATED, response, self.verify(response["token"]))
        if not isinstance(token, str):
            raise AuthenFailed("token must be a string")
        auth = self.verify(token)
        # A one-time token is used up by now: the client gets a bearer token for its next connection.
        if Envelope.untokenize(strip_token_scheme(token)).type == AuthenticationType.ONE_TIME_TOKEN:
            response = self._require_authority().issue_token(auth)
            return AuthStepResult(AuthenticationStage.AUTHENTICATED, response, self.verify(response["token"]))
        return AuthStepResult(AuthenticationStage.AUTHENTICATED, {"token": with_token_scheme(token)}, auth)

    def _require_authority(self) -> Authority:
        if self._authority is None:
            raise AuthManagerUnsupported("this server does not issue tokens: send a token")
        return self._authority


def _to_datetime(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, ValueError, OSError):  # infinity, or beyond the year 9999: no expiry in practice
        return None


def _token_of(request: HandshakeRequest) -> Secret:
    """Return the token of a request, ``""`` if there is none."""
    try:
        header = request.headers.get(AUTH_HEADER) or ""
    except LookupError:  # websockets raises MultipleValuesError; choosing among tokens would be a guess
        raise AuthFailedError("more than one authorization header") from None
    scheme, _, envelope = header.partition(" ")
    # Browsers cannot set headers of a WebSocket: they send the token in the URL. A header with another scheme is not
    # meant for us, such as basic authentication for a proxy.
    return Secret(envelope.strip() if scheme == TOKEN_SCHEME else request.query.get(AUTH_QUERY) or "")
