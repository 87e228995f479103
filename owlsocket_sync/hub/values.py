"""Values of a hub: members, changes of presence, gaps, and the events that it publishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import SocketMessageMalformed
from ..protocol.json_values import from_json, to_json
from ..protocol.private_copy import copy_payload
from ..values import FieldwiseEq

JOIN, UPDATE, LEAVE = "join", "update", "leave"


@dataclass(frozen=True, eq=False, repr=False)
class Member(FieldwiseEq):
    """A connection in a room.

    Attributes:
        id: of the connection; `Hub.send`, `Hub.call` and `Hub.disconnect` take it.
        user: who had authenticated when the room was joined, as text; ``None`` for an anonymous client.
        server: the server that has the connection, as `Hub.servers` names it.
        info: the argument of `owlsocket_sync.Connection.join`, as JSON gives it back.
    """

    id: str
    user: str | None
    server: str
    info: Any = None


@dataclass(frozen=True, eq=False, repr=False)
class PresenceChange(FieldwiseEq):
    """A change of the members of a room.

    Attributes:
        kind: ``"join"``, ``"update"`` when a member has joined once more, with another ``info``, or ``"leave"``.
        room: the name of the room.
        member: the member, as it is now; after a ``"leave"``, as it was.
    """

    kind: str
    room: str
    member: Member


@dataclass(frozen=True, eq=False, repr=False)
class Gap(FieldwiseEq):
    """Events that a hub has missed, and will not get.

    Attributes:
        reason: a sentence for people.
        missed: the number of events, ``None`` where it is unknown.
    """

    reason: str
    missed: int | None = None


class Publication:
    """An event for many connections, encoded once.

    Attributes:
        event: the name of the event.
        text: the message, as clients get it.
        room: its members get the event; ``None`` for all connections.
        user: the connections of this user get it; ``None`` for the connections of all users.
        exclude: the ids of connections that do not get it.
    """

    __slots__ = ("_payload", "event", "exclude", "room", "text", "user")

    def __init__(
        self,
        event: str,
        text: bytes,
        room: str | None = None,
        user: str | None = None,
        exclude: Sequence[str] = (),
        *payload: Any,
    ) -> None:
        self.event, self.text = event, text
        self.room, self.user, self.exclude = room, user, exclude
        self._payload = payload

    def payload(self) -> Any:
        """Return the payload, each time another copy; the value that was published where that was in this process."""
        return copy_payload(self._payload[0]) if self._payload else from_json(self.text)["payload"]

    def to_record(self) -> bytes:
        """Return all of it as bytes, for a log that keeps bytes."""
        # A line before the text, and not a field around it: the text is not parsed on its way through a server.
        header = {"event": self.event, "room": self.room, "user": self.user, "exclude": list(self.exclude)}
        return to_json(header) + b"\n" + self.text

    @classmethod
    def from_record(cls, record: bytes) -> Publication:
        """Return the publication that `to_record` made these bytes of.

        Raises:
            SocketMessageMalformed: they are anything else.
        """
        header, newline, text = record.partition(b"\n")
        fields = from_json(header)
        try:
            event, room, user, exclude = (fields[name] for name in ("event", "room", "user", "exclude"))
            texts = [event, *exclude, *(name for name in (room, user) if name is not None)]
        except (KeyError, TypeError):
            texts = [None]
        if not (newline and all(isinstance(text, str) for text in texts)):
            raise SocketMessageMalformed("a record of the hub is not a publication")
        message = from_json(text)
        if not (isinstance(message, dict) and message.get("event") == event and "payload" in message):
            raise SocketMessageMalformed("a record of the hub holds no event")
        return cls(event, text, room, user, exclude)
