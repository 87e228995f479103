"""``observe`` and ``perform``: what a project's ``handlers.py`` says, without a connection at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ...protocol.messages import EventMessage
from ...stages import STAGES_TO_REACH, AuthenticationStage
from .connections import clients
from .registry import Entry, entries

Observer = TypeVar("Observer", bound=Callable[[EventMessage], Any])
Performer = TypeVar("Performer", bound=Callable[..., Any])

DEFAULT = "default"


def observe(event: str, *, using: str = DEFAULT) -> Callable[[Observer], Observer]:
    """Have ``handler(message)`` run for each event of this name, ``"*"`` for all, in every process that is connected.

    Handlers run on workers, with database connections of their own; those of one event in order.

    Args:
        event: its name.
        using: the alias of the connection.

    Raises:
        TypeError: the name is no text, or what is decorated cannot be called.
    """
    return _decorator("observe", event, using, None)


def perform(
    method: str, *, using: str = DEFAULT, stage: AuthenticationStage | None = None
) -> Callable[[Performer], Performer]:
    """Answer the server's calls of ``method``: what the handler returns is the result, what it raises the error.

    Handlers run on workers, with database connections of their own; calls side by side.

    Args:
        method: the name that the server calls.
        using: the alias of the connection.
        stage: how far the server must have authenticated.

    Raises:
        TypeError: the name is no text, or what is decorated cannot be called.
        ValueError: the stage is none that can be reached.
    """
    if stage is not None and stage not in STAGES_TO_REACH:
        raise ValueError(f"stage must be a stage of authentication that can be reached, not {stage!r}")
    return _decorator("perform", method, using, stage)


def _decorator(verb: str, name: str, using: str, stage: AuthenticationStage | None) -> Callable[[Any], Any]:
    if not isinstance(name, str):
        raise TypeError(f'@{verb} needs a name, as in @{verb}("name"), not {type(name).__name__}')

    def register(handler: Any) -> Any:
        if not callable(handler):
            raise TypeError(f"the handler of {name!r} must be callable, not {type(handler).__name__}")
        entry = Entry(verb, name, handler, using, stage)
        entries.append(entry)
        clients.announce(entry)
        return handler

    return register
