"""Logging in on the socket itself, with a key: a challenge, its signature, and the stage that follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..errors import AuthMalformed
from ..stages import AuthenticationStage
from .keys import KeyPair
from .proof import Claim, key_pair
from .words import ALL_SCOPES, AuthRole


class Speaker(Protocol):
    """The part of a connection that this needs."""

    def auth(self, stage: AuthenticationStage, payload: Any = None, timeout: float | None = None) -> Any:
        """Take one step of authentication."""
        ...

    @property
    def stage(self) -> AuthenticationStage | str | None:
        """How far it has come."""
        ...


class StageLogin:
    """What ``connect(url, auth=StageLogin(key))`` calls on every new link, before anything else leaves.

    Args:
        key: the private key, as a `KeyPair` or as text.
        scopes: what for.
        role: as what.
        user_id: who, where that is not the address of the key.
        source: through whom, where the server wants to know.
    """

    def __init__(
        self,
        key: KeyPair | str,
        *,
        scopes: Sequence[str] = (ALL_SCOPES,),
        role: str = AuthRole.USER,
        user_id: str | None = None,
        source: str | None = None,
    ) -> None:
        self._claim = Claim(key_pair(key), user_id, scopes, role, source)

    def __call__(self, connection: Speaker) -> None:
        """Authenticate; raises what the peer refuses with."""
        answer = connection.auth(AuthenticationStage.INIT, self._claim.ask())
        challenge = answer.get("challenge") if isinstance(answer, dict) else None
        if challenge is None:
            raise AuthMalformed("the answer to the first step holds no challenge")
        connection.auth(AuthenticationStage.AUTHENTICATE, self._claim.answer(challenge))
        if not AuthenticationStage.AUTHENTICATED.reached_at(connection.stage):
            raise AuthMalformed(f"the peer took the proof, and left the connection at stage {connection.stage!r}")

    def __repr__(self) -> str:
        return f"<StageLogin {self._claim.key.address}>"
