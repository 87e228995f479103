"""Decorators for a project's ``handlers.py``: ``observe`` and ``perform``; they need no connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ...callables import ANY
from ...protocol.events import EVERY
from ...protocol.messages import EventMessage
from ...protocol.subscriptions import check_handler, check_name, check_pattern
from ...states import REACHABLE_STAGES, AuthenticationStage
from .connections import clients
from .registry import HandlerEntry, handler_entries

Observer = TypeVar("Observer", bound=Callable[[EventMessage], Any])
Performer = TypeVar("Performer", bound=Callable[..., Any])

DEFAULT = "default"


def observe(event: str, *, using: str = DEFAULT) -> Callable[[Observer], Observer]:
    """Run ``handler(message)`` for each event of a name, ``"*"`` for all, in every connected process.

    Handlers run on workers, with database connections of their own; handlers of one event run in order.

    Args:
        event: name of the event.
        using: alias of the connection.

    Raises:
        TypeError: the name is not text, or the decorated object is not callable.
    """
    return _decorator("observe", event, using, None)


def perform(
    method: str, *, using: str = DEFAULT, stage: AuthenticationStage | None = None
) -> Callable[[Performer], Performer]:
    """Answer the server's calls of a method: the return value is the result, an exception is the error.

    Handlers run on workers, with database connections of their own; several calls run at once.

    Args:
        method: name of the method.
        using: alias of the connection.
        stage: authentication stage that the server must have reached.

    Raises:
        TypeError: the name is not text, or the decorated object is not callable.
        ValueError: the stage is not reachable.
    """
    if stage is not None and stage not in REACHABLE_STAGES:
        raise ValueError(f"stage must be a reachable stage of authentication, not {stage!r}")
    return _decorator("perform", method, using, stage)


def _decorator(verb: str, name: str, using: str, stage: AuthenticationStage | None) -> Callable[[Any], Any]:
    check_name(f"@{verb}", name)
    check_pattern(verb, name, EVERY if verb == "observe" else None)

    def register(handler: Any) -> Any:
        check_handler(handler, f"the handler of {name!r}", "message" if verb == "observe" else ANY)
        entry = HandlerEntry(verb, name, handler, using, stage)
        # Append first: a connection made meanwhile finds the entry in the list, and `Bindings` registers it only once.
        handler_entries.append(entry)
        clients.register_handler(entry)
        return handler

    return register
