"""What a key answers to a challenge: the same credentials, over HTTP and over a socket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import AuthError, AuthMalformed
from .envelope import Envelope
from .keys import KeyPair
from .words import ALL_SCOPES, AuthenticationType, AuthRole


@dataclass(frozen=True)
class Claim:
    """Who wants to come in, and as what.

    Attributes:
        key: proves it; with its private part.
        user_id: who; ``None`` for the address of the key.
        scopes: what for.
        role: as what.
        source: through whom, where the server wants to know.
        type: the way of proving it.
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
            raise ValueError("key must hold its private part: a public key proves nothing")
        if isinstance(self.scopes, str) or not all(isinstance(scope, str) for scope in self.scopes):
            raise ValueError("scopes must be a list of texts")

    def ask(self) -> dict[str, Any]:
        """What asks for a challenge."""
        return {"type": str(self.type), **self._source()}

    def answer(self, challenge: object) -> dict[str, Any]:
        """The credentials that answer a challenge: it is sent back as it came, what is signed is the text in it.

        Raises:
            AuthError: it is no challenge, or one that must not be signed.
        """
        return {
            "userId": self.user_id or self.key.address,
            "credential": self.key.sign(_text_to_sign(challenge)),
            "type": str(self.type),
            "challenge": challenge,
            "scopes": list(self.scopes),
            "role": str(self.role),
            **self._source(),
        }

    def _source(self) -> dict[str, str]:
        return {} if self.source is None else {"source": self.source}


def _text_to_sign(challenge: object) -> str:
    """The text in a challenge, when a signature over it is good for nothing else.

    Envelopes and requests are signed as JSON; a server that puts JSON into a challenge would get a token signed.
    """
    if not isinstance(challenge, str):
        raise AuthMalformed("the challenge is no text")
    text = Envelope.unwrap(challenge).msg
    if text.lstrip().startswith(("{", "[")):
        raise AuthError("the challenge is JSON, whose signature could be used for something else; it is not signed")
    return text


def key_pair(key: KeyPair | str) -> KeyPair:
    """The pair, which may be handed over as the text of its private key."""
    return key if isinstance(key, KeyPair) else KeyPair.parse(key)
