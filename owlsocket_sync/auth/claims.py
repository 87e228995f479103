"""The client's side of a challenge: the requests of a login, the same over HTTP and over a socket."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import AuthError, AuthMalformed
from ..options import check_type
from .constants import ALL_SCOPES, AuthenticationType, AuthRole
from .envelope import Envelope
from .keys import KeyPair, hide


@dataclass(frozen=True)
class Claim:
    """The identity that a client claims, and the key that proves it.

    Attributes:
        key: key pair with its private part; signs challenges.
        user_id: user ID; ``None`` for the address of the key.
        scopes: requested scopes.
        role: requested role.
        source: name of the client application, for servers that require it.
        type: authentication type.

    Raises:
        ValueError: ``key`` has no private part, or another option has the wrong type.
    """

    key: KeyPair
    user_id: str | None = None
    scopes: Sequence[str] = (ALL_SCOPES,)
    role: str = AuthRole.USER
    source: str | None = None
    type: str = AuthenticationType.BASIC_ED25519

    def __post_init__(self) -> None:
        if not isinstance(self.key, KeyPair):
            raise ValueError(f"key must be a KeyPair, not {type(self.key).__name__}")
        if not self.key.can_sign:
            raise ValueError("key must have a private part: a public key cannot sign a challenge")
        check_scopes(self.scopes)
        check_type("role", self.role, str)
        for option in ("user_id", "source"):
            check_type(option, getattr(self, option), str, optional=True)

    def init_request(self) -> dict[str, Any]:
        """Return the request for a challenge."""
        return {"type": str(self.type), **self._source_field()}

    def sign_challenge(self, challenge: object) -> dict[str, Any]:
        """Return the credentials for a challenge, with the challenge as it was received.

        Raises:
            AuthError: the challenge is JSON; its signature could be misused.
            AuthMalformed: the challenge is not an envelope.
        """
        return {
            "userId": self.user_id or self.key.address,
            # The raw text of the envelope is signed, not the decoded message: so the reference verifies it.
            "credential": self.key.sign(_signable_text(challenge)),
            "type": str(self.type),
            "challenge": challenge,
            # Required by the reference's schema, unlike in init_request().
            "scopes": list(self.scopes),
            "role": str(self.role),
            **self._source_field(),
        }

    def _source_field(self) -> dict[str, str]:
        return {} if self.source is None else {"source": self.source}


def check_scopes(scopes: object) -> None:
    """Raise `ValueError` unless these are scopes: a list of strings."""
    # A string is a collection of strings too: "read" would be four scopes of one letter, and grant each part of itself.
    names = () if isinstance(scopes, (str, bytes)) or not isinstance(scopes, Collection) else scopes
    if names is not scopes or not all(isinstance(scope, str) for scope in names):
        raise ValueError("scopes must be a list of strings")


def check_replay_store(store: object) -> None:
    """Raise `ValueError` unless this is a replay store, or ``None`` for the default one."""
    if store is not None and not callable(getattr(store, "use_once", None)):
        raise ValueError(f"replay_store must have a method use_once, which {type(store).__name__} has not")


def _signable_text(challenge: object) -> str:
    """Return the text inside a challenge, if its signature cannot be used for anything else."""
    if not isinstance(challenge, str):
        raise AuthMalformed("the challenge is not a string")
    text = Envelope.unwrap(challenge).msg
    # Envelopes and requests are signed as JSON with the same key. A malicious server that sends JSON as a challenge
    # would receive a valid token, or a signed request, in the name of the user.
    if text.lstrip().startswith(("{", "[")):
        raise AuthError("refused to sign a challenge that is JSON: its signature could be used as a token")
    return text


def to_key_pair(key: KeyPair | str) -> KeyPair:
    """Return the key pair; text is parsed as a private key.

    Raises:
        AuthMalformed: the text is not a private key.
    """
    key = hide(key)
    return key if isinstance(key, KeyPair) else KeyPair.parse(key)


def to_public_key(key: KeyPair | str) -> KeyPair:
    """Return the key pair; text is parsed as a public key.

    Raises:
        AuthMalformed: the text is not a public key.
    """
    return key if isinstance(key, KeyPair) else KeyPair.from_public(key)
