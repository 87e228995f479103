"""The credentials of a context: a login with a key, or a token."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .service import Service

if TYPE_CHECKING:
    from ..auth import Auth, KeyPair


class AuthService(Service):
    """Our identity: a login with a key, or a token that you supply.

    Args:
        base_url: URL of the authentication service; requires ``key``.
        key: private key, as a `KeyPair` or as text.
        token: instead of ``base_url`` and ``key``: a token, or a callable that returns one.
        alias: name within the context.
        options: further options of `owlsocket_sync.auth.Login`; not allowed with ``token``.

    Raises:
        ValueError: neither or both kinds of credentials were passed, or an option is invalid.
    """

    def __init__(
        self,
        base_url: str | None = None,
        key: KeyPair | str | None = None,
        *,
        token: str | Callable[[], str] | None = None,
        alias: str = "auth",
        **options: Any,
    ) -> None:
        super().__init__(alias)
        if (token is None) is (base_url is None or key is None):
            raise ValueError("pass either base_url and key, or token")
        self._token = token
        self._login = None
        if base_url is not None and key is not None:
            # Imported here: a context with a token, or without authentication, needs no extra "auth".
            from ..auth import Login

            self._login = Login(base_url, key, **options)
        elif options:
            raise ValueError(f"{', '.join(sorted(options))}: only valid with base_url and key, not with token")

    def credentials(self) -> dict[str, Any]:
        """Return the arguments of `owlsocket_sync.connect` that carry our identity."""
        return {"token": self._token} if self._login is None else {"auth": self._login}

    def token(self) -> str:
        """Return a token for an HTTP request of your own.

        Raises:
            AuthError: the login was refused, or timed out.
            SocketConnectionError: the authentication service cannot be reached.
        """
        if self._login is not None:
            return self._login.token(reuse=True)
        assert self._token is not None
        return self._token() if callable(self._token) else self._token

    @property
    def auth(self) -> Auth | None:
        """Our identity as the last login reported it; ``None`` before a login, or with a plain token."""
        return None if self._login is None else self._login.auth

    def __repr__(self) -> str:
        # A login shows its key's address; a token is a secret and never shown.
        return f"<AuthService {self.alias!r}: {self._login or 'a token'}>"
