"""Settings of one connection that its user may change at any time."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

from ..deadline import check_timeout
from ..states import AuthenticationStage
from .messages import CALL_TIMEOUT, Message

Stage = AuthenticationStage | str
Authenticate = Callable[[Stage, Any], tuple[Stage | None, Any]]
Prepare = Callable[[Message, bool], Message]

NO_CONTEXT = Context()
"""That of hooks which are not set; one for all connections, since hooks run in copies."""


def check_prepared(message: object) -> Message:
    """Return what the hook ``prepare`` returned, if it is a message; a hook that ends without ``return`` gives none."""
    if not isinstance(message, Message):
        raise TypeError(f"the hook prepare must return the message, not {type(message).__name__}")
    return message


class Settings:
    """Values behind the settable attributes of `owlsocket_sync.Connection`, which describes each of them.

    Attributes:
        authenticate_context: in copies of it `authenticate` runs.
        prepare_context: in copies of it `prepare` runs for messages of the peer.
    """

    __slots__ = (
        "authenticate",
        "authenticate_context",
        "call_timeout",
        "expose_tracebacks",
        "prepare",
        "prepare_context",
    )

    def __init__(self, call_timeout: float = CALL_TIMEOUT, *, expose_tracebacks: bool = False) -> None:
        self.call_timeout = check_timeout(call_timeout, "call_timeout")
        self.expose_tracebacks = expose_tracebacks
        self.prepare: Prepare | None = None
        self.authenticate: Authenticate | None = None
        self.prepare_context = self.authenticate_context = NO_CONTEXT
