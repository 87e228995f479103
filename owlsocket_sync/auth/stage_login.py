"""Login on the socket itself, with a key: request a challenge, sign it, check the stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..errors import AuthMalformed
from ..states import AuthenticationStage
from .claims import Claim, to_key_pair
from .constants import ALL_SCOPES, AuthRole
from .keys import KeyPair


class StageConnection(Protocol):
    """The part of a connection that a stage login uses."""

    def auth(self, stage: AuthenticationStage, payload: Any = None, timeout: float | None = None) -> Any:
        """Perform one authentication step."""
        ...

    @property
    def stage(self) -> AuthenticationStage | str | None:
        """The current authentication stage."""
        ...


class StageLogin:
    """Logs in on every new link, before anything else is sent; pass it as ``connect(url, auth=StageLogin(key))``.

    Args:
        key: private key, as a `KeyPair` or as text.
        scopes: requested scopes.
        role: requested role.
        user_id: user ID, if it is not the address of the key.
        source: name of the client application, for servers that require it.

    Raises:
        AuthMalformed: the key cannot be parsed.
        ValueError: the key is a public key, or ``scopes`` is not a list of strings.
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
        self._claim = Claim(to_key_pair(key), user_id, scopes, role, source)

    def __call__(self, connection: StageConnection) -> None:
        """Authenticate a connection.

        Raises:
            ResilientError: the peer rejected a step; the class is that of the peer's error.
            AuthMalformed: a response of the peer does not follow the protocol.
        """
        response = connection.auth(AuthenticationStage.INIT, self._claim.init_request())
        challenge = response.get("challenge") if isinstance(response, dict) else None
        if challenge is None:
            raise AuthMalformed("the response to the first authentication step contains no challenge")
        connection.auth(AuthenticationStage.AUTHENTICATE, self._claim.sign_challenge(challenge))
        # A response without an error does not mean success: the stage is the only thing that says so.
        if not AuthenticationStage.AUTHENTICATED._is_reached_by(connection.stage):
            raise AuthMalformed(f"the peer accepted the credentials but left the connection at {connection.stage!r}")

    def __repr__(self) -> str:
        return f"<StageLogin {self._claim.key.address}>"
