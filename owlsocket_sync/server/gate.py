"""Whom the server lets in: asks the guard, refuses with HTTP, and keeps who it is with the connection."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any, Protocol, runtime_checkable

from ..connection import Connection
from ..errors import AccessError, AuthError, AuthForbidden, ResilientError
from ..stages import AuthenticationStage
from ..urls import TOKEN_SCHEME
from .upgrade import Request

logger = logging.getLogger("owlsocket_sync")


class Answered(Protocol):
    """What a guard answers to a step of authentication on the socket."""

    @property
    def stage(self) -> AuthenticationStage:
        """How far it has come."""
        ...

    @property
    def response(self) -> Any:
        """What the peer gets."""
        ...

    @property
    def auth(self) -> Any:
        """Who the peer is from now on; ``None`` when this step did not tell."""
        ...


@runtime_checkable
class Guarding(Protocol):
    """Lets in and answers; `owlsocket_sync.auth.Guard` does."""

    def admit(self, request: Request) -> Any:
        """Who comes; ``None`` lets somebody in who may prove it on the socket. What it raises refuses."""
        ...

    def answer(self, stage: str, payload: Any, known: Any = None) -> Answered:
        """Answer a step of authentication on the socket; what it raises refuses."""
        ...


Authenticate = Guarding | Callable[[Request], Any]


class Refused(Exception):
    """A client is not let in: the HTTP status, and the text that says why."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Gate:
    """The door of one server.

    Args:
        authenticate: a guard, or a callable ``(request) -> who``; ``None`` lets everybody in.
    """

    def __init__(self, authenticate: Authenticate | None) -> None:
        if not (authenticate is None or isinstance(authenticate, Guarding) or callable(authenticate)):
            raise ValueError(f"authenticate must be a Guard or a callable, not {type(authenticate).__name__}")
        self._authenticate = authenticate

    def admit(self, request: Request) -> Any:
        """Who comes.

        Raises:
            Refused: nobody who may.
        """
        guard = self._authenticate
        if guard is None:
            return None
        try:
            return guard.admit(request) if isinstance(guard, Guarding) else guard(request)
        except (AuthError, PermissionError) as error:
            status = HTTPStatus.FORBIDDEN if isinstance(error, _FORBIDDEN) else HTTPStatus.UNAUTHORIZED
            raise Refused(status, _told(error)) from error
        except Exception as error:
            logger.exception("the guard failed, and lets nobody in")
            raise Refused(
                HTTPStatus.INTERNAL_SERVER_ERROR, ResilientError("Error", "the guard failed").marshal()
            ) from error

    def attend(self, connection: Connection, who: Any, until: Callable[[datetime | None], None]) -> None:
        """Keep who came, and answer the steps of authentication; before a handler sees the connection.

        Args:
            connection: theirs.
            who: what `admit` returned.
            until: told when what is known of somebody ends.
        """
        guard = self._authenticate
        if guard is None:
            return
        self._know(connection, who, until)
        if not isinstance(guard, Guarding):
            return
        connection.stage = AuthenticationStage.INIT if who is None else AuthenticationStage.AUTHENTICATED

        def answer(stage: AuthenticationStage | str, payload: Any) -> tuple[AuthenticationStage, Any]:
            step = guard.answer(stage, payload, connection.auth_info)
            if step.auth is not None:
                self._know(connection, step.auth, until)
            return step.stage, step.response

        connection.authenticate = answer

    @staticmethod
    def _know(connection: Connection, who: Any, until: Callable[[datetime | None], None]) -> None:
        connection.auth_info = who
        ends = getattr(who, "expires_at", None)
        until(ends if isinstance(ends, datetime) else None)


_FORBIDDEN = (AccessError, AuthForbidden)

CHALLENGE = {"WWW-Authenticate": TOKEN_SCHEME}


def _told(error: Exception) -> str:
    """An error as text for the peer, without a trace of ours."""
    ensured = ResilientError.ensure(error)
    return ResilientError(ensured.type, ensured.message).marshal()
