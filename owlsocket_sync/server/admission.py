"""Authentication of clients: before the upgrade, with an HTTP status, and in steps on the socket afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol, runtime_checkable

from ..callables import refuse_awaitable
from ..connection import Connection
from ..errors import AccessError, AuthError, AuthFailedError, AuthForbidden, ResilientError, marshal_for_peer
from ..errors.safe_text import logger
from ..options import check_callable
from ..protocol.log_throttle import LogThrottle, omission
from ..states import ANONYMOUS, AuthenticationStage, AuthStepResult
from ..urls import TOKEN_SCHEME
from .request import Request


@runtime_checkable
class GuardProtocol(Protocol):
    """The methods that a server calls to authenticate clients; `owlsocket_sync.auth.Guard` has them."""

    def admit(self, request: Request) -> Any:
        """Return the identity of a client before the upgrade, or raise to reject it.

        `owlsocket_sync.server.ANONYMOUS` admits a client without an identity, which may authenticate on the socket.
        ``None`` and ``False`` reject the client; ``None`` admits it only if the guard has an attribute ``required``
        that is ``False``, as a `Guard` that requires no token has.
        """
        ...

    def answer(self, stage: str, payload: Any, identity: Any = None) -> AuthStepResult:
        """Perform one step of authentication on the socket, or raise to refuse it."""
        ...


Authenticate = GuardProtocol | Callable[[Request], Any]


def check_authenticate(authenticate: object) -> None:
    """Raise `ValueError` unless this is a guard, a callable, or ``None``."""
    if not (authenticate is None or isinstance(authenticate, GuardProtocol) or callable(authenticate)):
        raise ValueError(f"authenticate must be a Guard or a callable, not {type(authenticate).__name__}")
    # A coroutine would be taken for an identity.
    if not isinstance(authenticate, GuardProtocol):
        check_callable("authenticate", authenticate, "request")


class HandshakeRejected(Exception):
    """A client is rejected before the upgrade.

    Attributes:
        status: the HTTP status of the response.
        text: the body of the response.
        headers: further headers of the response.
    """

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        # RFC 9110, section 15.5.2: a 401 names the scheme with which the client may try again.
        challenge = {"WWW-Authenticate": TOKEN_SCHEME} if status is HTTPStatus.UNAUTHORIZED else {}
        self.headers: Mapping[str, str] = challenge


class Authenticator:
    """The authentication of one server's clients.

    Args:
        authenticate: a guard, or a callable ``(request) -> identity``; ``None`` admits every client.
    """

    def __init__(self, authenticate: Authenticate | None) -> None:
        self._authenticate = authenticate
        self._throttle = LogThrottle()

    def admit(self, request: Request) -> Any:
        """Return the identity of a client; on the client's thread, before the upgrade.

        Raises:
            HandshakeRejected: the client is not authenticated, or not allowed.
        """
        guard = self._authenticate
        if guard is None:
            return None
        try:
            return self._admitted(guard, request)
        except (AuthError, PermissionError) as error:
            status = HTTPStatus.FORBIDDEN if isinstance(error, _FORBIDDEN) else HTTPStatus.UNAUTHORIZED
            raise HandshakeRejected(status, marshal_for_peer(error)) from error
        except Exception as error:
            # A broken guard must fail closed. Its error stays in the log: the client has not authenticated yet, and
            # the text of an unexpected error may hold secrets.
            # One record for each kind and second: anybody who connects may cause it.
            omitted = self._throttle.admit(type(error).__name__)
            if omitted is not None:
                more = omission(omitted)
                logger.error("authenticate raised an unexpected error; the client is rejected%s", more, exc_info=error)
            raise HandshakeRejected(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                ResilientError(message="the server failed to authenticate the client").marshal(),
            ) from error

    @staticmethod
    def _admitted(guard: Authenticate, request: Request) -> Any:
        """Return the identity, ``None`` for a client that is admitted without one."""
        is_guard = isinstance(guard, GuardProtocol)
        identity = guard.admit(request) if isinstance(guard, GuardProtocol) else guard(request)
        if identity is ANONYMOUS or (identity is None and is_guard and getattr(guard, "required", True) is False):
            return None
        # Fail closed: a callable that looks a token up returns None, or False, for one that it does not find.
        if identity is None or identity is False:
            raise AuthFailedError("not authenticated")
        refuse_awaitable(identity, "authenticate")
        return identity

    def install(
        self,
        connection: Connection,
        identity: Any,
        on_expiry: Callable[[datetime | None], None],
        on_identity: Callable[[Any], None],
    ) -> None:
        """Store the identity on a connection, and answer authentication steps there; before the handler runs.

        Args:
            connection: the client's.
            identity: the value that `admit` returned.
            on_expiry: called with the moment at which the identity expires, ``None`` for never; again after each
                step that changes the identity.
            on_identity: called with the identity, and again after each such step.
        """
        guard = self._authenticate
        if guard is None:
            return
        set_identity = partial(self._set_identity, connection, on_expiry, on_identity)
        set_identity(identity)
        if not isinstance(guard, GuardProtocol):
            return
        connection.stage = AuthenticationStage.INIT if identity is None else AuthenticationStage.AUTHENTICATED

        def answer(stage: AuthenticationStage | str, payload: Any) -> tuple[AuthenticationStage, Any]:
            step = guard.answer(stage, payload, connection.auth_info)
            # Before the answer leaves: the peer's next call must already find its identity here.
            if step.auth is not None:
                set_identity(step.auth)
            return step.stage, step.response

        connection.authenticate = answer

    @staticmethod
    def _set_identity(
        connection: Connection,
        on_expiry: Callable[[datetime | None], None],
        on_identity: Callable[[Any], None],
        identity: Any,
    ) -> None:
        connection.auth_info = identity
        on_identity(identity)
        # Identities are what the user's `authenticate` returns: any object, with `expires_at` or without.
        expires_at = getattr(identity, "expires_at", None)
        on_expiry(expires_at if isinstance(expires_at, datetime) else None)


_FORBIDDEN = (AccessError, AuthForbidden)
