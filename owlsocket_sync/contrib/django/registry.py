"""What ``handlers.py`` of the apps registers, before and after there is a connection to register it on.

Threads: a list that only grows, and a mark for each handler of a connection, set by whoever comes first: no lock, so
there is none that a fork could take along.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...connection import Connection
from ...stages import AuthenticationStage
from .database import with_fresh_connections


@dataclass(frozen=True, eq=False)
class Entry:
    """One handler.

    Attributes:
        verb: ``"observe"`` or ``"perform"``.
        name: of the event or the method.
        handler: what runs.
        using: the alias of the connection it belongs to.
        stage: how far a caller must have authenticated; for ``"perform"``.
    """

    verb: str
    name: str
    handler: Callable[..., Any]
    using: str
    stage: AuthenticationStage | None = None

    def register(self, connection: Connection) -> None:
        """Register it on a connection."""
        handler = with_fresh_connections(self.handler)
        if self.verb == "observe":
            connection.observe(self.name, handler)
        else:
            connection.perform(self.name, handler, stage=self.stage)


entries: list[Entry] = []
"""All handlers, in the order in which they came."""


class Wiring:
    """A connection of this process, and which handlers it has; each once, whoever brings it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.process = os.getpid()
        self._marks: dict[object, object] = {}

    def first(self, key: object) -> bool:
        """Whether nobody asked for this key before."""
        mine = object()
        return self._marks.setdefault(key, mine) is mine

    def add(self, entry: Entry) -> None:
        """Register a handler, unless it is there."""
        if self.first(entry):
            entry.register(self.connection)
