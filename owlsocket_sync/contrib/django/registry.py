"""Handlers of the apps' ``handlers.py``: kept here, and registered on each connection of the process.

Threads: a list that is only appended to, and a mark for each handler of a connection, set atomically: without a lock
that a forked child could inherit while it is held.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...connection import Connection
from ...states import AuthenticationStage
from .database import with_fresh_connections


@dataclass(frozen=True, eq=False)
class HandlerEntry:
    """A handler of a project.

    Attributes:
        verb: ``"observe"`` or ``"perform"``.
        name: name of the event or the method.
        handler: the function.
        using: alias of the connection.
        stage: authentication stage that a caller needs; for ``"perform"``.
    """

    # eq=False: two handlers with equal fields are two registrations, and each is claimed for itself.
    verb: str
    name: str
    handler: Callable[..., Any]
    using: str
    stage: AuthenticationStage | None = None

    def register(self, connection: Connection) -> None:
        """Register the handler on a connection."""
        handler = with_fresh_connections(self.handler)
        if self.verb == "observe":
            connection.observe(self.name, handler)
        else:
            connection.perform(self.name, handler, stage=self.stage)


handler_entries: list[HandlerEntry] = []
"""All handlers, in the order of registration."""


class CurrentBindings:
    """The bindings of a client in one process; a child of a fork begins without any.

    Attributes:
        latest: those of the latest connection, ``None`` before the first.
    """

    def __init__(self) -> None:
        self.latest: Bindings | None = None


class Bindings:
    """A connection of this process, and the handlers that are registered on it, each once."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._owners: dict[object, object] = {}

    def claim(self, key: object) -> bool:
        """Return true for the first caller with this key, and false for all others; from any thread."""
        caller = object()
        return self._owners.setdefault(key, caller) is caller  # setdefault() is atomic: one caller finds its own object

    def add(self, entry: HandlerEntry) -> None:
        """Register a handler, unless it is registered already."""
        # A new handler can arrive twice: from the list, when the connection is set up, and from its own decorator.
        if self.claim(entry):
            entry.register(self.connection)
