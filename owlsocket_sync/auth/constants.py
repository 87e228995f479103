"""Constants of ``@owlmeans/auth``, spelled as on the wire."""

from __future__ import annotations

from enum import Enum

AUTH_HEADER = "authorization"
"""Header that carries a token, after its scheme."""
AUTH_QUERY = "token"
"""URL parameter that carries a token, without its scheme."""
ENTITY_QUERY = "entity"
"""URL parameter that names the entity the user acts for."""
PROFILE_QUERY = "profile"
"""URL parameter that names the profile the user acts under."""
REFRESH_HEADER = "auth-token-refresh"

ALL_SCOPES = "*"
"""Scope that includes all scopes."""
AUTH_SCOPE = "__auth"
"""Scope of authentication itself."""
GUEST_ID = "__guest"
"""User ID of an unauthenticated user."""


class _StrEnum(str, Enum):
    """Enum of strings whose members print as their value; `enum.StrEnum` needs Python 3.11."""

    # str() of a plain (str, Enum) is the name of the member, and format() differs between versions of Python. Members
    # end up in headers and in signed texts, so both must be the value.
    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)


class AuthRole(_StrEnum):
    """Role of a user."""

    USER = "user"
    GUEST = "guest"
    SERVICE = "service"
    SYSTEM = "system"
    ADMIN = "admin"
    SUPERUSER = "superuser"
    BLOCKED = "blocked"


class AuthenticationType(_StrEnum):
    """Method of authentication."""

    BASIC_ED25519 = "basic-ed25519"
    ONE_TIME_TOKEN = "one-time-token"
    RE_CAPTCHA = "re-captcha"
    WALLET_DID = "wallet-did"
    RELY_HANDSHAKE = "rely-handshake"
    WALLET_CONSUMER = "wallet-consumer"
    WALLET_PROVIDER = "wallet-provider"
    GOOGLE = "google-oauth"
    SUPERVISOR = "pk-supervisor"


class AuthorizationType(_StrEnum):
    """Kind of credentials that authorize a request; ``AuthroizationType`` in the reference, which misspells it."""

    AUTH_TOKEN = "auth-token"
    ED25519_BASIC_TOKEN = "ed25519-basic-token"
    ED25519_BASIC_SIGNATURE = "ed25519-basic-signature"


class EnvelopeKind(_StrEnum):
    """Text encoding of an envelope."""

    WRAP = "wrap"
    TOKEN = "token"
