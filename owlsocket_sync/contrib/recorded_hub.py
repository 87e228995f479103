"""The hub of a test: in memory in place of that of the settings, it keeps what the program publishes."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ..hub import MemoryHub
from ..hub.hub_base import ConnectionName, Excluded
from ..protocol.codec import encode_event


class Published(NamedTuple):
    """An event that the program published: to all, to a room, or to a user."""

    name: str
    payload: Any
    room: str | None = None
    user: Any = None


class RecordedHub(MemoryHub):
    """A `MemoryHub` that keeps what was published; what a `send` has for one connection is seen at that connection.

    Attributes:
        published: events in order, with their payloads as a client gets them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.published: list[Published] = []

    def publish_text(self, event: str, payload: Any, text: bytes, room: str | None, exclude: Excluded = ()) -> None:
        """Publish as `MemoryHub` does, and record it; also what a server of the hub broadcasts."""
        # First: what cannot be published is not recorded.
        super().publish_text(event, payload, text, room, exclude)
        self.published.append(Published(event, _payload(text), room))

    def send(self, event: str, payload: Any = None, *, to: ConnectionName | None = None, user: Any = None) -> None:
        """Send as `MemoryHub` does, and record what is for a user."""
        super().send(event, payload, to=to, user=user)
        if user is not None:
            self.published.append(Published(event, _payload(encode_event(event, payload, None, None)), None, user))


def _payload(text: bytes) -> Any:
    return json.loads(text).get("payload")
