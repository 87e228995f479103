"""The words of ``@owlmeans/auth``, spelled as on the wire."""

from __future__ import annotations

from enum import Enum

AUTH_HEADER = "authorization"
"""The header that a token travels in, behind its scheme."""
AUTH_QUERY = "token"
"""The parameter of the URL that a token travels in, bare."""
ENTITY_QUERY = "entity"
"""The parameter of the URL that says for whom somebody acts."""
PROFILE_QUERY = "profile"
"""The parameter of the URL that says under which of their profiles."""
REFRESH_HEADER = "auth-token-refresh"

ALL_SCOPES = "*"
"""The scope that stands for all of them."""
AUTH_SCOPE = "__auth"
"""The scope of authentication itself."""
GUEST_ID = "__guest"
"""Who somebody is that nobody knows."""


class _Word(str, Enum):
    """Text that prints as itself."""

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)


class AuthRole(_Word):
    """As what somebody comes."""

    USER = "user"
    GUEST = "guest"
    SERVICE = "service"
    SYSTEM = "system"
    ADMIN = "admin"
    SUPERUSER = "superuser"
    BLOCKED = "blocked"


class AuthenticationType(_Word):
    """How somebody proves who they are."""

    BASIC_ED25519 = "basic-ed25519"
    ONE_TIME_TOKEN = "one-time-token"
    RE_CAPTCHA = "re-captcha"
    WALLET_DID = "wallet-did"
    RELY_HANDSHAKE = "rely-handshake"
    WALLET_CONSUMER = "wallet-consumer"
    WALLET_PROVIDER = "wallet-provider"
    GOOGLE = "google-oauth"
    SUPERVISOR = "pk-supervisor"


class AuthorizationType(_Word):
    """What a request is allowed by; the reference spells the name of the enum ``AuthroizationType``."""

    AUTH_TOKEN = "auth-token"
    ED25519_BASIC_TOKEN = "ed25519-basic-token"
    ED25519_BASIC_SIGNATURE = "ed25519-basic-signature"


class EnvelopeKind(_Word):
    """The text that an envelope becomes."""

    WRAP = "wrap"
    TOKEN = "token"
